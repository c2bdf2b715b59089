"""Whole recordings of speech: who is told by which latent."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pyro_dsvae.data.dataset import Label, SequenceData
from pyro_dsvae.inference.batch import Batch
from pyro_dsvae.inference.estimation import Sampler
from pyro_dsvae.inference.latent_space.encoding import Codes, encode
from pyro_dsvae.inference.latent_space.whole_clips import moments_of, pooled
from pyro_dsvae.metrics.equal_error import equal_error_rate
from pyro_dsvae.metrics.features import path_features
from pyro_dsvae.metrics.probes import Probe, probe

SPEAKER = "speaker"
MOST = 6_000  # training windows


@dataclass(frozen=True)
class Utterances:
    """Codes of U recordings.

    Attributes:
        names: (U,) of the recordings.
        f: (U, F), the posterior means of the windows of each, pooled by their precision.
        z: (U, D), the mean of z over all frames of all windows of each.
        paths: (U, P), features of z in its order, for probes (`path_features`).
        labels: Of the recordings.
    """

    names: tuple[str, ...]
    f: Tensor
    z: Tensor
    paths: Tensor
    labels: Mapping[str, Label]

    def __len__(self) -> int:
        return len(self.names)

    def take(self, rows: Tensor) -> "Utterances":
        """Those with these indices, in this order."""
        return Utterances(
            tuple(self.names[i] for i in rows.tolist()),
            self.f[rows],
            self.z[rows],
            self.paths[rows],
            {name: replace(label, values=label.values[rows]) for name, label in self.labels.items()},
        )


def utterances(
    windows: Sequence[str], labels: Mapping[str, Label], codes: Codes, prior: tuple[Tensor, Tensor]
) -> Utterances:
    """The recordings of N windows.

    Args:
        windows: (N,) names of windows, as `SpeechFolder` gives them: "NAME from 0.250 s".
        labels: Of the windows; all windows of a recording have the same.
        codes: Of the windows, in the order in which they lie in their recordings.
        prior: Mean and scale (F,) of p(f).

    Example:
        >>> import torch
        >>> from pyro_dsvae.inference.latent_space.encoding import Codes
        >>> from pyro_dsvae.metrics.speech import utterances
        >>> f, z = torch.tensor([[1.0], [3.0], [5.0]]), torch.randn(3, 10, 2)
        >>> codes = Codes(f, torch.full((3, 1), 0.01), z, torch.ones(3, 10, 2), f[None, :0], z[None, :0])
        >>> windows = ["a.wav from 0.0 s", "a.wav from 0.1 s", "b.wav from 0.0 s"]
        >>> found = utterances(windows, {}, codes, (torch.zeros(1), torch.ones(1)))
        >>> found.names, [round(mean, 2) for mean in found.f.flatten().tolist()]
        (('a.wav', 'b.wav'), [2.0, 5.0])
    """
    rows: dict[str, list[int]] = {}
    for i, window in enumerate(windows):
        rows.setdefault(_recording(window), []).append(i)
    f, z, paths = [], [], []
    for own in rows.values():
        path = codes.z[own].flatten(0, 1).cpu()
        f.append(pooled(codes.f[own].cpu(), codes.f_scale[own].cpu(), *(v.cpu() for v in prior))[0])
        z.append(path.mean(0))
        paths.append(path_features(path[None])[0])
    first = torch.tensor([own[0] for own in rows.values()])
    kept = {name: replace(label, values=label.values[first]) for name, label in labels.items()}
    return Utterances(tuple(rows), torch.stack(f), torch.stack(z), torch.stack(paths), kept)


@dataclass(frozen=True)
class SpeechScores:
    """Measures of whole recordings.

    Attributes:
        utterances: How many were evaluated.
        speakers: How many speakers they are of.
        equal_error_f: Of speaker verification by f (`equal_error_rate`), from 0 to 1.
        equal_error_z: By z, its mean over the recording.
        words: Label of what is spoken -> "f" and "z" -> probe, of those recordings whose class is among the training ones.
        told: Of the same labels, how many recordings that is.
    """

    utterances: int
    speakers: int
    equal_error_f: float
    equal_error_z: float
    words: dict[str, dict[str, Probe]]
    told: dict[str, int]

    @property
    def gap(self) -> float:
        """The equal error rate of z less that of f: .5 where f tells all of a voice, and z nothing."""
        return self.equal_error_z - self.equal_error_f


def measure_speech(sampler: Sampler, train: SequenceData, data: SequenceData, seed: int = 0) -> SpeechScores | None:
    """Scores of the recordings that windows ``data`` are of; None unless they are named, labelled by speaker, and f exists.

    Args:
        sampler: Model and guide.
        train: Training windows, for the means of codes and for probes; of more than `MOST` some recordings are taken.
        data: The evaluated windows.
        seed: Of the probes.
    """
    label = data.labels.get(SPEAKER)
    if label is None or data.names is None or train.names is None or sampler.model.static_prior.static_size == 0:
        return None
    with sampler.evaluation(seed):
        prior = moments_of(sampler.model.static_prior())

    def whole(part: SequenceData) -> Utterances:
        assert part.names is not None
        names = part.names.entities
        x = sampler.model.likelihood.to_model_units(part.frames).to(sampler.device)
        return utterances(names, part.labels, encode(sampler, Batch(x, None, None, None), seed=seed), prior)

    return speech_scores(whole(_some(train, train.names.entities, seed)), whole(data), seed)


def _some(windows: SequenceData, names: Sequence[str], seed: int) -> SequenceData:
    """All windows of some recordings, drawn at random, `MOST` windows or a few more."""
    of = [_recording(name) for name in names]
    counts = Counter(of)
    order = sorted(counts)
    kept, total = set(), 0
    for i in torch.randperm(len(order), generator=torch.Generator().manual_seed(seed)).tolist():
        if total < MOST:
            kept.add(order[i])
            total += counts[order[i]]
    return windows.take(torch.tensor([i for i, name in enumerate(of) if name in kept]))


def _recording(window: str) -> str:
    """ "a.wav" of "a.wav from 0.250 s"."""
    return window.rpartition(" from ")[0]


def speech_scores(train: Utterances, test: Utterances, seed: int = 0) -> SpeechScores:
    """Speaker verification and word probes.

    Trials of verification are all pairs of different recordings of ``test``. Codes are less their means over ``train``.
    Probes are trained on ``train`` and asked of ``test``.

    Args:
        train: Recordings of other speakers.
        test: The evaluated ones.
        seed: Of the probes.
    """
    who = test.labels[SPEAKER].values
    words, told = {}, {}
    for name, label in test.labels.items():
        if label.role == "dynamic":
            rows = torch.isin(label.values, train.labels[name].values).nonzero().flatten()
            told[name] = len(rows)
            if len(rows):
                words[name] = word_probes(train, test.take(rows), name, seed)
    return SpeechScores(
        len(test),
        len(who.unique()),
        equal_error_rate(test.f, who, train.f),
        equal_error_rate(test.z, who, train.z),
        words,
        told,
    )


def word_probes(train: Utterances, test: Utterances, name: str, seed: int = 0) -> dict[str, Probe]:
    """Probes of one label of what is spoken, from f and from the path of z, over the classes that ``train`` has."""
    classes = train.labels[name].values.unique()

    def of(part: Utterances) -> dict[str, Label]:
        label = part.labels[name]
        values = torch.searchsorted(classes, label.values)
        return {name: replace(label, values=values, classes=tuple(label.classes[i] for i in classes.tolist()))}

    def asked(features: Tensor, others: Tensor) -> Probe:
        return probe(features, of(train), others, of(test), seed)[name]

    return {"f": asked(train.f, test.f), "z": asked(train.paths, test.paths)}
