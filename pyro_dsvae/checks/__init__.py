"""What the command ppc does, from draws to the report."""
