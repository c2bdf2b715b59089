"""A user's own file of arrays: what it may hold, what its axes are, and what its labels mean."""
