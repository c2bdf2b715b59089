"""An autoregressive prior whose next step has the density of a normalising flow."""

from typing import Literal

from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import AffineTransform, TransformedDistribution

from pyro_dsvae.models.distributions.normalizing_flow import FlowDistribution, load_zuko
from pyro_dsvae.models.dynamic_priors.autoregressive import AutoregressivePrior, State
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.networks.gaussian_head import GaussianHead
from pyro_dsvae.models.networks.recurrent import run_lstm
from pyro_dsvae.models.ops.precision import full_precision, own_precision


class Flow(AutoregressivePrior):
    """z_t = mu(h_t) + sigma(h_t) u_t, u_t ~ a normalising flow given h_t, with h_t = LSTM(z_{t-1}, h_{t-1}), learned z_0.

    So p(z_t | z_<t) may be skewed or have several modes, and its dimensions may depend on each other. A spline transforms
    [-5, 5] and is the identity outside; the interval is in standard deviations, since h_t gives location and scale. The
    flow is autoregressive over the D dimensions: sampling takes D passes per step, a density takes one.

    Sources: Papamakarios et al., "Masked Autoregressive Flow for Density Estimation", NeurIPS 2017 (affine); Durkan et al.,
    "Neural Spline Flows", NeurIPS 2019 (spline).

    Args:
        latent_size: D, supplied by the model.
        kind: Layers of the flow: "spline", monotonic rational-quadratic splines, for any shape; or "affine", where each
            dimension is shifted and scaled by those before it, so that with D = 1 the density stays normal.
        hidden_size: Units of the LSTM.
        transforms: Layers of the flow.
        units: Units of both hidden layers of each layer's network.
        bins: Bins of a spline.
        condition_on_static: Make it p(z_t | z_<t, f): the LSTM reads (z_{t-1}, f), so that motion can depend on appearance.
        static_size: F, supplied by the model; needed only with ``condition_on_static``.

    Example:
        >>> import torch
        >>> from pyro_dsvae.models.dynamic_priors import Flow
        >>> from pyro_dsvae.models.steps import Steps
        >>> path = Flow(2, hidden_size=8, units=4)(torch.zeros(4, 3), Steps(5))
        >>> path.log_prob(path.rsample()).shape  # nats per sequence
        torch.Size([4])
    """

    def __init__(
        self,
        latent_size: int,
        kind: Literal["affine", "spline"] = "spline",
        hidden_size: int = 128,
        transforms: int = 2,
        units: int = 64,
        bins: int = 8,
        condition_on_static: bool = False,
        static_size: int = 0,
    ) -> None:
        super().__init__(latent_size, condition_on_static, static_size)
        if kind not in ("affine", "spline"):
            raise UsageError(f"the kind of a flow is affine or spline, not {kind!r}")
        if transforms < 1 or units < 1 or bins < 2:
            raise UsageError(
                f"a flow needs transforms and units of at least 1 and bins of at least 2, not {transforms}, {units}, {bins}"
            )
        flows = load_zuko().flows
        self.lstm = nn.LSTM(self.input_size, hidden_size, batch_first=True)
        self.head = GaussianHead(hidden_size, latent_size)
        if kind == "spline":
            self.flow = flows.NSF(latent_size, hidden_size, bins, transforms=transforms, hidden_features=(units, units))
        else:
            self.flow = flows.MAF(latent_size, hidden_size, transforms=transforms, hidden_features=(units, units))

    def read(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        return run_lstm(self.lstm, inputs, None if state is None else (state[0], state[1]))

    def predict(self, features: Tensor) -> TorchDistribution:
        loc, scale = self.head(features)
        with own_precision():
            standard = self.flow(full_precision(features))
        return FlowDistribution(TransformedDistribution(standard, [AffineTransform(loc, scale, event_dim=1)]))
