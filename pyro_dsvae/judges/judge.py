"""A classifier of true clips, and what it says about swapped ones: is the look taken over, is the motion kept?"""

import hashlib
import logging
import math
import os
import pickle
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, cross_entropy

from pyro_dsvae.data.dataset import SequenceData
from pyro_dsvae.data.lpc_sprites import cache_folder
from pyro_dsvae.inference.prediction import decode, posterior_means
from pyro_dsvae.models.dsvae import DSVAE, observed_values
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.networks.frames import frame_encoder
from pyro_dsvae.models.networks.recurrent import BidirectionalLSTM
from pyro_dsvae.models.steps import Steps

_log = logging.getLogger(__name__)

Prepare = Callable[[Tensor], Tensor]
Device = torch.device | str
Kind = Literal["own", "literature"]

SCHEMA = 2  # raise it when the network or its training changes: cached judges of other schemas are not read
WIDTH, FEATURES, HIDDEN, STEPS, BATCH, LEARNING_RATE = 16, 128, 32, 2_000, 16, 4e-3

# What `torch.load` and `load_state_dict` raise on a file that was cut off, overwritten or made by something else.
_DAMAGE = (OSError, EOFError, RuntimeError, ValueError, LookupError, TypeError, AttributeError, pickle.UnpicklingError)


class Judge(nn.Module, ABC):
    """Says of a clip which class of every label it shows. Images are first clipped to the range of true ones.

    frame_shape   (C, S, S) or (P,)
    classes       label -> number of its classes
    standardises  whether values are brought to mean 0 and variance 1 per channel
    """

    standardises: ClassVar[bool] = True
    shift: Tensor  # (C, 1, 1) or (P,)
    scale: Tensor  # (C, 1, 1) or (P,)
    bounds: Tensor  # (2,)

    def __init__(self, frame_shape: tuple[int, ...], classes: Mapping[str, int]) -> None:
        super().__init__()
        self.frame_shape = tuple(frame_shape)
        self.classes = dict(classes)
        self.register_buffer("shift", torch.zeros(frame_shape[0], *(1,) * (len(frame_shape) - 1)))
        self.register_buffer("scale", torch.ones_like(self.shift))
        self.register_buffer("bounds", torch.tensor([-math.inf, math.inf]))

    @abstractmethod
    def logits(self, x: Tensor, lengths: Tensor | None) -> dict[str, Tensor]:
        """Logits (B, classes) per label for clipped, standardised frames x (B, T, \\*frame)."""

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> dict[str, Tensor]:
        """Logits (B, classes) per label for frames x (B, T, \\*frame); ``lengths`` (B,) as in `DSVAE.forward`."""
        return self.logits((x.clamp(self.bounds[0], self.bounds[1]) - self.shift) / self.scale, lengths)

    @property
    def device(self) -> torch.device:
        """Where the judge is, and its input has to be."""
        return self.shift.device

    def fit_scale(self, x: Tensor) -> None:
        """Take shift, scale and bounds from some true clips x (B, T, \\*frame), nan where not observed."""
        values = x.flatten(0, 1).transpose(0, 1).flatten(1)
        mean = values.nanmean(1, keepdim=True).nan_to_num()
        if self.standardises:
            deviation = (values - mean).square().nanmean(1).sqrt()
            self.shift.copy_(mean.view_as(self.shift))
            self.scale.copy_(torch.where(deviation > 1e-6, deviation, torch.ones_like(deviation)).view_as(self.scale))
        if len(self.frame_shape) == 3:
            low, high = (float(v) for v in values.nan_to_num(float(mean[0])).aminmax())
            self.bounds.copy_(torch.tensor((0.0, 1.0) if low >= 0 and high <= 1 else (low, high)))


class OwnJudge(Judge):
    """This project's: small, for any frames, right on all clips of the sprites after a minute on two cores.

    Frame features; both final states of a bidirectional LSTM (what moves) joined with their mean over time (what
    stays); one linear head per label.
    """

    def __init__(self, frame_shape: tuple[int, ...], classes: Mapping[str, int], width: int = WIDTH) -> None:
        super().__init__(frame_shape, classes)
        self.encoder = frame_encoder(self.frame_shape, FEATURES, width)
        self.normalise = nn.LayerNorm(FEATURES)
        self.lstm = BidirectionalLSTM(FEATURES, HIDDEN)
        self.heads = nn.ModuleList(nn.Linear(2 * HIDDEN + FEATURES, count) for count in self.classes.values())

    def logits(self, x: Tensor, lengths: Tensor | None) -> dict[str, Tensor]:
        features = self.normalise(self.encoder(x))
        valid = Steps(x.shape[1], lengths).valid
        weights = features.new_ones(features.shape[:2]) if valid is None else valid.to(features)
        mean = (features * weights.unsqueeze(-1)).sum(1) / weights.sum(1, keepdim=True)
        joined = torch.cat([self.lstm.summary(features, lengths), mean], dim=-1)
        return {name: head(joined) for name, head in zip(self.classes, self.heads, strict=True)}


def new_judge(data: SequenceData, kind: type[Judge], seed: int, prepare: Prepare, device: Device = "cpu") -> Judge:
    """An untrained judge of these data that knows their scale; the global random state is left as it was.

    Raises `UsageError` where the data have no labels or no network takes their frames.
    """
    if not data.labels:
        raise UsageError("the data have no labels; a judge of who and what needs at least one")
    # Only the CPU's generator is used, so only that one is kept aside; the network moves to its device afterwards.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        judge = kind(data.frame_shape, {name: len(label.classes) for name, label in data.labels.items()})
    judge.to(device)
    some = torch.arange(len(data))[:: -(-len(data) // 512)]
    judge.fit_scale(shown(judge, data, some, prepare, fill=math.nan)[0])
    return judge


def train_judge(
    data: SequenceData, prepare: Prepare, seed: int = 0, device: Device = "cpu", *, progress: bool = False
) -> Judge:
    """This project's judge trained on the train split, in evaluation mode; the global random state is left as it was.

    prepare   stored frames (B, T, \\*frame) -> floating values, as `Likelihood.prepare`
    progress  show a bar on standard error

    Raises `UsageError` where the data have no labels or no network takes their frames.
    """
    part = data.part("train")
    judge = new_judge(part, OwnJudge, seed, prepare, device)
    optimiser = torch.optim.Adam(judge.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=STEPS, pct_start=0.15)
    batches = _batches(len(part), seed)
    for _ in track(range(STEPS), "The judge", console=Console(stderr=True), transient=True, disable=not progress):
        rows, strength = next(batches)
        x, lengths = shown(judge, part, rows, prepare)
        logits = judge(_blurred(x, strength.to(x)) if x.ndim == 5 else x, lengths)
        losses = [cross_entropy(logits[name], label.values[rows].to(device)) for name, label in part.labels.items()]
        optimiser.zero_grad()
        torch.stack(losses).sum().backward()
        nn.utils.clip_grad_norm_(judge.parameters(), 5.0)
        optimiser.step()
        schedule.step()
    return judge.eval().requires_grad_(False)


def _batches(count: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches: rows (B,), all sequences before one comes again, and strengths of blur (B,), half of them 0."""
    generator = torch.Generator().manual_seed(seed)
    size = min(count, BATCH)
    while True:
        for rows in torch.randperm(count, generator=generator)[: count - count % size].split(size):
            yield rows, (2 * torch.rand(size, generator=generator) - 1).clamp(min=0)


def _blurred(x: Tensor, strength: Tensor) -> Tensor:
    """Clips x (B, T, C, H, W) mixed with their 3x3 means: decoded frames are soft, whoever they show."""
    smooth = avg_pool2d(x.flatten(0, 1), 3, stride=1, padding=1, count_include_pad=False).view_as(x)
    return x.lerp(smooth, strength.view(-1, 1, 1, 1, 1))


def _observed(data: SequenceData, rows: Tensor, device: Device) -> tuple[Tensor | None, Tensor | None]:
    """The mask and the lengths of some sequences."""
    mask, lengths = (None if values is None else values[rows].to(device) for values in (data.mask, data.lengths))
    return mask, lengths


def shown(
    judge: Judge, data: SequenceData, rows: Tensor, prepare: Prepare, x: Tensor | None = None, fill: float | None = None
) -> tuple[Tensor, Tensor | None]:
    """What a judge sees of sequences, or of x (B, T, \\*frame) in their place, with ``fill`` or the mean in the gaps."""
    mask, lengths = _observed(data, rows, judge.device)
    x = prepare(data.frames[rows].to(judge.device)) if x is None else x
    observed = observed_values(mask, Steps(x.shape[1], lengths), len(data.frame_shape))
    return x if observed is None else torch.where(observed, x, judge.shift if fill is None else fill), lengths


def load_or_train_judge(
    data: SequenceData,
    prepare: Prepare,
    cache_dir: Path | None = None,
    *,
    seed: int = 0,
    device: Device = "cpu",
    progress: bool = False,
    kind: Kind = "own",
    epochs: int = 100,
) -> Judge:
    """The judge of these data from the cache, or else a new one, which is then kept there.

    ``cache_dir``, where None, is pyro_dsvae/judges below the user's cache directory. A damaged file is replaced; where
    none can be written the judge is trained each time. ``kind`` is this project's or the literature's; ``epochs`` is the
    limit of the latter (`train_literature_judge`). Other arguments as for `train_judge`.
    """
    # That module builds on this one.
    from pyro_dsvae.judges.literature import LiteratureJudge, train_literature_judge

    folder = cache_folder() / "judges" if cache_dir is None else cache_dir
    literature = kind == "literature"
    which = f"literature {epochs} " if literature else ""
    key = hashlib.sha256(f"{which}{SCHEMA} {seed} {data.fingerprint()}".encode())
    key.update(prepare(data.frames[:1]).contiguous().view(torch.uint8).numpy().data)
    path = folder / f"judge-{SCHEMA}-{key.hexdigest()[:24]}.pt"
    judge = _read(path, data, LiteratureJudge if literature else OwnJudge) if os.path.isfile(path) else None
    if judge is None:
        if literature:
            judge = train_literature_judge(data, prepare, seed, device, epochs=epochs, progress=progress)
        else:
            judge = train_judge(data, prepare, seed, device, progress=progress)
        _write(path, judge)
    return judge.to(device)


def _digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of the values; `torch.load` does not notice spoiled ones."""
    return hashlib.sha256(b"".join(value.numpy().tobytes() for value in state.values())).hexdigest()


def _read(path: Path, data: SequenceData, kind: type[Judge]) -> Judge | None:
    """The judge in a sound cache file, or None."""
    try:
        saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if saved["digest"] != _digest(saved["state"]):
            raise ValueError("its digest differs")
        with torch.random.fork_rng(devices=[]):
            judge = kind(data.frame_shape, {name: len(label.classes) for name, label in data.labels.items()})
        judge.load_state_dict(saved["state"])
    except _DAMAGE as error:
        _log.warning("the cached judge %s cannot be used (%s); it is trained anew", path, type(error).__name__)
        return None
    return judge.eval().requires_grad_(False)


def _write(path: Path, judge: Judge) -> None:
    """Save to a temporary file and rename it; go on without where the folder cannot take it."""
    state = {name: value.cpu() for name, value in judge.state_dict().items()}
    saved = {"schema": SCHEMA, "classes": judge.classes, "digest": _digest(state), "state": state}
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(saved, temporary)
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # `torch.save` raises the latter, too
        _log.warning("the judge is not cached in %s: %s", path.parent, error)
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@dataclass(frozen=True)
class SwapScores:
    """What the judge sees in clips decoded with z of clip a and f of clip b, as shares of all pairs (a, b).

    kept           dynamic label -> the motion is still that of a
    taken_over     static label -> the look is that of b
    chance         any label -> a and b agree: the score of a model that ignores the latent in question
    reconstructed  any label -> plain reconstructions show the clip's own class
    """

    kept: dict[str, float]
    taken_over: dict[str, float]
    chance: dict[str, float]
    reconstructed: dict[str, float]

    @property
    def mean_kept(self) -> float:
        """Mean over the dynamic labels; nan where there are none."""
        return sum(self.kept.values()) / len(self.kept) if self.kept else math.nan

    @property
    def mean_taken_over(self) -> float:
        """Mean over the static labels; nan where there are none."""
        return sum(self.taken_over.values()) / len(self.taken_over) if self.taken_over else math.nan


def accuracies(judge: Judge, data: SequenceData, prepare: Prepare, batch_size: int = 256) -> dict[str, float]:
    """Label -> share of these true sequences that the judge gets right."""
    with torch.no_grad(), _evaluating(judge):
        chunks = torch.arange(len(data)).split(batch_size)
        found = [_classes(judge, *shown(judge, data, rows, prepare)) for rows in chunks]
    return {name: _share(found, name, label.values) for name, label in data.labels.items()}


@torch.no_grad()
def log_probabilities(
    judge: Judge, data: SequenceData, rows: Tensor, prepare: Prepare, frames: Tensor | None = None
) -> dict[str, Tensor]:
    """Label -> log probability of each class (B, classes), float64 on the CPU, of sequences or of frames in their place.

    rows    (B,) of ``data``: which sequences, and whose mask and lengths
    frames  (B, T, \\*frame) on the judge's device, or None for the sequences' own
    """
    with _evaluating(judge):
        said = judge(*shown(judge, data, rows, prepare, frames))
    return {name: logits.double().log_softmax(-1).cpu() for name, logits in said.items()}


def swap_scores(
    judge: Judge,
    model: DSVAE,
    guide: nn.Module,
    data: SequenceData,
    prepare: Prepare,
    *,
    seed: int = 0,
    batch_size: int = 256,
) -> SwapScores:
    """Every sequence a decoded with f of its partner b, from posterior means, and judged against the true labels.

    Judge, model and guide have to be on one device; ``seed`` chooses the `partners`. Raises as that does.
    """
    partner = partners(len(data), seed)
    chunks = torch.arange(len(data)).split(batch_size)
    latents: list[tuple[Tensor, Tensor]] = []
    swapped: list[dict[str, Tensor]] = []
    plain: list[dict[str, Tensor]] = []
    with torch.no_grad(), _evaluating(judge, model, guide):
        for rows in chunks:
            x = prepare(data.frames[rows].to(judge.device))
            latents.append(posterior_means(guide, x, *_observed(data, rows, judge.device)))
        f, z = (torch.cat(values) for values in zip(*latents, strict=True))
        for rows in chunks:
            for look, found in ((partner[rows], swapped), (rows, plain)):
                frames = decode(model, f[look], z[rows])
                found.append(_classes(judge, *shown(judge, data, rows, prepare, frames)))
    labels = data.labels.items()
    return SwapScores(
        {name: _share(swapped, name, label.values) for name, label in labels if label.role == "dynamic"},
        {name: _share(swapped, name, label.values[partner]) for name, label in labels if label.role == "static"},
        {name: _share([{name: label.values}], name, label.values[partner]) for name, label in labels},
        {name: _share(plain, name, label.values) for name, label in labels},
    )


def partners(count: int, seed: int) -> Tensor:
    """(count,) each sequence's successor in one random cycle through all. Raises `UsageError` where there is only one."""
    if count < 2:
        raise UsageError("a swap needs at least two sequences, but this split has one")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return order.roll(-1)[order.argsort()]


@contextmanager
def _evaluating(*modules: nn.Module) -> Iterator[None]:
    """All modules in evaluation mode; every submodule's own mode is restored afterwards."""
    before = [(module, module.training) for root in modules for module in root.modules()]
    try:
        for root in modules:
            root.eval()
        yield
    finally:
        for module, training in before:
            module.training = training


def _classes(judge: Judge, x: Tensor, lengths: Tensor | None) -> dict[str, Tensor]:
    """Label -> most likely class (B,)."""
    return {name: logits.argmax(-1).cpu() for name, logits in judge(x, lengths).items()}


def _share(found: list[dict[str, Tensor]], name: str, true: Tensor) -> float:
    return float((torch.cat([classes[name] for classes in found]) == true).double().mean())
