"""A prior over the static latent made of the guide's own posteriors."""

from collections.abc import Callable

import torch
from pyro.distributions import Categorical, MixtureSameFamily, TorchDistribution
from torch import Tensor, nn

from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.static_priors.gaussian_mixture import bounded_weights
from pyro_dsvae.models.static_priors.static_prior import StaticPrior

Encode = Callable[[Tensor], TorchDistribution]

# Standard deviation of what is added to an example, in standard deviations of all examples, so that two copies differ.
JITTER = 0.01


class VampPrior(StaticPrior):
    """``p(f) = sum_k w_k q(f | u_k)``: a mixture of posteriors at K learned pseudo-inputs u_k, ``(T, *frame)``.

    The prior that maximises the ELBO is the aggregated posterior, the mean over x of q(f | x). This is the same mean over K
    learned sequences. w = 0.95 softmax(logits) + 0.05 / K, as in `GaussianMixture`. The guide that encodes the pseudo-inputs
    is not a part of this module, so its weights are optimised and saved once; `connect` names it, before the first use.
    Where the guide uses random views in training, so does this prior: the bound is looser, but it remains a bound.

    Source: Tomczak & Welling, "VAE with a VampPrior", AISTATS 2018.

    Args:
        static_size: F, supplied by the model.
        components: K, the number of pseudo-inputs. Each costs the encoder as much as one sequence of a batch.

    Example:
        >>> import torch
        >>> from pyro.distributions import Normal
        >>> from pyro_dsvae.models.static_priors import VampPrior
        >>> prior = VampPrior(2, components=4)
        >>> prior.connect(lambda x: Normal(x.mean(1)[:, :2], 1.0).to_event(1), examples=torch.rand(8, 5, 3))
        >>> prior.pseudo_inputs.shape, prior().sample((6,)).shape
        (torch.Size([4, 5, 3]), torch.Size([6, 2]))
    """

    # Every update would encode all pseudo-inputs.
    refittable = False
    pseudo_inputs: Tensor | None

    def __init__(self, static_size: int, components: int = 64) -> None:
        if components < 1:
            raise UsageError(f"VampPrior needs at least 1 component, not {components}")
        super().__init__(static_size)
        self.components = components
        self.logits = nn.Parameter(torch.zeros(components))
        self.register_parameter("pseudo_inputs", None)
        # In a tuple, where a module that encodes is not taken for a part of this one.
        self._encode: tuple[Encode] | None = None

    def connect(self, encode: Encode, examples: Tensor) -> None:
        """Set the guide whose posteriors are mixed, and where the pseudo-inputs start.

        Args:
            encode: From frames ``(K, T, *frame)`` to q(f | x), batch (K,) and event (F,). A function of a module, or
                `functools.partial` of one over the guide, so that both are copied and pickled together.
            examples: ``(N, T, *frame)`` training sequences as the guide sees them (`Posterior.see`); repeated where N < K.

        Raises:
            UsageError: Where the examples are not at least one sequence of frames.
        """
        if examples.ndim < 3 or len(examples) == 0:
            raise UsageError(f"VampPrior needs examples (N, T, *frame), N at least 1, not {tuple(examples.shape)}")
        rows = torch.arange(self.components, device=examples.device) % len(examples)
        # What was not observed may hold anything, even a NaN.
        start = examples[rows].to(self.logits).nan_to_num(0, 0, 0)
        spread = JITTER * start.std(correction=0)
        self.pseudo_inputs = nn.Parameter(start + spread * torch.randn_like(start))
        self._encode = (encode,)

    def forward(self) -> TorchDistribution:
        if self._encode is None or self.pseudo_inputs is None:
            raise UsageError("VampPrior has no guide yet: call connect(encode, examples) before its first use")
        posteriors = self._encode[0](self.pseudo_inputs)
        expected = (self.components,), (self.static_size,)
        if (tuple(posteriors.batch_shape), tuple(posteriors.event_shape)) != expected:
            raise UsageError(
                f"VampPrior needs a guide whose q(f | x) has batch {expected[0]} and event {expected[1]} for "
                f"{self.components} sequences, but its {type(posteriors).__name__} has "
                f"{tuple(posteriors.batch_shape)} and {tuple(posteriors.event_shape)}; use GaussianMixture",
                "static_prior",
            )
        return MixtureSameFamily(Categorical(bounded_weights(self.logits)), posteriors)
