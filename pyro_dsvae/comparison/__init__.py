"""What the command compare does, from candidates to the report."""
