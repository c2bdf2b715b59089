"""The generative process, written once."""

import pyro
import torch
from pyro.distributions import TorchDistribution
from pyro.nn import PyroModule
from torch import Tensor

from pyro_dsvae.models.dynamic_priors.dynamic_prior import DynamicPrior
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.likelihoods.likelihood import Likelihood
from pyro_dsvae.models.networks.frames import FrameDecoder
from pyro_dsvae.models.standardisation import Standardisation
from pyro_dsvae.models.static_priors.static_prior import StaticPrior
from pyro_dsvae.models.steps import Steps


class DSVAE(PyroModule):
    """The disentangled sequential VAE as a Pyro model.

        f ~ p(f)                        site "f", event (F,)
        z ~ prod_t p(z_t | z_<t)        site "z", event (T, D)
        x ~ prod_t p(x_t | f, z_t)      site "x", event (T, *frame)

    inside ``plate("sequences", B)`` on dimension -1. There are three sample statements whatever T is. All parts accept
    further batch dimensions on the left, so particles and draws are vectorised.

    Source: Li & Mandt, "Disentangled Sequential Autoencoder", ICML 2018.

    Args:
        static_prior: p(f).
        dynamic_prior: p(z_1:T).
        decoder: From (f, z_t) to the parameters of a frame.
        likelihood: p(x_t | f, z_t) given what the decoder says.

    Attributes:
        standardisation: Of vectors with columns of real numbers; None for images and for other vectors.

    Example:
        >>> from pyro_dsvae.models.decoders import Regions
        >>> from pyro_dsvae.models.dsvae import DSVAE
        >>> from pyro_dsvae.models.dynamic_priors import LSTM
        >>> from pyro_dsvae.models.likelihoods import Normal
        >>> from pyro_dsvae.models.static_priors import StandardNormal
        >>> model = DSVAE(StandardNormal(4), LSTM(2), Regions(4, 2, (3, 16, 16)), Normal((3, 16, 16)))
        >>> model(shape=(8, 5)).shape  # 8 generated sequences of 5 frames
        torch.Size([8, 5, 3, 16, 16])
    """

    def __init__(
        self, static_prior: StaticPrior, dynamic_prior: DynamicPrior, decoder: FrameDecoder, likelihood: Likelihood
    ) -> None:
        super().__init__()
        if tuple(decoder.frame_shape) != tuple(likelihood.parameter_shape):
            raise UsageError(
                f"the decoder {type(decoder).__name__} gives numbers of shape {tuple(decoder.frame_shape)} for a frame, and "
                f"the likelihood {type(likelihood).__name__} needs {tuple(likelihood.parameter_shape)}"
            )
        self.static_prior = static_prior
        self.dynamic_prior = dynamic_prior
        # In this order: optimisers number the parameters, and checkpoints keep their state by number.
        self.likelihood = likelihood
        self.decoder = decoder
        series = any(likelihood.real_channels) and len(likelihood.frame_shape) == 1
        self.standardisation = Standardisation(likelihood.frame_shape, likelihood.real_channels) if series else None

    def forward(
        self,
        x: Tensor | None = None,
        mask: Tensor | None = None,
        lengths: Tensor | None = None,
        times: Tensor | None = None,
        shape: tuple[int, int] | None = None,
    ) -> Tensor:
        """Run the generative process.

        Args:
            x: Observed frames as `Likelihood.to_model_units` returns them, ``(B, T, *frame)``; None to generate.
            mask: (B, T) or ``(B, T, *frame)`` bool, True where observed. Other values have no term in the likelihood.
            lengths: (B,) int64, or None. Sequence i ends after ``lengths[i]`` steps; later latents and frames do not count.
            times: (B, T) observation times, or None for steps one unit apart. Only priors in continuous time use them.
            shape: (B, T), needed only without ``x``.

        Returns:
            x, ``(B, T, *frame)``.

        Raises:
            UsageError: Where neither ``x`` nor ``shape`` is given.
        """
        if x is not None:
            shape = (x.shape[0], x.shape[1])
        if shape is None:
            raise UsageError("DSVAE needs frames x, or shape=(B, T) to generate without them")
        steps = Steps(shape[1], lengths, times)
        with pyro.plate("sequences", shape[0], dim=-1):
            f = pyro.sample("f", self.static_prior())
            z = pyro.sample("z", self.dynamic_prior(f, steps))
            frames = self.frames(f, z)
            observed = steps.observed(mask, len(self.likelihood.frame_shape))
            if observed is not None:
                frames = frames.mask(observed)
            if x is not None and observed is not None:
                # Whatever stands in unobserved places, even a NaN, must touch neither the value nor a gradient.
                x = torch.where(observed, x, torch.zeros_like(x))
            return pyro.sample("x", frames.to_event(1 + len(self.likelihood.frame_shape)), obs=x)

    def frames(self, f: Tensor, z: Tensor) -> TorchDistribution:
        """p(x | f, z), one distribution per value: batch ``(*B, T, *frame)``, for f ``(*B, F)`` and z ``(*B, T, D)``."""
        frames: TorchDistribution = self.likelihood(self.decoder(f, z))
        return frames if self.standardisation is None else self.standardisation.invert(frames)
