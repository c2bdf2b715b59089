"""The art of the embedded sprites, and the grounds they stand on."""
