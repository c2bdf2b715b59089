"""The art of the embedded sprites."""
