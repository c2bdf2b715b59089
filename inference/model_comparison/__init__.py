"""Differences of evidence with intervals over sequences and seeds, and stacking."""
