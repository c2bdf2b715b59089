"""The generative process: the model `DSVAE`, its time axis, and errors."""
