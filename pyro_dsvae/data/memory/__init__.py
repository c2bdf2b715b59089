"""Data that are given from Python: as sequences, and as the copy that a run keeps."""
