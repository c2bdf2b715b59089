"""Cartoon faces: who they are, how they move, and how they are drawn."""
