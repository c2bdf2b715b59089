"""A decoder and a likelihood that fit each other, for tests whose subject is neither."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn

from pyro_dsvae.configuration.networks import EarlierDecoder, earlier_decoder
from pyro_dsvae.models.decoders import FrameDecoder
from pyro_dsvae.models.likelihoods import Likelihood

# A small decoder for images and for vectors, as a command is told and as `fit` is.
SMALL_DECODER = ["--decoder=pyro_dsvae.configuration.networks.EarlierDecoder", "--decoder.width=1"]
small_decoder = partial(EarlierDecoder, width=1)


def decoded_by(
    kind: Callable[..., Likelihood],
    static_size: int,
    latent_size: int,
    frame_shape: tuple[int, ...],
    width: int = 1,
    **options: Any,
) -> tuple[FrameDecoder, Likelihood]:
    """The two last arguments of `DSVAE`: a network of this width, and the likelihood."""
    likelihood = kind(frame_shape, **options)
    return earlier_decoder(frame_shape, width)(static_size, latent_size, likelihood.parameter_shape), likelihood


class Decoded(nn.Module):
    """p(x | f, z) of such a pair."""

    def __init__(self, kind: Callable[..., Likelihood], *sizes: Any, **options: Any) -> None:
        super().__init__()
        self.decoder, self.likelihood = decoded_by(kind, *sizes, **options)

    def forward(self, f: Tensor, z: Tensor) -> Any:
        return self.likelihood(self.decoder(f, z))
