"""Tensor operations that several parts share: scans and recursions over time, and precision."""
