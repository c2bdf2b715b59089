"""The two halves that amortised guides are built from: from a clip to features of f, and to features of every z_t."""

import torch
from torch import Tensor, nn

from pyro_dsvae.inference.posteriors.frame_features import FrameFeatures
from pyro_dsvae.inference.posteriors.views.choice import Views, chosen_views
from pyro_dsvae.inference.posteriors.views.guide_views import GuideViews
from pyro_dsvae.inference.posteriors.views.static_encoder import StaticEncoder
from pyro_dsvae.models.networks.frames import EncoderRecipe, FrameEncoder
from pyro_dsvae.models.networks.recurrent import BidirectionalLSTM, run_lstm


class DynamicEncoder(nn.Module):
    """Features (B, T, E) of every frame for z: those of what the guide views let z see."""

    def __init__(self, views: GuideViews, encoder: FrameEncoder) -> None:
        super().__init__()
        self.views = views
        self.frames = FrameFeatures(encoder)
        columns = encoder.frame_shape[-1] // 2
        self.widths = [columns, columns + 1] if encoder.reads_gaps else []

    def forward(self, x: Tensor, observed: Tensor) -> Tensor:
        # What stands beside the values of series is no part of the view.
        values, *gaps = x.split(self.widths, -1) if self.widths else (x,)
        view = self.views.dynamic_view(values, observed, self.training)
        if gaps:  # what is missing stays zero, or it would tell how values were changed
            view = view * (1 - gaps[0][..., : values.shape[-1]])
        return self.frames(torch.cat([view, *gaps], -1) if gaps else view, observed)


def encoders(
    frame_shape: tuple[int, ...], feature_size: int, hidden_size: int, encoder: EncoderRecipe, views: Views
) -> tuple[GuideViews, StaticEncoder, DynamicEncoder]:
    """The guide views that `chosen_views` gives, and the two halves of a guide with them."""
    chosen = chosen_views(views, frame_shape)
    static = chosen.static_encoder(frame_shape, feature_size, hidden_size, encoder)
    return chosen, static, DynamicEncoder(chosen, encoder(frame_shape, feature_size))


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
