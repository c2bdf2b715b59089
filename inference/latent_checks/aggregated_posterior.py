"""The aggregated posterior: latents of all real sequences together, compared with draws from their prior."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_dsvae.inference.finding import Finding, Severity, p_equals
from pyro_dsvae.inference.latent_checks.mmd import pair_matrix, standardised, swap_test

DOUBT, SURE = 0.05, 0.01


@dataclass(frozen=True)
class Aggregate:
    """Draws of one latent for n real sequences against draws from its prior; float64 on the CPU.

    Attributes:
        what: "f", "single steps of z" or "paths of z".
        mmd_squared: Unbiased, so it may be below zero; kernels are at most 1.
        p_value: Of the same distribution (`pyro_dsvae.inference.latent_checks.mmd.swap_test`).
        spread: (size,) standard deviation of the posterior's draws over the prior's; paths: of the differences of
            neighbouring steps.
        shift: (size,) difference of the means, in the prior's standard deviations; paths: likewise.
        posterior: (n, 2) the posterior's draws on the first two principal components of both samples together.
        prior: (n, 2) the prior's.
        explained: Share of the variance of both that the two components hold.
    """

    what: str
    mmd_squared: float
    p_value: float
    spread: Tensor
    shift: Tensor
    posterior: Tensor
    prior: Tensor
    explained: float


def compare_values(
    what: str,
    q: Tensor,
    p: Tensor,
    features: list[tuple[Tensor, Tensor]],
    permutations: int,
    generator: torch.Generator,
    seen: tuple[Tensor, Tensor] | None = None,
) -> Aggregate:
    """Test whether samples of posterior and prior have one distribution, by the mean kernel of several views of them.

    Args:
        what: Their name, for findings.
        q: Samples of the posterior, (n, d).
        p: Samples of the prior, (n, d).
        features: The views: pairs of samples (n, d').
        permutations: Of the test.
        generator: Of the permutations.
        seen: The values from which spread and shift are computed; by default ``q`` and ``p``.
    """
    h = torch.stack([pair_matrix(*standardised(pair)) for pair in features]).mean(0)
    mmd, p_value = swap_test(h, permutations, generator)
    first, second = (q, p) if seen is None else seen
    scale = second.std(0).clamp(min=1e-12)
    a, b = standardised([q, p])
    _, singular, v = torch.linalg.svd(torch.cat([a, b]), full_matrices=False)
    axes = torch.nn.functional.pad(v[:2].T, (0, max(0, 2 - len(v))))
    explained = float(singular[:2].square().sum() / singular.square().sum().clamp(min=1e-12))
    return Aggregate(
        what,
        mmd,
        p_value,
        first.std(0) / scale,
        (first.mean(0) - second.mean(0)) / scale,
        a @ axes,
        b @ axes,
        explained,
    )


def compare_paths(q: Tensor, p: Tensor, exists: Tensor, permutations: int, generator: torch.Generator) -> Aggregate:
    """Test whether paths (n, T, D) of posterior and prior have one distribution: half by the paths, half by their
    differences.
    """
    both = (exists[:, 1:] & exists[:, :-1]).unsqueeze(-1)
    moves = [z.diff(dim=1) * both for z in (q, p)]
    flat_q, flat_p, moved_q, moved_p = (v.flatten(1) for v in (q, p, *moves))
    seen = (moves[0][both.squeeze(-1)], moves[1][both.squeeze(-1)])
    views = [(flat_q, flat_p), (moved_q, moved_p)]
    return compare_values("paths of z", flat_q, flat_p, views, permutations, generator, seen)


def spread_finding(found: Aggregate) -> Finding:
    """The comparison in words."""
    subject = f"{found.what} of real sequences against the prior"
    p = p_equals(found.p_value)
    if found.p_value > DOUBT:
        return Finding("good", subject, f"{found.what}: no difference between real sequences and the prior ({p})")
    severity: Severity = "warning" if found.p_value <= SURE else "note"
    moves = "steps from frame to frame" if found.what == "paths of z" else "values"
    return Finding(
        severity,
        subject,
        f"{found.what}: real sequences are not spread as the prior says ({p}): in the median dimension the standard deviation "
        f"of {moves} is {_median(found.spread):.2f} times that of the prior ({float(found.spread.min()):.2f} to "
        f"{float(found.spread.max()):.2f} over dimensions), and means are off by up to {float(found.shift.abs().max()):.2f} "
        "standard deviations; generated sequences will differ from the data in this",
    )


def _median(values: Tensor) -> float:
    return float(values.median()) if len(values) else 1.0
