"""What a fit is made of: objective, schedule, devices, and the terms beside the ELBO."""
