"""Scores of clips of which one latent is kept and the other is drawn from its prior."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from pyro_dsvae.data.dataset import SequenceData
from pyro_dsvae.data.factors import Role
from pyro_dsvae.inference.estimation import Work, evaluation, paths_at_once
from pyro_dsvae.inference.latents import Latents
from pyro_dsvae.inference.prediction import decode
from pyro_dsvae.judges.judge import Judge, log_probabilities
from pyro_dsvae.metrics.features import one_split
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.steps import Steps

Fixed = Literal["motion", "content"]
# Which labels a clip keeps when this part of it is kept.
KEPT: Mapping[Fixed, Role] = {"motion": "dynamic", "content": "static"}


@dataclass(frozen=True)
class Entropies:
    """Certainty and variety of a judge's answers on generated clips, in nats.

    Source: Salimans et al., "Improved Techniques for Training GANs", NeurIPS 2016 (the score).

    Attributes:
        score: The inception score, IS = exp(H(y) - H(y|x)), between 1 and the number of classes.
        conditional: H(y|x), the mean entropy of the answers; 0 where the judge is always certain.
        marginal: H(y), the entropy of the mean answer; ln(classes) where all classes are equally frequent.
        classes: The number of classes, which bounds ``score``.
        count: The number of clips, equally many of every true class.
    """

    score: float
    conditional: float
    marginal: float
    classes: int
    count: int


@dataclass(frozen=True, kw_only=True)
class HeadScores:
    """What one head of the judge says of generated clips whose sources have known labels.

    Attributes:
        kept: Whether the label should be that of the source; otherwise it should be drawn anew.
        accuracy: Share whose most likely class is the true class of the source.
        accuracy_spread: Standard deviation of the accuracy over draws; None with one draw.
        chance: The accuracy of classes drawn with the frequencies of the training clips.
        changed: Share whose most likely class differs from the judge's answer on the true source.
        changed_by_chance: The same for classes drawn with the frequencies of the training clips.
        divergence: Mean KL(answer on the generated clip || answer on its source), nats.
        entropies: Certainty and variety of the answers.
        distribution: Share of every class among the most likely ones.
        from_uniform: Total variation of that distribution from uniform: half the sum of absolute differences.
        from_uniform_by_chance: Its mean for as many independent, uniform draws.
        from_data: Total variation of that distribution from the shares of the training clips.
    """

    kept: bool
    accuracy: float
    accuracy_spread: float | None
    chance: float
    changed: float
    changed_by_chance: float
    divergence: float
    entropies: Entropies
    distribution: tuple[float, ...]
    from_uniform: float
    from_uniform_by_chance: float
    from_data: float


def generate(
    fixed: Fixed,
    model: DSVAE,
    latents: Latents,
    data: SequenceData,
    judge: Judge,
    draws: int = 1,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> dict[str, Tensor]:
    """The judge's log probabilities of generated clips.

    The mean frame is decoded. (The code of the literature decodes the prior's one-step *means* along a drawn path, not the
    path.)

    Args:
        fixed: "motion": z is the posterior mean and f is drawn from p(f). "content": f is the posterior mean and z is a path
            drawn from p(z | f), at the clip's own length and times.
        model: On the judge's device.
        latents: Posterior means of ``data`` (`pyro_dsvae.metrics.features.encode`).
        data: The source clips, of one split.
        judge: On the model's device.
        draws: R, the draws for each clip.
        seed: Of the draws.
        progress: Called with the share of the work that is done.

    Returns:
        From each label to (R, N, classes), float64.

    Raises:
        UsageError: For fewer than one draw.
    """
    if draws < 1:
        raise UsageError(f"draws is {draws}; every clip needs at least 1")
    n, device = len(data), judge.device
    at_once = paths_at_once(data.frames.shape[1:])
    work, said = Work(progress, n * draws), []
    with evaluation(model, judge, seed, device):
        for _ in range(draws):
            for rows in torch.arange(n).split(at_once):
                f, z = (values.to(device) for values in latents.rows(rows))
                if fixed == "motion":
                    f = model.static_prior().expand([len(rows)]).sample()
                else:
                    z = model.dynamic_prior(f, steps_of(data, rows, device)).sample()
                said.append(log_probabilities(judge, data, rows, model.likelihood.to_model_units, decode(model, f, z)))
                work.did(len(rows))
    return {name: torch.cat([s[name] for s in said]).unflatten(0, (draws, n)) for name in said[0]}


def judge_clips(judge: Judge, data: SequenceData, model: DSVAE) -> dict[str, Tensor]:
    """The judge's log probabilities (N, classes) by label on the clips themselves."""
    chunks = torch.arange(len(data)).split(paths_at_once(data.frames.shape[1:]))
    said = [log_probabilities(judge, data, rows, model.likelihood.to_model_units) for rows in chunks]
    return {name: torch.cat([s[name] for s in said]) for name in said[0]}


def steps_of(data: SequenceData, rows: Tensor, device: torch.device) -> Steps:
    """The time axis of some sequences."""
    part = one_split(data)
    lengths, times = (None if v is None else v[rows].to(device) for v in (part.lengths, part.times))
    return Steps(data.length, lengths, times)


def score(
    fixed: Fixed,
    log_p: Mapping[str, Tensor],
    log_p_source: Mapping[str, Tensor],
    data: SequenceData,
    train: SequenceData,
) -> dict[str, HeadScores]:
    """`score_head` of every label of ``data``; ``train`` says how frequent its classes are in the training clips."""
    found = {}
    for name, label in data.labels.items():
        shares = train.labels[name].values.bincount(minlength=len(label.classes)) / len(train)
        kept = label.role == KEPT[fixed]
        found[name] = score_head(log_p[name], log_p_source[name], label.values, shares, kept)
    return found


def score_head(log_p: Tensor, log_p_source: Tensor, true: Tensor, shares: Tensor, kept: bool) -> HeadScores:
    """Scores of one head.

    Args:
        log_p: (R, N, K) log probabilities on generated clips.
        log_p_source: (N, K) on their sources.
        true: (N,) int64, the sources' true classes.
        shares: (K,) of the classes among the training clips.
        kept: See `HeadScores`.
    """
    draws, n, classes = log_p.shape
    chosen, source = log_p.argmax(-1), log_p_source.argmax(-1)
    right = (chosen == true).double().mean(1)
    distribution = chosen.flatten().bincount(minlength=classes).double() / (draws * n)
    shares = shares.double()
    uniform = torch.full_like(shares, 1 / classes)
    return HeadScores(
        kept=kept,
        accuracy=float(right.mean()),
        accuracy_spread=float(right.std()) if draws > 1 else None,
        chance=float(shares[true].mean()),
        changed=float((chosen != source).double().mean()),
        changed_by_chance=float(1 - shares[source].mean()),
        divergence=float((log_p.exp() * (log_p - log_p_source)).sum(-1).mean()),
        entropies=entropies(log_p[:, balanced(true)].flatten(0, 1)),
        distribution=tuple(distribution.tolist()),
        from_uniform=total_variation(distribution, uniform),
        from_uniform_by_chance=uniform_variation(draws * n, classes),
        from_data=total_variation(distribution, shares),
    )


def balanced(true: Tensor) -> Tensor:
    """Indices of as many sequences of every class that occurs: the first ones, in order."""
    counts = true.bincount()
    least = int(counts[counts > 0].min())
    rows = [(true == kind).nonzero().squeeze(1)[:least] for kind in counts.nonzero().squeeze(1)]
    return torch.cat(rows).sort().values


def entropies(log_p: Tensor) -> Entropies:
    """IS, H(y|x) and H(y) of log probabilities (N, K).

    The score is computed from the divergences KL(p(y|x) || p(y)), and has to be exp(H(y) - H(y|x)): `AssertionError`
    where it is not.
    """
    p = log_p.double().exp()
    mean = p.mean(0)
    # Where a probability underflows to 0 its term is 0, not 0 times minus infinity.
    divergence = float((torch.special.xlogy(p, p) - torch.special.xlogy(p, mean)).sum(1).mean())
    conditional = float(torch.special.entr(p).sum(1).mean())
    marginal = float(torch.special.entr(mean).sum())
    score = math.exp(divergence)
    identity = math.exp(marginal - conditional)
    assert math.isclose(score, identity, rel_tol=1e-9), f"IS is {score}, but exp(H(y) - H(y|x)) is {identity}"
    return Entropies(score, conditional, marginal, log_p.shape[1], len(log_p))


def total_variation(p: Tensor, q: Tensor) -> float:
    """Half the sum of the absolute differences of two distributions (K,)."""
    return float((p - q).abs().sum() / 2)


def uniform_variation(count: int, classes: int) -> float:
    """Mean total variation between equal shares and those of ``count`` independent draws from ``classes`` equal ones.

    sum_k E|X_k / n - 1 / K| / 2 with X_k binomial, whose mean absolute deviation is 2 m C(n, m) p^m q^(n - m + 1) at
    m = floor(n p) + 1 (de Moivre).
    """
    if classes < 2:
        return 0.0
    p = 1 / classes
    m = count // classes + 1
    choose = math.lgamma(count + 1) - math.lgamma(m + 1) - math.lgamma(count - m + 1)
    log_deviation = math.log(2 * m) + choose + m * math.log(p) + (count - m + 1) * math.log1p(-p)
    return classes * math.exp(log_deviation) / count / 2
