"""Clips decoded with z of one sequence and f of another, judged in both directions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_dsvae.data.dataset import SequenceData
from pyro_dsvae.inference.estimation import Work, evaluation, paths_at_once
from pyro_dsvae.inference.latents import Latents
from pyro_dsvae.inference.prediction import decode
from pyro_dsvae.judges.judge import Judge, log_probabilities
from pyro_dsvae.judges.swap_scores import partners
from pyro_dsvae.metrics.factors import Part, marginals
from pyro_dsvae.models.dsvae import DSVAE

# Shares of swaps for which a label is as it should be.
Shares = dict[str, float]


@dataclass(frozen=True)
class Swaps:
    """Shares of all sequences a, each with one partner b, in which the judge sees the class that it should, by label.

    Attributes:
        f_replaced: With z of a and f of b: a dynamic label should be that of a, a static one that of b.
        z_replaced: With f of a and z of b: a static label should be that of a, a dynamic one that of b.
        chance: The classes of a and b agree: the share for a model that ignores the latent.
        reconstructed: With f and z of a: its own class.
    """

    f_replaced: Shares
    z_replaced: Shares
    chance: Shares
    reconstructed: Shares


@dataclass(frozen=True)
class JudgedSwaps:
    """The judge's log probabilities (N, classes) by label on the clips of `Swaps`, and every sequence's partner (N,)."""

    f_replaced: Mapping[str, Tensor]
    z_replaced: Mapping[str, Tensor]
    reconstructed: Mapping[str, Tensor]
    partner: Tensor

    def marginal(self, parts: list[Part]) -> "JudgedSwaps":
        """With the parts of labels beside them."""
        f_replaced, z_replaced = marginals(self.f_replaced, parts), marginals(self.z_replaced, parts)
        return JudgedSwaps(f_replaced, z_replaced, marginals(self.reconstructed, parts), self.partner)


def judge_swaps(
    model: DSVAE,
    latents: Latents,
    data: SequenceData,
    judge: Judge,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> JudgedSwaps:
    """Swap every sequence of one split with the partner that ``seed`` gives it (`pyro_dsvae.judges.swap_scores.partners`).

    Both latents are posterior means; model and judge are on one device. Where only f is replaced this is what
    `pyro_dsvae.judges.swap_scores.swap_scores` does.

    Args:
        model: On the judge's device.
        latents: Posterior means of ``data``.
        data: The sequences of one split.
        judge: On the model's device.
        seed: Of the partners.
        progress: Called with the share of the work that is done.

    Raises:
        UsageError: For a single sequence.
    """
    n, device = len(data), judge.device
    partner, own = partners(n, seed), torch.arange(n)
    work = Work(progress, 3 * n)

    def judged(looks: Tensor, motions: Tensor) -> dict[str, Tensor]:
        said = []
        for rows in own.split(paths_at_once(data.frames.shape[1:])):
            f, z = latents.f[looks[rows]].to(device), latents.z[motions[rows]].to(device)
            said.append(
                log_probabilities(judge, data, motions[rows], model.likelihood.to_model_units, decode(model, f, z))
            )
            work.did(len(rows))
        return {name: torch.cat([s[name] for s in said]) for name in said[0]}

    with evaluation(model, judge, seed, device):
        return JudgedSwaps(judged(partner, own), judged(own, partner), judged(own, own), partner)


def score_swaps(judged: JudgedSwaps, data: SequenceData) -> Swaps:
    """Shares for every label of ``data``."""
    swaps = Swaps({}, {}, {}, {})
    for name, label in data.labels.items():
        own, other = label.values, label.values[judged.partner]
        moves = label.role == "dynamic"
        swaps.f_replaced[name] = _share(judged.f_replaced[name].argmax(-1), own if moves else other)
        swaps.z_replaced[name] = _share(judged.z_replaced[name].argmax(-1), other if moves else own)
        swaps.chance[name] = _share(own, other)
        swaps.reconstructed[name] = _share(judged.reconstructed[name].argmax(-1), own)
    return swaps


def _share(seen: Tensor, right: Tensor) -> float:
    return float((seen == right).double().mean())
