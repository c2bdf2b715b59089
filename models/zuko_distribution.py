"""Normalising flows of Zuko, an optional library, as Pyro distributions."""

from importlib import import_module
from types import ModuleType
from typing import ClassVar

import torch
from pyro.distributions import TorchDistribution, is_validation_enabled, validation_enabled
from torch import Tensor
from torch.distributions import Distribution, constraints

from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.networks.own_precision import own_precision


def load_zuko(part: str) -> ModuleType:
    """The module ``zuko``. Raises `UsageError`, naming the ``part`` that needs it, where it is not installed."""
    # Zuko switches off the validation of every distribution in the process when it is first imported.
    with validation_enabled(is_validation_enabled()):
        try:
            zuko = import_module("zuko")
        except ImportError as error:
            raise UsageError(f"{part} needs zuko: pip install 'pyro-dsvae[flows]'") from error
    return zuko


class FlowDistribution(TorchDistribution):
    """A flow over vectors, batch \\*B and event (D,), that masks, expands and joins as Pyro's distributions do.

    Its networks run when it is scored or drawn from, then in the precision of their weights, whatever autocast says, so
    that the density is float32 or wider. Call the Zuko module that makes the flow under `own_precision`, too.

    flow  any distribution with batch \\*B and event (D,) that has ``rsample`` and ``expand``, such as
          `zuko.distributions.NormalizingFlow` or `torch.distributions.TransformedDistribution`
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, flow: Distribution) -> None:
        self.flow = flow
        super().__init__(flow.batch_shape, flow.event_shape, validate_args=False)

    def expand(self, batch_shape: torch.Size, _instance: object = None) -> "FlowDistribution":
        return FlowDistribution(self.flow.expand(torch.Size(batch_shape)))

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        with own_precision():
            return self.flow.rsample(torch.Size(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        with own_precision():
            return self.flow.log_prob(value)
