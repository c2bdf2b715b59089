"""Evaluate a finished run on held-out sequences: bound, reconstructions, and where the data have labels, what is in f and z.

  python -m pyro_dsvae.evaluate RUN                        the test split: the final figures
  python -m pyro_dsvae.evaluate RUN --split validation     to choose among models
  python -m pyro_dsvae.evaluate RUN --evidence 64          importance-weighted evidence of 64 sequences, too
  python -m pyro_dsvae.evaluate RUN --judge literature     the literature's classifier, trained anew; wants a GPU
  python -m pyro_dsvae.evaluate RUN --anchored true        with anchored inference instead of the guide itself

Where the data have labels, a judge is trained on true training clips. It classifies generated clips: with f drawn from its
prior and z kept, with z drawn and f kept, and with f and z of different clips. Probes measure how well each label can be
predicted from f alone and from z alone. DCI, MIG and SAP (with scikit-learn: pip install 'pyro-dsvae[evaluate]') measure how
far each label is determined by a single code.

Where the data have quantities, such as a position in every frame, a network is trained to measure them on true training clips.
It says, in their units, how far they are in swapped clips from those of the clip that gave z. Of images without labels it is
said how far in swaps the mean frame goes with f, and the motion field with z.

A report is of one guide and says which: the guide itself (raw codes), or anchored inference, which removes from each latent
what belongs to the other. This lowers the ELBO, so that under the guide itself stands beside it. The evidence is estimated with
the guide itself, so it needs an evaluation without --anchored true.

Every evaluation of the test split is recorded in the run, and each later one says how many there were: what is changed after a
look at test figures is fitted to them.

Writes evaluation.json, evaluation.md and figures to --out and prints its path as the last line: wrote: DIR. Every measure
is a function of the run, the options and --seed.
"""

if __name__ == "__main__":
    # Before the imports, which take seconds: a request to stop is answered at any moment.
    from pyro_dsvae.process import run_verb

    run_verb("evaluate")

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from rich.console import Console
from torch import Tensor

from pyro_dsvae import cli
from pyro_dsvae.data.dataset import SequenceData
from pyro_dsvae.data.speech.source import SpeechSource
from pyro_dsvae.inference.estimation import Sampler, check_proposal
from pyro_dsvae.inference.inference_data import MIN_DRAWS
from pyro_dsvae.inference.latents import Latents
from pyro_dsvae.inference.training.hardware import Device, device_for
from pyro_dsvae.judges.cache import Kind, load_or_train_judge, load_or_train_regression_judge
from pyro_dsvae.judges.judge import Judge
from pyro_dsvae.judges.quantity_errors import QuantityErrors, quantity_errors
from pyro_dsvae.loading import Run, load
from pyro_dsvae.metrics import tables
from pyro_dsvae.metrics.factors import parts_of
from pyro_dsvae.metrics.features import draw, encode, one_split
from pyro_dsvae.metrics.generation import Entropies, balanced, entropies, judge_clips
from pyro_dsvae.metrics.labelled import measure_judged, measure_probes, measure_scores
from pyro_dsvae.metrics.pixel_swaps import measure_pixel_swaps
from pyro_dsvae.metrics.result import EvaluationResult
from pyro_dsvae.metrics.series import measure_series
from pyro_dsvae.metrics.speech import measure_speech
from pyro_dsvae.metrics.unlabelled import measure_evidence, measure_terms
from pyro_dsvae.models.errors import UsageError, check_seed
from pyro_dsvae.pretrained import default_out
from pyro_dsvae.progress import Bar
from pyro_dsvae.runs.evaluations import record, said
from pyro_dsvae.runs.output_folder import check_free, new_folder

__all__ = ["evaluate"]

TRAINING_CLIPS = 4_000  # at most, for probes and scores
WITHOUT_LABELS = "The data have no labels, so there are no judge, swaps, probes, DCI, MIG and SAP."


def evaluate(
    run: Path,
    out: Path | None = None,
    split: Literal["validation", "test"] = "test",
    judge: Kind = "own",
    judge_epochs: int = 100,
    draws: int = 1,
    evidence: int = 0,
    evidence_draws: int = 1_000,
    seed: int = 0,
    device: Device = "auto",
    overwrite: bool = False,
    anchored: bool = False,
) -> EvaluationResult:
    """Measure a run on held-out sequences; print and write what was found.

    Args:
        run: the run directory, or sprites, the run that comes with the package
        out: the folder to write (by default RUN/evaluation, with -validation for that split and -anchored at its end)
        split: the sequences to evaluate; choose on validation, report on test, once
        judge: own, this project's small classifier, or literature, the published architecture; both trained here
        judge_epochs: at most this many for the literature's judge
        draws: from the prior for every clip, where one latent is kept and the other drawn
        evidence: number of sequences whose importance-weighted evidence is estimated
        evidence_draws: importance weights for each of them
        seed: of all draws, partners, and the training of probes and judge
        device: where to work: auto (a GPU where there is one), cpu, cuda, cuda:1 for that GPU, mps
        overwrite: replace what is at --out
        anchored: f and z are inferred from a redrawn clip, so that they tell less of each other (anchored inference),
            instead of by the guide itself

    Raises:
        UsageError: For anything the caller can put right.

    Example:
        >>> from pathlib import Path
        >>> from pyro_dsvae.evaluate import evaluate
        >>> found = evaluate(Path("runs/clips"))  # doctest: +IGNORE_OUTPUT
        >>> found.sequences, found.terms.comparable  # clips of the test split; whether the ELBO bounds the evidence
        (4, True)
    """
    check_seed(seed)
    _check(draws, evidence, evidence_draws, judge_epochs)
    if anchored and evidence:
        raise UsageError(
            "the evidence is of the guide itself, and a report is of one guide; ask for it without --anchored true"
        )
    place = device_for(device)
    opened = load(run, device=str(place))
    path = default_out(opened.path) / _folder_name(split, anchored) if out is None else out
    guide = opened.anchored_guide() if anchored else opened.guide
    if evidence:
        check_proposal(opened.guide)
    check_free(path, overwrite)
    data = (everything := opened.sequences()).measured(split)
    options = {
        "split": split,
        "judge": judge,
        "judge_epochs": judge_epochs,
        "draws": draws,
        "evidence": evidence,
        "evidence_draws": evidence_draws,
        "seed": seed,
        "anchored": anchored,
    }
    console = Console(highlight=False, emoji=False)
    # The folder comes first: one that cannot be written is to be known before the work.
    with new_folder(path, overwrite) as folder:
        knows: tuple[Judge, dict[str, Tensor]] | None = None
        if data.labels:
            to_model_units = opened.model.likelihood.to_model_units
            with Bar("judge of labels: trained once for these data, then kept") as bar:
                trained = load_or_train_judge(
                    everything, to_model_units, seed=seed, device=place, progress=bar, kind=judge, epochs=judge_epochs
                )
            answers = judge_clips(trained, data, opened.model)
            knows = trained, answers
            accuracy, certainty = _accuracy(answers, data), _certainty(answers, data)
            console.print(tables.judge_table(judge, accuracy, certainty, split, len(data)).rich())
        sampler = Sampler(opened.model, guide, place)
        with Bar("encoding") as bar:
            latents = encode(replace(sampler, progress=bar.part(0.0, 0.05)), one_split(data))
            bar(0.05, stage="ELBO and reconstructions")
            terms = measure_terms(opened.model, guide, one_split(data), latents, seed, place)
            result = EvaluationResult(path=path, run=opened.path, sequences=len(data), options=options, terms=terms)
            if evidence:
                source = opened.sampler(bar.part(0.15, 0.3, "evidence"))
                found = measure_evidence(source, one_split(data), evidence, evidence_draws, seed)
                result = replace(result, evidence=found)
            if knows is None:
                pixels = measure_pixel_swaps(opened.model, latents, data, place, seed)
                result = replace(result, notes=(WITHOUT_LABELS,), pixel_swaps=pixels)
            else:
                speech = isinstance(opened.data, SpeechSource)
                result = _with_labels(result, sampler, latents, everything, data, knows, bar, speech)
        if data.quantities and len(data) > 1:
            result = replace(result, quantities=_quantities(opened, everything, data, latents, seed, place))
        if looks := record(opened.path, "evaluate", path) if split == "test" else said(opened.path):
            result = replace(result, notes=(*result.notes, looks))
        _tell(result, data, folder, console)
        from pyro_dsvae.metrics.figures import draw_evaluation  # matplotlib takes a second to import

        draw_evaluation(result.judged, result.probes, sampler, data, latents, folder, seed)
    return result


def _folder_name(split: str, anchored: bool) -> str:
    """Of the folder in the run: each split and each guide has its own, so that one report does not stand in another's way."""
    return "evaluation" + ("" if split == "test" else f"-{split}") + ("-anchored" if anchored else "")


def _check(draws: int, evidence: int, evidence_draws: int, judge_epochs: int) -> None:
    """Raises `UsageError` for what can be told before anything is read."""
    if draws < 1:
        raise UsageError(f"draws is {draws}; every clip needs at least 1")
    if evidence < 0 or evidence == 1:
        raise UsageError(f"evidence is {evidence}; it is a number of sequences, at least 2, or 0 for none")
    if evidence and evidence_draws < MIN_DRAWS:
        raise UsageError(f"evidence_draws is {evidence_draws}; evidence needs at least {MIN_DRAWS} for its diagnostics")
    if judge_epochs < 1:
        raise UsageError(f"judge_epochs is {judge_epochs}; a judge needs at least 1")


def _tell(result: EvaluationResult, data: SequenceData, folder: Path, console: Console) -> None:
    """Print and write what was found; the judge's own accuracy has been printed."""
    for table in result.tables(data)[1 if result.accuracy else 0 :]:
        console.print(table.rich())
    for remark in result.remarks():
        console.print(remark)
    (folder / "evaluation.json").write_text(result.json())
    (folder / "evaluation.md").write_text(result.page(data))


def _known(values: Tensor, training: Tensor) -> bool:
    """Whether a training clip has one of these classes."""
    return bool(torch.isin(values, training).any())


def _accuracy(said: dict[str, Tensor], data: SequenceData) -> dict[str, float]:
    return {n: float((said[n].argmax(-1) == label.values).double().mean()) for n, label in data.labels.items()}


def _certainty(said: dict[str, Tensor], data: SequenceData) -> dict[str, Entropies]:
    return {name: entropies(said[name][balanced(label.values)]) for name, label in data.labels.items()}


def _with_labels(
    result: EvaluationResult,
    sampler: Sampler,
    latents: Latents,
    everything: SequenceData,
    data: SequenceData,
    knows: tuple[Judge, dict[str, Tensor]],
    bar: Bar,
    speech: bool,
) -> EvaluationResult:
    """The result with what labels add.

    Args:
        result: That of ``data`` without labels.
        sampler: Model and guide.
        latents: Posterior means of ``data``.
        everything: All splits.
        data: The evaluated sequences.
        knows: The judge, and its log probabilities on the true clips.
        bar: The progress, of which .3 to 1 is left.
        speech: Whether the data are windows of recordings.
    """
    model, (judge, answers), seed = sampler.model, knows, result.options["seed"]
    notes: list[str] = []
    parts, whole = parts_of(data.labels), everything.measured("train")
    told = bar.part(0.3, 0.65, "generation and swaps")
    judged = measure_judged(model, latents, data, whole, judge, answers, parts, result.options["draws"], seed, told)
    if judged.swaps is None:
        notes.append(f"The {result.options['split']} split has one sequence, so nothing can be swapped.")
    elif model.static_prior.static_size and model.decoder.certain:
        notes.append(model.decoder.certain)
    train = _some(whole, seed)
    training = encode(replace(sampler, progress=bar.part(0.65, 0.7, "encoding training clips")), one_split(train))
    drawn = [draw(sampler, one_split(part), seed) for part in (train, data)]
    bar(0.78, stage="probes of means")
    probes = {"means": measure_probes(training, train, latents, data, parts, seed)}
    bar(0.85, stage="probes of draws")
    probes["draws"] = measure_probes(drawn[0], train, drawn[1], data, parts, seed)
    bar(0.88, stage="whole recordings" if speech else "baselines of series")
    if speech:
        result = replace(result, speech=measure_speech(sampler, whole, data, seed))
    else:
        series, said_of_them = measure_series(training, train, latents, data, probes["means"]["f"], seed)
        result = replace(result, series=series)
        notes += said_of_them
    bar(0.92, stage="DCI, MIG and SAP")
    scores = None
    if new := [name for name, label in data.labels.items() if not _known(label.values, train.labels[name].values)]:
        notes.append(
            f"No {' and no '.join(new)} of the {result.options['split']} split is in the training split, so judge and probes "
            "cannot name one, and DCI, MIG and SAP are left out."
        )
    else:
        try:
            scores = measure_scores(training, train, latents, data, seed)
        except UsageError as error:
            notes.append(f"{error}.")
    return replace(
        result,
        accuracy=_accuracy(answers, data),
        certainty=_certainty(answers, data),
        judged=judged,
        probes=probes,
        scores=scores,
        notes=tuple(notes),
    )


def _quantities(
    run: Run, everything: SequenceData, data: SequenceData, latents: Latents, seed: int, device: torch.device
) -> dict[str, QuantityErrors]:
    """Distances in swaps, by a judge that is trained on all true training clips."""
    to_model_units = run.model.likelihood.to_model_units
    with Bar("judge of quantities: trained once for these data, then kept") as bar:
        judge = load_or_train_regression_judge(everything, to_model_units, seed=seed, device=device, progress=bar)
    return quantity_errors(judge, run.model, latents, data, to_model_units, seed=seed)


def _some(train: SequenceData, seed: int) -> SequenceData:
    """At most `TRAINING_CLIPS` training clips, drawn without replacement."""
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
    return train.take(order[:TRAINING_CLIPS].sort().values)


def main(arguments: Sequence[str]) -> int:
    """The command."""
    parser = cli.parser_for(evaluate, __doc__)
    result = evaluate(**cli.values(parser, arguments))
    print(f"wrote: {result.path}")
    return 0
