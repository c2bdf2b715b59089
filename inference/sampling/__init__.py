"""Proposals and samplers for log p(x) and the posterior."""
