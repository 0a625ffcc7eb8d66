"""What the Qwens share."""
