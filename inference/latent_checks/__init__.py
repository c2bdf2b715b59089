"""Are the latents of real sequences spread as the priors say, and are they used?"""
