"""The pages of the explorer, one file each: what is chosen, and what is shown for it."""
