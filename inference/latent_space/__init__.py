"""What is done with latents: encode, generate, interpolate, traverse, impute."""
