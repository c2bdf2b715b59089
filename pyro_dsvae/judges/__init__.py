"""Classifiers that say what a clip shows."""
