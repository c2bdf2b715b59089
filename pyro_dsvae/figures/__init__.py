"""Figures of runs, clips and ArviZ trees."""
