"""Weights on the KL terms, in model and guide alike."""

from collections.abc import Callable, Mapping
from typing import Any

from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import Message

from pyro_dsvae.models.errors import UsageError


class _SiteScale(Messenger):
    """Multiplies the scale of the named latent sites."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        super().__init__()
        self.weights = weights

    def _pyro_sample(self, msg: Message) -> None:
        if msg["name"] in self.weights and not msg["is_observed"]:
            msg["scale"] = self.weights[msg["name"]] * msg["scale"]


def weigh_kl(
    model: Callable[..., Any], guide: Callable[..., Any], weights: Mapping[str, float]
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Model and guide with the KL of each named site multiplied by its weight, e.g. ``{"f": 1.0, "z": 0.2}``.

    A weight must be set in both: the closed-form KL takes its scale from the guide's site, the Monte Carlo estimate from
    both. A weight in only one of them would give a meaningless objective. This helper is the only way to set one, and
    `SequenceELBO` refuses traces whose two sides differ.

    Args:
        model: A Pyro program.
        guide: Its guide.
        weights: From the name of a site to its weight.

    Raises:
        UsageError: Unless every weight is positive and finite (Pyro refuses a scale of 0; start a warm-up above it).
    """
    for site, weight in weights.items():
        if not 0 < weight < float("inf"):
            raise UsageError(f"the KL weight of {site!r} is {weight}; it must be positive and finite")
    return _SiteScale(weights)(model), _SiteScale(weights)(guide)
