"""Judges that were trained before are loaded from a cache."""

import hashlib
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from pyro_dsvae.data.dataset import SequenceData
from pyro_dsvae.data.files.cache import cache_folder
from pyro_dsvae.inference.estimation import Progress
from pyro_dsvae.inference.files import DAMAGE, replacing
from pyro_dsvae.judges.judge import ClipReader, Device, Judge, ToModelUnits
from pyro_dsvae.judges.literature import LiteratureJudge, train_literature_judge
from pyro_dsvae.judges.own import OwnJudge, train_judge
from pyro_dsvae.judges.regression import RegressionJudge, components_of, train_regression_judge

_log = logging.getLogger(__name__)

Kind = Literal["own", "literature"]
Kept = TypeVar("Kept", bound=ClipReader)


SCHEMA = 2  # raise it when the network or its training changes: cached judges of other schemas are not read


def load_or_train_judge(
    data: SequenceData,
    to_model_units: ToModelUnits,
    cache_dir: Path | None = None,
    *,
    seed: int = 0,
    device: Device = "cpu",
    progress: Progress | None = None,
    kind: Kind = "own",
    epochs: int = 100,
) -> Judge:
    """The judge of these data: loaded from the cache, or trained and stored there.

    A damaged file is replaced. Where no file can be written, the judge is trained each time.

    Args:
        data: Labelled sequences.
        to_model_units: Stored frames ``(B, T, *frame)`` to floating values, as `Likelihood.to_model_units`.
        cache_dir: Folder of the cache; None: pyro_dsvae/judges below the user's cache directory.
        seed: Of weights and batches.
        device: Where to train, and where the judge is returned.
        progress: Called with the share of the work that is done.
        kind: This project's judge, or the literature's.
        epochs: Limit of epochs for the literature's (see `train_literature_judge`).

    Raises:
        UsageError: Where the data have no labels or no network takes their frames.
    """
    classes = {name: len(label.classes) for name, label in data.labels.items()}

    def build() -> Judge:
        return (LiteratureJudge if kind == "literature" else OwnJudge)(data.frame_shape, classes)

    def train() -> Judge:
        if kind == "literature":
            return train_literature_judge(data, to_model_units, seed, device, epochs=epochs, progress=progress)
        return train_judge(data, to_model_units, seed, device, progress=progress)

    which = f"literature {epochs} " if kind == "literature" else ""
    path = _path(which, data, to_model_units, cache_dir, seed)
    return _loaded_or_trained(path, build, train, {"classes": classes}).to(device)


def load_or_train_regression_judge(
    data: SequenceData,
    to_model_units: ToModelUnits,
    cache_dir: Path | None = None,
    *,
    seed: int = 0,
    device: Device = "cpu",
    progress: Progress | None = None,
) -> RegressionJudge:
    """The judge of these data's quantities: loaded from the cache, or trained and stored there.

    Args:
        data: Sequences with quantities.
        to_model_units: Stored frames ``(B, T, *frame)`` to floating values, as `Likelihood.to_model_units`.
        cache_dir: As in `load_or_train_judge`.
        seed: Of weights and batches.
        device: Where to train, and where the judge is returned.
        progress: Called with the share of the work that is done.

    Raises:
        UsageError: Where the data have no quantities or no network takes their frames.
    """
    components = components_of(data)

    def build() -> RegressionJudge:
        return RegressionJudge(data.frame_shape, components)

    def train() -> RegressionJudge:
        return train_regression_judge(data, to_model_units, seed, device, progress=progress)

    path = _path("regression ", data, to_model_units, cache_dir, seed)
    return _loaded_or_trained(path, build, train, {"components": components}).to(device)


def _path(which: str, data: SequenceData, to_model_units: ToModelUnits, cache_dir: Path | None, seed: int) -> Path:
    """Where the judge of this kind, of these data in these units, is kept."""
    folder = cache_folder() / "judges" if cache_dir is None else cache_dir
    key = hashlib.sha256(f"{which}{SCHEMA} {seed} {data.fingerprint()}".encode())
    key.update(to_model_units(data.frames[:1]).contiguous().view(torch.uint8).numpy().data)
    return folder / f"judge-{SCHEMA}-{key.hexdigest()[:24]}.pt"


def _loaded_or_trained(
    path: Path, build: Callable[[], Kept], train: Callable[[], Kept], about: dict[str, dict[str, int]]
) -> Kept:
    judge = _read(path, build) if os.path.isfile(path) else None
    if judge is None:
        judge = train()
        _write(path, judge, about)
    return judge


def _digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of the values; `torch.load` does not notice spoiled ones."""
    return hashlib.sha256(b"".join(value.numpy().tobytes() for value in state.values())).hexdigest()


def _read(path: Path, build: Callable[[], Kept]) -> Kept | None:
    """The network in a sound cache file, or None."""
    try:
        saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if saved["digest"] != _digest(saved["state"]):
            raise ValueError("its digest differs")
        with torch.random.fork_rng(devices=[]):
            judge = build()
        judge.load_state_dict(saved["state"])
    except DAMAGE as error:
        _log.warning("the cached judge %s cannot be used (%s); it is trained anew", path, type(error).__name__)
        return None
    return judge.eval().requires_grad_(False)


def _write(path: Path, judge: ClipReader, about: dict[str, dict[str, int]]) -> None:
    """Save it, or go on without where the folder cannot take it."""
    state = {name: value.cpu() for name, value in judge.state_dict().items()}
    saved = {"schema": SCHEMA, **about, "digest": _digest(state), "state": state}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, shared=True) as part:
            torch.save(saved, part)
    except (OSError, RuntimeError) as error:  # `torch.save` raises the latter, too
        _log.warning("the judge is not cached in %s: %s", path.parent, error)
