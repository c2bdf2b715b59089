"""Forecasts, their scores, and forecasts that need no model."""
