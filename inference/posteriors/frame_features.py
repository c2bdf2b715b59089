"""Features of frames, some of which may be missing."""

import torch
from torch import Tensor, nn

from pyro_dsvae.models.encoders.gaps import windows
from pyro_dsvae.models.networks.frames import FrameEncoder


class FrameFeatures(nn.Module):
    """A frame encoder, and one learned vector that stands for every missing frame."""

    def __init__(self, encoder: FrameEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.missing = nn.Parameter(torch.zeros(encoder.feature_size))

    def forward(self, x: Tensor, observed: Tensor) -> Tensor:
        """Features (B, T, E) of frames x ``(B, T, *frame)``, of which those with ``observed`` (B, T) are there."""
        window = self.encoder.window
        features = self.encoder(x if window == 1 else windows(x, window))
        return torch.where(observed.unsqueeze(-1), features, self.missing.to(features.dtype))
