"""The posterior that need not be normal."""

from collections.abc import Sequence
from typing import cast

from pyro.distributions import Normal, TorchDistribution
from torch import Tensor, nn

from pyro_dsvae.inference.posteriors.causal_affine import CausalAffine
from pyro_dsvae.inference.posteriors.encoders import Smoother, encoders
from pyro_dsvae.inference.posteriors.guide_input import GuideInput
from pyro_dsvae.inference.posteriors.posterior import Posterior
from pyro_dsvae.inference.posteriors.pushforward import Pushforward
from pyro_dsvae.inference.posteriors.views.choice import Views
from pyro_dsvae.models.distributions.normalizing_flow import load_zuko, own_precision
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.networks.frames import EncoderRecipe
from pyro_dsvae.models.networks.gaussian_head import GaussianHead
from pyro_dsvae.models.ops.precision import full_precision


class Flow(Posterior):
    """q(f, z | x): f = m + s g(noise) and z_1:T = m_1:T + s_1:T h(noise_1:T), with inverse autoregressive flows g and h.

    Means and scales come from the networks of the `LSTM` posterior; where g and h are the identity, the two are equal.
    h is the identity before training. g runs over the entries of f (Zuko's masked networks). h runs over time
    (`CausalAffine`), and its layers alternate in direction. A draw takes one pass and brings its density with it, so
    the KL is estimated by Monte Carlo. The density of any other value takes F or T steps per layer. For
    `posterior_means`, the mean is the image of zero noise.

    Source: Kingma et al., "Improved Variational Inference with Inverse Autoregressive Flow", NeurIPS 2016.

    Args:
        frame_shape: (C, H, W) or (P,), supplied by the model.
        static_size: F, supplied by the model.
        latent_size: D, supplied by the model.
        encoder: Makes the encoder of frames, for a frame shape and a number of features; supplied by the model.
        hidden_size: Units of each LSTM.
        feature_size: Features per frame.
        views: Guide views (`GuideViews`): none, recolour, turn, jitter, rescale, other_window, vocal_tract, or your own; by
            default turn for images and none for vectors. --posterior.views.help Turn says what turn assumes.
        layers: Autoregressive layers in each of the two flows.

    Example:
        >>> import torch
        >>> from pyro_dsvae.inference.posteriors import Flow
        >>> from pyro_dsvae.models.encoders import Dense
        >>> guide = Flow(frame_shape=(3,), static_size=4, latent_size=2, encoder=Dense, hidden_size=8, layers=1)
        >>> f, z = guide(torch.rand(8, 5, 3))
        >>> f.shape, z.shape
        (torch.Size([8, 4]), torch.Size([8, 5, 2]))
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
        layers: int = 2,
    ) -> None:
        super().__init__()
        zuko = load_zuko()
        if layers < 1:
            raise UsageError(
                f"Flow needs at least one layer, not layers={layers}; without any it is the LSTM posterior"
            )
        self.views, self.static_encoder, self.dynamic_encoder = encoders(
            frame_shape, feature_size, hidden_size, encoder, views
        )
        self.static_head = GaussianHead(2 * hidden_size, static_size)
        masked = zuko.flows.MAF(
            static_size, 2 * hidden_size, layers, hidden_features=(hidden_size, hidden_size), activation=nn.SiLU
        )
        # Used from noise to values, which is its fast direction: that makes it an inverse autoregressive flow.
        self.static_flow = masked.transform
        self.smoother = Smoother(feature_size, static_size, hidden_size)
        self.dynamic_head = GaussianHead(hidden_size, latent_size, initial_scale=0.1)
        self.dynamic_flow = nn.ModuleList(
            CausalAffine(latent_size, hidden_size, hidden_size, backwards=layer % 2 == 1) for layer in range(layers)
        )

    def static(self, clip: GuideInput) -> Pushforward:
        context = self.static_encoder(clip.x, clip.observed, clip.steps.lengths)
        loc, scale = self.static_head(context)
        context = full_precision(context)

        def push(noise: Tensor) -> tuple[Tensor, Tensor]:
            with own_precision():
                value, log_det = self.static_flow(context).call_and_ladj(noise)
            return loc + scale * value, log_det + scale.log().sum(-1)

        def pull(f: Tensor) -> Tensor:
            with own_precision():
                return self.static_flow(context).inv((f - loc) / scale)

        return Pushforward(_standard_normal(loc), push, pull)

    def dynamic(self, clip: GuideInput, f: Tensor) -> Pushforward:
        steps = clip.steps
        hidden = self.smoother(self.dynamic_encoder(clip.x, clip.observed), f, steps.lengths)
        loc, scale = self.dynamic_head(hidden)
        hidden = full_precision(hidden)
        layers = cast(Sequence[CausalAffine], self.dynamic_flow)

        def push(value: Tensor) -> tuple[Tensor, Tensor]:
            log_scale = scale.log()
            with own_precision():
                for layer in layers:
                    value, log_sigma = layer(value, hidden, steps)
                    log_scale = log_scale + log_sigma
            log_det = log_scale.sum(-1)
            if steps.valid is not None:
                log_det = log_det.where(steps.valid, log_det.new_zeros(()))
            return loc + scale * value, log_det.sum(-1)

        def pull(z: Tensor) -> Tensor:
            value = (z - loc) / scale
            with own_precision():
                for layer in reversed(layers):
                    value = layer.inverse(value, hidden, steps)
            return value

        return Pushforward(steps.join(_standard_normal(loc)), push, pull)


def _standard_normal(like: Tensor) -> TorchDistribution:
    return Normal(like.new_zeros(like.shape), like.new_ones(like.shape)).to_event(1)
