"""Clips from and to files."""
