"""The two halves that amortised guides are built from: from a clip to features of f, and to features of every z_t."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from pyro_dsvae.inference.posteriors.views import (
    Views,
    above_ground,
    choose_frames,
    chosen_views,
    ground_colours,
    recolour,
    turn_colours,
    warp,
)
from pyro_dsvae.models.encoders.by_shape import frame_encoder
from pyro_dsvae.models.encoders.patches import Patches
from pyro_dsvae.models.encoders.pyramid import Pyramid
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
            x, observed = some_frames(x, observed, self.count)
        return self.layers(mean_over(observed, self.encoder(x)))


class MultiscaleStaticEncoder(StaticEncoder):
    """Three readings of a clip side by side: colours, parts, and the whole in order; and the colour of its ground.

    Colours: the patches of `Patches`, which see two pixels and no place. Parts: the maps of `Pyramid`, which see
    up to half the frame, pooled over places. Both are means over ``count`` random frames in training, and over all frames in
    evaluation. The whole: `OrderedStaticEncoder`. The two latter read frames less the colour of their ground, so that a
    figure is the same on any. Small details of colour are learnt early from patches, and shapes early
    from maps without place, where a network over whole frames would have to see every shape in every place.
    """

    def __init__(
        self, frame_shape: tuple[int, ...], feature_size: int, hidden_size: int, width: int, count: int = 3
    ) -> None:
        super().__init__()
        self.count = count
        self.patches = Patches(frame_shape, 2 * feature_size, 2 * width)
        self.parts = Pyramid(frame_shape, 2 * feature_size, 2 * width)
        self.whole = OrderedStaticEncoder(frame_shape, feature_size, hidden_size, width)
        self.ground = nn.Sequential(nn.Linear(frame_shape[0], hidden_size // 2), nn.SiLU())
        size = 4 * feature_size + 2 * hidden_size + hidden_size // 2
        self.layers = nn.Sequential(
            nn.LayerNorm(size, elementwise_affine=False),
            nn.Linear(size, 2 * hidden_size),
            nn.SiLU(),
            nn.Linear(2 * hidden_size, 2 * hidden_size),
            nn.SiLU(),
        )

    def forward(self, x: Tensor, observed: Tensor, lengths: Tensor | None) -> Tensor:
        ground = mean_over(observed, ground_colours(x))
        whole = self.whole(above_ground(x), observed, lengths)
        if self.training:
            x, observed = some_frames(x, observed, self.count)
        unordered = mean_over(observed, torch.cat([self.patches(x), self.parts(above_ground(x))], dim=-1))
        # Grounds differ little in a network's eyes: four times their values are about as large as other features.
        return self.layers(torch.cat([unordered, whole, self.ground(4 * ground)], dim=-1))


def some_frames(x: Tensor, observed: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """``count`` random frames of every sequence, and whether each is an observed one (see `choose_frames`)."""
    frames, observed = choose_frames(observed, count)
    return x[torch.arange(len(x), device=x.device).unsqueeze(1), frames], observed


def mean_over(observed: Tensor, features: Tensor) -> Tensor:
    """The mean (B, E) of the features (B, T, E) of observed frames; zero where there is none."""
    weights = observed.unsqueeze(-1)
    return (features * weights).sum(1) / weights.sum(1).clamp(min=1)


def static_encoder(
    frame_shape: tuple[int, ...], feature_size: int, hidden_size: int, width: int, views: Views
) -> StaticEncoder:
    """The static half that goes with guide views of this name."""
    if views == "none":
        return OrderedStaticEncoder(frame_shape, feature_size, hidden_size, width)
    kind = UnorderedStaticEncoder if views == "recolour" else MultiscaleStaticEncoder
    return kind(frame_shape, feature_size, hidden_size, width)


class DynamicEncoder(nn.Module):
    """Features (B, T, E) of every frame for z; in training they are those of a view: the clip in other colours, warped."""

    def __init__(self, frame_shape: tuple[int, ...], feature_size: int, width: int, views: Views) -> None:
        super().__init__()
        self.views = views
        self.frames = FrameFeatures(frame_shape, feature_size, width)

    def forward(self, x: Tensor, observed: Tensor) -> Tensor:
        if self.views == "turn":
            x = above_ground(x)
        if self.training and self.views != "none":
            x = warp(turn_colours(x) if self.views == "turn" else recolour(x), WARP)
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
    frame_shape: tuple[int, ...], feature_size: int, hidden_size: int, width: int, views: Views | bool | None
) -> tuple[bool, StaticEncoder, DynamicEncoder]:
    """Whether the guide has views, and its two halves with those that `chosen_views` names."""
    chosen = chosen_views(views, frame_shape)
    static = static_encoder(frame_shape, feature_size, hidden_size, width, chosen)
    return chosen != "none", static, DynamicEncoder(frame_shape, feature_size, width, chosen)


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
