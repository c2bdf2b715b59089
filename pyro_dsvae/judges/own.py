"""The small classifier that the project trains itself."""

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, cross_entropy

from pyro_dsvae.data.dataset import SequenceData
from pyro_dsvae.inference.estimation import Progress, Work
from pyro_dsvae.judges.judge import Device, Judge, ToModelUnits, shown
from pyro_dsvae.models.encoders.by_shape import frame_encoder
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.networks.recurrent import BidirectionalLSTM
from pyro_dsvae.models.steps import Steps

WIDTH, FEATURES, HIDDEN, STEPS, BATCH, LEARNING_RATE = 16, 128, 32, 2_000, 16, 4e-3


class OwnJudge(Judge):
    """This project's judge: small, for any frames. A minute on two cores is enough to classify all clips of the sprites.

    Frame features; both final states of a bidirectional LSTM (what moves) joined with their mean over time (what stays);
    one linear head per label.
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


def new_judge(
    data: SequenceData, kind: type[Judge], seed: int, to_model_units: ToModelUnits, device: Device = "cpu"
) -> Judge:
    """An untrained judge of these data, with their scale set; global random state is kept.

    Raises:
        UsageError: Where the data have no labels or no network takes their frames.
    """
    if not data.labels:
        raise UsageError("the data have no labels; a judge of who and what needs at least one")
    # Only the CPU's generator is used, so only that one is kept aside; the network moves to its device afterwards.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        judge = kind(data.frame_shape, {name: len(label.classes) for name, label in data.labels.items()})
    judge.to(device)
    some = torch.arange(len(data))[:: -(-len(data) // 512)]
    judge.fit_scale(shown(judge, data, some, to_model_units, fill=math.nan)[0])
    return judge


def train_judge(
    data: SequenceData,
    to_model_units: ToModelUnits,
    seed: int = 0,
    device: Device = "cpu",
    *,
    progress: Progress | None = None,
) -> Judge:
    """Train this project's judge on the train split; it is returned in evaluation mode, and global random state is kept.

    Args:
        data: Labelled sequences.
        seed: Of weights and batches.
        device: Where to train.
        to_model_units: Stored frames ``(B, T, *frame)`` -> floating values, as `Likelihood.to_model_units`.
        progress: Called with the share of the work that is done.

    Raises:
        UsageError: Where the data have no labels or no network takes their frames.
    """
    part = data.part("train")
    judge = new_judge(part, OwnJudge, seed, to_model_units, device)
    optimiser = torch.optim.Adam(judge.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=STEPS, pct_start=0.15)
    endless = batches(len(part), seed)
    work = Work(progress, STEPS)
    for _ in range(STEPS):
        rows, strength = next(endless)
        x, lengths = shown(judge, part, rows, to_model_units)
        logits = judge(blurred(x, strength.to(x)) if x.ndim == 5 else x, lengths)
        losses = [cross_entropy(logits[name], label.values[rows].to(device)) for name, label in part.labels.items()]
        optimiser.zero_grad()
        torch.stack(losses).sum().backward()
        nn.utils.clip_grad_norm_(judge.parameters(), 5.0)
        optimiser.step()
        schedule.step()
        work.did(1)
    return judge.eval().requires_grad_(False)


def batches(count: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches: rows (B,), all sequences before one comes again, and strengths of blur (B,), half of them 0."""
    generator = torch.Generator().manual_seed(seed)
    size = min(count, BATCH)
    while True:
        for rows in torch.randperm(count, generator=generator)[: count - count % size].split(size):
            yield rows, (2 * torch.rand(size, generator=generator) - 1).clamp(min=0)


def blurred(x: Tensor, strength: Tensor) -> Tensor:
    """Clips x (B, T, C, H, W) mixed with their 3x3 means: decoded frames are soft, whoever they show."""
    smooth = avg_pool2d(x.flatten(0, 1), 3, stride=1, padding=1, count_include_pad=False).view_as(x)
    return x.lerp(smooth, strength.view(-1, 1, 1, 1, 1))
