"""Normalising flows of Zuko as Pyro distributions."""

from functools import cache
from importlib import import_module
from types import ModuleType
from typing import ClassVar

import torch
from pyro.distributions import TorchDistribution, is_validation_enabled, validation_enabled
from torch import Tensor
from torch.distributions import Distribution, constraints

from pyro_dsvae.models.distributions.density import from_base, to_base
from pyro_dsvae.models.ops.precision import own_precision


@cache
def load_zuko() -> ModuleType:
    """The module ``zuko``, imported where it is first used."""
    # Zuko switches off the validation of every distribution in the process when it is first imported.
    with validation_enabled(is_validation_enabled()):
        zuko = import_module("zuko")
    to_base.register(zuko.distributions.NormalizingFlow, lambda p, value: to_base(p.base, p.transform(value)))
    from_base.register(zuko.distributions.NormalizingFlow, lambda p, base: p.transform.inv(from_base(p.base, base)))
    return zuko


class FlowDistribution(TorchDistribution):
    """A flow over vectors, batch ``*B`` and event (D,), that can be masked, expanded and joined as Pyro's distributions can.

    Its networks run when it is scored or sampled. They then run in the precision of their weights, whatever autocast says, so
    that the density is float32 or wider. Build the flow under `own_precision`, too.

    Args:
        flow: Any distribution with batch ``*B`` and event (D,) that has ``rsample`` and ``expand``, such as
            `zuko.distributions.NormalizingFlow` or `torch.distributions.TransformedDistribution`.
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


@to_base.register
def _(p: FlowDistribution, value: Tensor) -> Tensor:
    load_zuko()  # whose flows have an answer from then on
    with own_precision():
        return to_base(p.flow, value)


@from_base.register
def _(p: FlowDistribution, base: Tensor) -> Tensor:
    load_zuko()
    with own_precision():
        return from_base(p.flow, base)
