"""Effect handlers of the project."""

import torch
from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import Message


class LocalParameters(Messenger):
    """Lets every module use its own parameters, without the global parameter store.

    Through the store, two models with the same names in one process would share weights, and every model that ever ran would
    stay in memory. Modules are trained by `torch.optim` here, so the store is not needed.
    """

    def _pyro_param(self, msg: Message) -> None:
        if len(msg["args"]) == 2 and isinstance(msg["args"][1], torch.nn.Parameter):
            msg["value"] = msg["args"][1]
            msg["done"] = msg["stop"] = True
