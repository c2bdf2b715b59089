"""Sequences in shards: files of many sequences each, from which single ones are read."""
