"""What is timed: functions that build something and return a `Contestant`."""
