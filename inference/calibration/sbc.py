"""Simulation-based calibration: ranks of latents that are known because the model drew them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_dsvae.inference.batch import Batch
from pyro_dsvae.inference.calibration.ecdf_band import ECDFBand
from pyro_dsvae.inference.calibration.ranks import BINS, RankTest, rank_test
from pyro_dsvae.inference.estimation import Sampler
from pyro_dsvae.inference.finding import Finding, Severity, p_equals
from pyro_dsvae.inference.latents import Latents
from pyro_dsvae.inference.prediction import sample_latents
from pyro_dsvae.inference.sampling.proposal import Joint, Proposal
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.models.errors import UsageError

# A width within a tenth of what it should be is no harm.
NEARLY = 0.1
# The generator of tests must not repeat the noise of the estimate, which has the seed itself.
APART = 1_000_003


@dataclass(frozen=True)
class SimulationBasedCalibration:
    """The result of `simulation_based_calibration`.

    Attributes:
        static: For f; size 0 where the model has none.
        dynamic: For z; statements per dimension take all steps of a simulation together.
        log_joint: For log p(x, f, z), (N, 1), among the first ``joint_draws`` draws; None where it was left out.
        draws: The number of draws, L.
        joint_draws: Those whose log p(x, f, z) was computed.
        band: Of the ECDF of N ranks, in 20 bins.
        findings: For f, for z and for the log joint.
    """

    static: RankTest
    dynamic: RankTest
    log_joint: RankTest | None
    draws: int
    joint_draws: int
    band: ECDFBand
    findings: tuple[Finding, ...]


def simulation_based_calibration(
    sampler: Sampler,
    sequences: Sequences,
    simulations: int = 300,
    draws: int = 39,
    joint_draws: int = 19,
    seed: int = 0,
) -> SimulationBasedCalibration:
    """Draw (f, z, x) from the model and L draws of (f, z) from q(f, z | x), and rank the true values among the draws.

    If q is the posterior, true values and draws are exchangeable, so every rank is uniform on 0, ..., L. Ranked are every
    coordinate of f and of z at every step, and the log joint density as a function of both, in which errors of correlation
    show.

    Sources: Talts, Betancourt, Simpson, Vehtari & Gelman, "Validating Bayesian Inference Algorithms with
    Simulation-Based Calibration", 2018 (arXiv 1804.06788); Yao, Vehtari, Simpson & Gelman, "Yes, but Did It Work?:
    Evaluating Variational Inference", ICML 2018 (VSBC); Modrak et al., "Simulation-Based Calibration Checking for
    Bayesian Computation: The Choice of Test Quantities Shapes Sensitivity", Bayesian Analysis 2023 (log joint).

    Args:
        sampler: Model and guide, any posterior; `Delta` will be found too narrow.
        sequences: The simulated sequences have their masks, lengths and times, row by row, and from the first again where
            there are too few. Their frames are not used.
        simulations: N, at least 50, all independent.
        draws: L, with L + 1 a multiple of 20.
        joint_draws: Draws that are decoded for the log joint: 0, or a multiple of 20 less one.
        seed: Of all noise.

    Raises:
        UsageError: For other numbers.
    """
    _check(sequences, simulations, draws, joint_draws)
    rows = torch.arange(simulations) % len(sequences)
    work = sampler.work(simulations)
    parts = []
    with sampler.evaluation(seed):
        for positions, pattern in sampler.chunks(sequences.take(rows), draws + 1):
            parts.append(_ranks(sampler, pattern, draws, joint_draws))
            work.did(len(positions))
    static, dynamic, joint = (torch.cat(part) for part in zip(*parts, strict=True))
    generator = torch.Generator().manual_seed(seed + APART)
    band = ECDFBand.of(simulations, BINS)
    tests = (
        rank_test(static.unsqueeze(1), draws, band, generator),
        rank_test(dynamic, draws, band, generator),
        rank_test(joint[:, None, None], joint_draws, band, generator) if joint_draws else None,
    )
    findings = [_finding(name, test) for name, test in zip("fz", tests, strict=False) if test and len(test.width)]
    if tests[2] is not None:
        findings.append(_joint_finding(tests[2]))
    return SimulationBasedCalibration(*tests, draws, joint_draws, band, tuple(findings))


def _check(sequences: Sequences, simulations: int, draws: int, joint_draws: int) -> None:
    if len(sequences) == 0:
        raise UsageError("simulation-based calibration takes lengths and masks from sequences; there are none")
    if simulations < 50:
        raise UsageError(f"simulation-based calibration needs at least 50 simulations, not {simulations}")
    if draws < BINS - 1 or (draws + 1) % BINS:
        raise UsageError(
            f"the draws per simulation must be 19, 39, 59, ..., one less than a multiple of {BINS}, not {draws}"
        )
    if joint_draws and (not BINS - 1 <= joint_draws <= draws or (joint_draws + 1) % BINS):
        raise UsageError(f"joint_draws must be 0, 19, 39, ..., at most the {draws} draws, not {joint_draws}")


def _ranks(sampler: Sampler, pattern: Batch, draws: int, joint_draws: int) -> tuple[Tensor, Tensor, Tensor]:
    """Ranks of f (B, F), of z (B, T, D), -1 where a step does not exist, and of the log joint (B,); int64 on the CPU."""
    model, steps = sampler.model, pattern.steps
    f, z = sample_latents(model, len(pattern.x), steps)
    x = model.frames(f, z).sample()
    batch = pattern._replace(x=x)
    drawn, _ = Proposal(sampler.guide, batch).draw(draws)
    static, dynamic = _rank(drawn.f, f), _rank(drawn.z, z)
    if steps.valid is not None:
        dynamic = dynamic.masked_fill(~steps.valid.unsqueeze(-1), -1)
    joint = torch.zeros(len(pattern.x), dtype=torch.int64)
    if joint_draws:
        density = Joint(model, batch)
        true = density.at(Latents(f.unsqueeze(0), z.unsqueeze(0))).log_joint[0]
        joint = _rank(density.at(Latents(*(v[:joint_draws] for v in drawn))).log_joint, true)
    return static.cpu(), dynamic.cpu(), joint.cpu()


def _rank(draws: Tensor, true: Tensor) -> Tensor:
    """How many of the draws ``(L, *B)`` lie below; draws that are equal are put below or above at random."""
    equal = (draws == true).sum(0)
    return (draws < true).sum(0) + (torch.rand(true.shape, device=true.device) * (equal + 1)).long()


def _finding(name: str, test: RankTest) -> Finding:
    """q(f) or q(z) in words."""
    subject, size = f"q({name}) on data of the model itself", len(test.width)
    said = []
    for which, word in ((test.narrow, "too narrow"), (test.wide, "too wide")):
        if which.any():
            widths = test.width[which]
            said.append(f"{word} in {int(which.sum())} of {size} dimensions ({_cure(float(widths.median()))})")
    if test.biased.any():
        low, high = (int((test.biased & (s * test.bias < 0)).sum()) for s in (1, -1))
        said.append(f"biased in {low + high} of {size} dimensions ({low} too low, {high} too high)")
    if not said:
        return Finding(
            "good", subject, f"q({name}) passes: {size} dimensions, none found biased, too narrow or too wide"
        )
    off = (test.width[test.narrow | test.wide] - 1).abs()
    severe = bool((off > NEARLY).any()) or bool(test.biased.any())
    severity: Severity = "warning" if severe else "note"
    return Finding(severity, subject, f"q({name}) is " + "; ".join(said))


def _cure(width: float) -> str:
    """What makes error bars of this median width, as a share of the right one, right."""
    factor = max(width, 1 / max(width, 1e-6))
    cure = f"{'multiply' if width < 1 else 'divide'} error bars by about {factor:.2g}"
    return f"median width {width:.2f} of the right one: {cure}"


def _joint_finding(test: RankTest) -> Finding:
    subject, p = "log p(x, f, z) on data of the model itself", float(test.p_values[0])
    if p > 0.01:
        return Finding(
            "good", subject, f"draws of the guide are as likely under the model as true latents are ({p_equals(p)})"
        )
    where = "less" if test.bias[0] < 0 else "more"
    return Finding(
        "note",
        subject,
        f"draws of the guide are {where} likely under the model than true latents are ({p_equals(p)}): "
        "f and z together are not drawn from the posterior",
    )
