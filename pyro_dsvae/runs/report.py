"""The report of a fit at its end, on the validation split: the ELBO, swaps under a judge, pictures."""

import math
import platform
import shlex
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from pyro_dsvae.data.dataset import SequenceData
from pyro_dsvae.inference.batch import Batch
from pyro_dsvae.inference.prediction import decode, posterior_means, sample_latents
from pyro_dsvae.inference.sequences import evenly_spaced
from pyro_dsvae.inference.svi import SVI
from pyro_dsvae.inference.training.objective import TERMS
from pyro_dsvae.inference.training.seeding import generators_kept
from pyro_dsvae.judges.cache import load_or_train_judge, load_or_train_regression_judge
from pyro_dsvae.judges.caveats import caveats
from pyro_dsvae.judges.quantity_errors import QuantityErrors, quantity_errors
from pyro_dsvae.judges.swap_scores import SwapScores, accuracies, means_of, swap_scores
from pyro_dsvae.models.steps import Steps
from pyro_dsvae.progress import Bar
from pyro_dsvae.runs.directory import RunDirectory
from pyro_dsvae.runs.evaluations import said
from pyro_dsvae.runs.versions import installed

# Of appearances, and of motions, in the swap picture.
DONORS = 3


def report(run: RunDirectory, svi: SVI, data: SequenceData) -> Mapping[str, Any]:
    """Evaluate the best state on the validation split, write figures and summary.json, print both; return the summary.

    The summary's ``validation`` holds the unweighted `TERMS`, means in nats per sequence, and the step of the best state. That
    state was chosen by this ELBO, so the figure is a little too good; the test split is left to `pyro_dsvae.evaluate`. Of
    several processes all evaluate and the first does the rest; for the others the summary is empty.
    """
    best = run.load("best.pt", svi.fabric.device)
    svi.objective.load_state_dict(best["objective"])
    terms = svi.evaluate(svi.validation)
    return svi.processes.on_rank_zero(lambda: _report(run, svi, data, best, terms)) or {}


def _report(
    run: RunDirectory,
    svi: SVI,
    data: SequenceData,
    best: Mapping[str, Any],
    terms: dict[str, float],
) -> Mapping[str, Any]:
    model, guide = svi.objective.model, svi.objective.guide
    held_out = data.measured("validation")
    if model.likelihood.discrete:
        terms["bits_per_dimension"] = -terms["elbo"] / (math.log(2) * _observed_values(held_out))
    count = svi.step * min(svi.optimisation.batch_size, len(svi.train))
    summary: dict[str, Any] = {
        "validation": {**terms, "step": best["step"]},
        "kl_estimators": svi.objective.estimators,
        "comparable": guide.comparable,
        "steps": svi.step,
        "seconds": round(svi.seconds, 1),
        "sequences_per_second": round(count / max(svi.seconds, 1e-9), 1),
        "parameters": sum(p.numel() for p in svi.objective.parameters()),
        "device": _device(svi.fabric.device),
        "threads": torch.get_num_threads(),
        "versions": {name: installed(name) for name in ("pyro-dsvae", "torch", "pyro-ppl")}
        | {"python": platform.python_version()},
    }
    console = Console(highlight=False, markup=False, emoji=False)
    _print_terms(console, terms, svi.objective.estimators)
    if not guide.comparable:
        console.print("The guide is a point: this ELBO bounds no evidence and compares with no other.")
    if data.labels and len(held_out) > 1:
        summary["judge"] = _judge_swaps(console, svi, data, held_out)
    if guide.views.random:
        console.print(guide.views.sentence(), soft_wrap=True)
    if data.quantities and len(held_out) > 1:
        to_model_units, device = model.likelihood.to_model_units, svi.fabric.device
        with Bar("judge of quantities: trained once for these data, then kept") as bar:
            reader = load_or_train_regression_judge(data, to_model_units, device=device, progress=bar)
        means = means_of(guide, held_out, to_model_units, device)
        errors = quantity_errors(reader, model, means, held_out, to_model_units)
        summary["quantities"] = {name: asdict(error) for name, error in errors.items()}
        _print_quantities(console, errors)
    draw(run, svi, data)
    run.write_summary(summary)
    final = f"python -m pyro_dsvae.evaluate {shlex.quote(str(run.path))}"
    console.print(f"Figures of the test split, for the end: {final}", soft_wrap=True)
    if evaluated := said(run.path):
        console.print(evaluated, soft_wrap=True)
    return summary


def _judge_swaps(console: Console, svi: SVI, data: SequenceData, held_out: SequenceData) -> dict[str, Any]:
    """Print what the judge of labels says of swaps between held-out clips; return it."""
    model, to_model_units = svi.objective.model, svi.objective.model.likelihood.to_model_units
    with Bar("judge of labels: trained once for these data, then kept") as bar:
        judge = load_or_train_judge(data, to_model_units, device=svi.fabric.device, progress=bar)
    truth = accuracies(judge, held_out, to_model_units)
    scores = swap_scores(judge, model, svi.objective.guide, held_out, to_model_units)
    _print_scores(console, truth, scores, len(held_out))
    if scores.kept and model.static_prior.static_size and model.decoder.certain:
        console.print(model.decoder.certain, soft_wrap=True)
    return {
        "accuracy": truth,
        "reconstructed": scores.reconstructed,
        "kept": scores.kept,
        "taken_over": scores.taken_over,
        "chance": scores.chance,
        "mean_kept": scores.mean_kept if scores.kept else None,
        "mean_taken_over": scores.mean_taken_over if scores.taken_over else None,
    }


@torch.no_grad()
def draw(run: RunDirectory, svi: SVI, data: SequenceData) -> None:
    """The pictures of a run, from validation clips: training, reconstruction, swap, sample."""
    # matplotlib takes a second to import
    from pyro_dsvae.figures import run as figures
    from pyro_dsvae.figures.training import training

    model, guide = svi.objective.model, svi.objective.guide
    model.eval()
    guide.eval()
    training(run.metrics(), run.figures / "training.png")
    source, looks, motions = _cast(data)
    rows = torch.cat([source, looks, motions])
    device = svi.fabric.device
    batch = data.take(rows).sequences("validation").batch(torch.arange(len(rows)), model.likelihood, device)
    f, z = posterior_means(guide, *batch)

    def decoded(of_f: Tensor, of_z: Tensor) -> Tensor:
        """Clips with these latents, each as long as that which gives z."""
        made = decode(model, f[of_f], z[of_z])
        return figures.seen(Batch(made, lengths=None if batch.lengths is None else batch.lengths[of_z])).cpu()

    x, each = figures.seen(batch).cpu(), torch.arange(len(rows))
    look, motion, own = each[1 : 1 + len(looks)], each[1 + len(looks) :], each[:1]
    # Where there are few clips, one may be in several places.
    once = each[[row not in rows[:i] for i, row in enumerate(rows)]][:6]
    figures.reconstruction(x[once], decoded(once, once), run.figures / "reconstruction.png", data.column_names)
    looked, moved = decoded(look, own.expand(len(look))), decoded(own.expand(len(motion)), motion)
    figures.swap(x[0], x[look], looked, x[motion], moved, run.figures / "swap.png")
    with generators_kept(device):
        torch.manual_seed(svi.seed)
        # At the times of true clips, where data have times.
        held_out = svi.validation
        times = None if held_out.times is None else held_out.times[held_out.rows[:8]].to(device)
        count = 8 if times is None else len(times)
        samples = decode(model, *sample_latents(model, count, Steps(data.length, times=times))).cpu()
    figures.samples(samples, run.figures / "sample.png")


def _cast(data: SequenceData) -> tuple[Tensor, Tensor, Tensor]:
    """Validation clips for the swap picture: a source, donors of appearances, donors of motions.

    Spread evenly over the split. Where labels tell, a donor of an appearance moves like the source, and each donor of a motion
    in another way, so that what changes is what was replaced.
    """
    rows = data.rows("validation")
    source = rows[len(rows) // 2 :][:1]
    others = rows[rows != source] if len(rows) > 1 else rows
    moves = torch.zeros(len(data), dtype=torch.int64)
    for label in data.labels.values():
        if label.role == "dynamic":
            moves = moves * len(label.classes) + label.values
    alike = others[moves[others] == moves[source]]
    unlike = others[moves[others] != moves[source]]
    kinds = [unlike[moves[unlike] == move] for move in moves[unlike].unique()]
    # From different places of the split, so that they are different characters, too.
    different = [kind[i * len(kind) // len(kinds)] for i, kind in enumerate(kinds)] or list(others[:DONORS])
    return source, _spread(alike if len(alike) else others), _spread(torch.stack(different))


def _spread(rows: Tensor) -> Tensor:
    """At most `DONORS` of these, at equal distances."""
    return rows[evenly_spaced(len(rows), DONORS)]


def _print_terms(console: Console, terms: Mapping[str, float], estimators: Mapping[str, str]) -> None:
    table = Table(title="validation split, nats per sequence", title_justify="left")
    notes = {"kl_static": estimators.get("f", ""), "kl_dynamic": estimators.get("z", "")}
    for column in ("term", "mean", "KL computed as"):
        table.add_column(column, justify="right" if column == "mean" else "left")
    for name in TERMS:
        table.add_row(name, f"{terms[name]:,.1f}", notes.get(name, ""))
    if "bits_per_dimension" in terms:
        table.add_row("bits per dimension", f"{terms['bits_per_dimension']:.3f}", "")
    console.print(table)


def _print_scores(console: Console, truth: Mapping[str, float], scores: SwapScores, clips: int) -> None:
    table = Table(title="swaps between validation clips: share judged right", title_justify="left")
    for column in ("factor", "goes with", "swapped", "by chance", "reconstructed", "true clips"):
        table.add_column(column, justify="left" if column in ("factor", "goes with") else "right")
    for kind, values in (("z", scores.kept), ("f", scores.taken_over)):
        for name, value in values.items():
            table.add_row(
                name, kind, *(f"{v:.1%}" for v in (value, scores.chance[name], scores.reconstructed[name], truth[name]))
            )
    console.print(table)
    if note := caveats(clips, truth):
        console.print(note, soft_wrap=True)


def _print_quantities(console: Console, errors: Mapping[str, QuantityErrors]) -> None:
    table = Table(title="swaps between validation clips: mean distance from z's clip", title_justify="left")
    for column in ("quantity", "unit", "swapped", "by chance", "reconstructed", "true clips"):
        table.add_column(column, justify="left" if column in ("quantity", "unit") else "right")
    for name, e in errors.items():
        table.add_row(name, e.unit, *(f"{v:.2f}" for v in (e.f_replaced, e.chance, e.reconstructed, e.true)))
    console.print(table)


def _observed_values(data: SequenceData) -> float:
    """How many values of a sequence are observed, on average."""
    observed = Steps(data.length, data.lengths).observed(data.mask, len(data.frame_shape))
    whole = math.prod(data.frames.shape[1:])
    return whole if observed is None else float(observed.expand(data.frames.shape).float().mean()) * whole


def _device(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu ({platform.machine()})"
