"""Checks of latents: are those of real sequences distributed as the priors say, used at all, and independent?"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_dsvae.inference.estimation import Sampler
from pyro_dsvae.inference.finding import Finding, Severity, p_equals
from pyro_dsvae.inference.latent_checks.aggregated_posterior import (
    Aggregate,
    compare_paths,
    compare_values,
    spread_finding,
)
from pyro_dsvae.inference.latent_checks.ridge import ridge_test
from pyro_dsvae.inference.latent_checks.usage import LatentUsage
from pyro_dsvae.inference.sampling.proposal import Proposal
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.models.errors import UsageError

FEWEST = 8
SURE = 0.01
# Less information than this about a sequence, in nats, and a dimension that hardly moves is not used.
NOTHING = 0.05
# The generator of tests must not repeat the noise of the estimate, which has the seed itself.
APART = 1_000_003


@dataclass(frozen=True)
class Dependence:
    """How well f predicts the mean of z over a clip, by ridge regression on joint draws of both.

    Attributes:
        r_squared: Share of the variance over sequences that is predicted for left-out sequences; 0 or below for none.
        p_value: Of independence, by permuting sequences.
        under_prior: The same share for draws from the prior: above 0 only where the prior lets z depend on f.
    """

    r_squared: float
    p_value: float
    under_prior: float


@dataclass(frozen=True)
class LatentChecks:
    """What `latent_checks` found. ``static`` and ``dependence`` are None where the model has no f.

    Attributes:
        static, steps, paths: Aggregated posterior against prior.
        dependence: Of f and z.
        static_share: Share of the variance of z, in the mean over dimensions, that lies between clips.
        static_share_under_prior: The same for draws from the prior.
        sequences: The number of sequences, n.
        findings: One per check.
    """

    static: Aggregate | None
    steps: Aggregate
    paths: Aggregate | None
    dependence: Dependence | None
    static_share: float
    static_share_under_prior: float
    sequences: int
    findings: tuple[Finding, ...]


def latent_checks(
    sampler: Sampler,
    sequences: Sequences,
    at_most: int = 500,
    permutations: int = 999,
    seed: int = 0,
) -> LatentChecks:
    """Compare joint draws (f, z) from q(f, z | x_i), one per sequence, with draws from p(f) p(z | f) with the same steps.

    If the model is right and q is its posterior, the mean over x of q(f, z | x) is p(f) p(z | f). So draws, not posterior
    means, must be distributed as the prior's, and f and z must be independent where the prior says so. Compared are

        f             the whole of it; MMD with a kernel of median width, entries on one scale
        single steps  one existing step at random of every sequence, so that all values are independent of each other
        paths         whole paths; half of the kernel compares the paths, half the differences of neighbouring steps, so that
                      right marginals with wrong dynamics show. Steps that do not exist are zero in both samples. None where
                      no sequence has two steps

    Args:
        sampler: Model and guide, any posterior, `Delta` included.
        sequences: The sequences, at least 8.
        at_most: Sequences that are used, a random choice; tests need memory for the square of this number.
        permutations: For every p-value; none is below 1 / (permutations + 1).
        seed: Of all noise.

    Raises:
        UsageError: For fewer than 8 sequences.
    """
    if min(len(sequences), at_most) < FEWEST:
        raise UsageError(f"latent checks need at least {FEWEST} sequences, not {min(len(sequences), at_most)}")
    if permutations < 19:
        raise UsageError(f"a p-value needs at least 19 permutations, not {permutations}")
    generator = torch.Generator().manual_seed(seed + APART)
    chosen = torch.randperm(len(sequences), generator=generator)[:at_most].sort().values
    q, p, exists = _drawn(sampler, sequences, chosen, seed)
    n = len(chosen)
    step = (torch.rand(exists.shape, generator=generator) * exists).argmax(1)
    rows = torch.arange(n)
    static = None
    dependence = None
    if q[0].shape[-1]:
        static = compare_values("f", q[0], p[0], [(q[0], p[0])], permutations, generator)
        means = [_clip_mean(z, exists) for _, z in (q, p)]
        r_squared, p_value = ridge_test(q[0], means[0], permutations, generator)
        dependence = Dependence(r_squared, p_value, ridge_test(p[0], means[1], 0, generator)[0])
    single = [z[rows, step] for _, z in (q, p)]
    steps = compare_values("single steps of z", single[0], single[1], [(single[0], single[1])], permutations, generator)
    paths = compare_paths(q[1], p[1], exists, permutations, generator) if bool(exists[:, 1:].any()) else None
    share, under_prior = (_static_share(z, exists) for _, z in (q, p))
    aggregates = [a for a in (static, steps, paths) if a is not None]
    findings = [spread_finding(a) for a in aggregates]
    if dependence is not None:
        findings.append(_dependence_finding(dependence))
    findings.append(_share_finding(share, under_prior))
    return LatentChecks(static, steps, paths, dependence, share, under_prior, n, tuple(findings))


def collapse_findings(use: LatentUsage) -> tuple[Finding, ...]:
    """Posterior collapse in words, for f where there is one, and for z.

    A dimension is unused where it is not active and has less than 0.05 nats of information about its sequence. (Not being
    active alone does not suffice: beside a prior that is far too wide, a small variation may be informative.)
    """
    found = []
    for name, rate, active, information in (
        ("f", use.kl_static, use.active_static, use.kl_static_per_dimension),
        ("z", use.kl_dynamic, use.active_dynamic, use.kl_dynamic_per_dimension),
    ):
        size = len(active)
        if not size:
            continue
        used = int((active | (information > NOTHING)).sum())
        kl = f"KL {float(rate.mean()):.3g} nats per sequence"
        severity: Severity = "good"
        sentence = f"{name} is used: {used} of {size} dimensions tell sequences apart ({kl})"
        if used == 0:
            severity = "serious"
            sentence = (
                f"{name} has collapsed: none of its {size} dimensions tells sequences apart ({kl}); what it "
                "should say is left to the other latent or to the noise"
            )
        elif used < size / 2:
            severity = "note"
            sentence = f"most of {name} is unused: {used} of {size} dimensions tell sequences apart ({kl})"
        found.append(Finding(severity, f"use of {name}", sentence))
    return tuple(found)


def _drawn(
    sampler: Sampler, sequences: Sequences, chosen: Tensor, seed: int
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor], Tensor]:
    """(f, z) from the posterior, (f, z) from the prior, and which steps exist (n, T); float64 on the CPU."""
    parts: list[tuple[Tensor, ...]] = []
    model, work = sampler.model, sampler.work(len(chosen))
    with sampler.evaluation(seed):
        for positions, batch in sampler.chunks(sequences.take(chosen)):
            posterior, _ = Proposal(sampler.guide, batch).draw(1)
            f = model.static_prior().expand([len(positions)]).sample()
            z = model.dynamic_prior(f, batch.steps).sample()
            valid = batch.steps.valid
            exists = torch.ones(batch.x.shape[:2], dtype=torch.bool) if valid is None else valid.cpu()
            parts.append((*(v.cpu().double() for v in (posterior.f[0], posterior.z[0], f, z)), exists))
            work.did(len(positions))
    q_f, q_z, p_f, p_z, exists = (torch.cat(part) for part in zip(*parts, strict=True))
    # Steps that do not exist hold whatever the two programs put there.
    q_z, p_z = (z.where(exists.unsqueeze(-1), z.new_zeros(())) for z in (q_z, p_z))
    return (q_f, q_z), (p_f, p_z), exists


def _clip_mean(z: Tensor, exists: Tensor) -> Tensor:
    """(n, D) mean of z (n, T, D), zero at steps that do not exist, over those that do."""
    return z.sum(1) / exists.sum(1, keepdim=True)


def _static_share(z: Tensor, exists: Tensor) -> float:
    between = _clip_mean(z, exists).var(0)
    return float((between / z[exists].var(0).clamp(min=1e-12)).mean())


def _dependence_finding(found: Dependence) -> Finding:
    more = found.r_squared - max(found.under_prior, 0.0)
    percent = 100 * max(found.r_squared, 0.0)
    told = f"f predicts {percent:.0f} % of the variance of the clips' mean z ({p_equals(found.p_value)})"
    if max(found.under_prior, 0.0) > 0.02:
        told += f", {100 * found.under_prior:.0f} % for draws from the prior"
    if found.p_value > SURE or more < 0.02:
        return Finding("good", "f and z", f"{told}, no more than the model says")
    severity: Severity = "note" if more < 0.1 else "warning" if more < 0.5 else "serious"
    return Finding(
        severity, "f and z", f"{told}: the two are not independent, and a swap of f takes along part of what z holds"
    )


def _share_finding(real: float, prior: float) -> Finding:
    told = (
        f"{100 * real:.0f} % of the variance of z lies between clips, and {100 * prior:.0f} % for draws from the prior"
    )
    if real < prior + 0.15:
        return Finding("good", "what z keeps within a clip", told)
    return Finding(
        "note", "what z keeps within a clip", f"{told}: z holds something that stays, which is for f to hold"
    )
