"""The posterior whose paths are normal and correlated over time."""

import math

from torch import Tensor, nn

from pyro_dsvae.inference.posteriors.encoders import Smoother
from pyro_dsvae.inference.posteriors.guide_input import GuideInput
from pyro_dsvae.inference.posteriors.static_half import StaticHalf
from pyro_dsvae.inference.posteriors.views.choice import Views
from pyro_dsvae.models.distributions.diagonal_chain import DiagonalChain, Transitions
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.networks.frames import EncoderRecipe
from pyro_dsvae.models.networks.gaussian_head import GaussianHead
from pyro_dsvae.models.ops.linear_recurrence import step_before
from pyro_dsvae.models.ops.precision import full_precision


class StructuredGaussian(StaticHalf):
    """q(f, z | x) = N(f; x_1:T) N(z_1:T; m, P^-1), the precision P tridiagonal over time in every dimension.

    z_t = m_t + a_t (z_{t-1} - m_{t-1}) + s_t noise_t, where the mean path m, the scales s and the coefficients a come
    from the networks of the `LSTM` posterior. The mean path does not depend on a, so correlations are learned without
    changing the means. a_t is zero before training, where the posterior is diagonal. Its sign is free: a smooth prior
    needs a positive correlation of neighbouring steps. Densities, moments and draws take O(T); the KL from a normal
    prior is exact.

    Source: a tridiagonal precision as in Archer et al., "Black box variational inference for state space models", 2015
    (arXiv 1511.07367), stated as a chain.

    Args:
        frame_shape: (C, H, W) or (P,), supplied by the model.
        static_size: F, supplied by the model.
        latent_size: D, supplied by the model.
        encoder: Makes the encoder of frames, for a frame shape and a number of features; supplied by the model.
        hidden_size: Units of each LSTM.
        feature_size: Features per frame.
        views: Guide views (`GuideViews`): none, recolour, turn, jitter, rescale, other_window, vocal_tract, or your own; by
            default turn for images and none for vectors. --posterior.views.help Turn says what turn assumes.
        max_coefficient: Bound of a_t in absolute value; up to 1, deviations from the mean path cannot grow by themselves.

    Example:
        >>> import torch
        >>> from pyro_dsvae.inference.posteriors import StructuredGaussian
        >>> from pyro_dsvae.inference.posteriors.guide_input import GuideInput
        >>> from pyro_dsvae.models.encoders import Dense
        >>> guide = StructuredGaussian(frame_shape=(3,), static_size=4, latent_size=2, encoder=Dense, hidden_size=8)
        >>> path = guide.dynamic(GuideInput.of(torch.rand(8, 5, 3)), f=torch.zeros(8, 4))
        >>> type(path).__name__, path.mean.shape
        ('DiagonalChain', torch.Size([8, 5, 2]))
    """

    def __init__(
        self,
        frame_shape: tuple[int, ...],
        static_size: int,
        latent_size: int,
        encoder: EncoderRecipe,
        hidden_size: int = 128,
        feature_size: int = 128,
        views: Views = None,
        max_coefficient: float = 1.0,
    ) -> None:
        if not 0 < max_coefficient < math.inf:
            raise UsageError(f"max_coefficient must be a positive number, not {max_coefficient}")
        super().__init__(frame_shape, static_size, latent_size, encoder, hidden_size, feature_size, views)
        self.max_coefficient = max_coefficient

    def build(self, static_size: int, latent_size: int, hidden_size: int, feature_size: int) -> None:
        self.smoother = Smoother(feature_size, static_size, hidden_size)
        self.dynamic_head = GaussianHead(hidden_size, latent_size, initial_scale=0.1)
        self.coefficient = nn.Linear(hidden_size, latent_size)
        nn.init.zeros_(self.coefficient.weight)
        nn.init.zeros_(self.coefficient.bias)

    def dynamic(self, clip: GuideInput, f: Tensor) -> DiagonalChain:
        hidden = self.smoother(self.dynamic_encoder(clip.x, clip.observed), f, clip.steps.lengths)
        mean, scale = self.dynamic_head(hidden)
        raw = full_precision(self.coefficient(hidden))
        a = self.max_coefficient * (raw / self.max_coefficient).tanh()
        return DiagonalChain(f.shape[:-1], Transitions(a, mean - a * step_before(mean), scale), clip.steps)
