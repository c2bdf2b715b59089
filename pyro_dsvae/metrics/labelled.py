"""What labels add: generation and swaps under a judge, probes, and scores of single codes."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_dsvae.data.dataset import SequenceData
from pyro_dsvae.inference.estimation import Progress, part_of
from pyro_dsvae.inference.latents import Latents
from pyro_dsvae.judges.judge import Judge
from pyro_dsvae.metrics.disentanglement import DCI, PREDICTORS, Gaps, dci, mig, sap
from pyro_dsvae.metrics.factors import Part, marginals, with_parts
from pyro_dsvae.metrics.features import path_codes, path_features
from pyro_dsvae.metrics.generation import Fixed, HeadScores, generate, score
from pyro_dsvae.metrics.probes import Probe, probe
from pyro_dsvae.metrics.swaps import Swaps, judge_swaps, score_swaps
from pyro_dsvae.models.dsvae import DSVAE


@dataclass(frozen=True)
class Judged:
    """What the judge says of clips that the model generates.

    Attributes:
        fixed_motion, fixed_content: Label -> scores (`pyro_dsvae.metrics.generation`).
        swaps: Shares (`pyro_dsvae.metrics.swaps`), None where there is one sequence only.
        confusion: Label -> (K, K) int64 counts, true class by answer, on the true clips.
        confusion_swapped: The same on clips with f replaced, the class of the donor of f or z by answer.
    """

    fixed_motion: dict[str, HeadScores]
    fixed_content: dict[str, HeadScores]
    swaps: Swaps | None
    confusion: dict[str, Tensor]
    confusion_swapped: dict[str, Tensor]


@dataclass(frozen=True)
class Scores:
    """Scores of single codes: the dimensions of f, and of z its mean and its mean absolute change per step.

    Attributes:
        dci, mig, sap: See `pyro_dsvae.metrics.disentanglement`.
        in_f: Factor -> share of DCI's importance that falls on dimensions of f.
        predictors: What DCI and SAP were computed with.
    """

    dci: DCI
    mig: Gaps
    sap: Gaps
    in_f: dict[str, float]
    predictors: str = PREDICTORS


def measure_judged(
    model: DSVAE,
    latents: Latents,
    data: SequenceData,
    train: SequenceData,
    judge: Judge,
    said: dict[str, Tensor],
    parts: list[Part],
    draws: int,
    seed: int,
    progress: Progress,
) -> Judged:
    """Generation and swaps of the clips ``data``; ``said`` holds the judge's log probabilities on the clips themselves."""
    whole, whole_train = with_parts(data, parts), with_parts(train, parts)
    source = marginals(said, parts)
    share = draws / (2 * draws + 3)

    def generated(fixed: Fixed, start: float) -> dict[str, HeadScores]:
        told = part_of(progress, start, start + share)
        log_p = generate(fixed, model, latents, data, judge, draws, seed, told)
        flat = marginals({name: values.flatten(0, 1) for name, values in log_p.items()}, parts)
        by_draw = {name: values.unflatten(0, (draws, -1)) for name, values in flat.items()}
        return score(fixed, by_draw, source, whole, whole_train)

    motion, content = generated("motion", 0.0), generated("content", share)
    own = {name: label.values for name, label in data.labels.items()}
    confusion = {name: confusions(own[name], said[name].argmax(-1), said[name].shape[1]) for name in own}
    if len(data) < 2:
        return Judged(motion, content, None, confusion, {})
    swapped = judge_swaps(model, latents, data, judge, seed, part_of(progress, 2 * share, 1.0))
    right = {
        name: own[name] if label.role == "dynamic" else own[name][swapped.partner]
        for name, label in data.labels.items()
    }
    return Judged(
        motion,
        content,
        score_swaps(swapped.marginal(parts), whole),
        confusion,
        {name: confusions(right[name], v.argmax(-1), v.shape[1]) for name, v in swapped.f_replaced.items()},
    )


def confusions(true: Tensor, seen: Tensor, classes: int) -> Tensor:
    """(K, K) int64: how often class i was answered with class j."""
    return (true * classes + seen).bincount(minlength=classes**2).view(classes, classes)


def measure_probes(
    train_latents: Latents, train: SequenceData, latents: Latents, data: SequenceData, parts: list[Part], seed: int
) -> dict[str, dict[str, Probe]]:
    """Latent ("f", "z") -> label -> probe, of all labels and parts; the latents are means of both or draws of both."""
    labels, test_labels = with_parts(train, parts).labels, with_parts(data, parts).labels
    paths = path_features(train_latents.z, train.lengths), path_features(latents.z, data.lengths)
    return {
        "f": probe(train_latents.f, labels, latents.f, test_labels, seed),
        "z": probe(paths[0], labels, paths[1], test_labels, seed),
    }


def measure_scores(
    train_latents: Latents, train: SequenceData, latents: Latents, data: SequenceData, seed: int
) -> Scores:
    """DCI, MIG and SAP.

    Raises:
        UsageError: Where scikit-learn is absent.
    """
    codes, test_codes = (
        torch.cat([values.f.double(), path_codes(values.z, clips.lengths)], dim=1)
        for values, clips in ((train_latents, train), (latents, data))
    )
    found = dci(codes, train.labels, test_codes, data.labels, seed)
    of_f = found.importance[: latents.f.shape[1]].sum(0)
    return Scores(
        found,
        mig(test_codes, data.labels),
        sap(codes, train.labels, test_codes, data.labels),
        dict(zip(train.labels, of_f.tolist(), strict=True)),
    )
