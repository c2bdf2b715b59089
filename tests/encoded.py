"""Small encoders of frames, for tests whose subject they are not."""

from functools import partial

from pyro_dsvae.configuration.networks import EarlierEncoder

# For images and for vectors, as a command is told and as `fit` and a guide are.
SMALL_ENCODER = ["--encoder=pyro_dsvae.configuration.networks.EarlierEncoder", "--encoder.width=1"]
small_encoder = partial(EarlierEncoder, width=1)
