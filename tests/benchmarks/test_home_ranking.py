"""Every dynamic prior at home: fitted to paths of each, none beats the prior that the paths come from.

python -m pytest -m slow tests/test_home_ranking.py         # all priors against all, minutes
"""

from typing import Any

import pyro
import pytest
import torch
from torch import Tensor

from pyro_dsvae.configuration.catalogue import DYNAMIC_PRIORS
from pyro_dsvae.models.dynamic_priors.dynamic_prior import DynamicPrior
from pyro_dsvae.models.steps import Steps

T, D, COUNT, TRAIN = 16, 2, 384, 8_000
QUICK = ("RandomWalk", "LinearGaussian", "GaussianProcess", "IID")
# What a prior is like as a world of its own: with memory where it can have any, far from how the others start.
WORLDS: dict[str, dict[str, Any]] = {
    "RandomWalk": {"scale": 0.5},
    "LinearGaussian": {"timescale": 3.0},
    "GaussianProcess": {"kernel": "matern52", "lengthscale": 3.0, "spread": 2.0},
    "SwitchingLinear": {"states": 2},
}
OPTIONS: dict[str, dict[str, Any]] = {
    "LSTM": {"hidden_size": 16},
    "GRU": {"hidden_size": 16},
    "Transformer": {"width": 16, "heads": 2, "layers": 1},
    "Flow": {"hidden_size": 16, "transforms": 1, "units": 16},
    "SwitchingLinear": {"states": 2},
    "GaussianProcess": {"kernel": "matern52"},
}
NETWORKS = ("LSTM", "GRU", "Transformer", "Flow")


def paths(name: str) -> tuple[Tensor, Tensor]:
    """Training (TRAIN, T, D) and held-out (COUNT, T, D) paths of a world."""
    pyro.set_rng_seed(1)
    world = DYNAMIC_PRIORS[name](D, **(OPTIONS.get(name, {}) | WORLDS.get(name, {})))
    if name in NETWORKS:
        with torch.no_grad():
            for p in world.parameters():
                p.mul_(2.0)
    with torch.no_grad():
        z = world(torch.zeros(TRAIN + COUNT, 1), Steps(T)).sample()
    return z[:TRAIN], z[TRAIN:]


def fitted(name: str, train: Tensor, steps: int) -> DynamicPrior:
    """The prior of largest likelihood, from its ordinary start."""
    pyro.set_rng_seed(2)
    prior = DYNAMIC_PRIORS[name](D, **OPTIONS.get(name, {}))
    if not list(prior.parameters()):
        return prior
    optimiser = torch.optim.Adam(prior.parameters(), lr=0.03)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    with pyro.validation_enabled(False):
        for _ in range(steps):
            optimiser.zero_grad()
            # So many paths that a network cannot learn them by heart.
            batch = train[torch.randint(TRAIN, (COUNT,))]
            (-prior(torch.zeros(COUNT, 1), Steps(T)).log_prob(batch).mean()).backward()
            torch.nn.utils.clip_grad_norm_(prior.parameters(), 10.0)
            optimiser.step()
            schedule.step()
    return prior


@torch.no_grad()
def scores(prior: DynamicPrior, held_out: Tensor) -> Tensor:
    """log p (COUNT,) of held-out paths, nats."""
    return prior(torch.zeros(COUNT, 1), Steps(T)).log_prob(held_out)


def assert_wins_or_ties_at_home(home: str, visitors: tuple[str, ...], steps: int) -> dict[str, float]:
    """No visitor is better by more than two standard errors of the difference, paired by path."""
    train, held_out = paths(home)
    own = scores(fitted(home, train, steps), held_out)
    advantage = {}
    for name in visitors:
        difference = own - scores(fitted(name, train, steps), held_out)
        error = difference.std() / len(difference) ** 0.5
        assert difference.mean() > -2 * error, f"{name} beats {home} at home by {-difference.mean():.2f} ± {error:.2f}"
        advantage[name] = float(difference.mean() / error)
    return advantage


@pytest.mark.parametrize("home", QUICK)
def test_normal_priors_win_or_tie_at_home(home: str) -> None:
    advantage = assert_wins_or_ties_at_home(home, tuple(name for name in QUICK if name != home), steps=120)
    # IID has no memory to offer, and no other has any use for it there.
    if home != "IID":
        assert advantage["IID"] > 10


@pytest.mark.slow
@pytest.mark.parametrize("home", DYNAMIC_PRIORS)
def test_every_prior_wins_or_ties_at_home(home: str) -> None:
    assert_wins_or_ties_at_home(home, tuple(name for name in DYNAMIC_PRIORS if name != home), steps=400)


def test_the_comparison_can_fail() -> None:
    """A world called by a wrong name: IID is beaten where paths have memory."""
    train, held_out = paths("LinearGaussian")
    own, other = (scores(fitted(name, train, 120), held_out) for name in ("IID", "LinearGaussian"))
    assert (own - other).mean() < -2 * (own - other).std() / COUNT**0.5
