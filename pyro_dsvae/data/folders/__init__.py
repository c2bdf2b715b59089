"""Folder trees of recordings, whatever these are: found, described, split, and kept as windows in a file."""
