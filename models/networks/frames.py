"""What every encoder and every decoder of single frames is."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pyro_dsvae.models.errors import UsageError, check_count
from pyro_dsvae.models.networks.chunks import frames_at_once, in_chunks


class FrameEncoder(nn.Module, ABC):
    """A network from frames ``(*B, *frame)`` to features ``(*B, feature_size)``, each frame by itself.

    The first two constructor arguments of every encoder are ``frame_shape`` and ``feature_size``, which the guide supplies; all
    others are options.

    Args:
        frame_shape: (C, H, W) or (P,).
        feature_size: The number of features.

    Raises:
        UsageError: For a number of features below 1.

    Attributes:
        reads_gaps: Whether it reads series with what `with_gaps` puts beside them: (2P + 1,) instead of (P,).
        window: W, how many steps it reads at once, each step behind those before it: (W, 2P + 1). 1 for a frame by itself.
    """

    reads_gaps: ClassVar[bool] = False
    window: int = 1

    def __init__(self, frame_shape: tuple[int, ...], feature_size: int) -> None:
        check_count("feature_size", feature_size)
        super().__init__()
        self.frame_shape = frame_shape
        self.feature_size = feature_size

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """Features (N, feature_size) of frames x ``(N, *frame)``."""

    def forward(self, x: Tensor) -> Tensor:
        """Features ``(*B, feature_size)``; of very many frames in chunks (see `in_chunks`).

        Raises:
            UsageError: Where `encode` returns another shape.
        """
        batch = x.shape[: x.ndim - len(self.frame_shape)]
        flat = x.reshape(-1, *self.frame_shape)
        features = in_chunks(self.encode, flat, frames_at_once(self.frame_shape), dim=0)
        expected = (len(flat), self.feature_size)
        if features.shape != expected:
            raise UsageError(
                f"encoder {type(self).__name__} returned {tuple(features.shape)}, expected {expected}, (N, feature_size)",
                "encoder",
            )
        return features.reshape(*batch, self.feature_size)


# Makes an encoder for frames of this shape and this number of features.
EncoderRecipe = Callable[[tuple[int, ...], int], FrameEncoder]


class FrameDecoder(nn.Module, ABC):
    """A network from the two latents to the parameters of the frames, each frame by itself.

    Args:
        frame_shape: Shape of the parameters of one frame.

    Attributes:
        origin: What is added to all that `decode` returns, for images (C, 1, 1): `build` sets it to the typical colour of what
            is behind figures, so that a fit does not begin by learning that. Zero until then; None for other frames.
        certain: What swaps show whatever was learned, because the network cannot do otherwise: a sentence that is printed
            beside their scores. Empty where nothing is certain.
    """

    origin: Tensor | None
    certain: ClassVar[str] = ""

    def __init__(self, frame_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.frame_shape = frame_shape
        self.register_buffer("origin", torch.zeros(frame_shape[0], 1, 1) if len(frame_shape) == 3 else None)
        self.register_load_state_dict_pre_hook(_no_origin_before)

    @abstractmethod
    def decode(self, f: Tensor, z: Tensor) -> Tensor:
        """Parameters of the frames ``(*B, T, *frame)``, float32 or wider, for ``f`` ``(*B, F)`` and ``z`` ``(*B, T, D)``."""

    def forward(self, f: Tensor, z: Tensor) -> Tensor:
        """As `decode`, plus `origin`; very long sequences in chunks of their steps (see `in_chunks`).

        Raises:
            UsageError: Where `decode` returns another shape.
        """
        sequences = max(1, math.prod(z.shape[:-2]))
        size = max(1, frames_at_once(self.frame_shape) // sequences)
        frames = in_chunks(partial(self.decode, f), z, size, dim=z.ndim - 2)
        expected = (*z.shape[:-1], *self.frame_shape)
        if frames.shape != expected:
            raise UsageError(
                f"decoder {type(self).__name__} returned {tuple(frames.shape)}, expected {expected}, (*B, T, *frame)",
                "decoder",
            )
        return frames if self.origin is None else frames + self.origin


def _no_origin_before(module: FrameDecoder, state: dict[str, Any], prefix: str, *_: object) -> None:
    """Fits of before decoders had an origin began at zero."""
    if module.origin is not None:
        state.setdefault(f"{prefix}origin", torch.zeros_like(module.origin))
