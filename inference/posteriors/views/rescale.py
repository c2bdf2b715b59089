"""z sees another level and another scale: views of series."""

from typing import ClassVar

import torch
from torch import Tensor

from pyro_dsvae.inference.posteriors.views.guide_views import FrameKind, GuideViews
from pyro_dsvae.inference.posteriors.views.static_encoder import OrderedStaticEncoder, StaticEncoder
from pyro_dsvae.models.errors import check_amounts
from pyro_dsvae.models.networks.frames import EncoderRecipe


class Rescale(GuideViews):
    """Level and scale apart from the course: assumes that the level and the scale of each column belong to what stays.

    z is inferred from a_p + exp(b_p) x_tp, with a_p and b_p drawn anew for each sequence and each column p, the same at all
    steps. So z can hardly encode how high a series lies or how far it swings. That is left to f, which is inferred from the
    series as it is. Series whose level wanders within a sequence do not fulfil the assumption.

    Args:
        level: Standard deviation of a_p, in standard deviations of the column.
        scale: Standard deviation of b_p.
    """

    takes: ClassVar[tuple[FrameKind, ...]] = ("vectors",)
    z_sees: ClassVar[str] = "the series at another level and another scale"
    f_sees: ClassVar[str] = "the series in order"
    assumes: ClassVar[str] = "that the level and the scale of each column belong to what stays"

    def __init__(self, level: float = 1.0, scale: float = 0.5) -> None:
        check_amounts({"level": level, "scale": scale})
        self.level = level
        self.scale = scale

    def static_encoder(
        self, frame_shape: tuple[int, ...], feature_size: int, hidden_size: int, encoder: EncoderRecipe
    ) -> StaticEncoder:
        return OrderedStaticEncoder(encoder(frame_shape, feature_size), hidden_size)

    def dynamic_view(self, x: Tensor, observed: Tensor, training: bool) -> Tensor:
        return rescaled(x, self.level, self.scale) if training else x


def rescaled(x: Tensor, level: float, scale: float) -> Tensor:
    """a_p + exp(b_p) x_tp of x (B, T, P), a_p ~ N(0, level²) and b_p ~ N(0, scale²) drawn for each sequence and column."""
    a, b = torch.randn(2, len(x), 1, x.shape[-1], dtype=x.dtype, device=x.device)
    return level * a + (scale * b).exp() * x
