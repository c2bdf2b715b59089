"""Clips in a folder tree: how they are found, decoded, framed, labelled and kept."""
