"""The two halves that amortised guides are built from: from a clip to features of f, and to features of every z_t."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from pyro_dsvae.inference.posteriors.views import choose_frames, recolour, warp
from pyro_dsvae.models.encoders.by_shape import frame_encoder
from pyro_dsvae.models.encoders.patches import Patches
from pyro_dsvae.models.networks.recurrent import BidirectionalLSTM, run_lstm

WARP = 1 / 50


class StaticEncoder(nn.Module, ABC):
    """A network from a clip to one vector, the features of f."""

    @abstractmethod
    def forward(self, x: Tensor, observed: Tensor, lengths: Tensor | None) -> Tensor:
        """Features of f.

        Args:
            x: Frames ``(B, T, *frame)``, zero where not observed.
            observed: (B, T) bool.
            lengths: (B,) or None.

        Returns:
            (B, 2H).
        """


class OrderedStaticEncoder(StaticEncoder):
    """All frames in order: both final states of a bidirectional LSTM over frame features (Li & Mandt 2018)."""

    def __init__(self, frame_shape: tuple[int, ...], feature_size: int, hidden_size: int, width: int) -> None:
        super().__init__()
        self.frames = FrameFeatures(frame_shape, feature_size, width)
        self.lstm = BidirectionalLSTM(feature_size, hidden_size)

    def forward(self, x: Tensor, observed: Tensor, lengths: Tensor | None) -> Tensor:
        return self.lstm.summary(self.frames(x, observed), lengths)


class UnorderedStaticEncoder(StaticEncoder):
    """Guide view of f: the patches of ``count`` random frames in training, and of all frames in evaluation.

    Features are pooled over frames, and over places within a frame (`Patches`). So f encodes what there is, not when or
    where.
    """

    def __init__(
        self, frame_shape: tuple[int, ...], feature_size: int, hidden_size: int, width: int, count: int = 3
    ) -> None:
        super().__init__()
        self.count = count
        self.encoder = Patches(frame_shape, 2 * feature_size, 2 * width)
        self.layers = nn.Sequential(
            # Features of patches are small where most of the frame is background.
            nn.LayerNorm(2 * feature_size, elementwise_affine=False),
            nn.Linear(2 * feature_size, 2 * hidden_size),
            nn.SiLU(),
            nn.Linear(2 * hidden_size, 2 * hidden_size),
            nn.SiLU(),
        )

    def forward(self, x: Tensor, observed: Tensor, lengths: Tensor | None) -> Tensor:
        if self.training:
            frames, observed = choose_frames(observed, self.count)
            x = x[torch.arange(len(x), device=x.device).unsqueeze(1), frames]
        weights = observed.unsqueeze(-1)
        total = (self.encoder(x) * weights).sum(1)
        return self.layers(total / weights.sum(1).clamp(min=1))


def static_encoder(
    frame_shape: tuple[int, ...], feature_size: int, hidden_size: int, width: int, views: bool
) -> StaticEncoder:
    """The static half with guide views or without."""
    kind = UnorderedStaticEncoder if views else OrderedStaticEncoder
    return kind(frame_shape, feature_size, hidden_size, width)


class DynamicEncoder(nn.Module):
    """Features (B, T, E) of every frame for z. With ``views``, in training, they are those of the recoloured and
    warped clip.
    """

    def __init__(self, frame_shape: tuple[int, ...], feature_size: int, width: int, views: bool) -> None:
        super().__init__()
        self.views = views
        self.frames = FrameFeatures(frame_shape, feature_size, width)

    def forward(self, x: Tensor, observed: Tensor) -> Tensor:
        if self.views and self.training:
            x = warp(recolour(x), WARP)
        return self.frames(x, observed)


class FrameFeatures(nn.Module):
    """A frame encoder, and one learned vector that stands for every missing frame."""

    def __init__(self, frame_shape: tuple[int, ...], feature_size: int, width: int) -> None:
        super().__init__()
        self.encoder = frame_encoder(frame_shape, feature_size, width)
        self.missing = nn.Parameter(torch.zeros(feature_size))

    def forward(self, x: Tensor, observed: Tensor) -> Tensor:
        features = self.encoder(x)
        return torch.where(observed.unsqueeze(-1), features, self.missing.to(features.dtype))


def encoders(
    frame_shape: tuple[int, ...], feature_size: int, hidden_size: int, width: int, views: bool | None
) -> tuple[bool, StaticEncoder, DynamicEncoder]:
    """Whether the guide has views (by default for images only), and its two halves."""
    views = len(frame_shape) == 3 if views is None else views
    static = static_encoder(frame_shape, feature_size, hidden_size, width, views)
    return views, static, DynamicEncoder(frame_shape, feature_size, width, views)


def with_static(features: Tensor, f: Tensor) -> Tensor:
    """Features (B, T, E) of every frame, each joined to f ``(*B, F)``: ``(*B, T, E + F)``."""
    features = features.expand(*f.shape[:-1], *features.shape[-2:])
    return torch.cat([features, f.unsqueeze(-2).expand(*features.shape[:-1], -1)], dim=-1)


class Smoother(nn.Module):
    """Features ``(*B, T, H)`` of every z_t given the whole clip and f: the networks of the `LSTM` posterior up to its
    heads.
    """

    def __init__(self, feature_size: int, static_size: int, hidden_size: int) -> None:
        super().__init__()
        self.context = BidirectionalLSTM(feature_size + static_size, hidden_size)
        self.lstm = nn.LSTM(2 * hidden_size, hidden_size, batch_first=True)
        # What a frame says of its own z_t need not pass two recurrent layers, which learn slowly.
        self.direct = nn.Linear(feature_size, hidden_size)

    def forward(self, features: Tensor, f: Tensor, lengths: Tensor | None) -> Tensor:
        """For features (B, T, E) and f ``(*B, F)``."""
        hidden, _ = run_lstm(self.lstm, self.context(with_static(features, f), lengths))
        return hidden + self.direct(features)
