"""What the command evaluate measures."""
