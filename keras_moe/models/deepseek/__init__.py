"""What DeepSeek's versions share."""
