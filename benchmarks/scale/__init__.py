"""What it costs to feed a fit from shards, and what grows with what."""
