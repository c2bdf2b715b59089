"""Parts by name, and models from configurations."""
