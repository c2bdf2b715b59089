"""Effect handlers of the project."""

from collections.abc import Callable
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.poutine import Trace
from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import Message
from pyro.poutine.util import site_is_subsample

from pyro_dsvae.inference.batch import Batch


class LocalParameters(Messenger):
    """Lets every module use its own parameters, without the global parameter store.

    Through the store, two models with the same names in one process would share weights, and every model that ever ran would
    stay in memory. Modules are trained by `torch.optim` here, so the store is not needed.
    """

    def _pyro_param(self, msg: Message) -> None:
        if len(msg["args"]) == 2 and isinstance(msg["args"][1], torch.nn.Parameter):
            msg["value"] = msg["args"][1]
            msg["done"] = msg["stop"] = True


class Means(Messenger):
    """Replaces every draw by the mean of its distribution, so that z is inferred from the mean of f."""

    def _pyro_sample(self, msg: Message) -> None:
        if not msg["is_observed"] and msg["value"] is None and not site_is_subsample(msg):
            msg["value"] = msg["fn"].mean
            msg["done"] = True


def traced(program: Callable[..., Any], batch: Batch, draws: int) -> Trace:
    """The sites of a model or a guide over B sequences, drawn ``draws`` times: batch shapes are (K, B)."""
    with LocalParameters(), pyro.plate("draws", draws, dim=-2):
        return poutine.trace(program).get_trace(*batch)
