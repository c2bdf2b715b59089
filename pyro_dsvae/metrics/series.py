"""What stays in labelled series: told by f, by the usual classifiers of series, and by the angle between codes."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

import torch
from torch import Tensor

from pyro_dsvae.data.dataset import Label, SequenceData
from pyro_dsvae.data.tables.columns import ColumnMoments
from pyro_dsvae.inference.latents import Latents
from pyro_dsvae.metrics.equal_error import equal_error_rate
from pyro_dsvae.metrics.features import one_split, path_codes
from pyro_dsvae.metrics.probes import Probe, probe
from pyro_dsvae.models.ops.dynamic_time_warping import nearest_by_warping

# Cells of all tables of warping distances: a minute or two.
MOST_CELLS = 2 * 10**9


@dataclass(frozen=True)
class SeriesScores:
    """Of one static label.

    Attributes:
        accuracy: From who tells the label of evaluated sequences, "f" first, to the share that is right.
        equal_error_f: Equal error rate of f (`equal_error_rate`).
        equal_error_z: Of z, its mean and its mean absolute change per step.
        chance: Accuracy of the most frequent class of the training sequences.
    """

    accuracy: dict[str, float]
    equal_error_f: float
    equal_error_z: float
    chance: float


def measure_series(
    train_latents: Latents,
    train: SequenceData,
    latents: Latents,
    data: SequenceData,
    probes: Mapping[str, Probe],
    seed: int,
) -> tuple[dict[str, SeriesScores], list[str]]:
    """Scores of every static label of series, and what has to be said of them.

    Every classifier is trained on the same training sequences, standardised by these, with the mean of a column where nothing
    was observed.

    Args:
        train_latents: Posterior means of ``train``.
        train: Some training sequences.
        latents: Posterior means of ``data``.
        data: The evaluated sequences.
        probes: Label -> its probe from f.
        seed: Of the baselines.
    """
    labels = {name: label for name, label in train.labels.items() if label.role == "static"}
    if len(data.frame_shape) != 1 or not labels or latents.f.shape[1] == 0:
        return {}, []
    x, y = (standardised_series(part, train) for part in (train, data))
    told, notes = _baselines(x, train, y, data, labels, seed)
    tested = {name: data.labels[name] for name in labels}
    linear = probe(summary_features(x, train.lengths), labels, summary_features(y, data.lengths), tested, seed)
    codes = [path_codes(values.z, part.lengths) for values, part in ((latents, data), (train_latents, train))]
    scores = {}
    for name in labels:
        true = data.labels[name].values
        scores[name] = SeriesScores(
            {
                "f": probes[name].linear,
                **{who: _share(said[name], true) for who, said in told.items()},
                "linear, of summaries": linear[name].linear,
            },
            equal_error_rate(latents.f, true, train_latents.f),
            equal_error_rate(codes[0], true, codes[1]),
            probes[name].chance,
        )
    return scores, notes


def _baselines(
    x: Tensor, train: SequenceData, y: Tensor, data: SequenceData, labels: Mapping[str, Label], seed: int
) -> tuple[dict[str, dict[str, Tensor]], list[str]]:
    """Who -> label -> (M,) the class that they tell, and what could not be had."""
    told: dict[str, dict[str, Tensor]] = {}
    notes = []
    length, other = (step_counts(part) for part in (train, data))
    cells = len(x) * len(y) * x.shape[1] ** 2
    if cells <= MOST_CELLS:
        # The same neighbour tells every label.
        nearest = nearest_by_warping(x, length, torch.arange(len(x)), y, other)
        told["nearest by warping"] = {name: label.values[nearest] for name, label in labels.items()}
    else:
        notes.append(f"The nearest neighbour by warping is left out: {cells:,} cells are more than {MOST_CELLS:,}.")
    if find_spec("aeon") is not None:
        told["ROCKET"] = {name: rocket(x, label.values, y, seed) for name, label in labels.items()}
    else:
        notes.append("ROCKET is left out: it needs aeon, pip install aeon.")
    return told, notes


def summary_features(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Of every column of series (N, T, P) its mean, its standard deviation and its mean absolute change: (N, 3P), float64."""
    means = path_codes(x, lengths)[:, : x.shape[2]]
    square = path_codes((x - means.unsqueeze(1)).square(), lengths)[:, : x.shape[2]]
    return torch.cat([path_codes(x, lengths), square.sqrt()], dim=1)


def rocket(x: Tensor, classes: Tensor, y: Tensor, seed: int) -> Tensor:
    """(M,) classes by random convolutional kernels and ridge regression (Dempster et al. 2020), as aeon has them."""
    classifier = import_module("aeon.classification.convolution_based").RocketClassifier(random_state=seed)
    first, others = (values.transpose(1, 2).float().numpy() for values in (x, y))
    return torch.as_tensor(classifier.fit(first, classes.numpy()).predict(others)).long()


def standardised_series(part: SequenceData, by: SequenceData) -> Tensor:
    """Frames (N, T, P) float64 less the mean of each column of ``by``, over its standard deviation; 0 where not observed."""
    moments = ColumnMoments.of(one_split(by))
    stored = one_split(part).stored()
    values = (stored.x.double() - moments.mean) / moments.sd
    return torch.where(stored.observed, values, torch.zeros_like(values))


def step_counts(part: SequenceData) -> Tensor:
    return torch.full((len(part),), part.length) if part.lengths is None else part.lengths


def _share(told: Tensor, true: Tensor) -> float:
    return float((told == true).double().mean())
