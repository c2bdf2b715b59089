"""The half of a guide from a clip to features of f."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from pyro_dsvae.inference.posteriors.frame_features import FrameFeatures
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.networks.frames import FrameEncoder
from pyro_dsvae.models.networks.recurrent import BidirectionalLSTM


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
    """All frames in order: both final states of a bidirectional LSTM over frame features (Li & Mandt 2018).

    Args:
        encoder: Of whole frames.
        hidden_size: H.
    """

    def __init__(self, encoder: FrameEncoder, hidden_size: int) -> None:
        super().__init__()
        self.frames = FrameFeatures(encoder)
        self.lstm = BidirectionalLSTM(encoder.feature_size, hidden_size)

    def forward(self, x: Tensor, observed: Tensor, lengths: Tensor | None) -> Tensor:
        return self.lstm.summary(self.frames(x, observed), lengths)


class FramesStaticEncoder(StaticEncoder):
    """``count`` random frames in training, and all in evaluation: each through the encoder and two layers; then their mean.

    Args:
        encoder: Of whole frames.
        hidden_size: H.
        count: Frames in training.

    Source: Zaheer et al., "Deep Sets", NeurIPS 2017.
    """

    def __init__(self, encoder: FrameEncoder, hidden_size: int, count: int) -> None:
        super().__init__()
        if encoder.window > 1:
            raise UsageError(
                f"these guide views show f single frames, and {type(encoder).__name__} reads {encoder.window} in a row: take "
                "another encoder or other views",
                "posterior.views",
            )
        self.count = count
        self.encoder = encoder
        self.each = nn.Sequential(nn.Linear(encoder.feature_size, 2 * hidden_size), nn.SiLU())
        self.layers = nn.Sequential(nn.Linear(2 * hidden_size, 2 * hidden_size), nn.SiLU())

    def forward(self, x: Tensor, observed: Tensor, lengths: Tensor | None) -> Tensor:
        if self.training:
            x, observed = some_frames(x, observed, self.count)
        return self.layers(mean_over(observed, self.each(self.encoder(x))))


def choose_frames(observed: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Choose ``count`` different random frames of every sequence, in random order.

    Args:
        observed: (B, T) bool.
        count: How many, K.

    Returns:
        Indices (B, K), and (B, K) bool, whether each is an observed frame; observed frames come first.
    """
    keys = torch.rand(observed.shape, device=observed.device).masked_fill(~observed, 2.0)
    frames = keys.argsort(dim=-1)[:, :count]
    return frames, observed.gather(1, frames)


def some_frames(x: Tensor, observed: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """``count`` random frames of every sequence, and whether each is an observed one (see `choose_frames`)."""
    frames, observed = choose_frames(observed, count)
    return x[torch.arange(len(x), device=x.device).unsqueeze(1), frames], observed


def mean_over(observed: Tensor, features: Tensor) -> Tensor:
    """The mean (B, E) of the features (B, T, E) of observed frames; zero where there is none."""
    weights = observed.unsqueeze(-1)
    return (features * weights).sum(1) / weights.sum(1).clamp(min=1)
