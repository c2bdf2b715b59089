"""The page of the command explore: what it computes from a run, and how it shows it."""
