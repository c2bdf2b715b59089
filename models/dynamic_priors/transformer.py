"""An autoregressive prior with self-attention."""

from pyro.distributions import Normal, TorchDistribution
from torch import Tensor

from pyro_dsvae.models.dynamic_priors.autoregressive import AutoregressivePrior, State
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.networks.attention import CausalTransformer
from pyro_dsvae.models.networks.gaussian_head import GaussianHead


class Transformer(AutoregressivePrior):
    """p(z_t | z_<t) = N(mu(h_t), diag sigma(h_t)^2) with h_t = Transformer(z_0, ..., z_{t-1}) and a learned z_0.

    Attention is causal. Positions are sinusoidal, so a path may be longer than any seen in training. Sampling keeps the keys
    and values of all steps so far: step t costs O(t).

    Source: Vaswani et al., "Attention Is All You Need", NeurIPS 2017.

    Args:
        latent_size: D, supplied by the model.
        width: Features per step, even and a multiple of ``heads``.
        heads: Attention heads per layer.
        layers: Layers of attention.
        condition_on_static: Make it p(z_t | z_<t, f): the network reads (z_{t-1}, f), so that motion can depend on
            appearance.
        static_size: F, supplied by the model; needed only with ``condition_on_static``.

    Example:
        >>> import torch
        >>> from pyro_dsvae.models.dynamic_priors import Transformer
        >>> from pyro_dsvae.models.steps import Steps
        >>> path = Transformer(2, width=8, heads=2, layers=1)(torch.zeros(4, 3), Steps(5))
        >>> path.conditionals(path.rsample()).batch_shape  # p(z_t | z_<t) for all t in one pass
        torch.Size([4, 5])
    """

    def __init__(
        self,
        latent_size: int,
        width: int = 64,
        heads: int = 4,
        layers: int = 2,
        condition_on_static: bool = False,
        static_size: int = 0,
    ) -> None:
        super().__init__(latent_size, condition_on_static, static_size)
        if heads < 1 or layers < 1:
            raise UsageError(f"a Transformer needs at least one head and one layer, not {heads} and {layers}")
        if width < 2 or width % 2 or width % heads:
            raise UsageError(f"the width of a Transformer must be even and a multiple of heads={heads}, not {width}")
        self.network = CausalTransformer(self.input_size, width, heads, layers)
        self.head = GaussianHead(width, latent_size)

    def read(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        return self.network(inputs, state)

    def predict(self, features: Tensor) -> TorchDistribution:
        return Normal(*self.head(features)).to_event(1)
