"""Run folders, and what can be done with a fitted model."""
