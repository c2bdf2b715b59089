"""The ELBO, its optimisation, evidence, prediction, and the ArviZ trees."""
