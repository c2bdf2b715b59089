"""The two halves that amortised guides are built from: clip -> features of f, clip -> features of every z_t."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from pyro_dsvae.inference.posteriors.views import choose_frames, recolour
from pyro_dsvae.models.networks.frames import frame_encoder
from pyro_dsvae.models.networks.recurrent import BidirectionalLSTM


class StaticEncoder(nn.Module, ABC):
    """A network from a clip to one vector, the features of f."""

    @abstractmethod
    def forward(self, x: Tensor, observed: Tensor, lengths: Tensor | None) -> Tensor:
        """(B, 2H) for frames x (B, T, \\*frame), zero where not observed; ``observed`` (B, T) bool."""


class OrderedStaticEncoder(StaticEncoder):
    """All frames in order: both final states of a bidirectional LSTM over frame features (Li & Mandt 2018)."""

    def __init__(self, frame_shape: tuple[int, ...], feature_size: int, hidden_size: int, width: int) -> None:
        super().__init__()
        self.frames = FrameFeatures(frame_shape, feature_size, width)
        self.lstm = BidirectionalLSTM(feature_size, hidden_size)

    def forward(self, x: Tensor, observed: Tensor, lengths: Tensor | None) -> Tensor:
        return self.lstm.summary(self.frames(x, observed), lengths)


class UnorderedStaticEncoder(StaticEncoder):
    """Guide view of f: the mean of frame features over ``count`` random frames in training, over all in evaluation."""

    def __init__(
        self, frame_shape: tuple[int, ...], feature_size: int, hidden_size: int, width: int, count: int = 3
    ) -> None:
        super().__init__()
        self.count = count
        self.frames = FrameFeatures(frame_shape, feature_size, width)
        self.layers = nn.Sequential(
            nn.Linear(feature_size, 2 * hidden_size), nn.SiLU(), nn.Linear(2 * hidden_size, 2 * hidden_size), nn.SiLU()
        )

    def forward(self, x: Tensor, observed: Tensor, lengths: Tensor | None) -> Tensor:
        if self.training:
            frames, observed = choose_frames(observed, self.count)
            x = x[torch.arange(len(x), device=x.device).unsqueeze(1), frames]
        features = self.frames(x, observed)
        # A clip without any observed frame is described by the features of a missing one.
        weights = observed | ~observed.any(dim=1, keepdim=True)
        return self.layers((features * weights.unsqueeze(-1)).sum(1) / weights.sum(1, keepdim=True))


def static_encoder(
    frame_shape: tuple[int, ...], feature_size: int, hidden_size: int, width: int, views: bool
) -> StaticEncoder:
    """The static half with guide views or without."""
    kind = UnorderedStaticEncoder if views else OrderedStaticEncoder
    return kind(frame_shape, feature_size, hidden_size, width)


class DynamicEncoder(nn.Module):
    """Features (B, T, E) of every frame for z; with ``recoloured``, of the randomly recoloured clip in training."""

    def __init__(self, frame_shape: tuple[int, ...], feature_size: int, width: int, recoloured: bool) -> None:
        super().__init__()
        self.recoloured = recoloured
        self.frames = FrameFeatures(frame_shape, feature_size, width)

    def forward(self, x: Tensor, observed: Tensor) -> Tensor:
        return self.frames(recolour(x) if self.recoloured and self.training else x, observed)


class FrameFeatures(nn.Module):
    """A frame encoder, and one learned vector that stands for every missing frame."""

    def __init__(self, frame_shape: tuple[int, ...], feature_size: int, width: int) -> None:
        super().__init__()
        self.encoder = frame_encoder(frame_shape, feature_size, width)
        self.missing = nn.Parameter(torch.zeros(feature_size))

    def forward(self, x: Tensor, observed: Tensor) -> Tensor:
        features = self.encoder(x)
        return torch.where(observed.unsqueeze(-1), features, self.missing.to(features.dtype))
