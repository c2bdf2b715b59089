"""Discrepancies between data and replications, and their p-values."""
