"""How the project trains a network that reads clips, whatever it reads in them."""

import math
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from pyro_dsvae.data.dataset import SequenceData
from pyro_dsvae.inference.estimation import Progress, Work
from pyro_dsvae.judges.judge import ClipReader, Device, ToModelUnits, shown

BATCH, LEARNING_RATE = 16, 4e-3

Reader = TypeVar("Reader", bound=ClipReader)
# Of frames x (B, T, *frame), their lengths, and which training clips they are.
Loss = Callable[[Tensor, Tensor | None, Tensor], Tensor]


def untrained(
    build: Callable[[], Reader], data: SequenceData, seed: int, to_model_units: ToModelUnits, device: Device = "cpu"
) -> Reader:
    """A network with initial weights drawn from ``seed`` and the scale of these data; global random state is kept."""
    # Only the CPU's generator is used, so only that one is kept aside; the network moves to its device afterwards.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        reader = build()
    reader.to(device)
    some = torch.arange(len(data))[:: -(-len(data) // 512)]
    reader.fit_scale(shown(reader, data, some, to_model_units, fill=math.nan)[0])
    return reader


def train(
    reader: Reader,
    loss: Loss,
    data: SequenceData,
    to_model_units: ToModelUnits,
    seed: int,
    steps: int,
    progress: Progress | None = None,
) -> Reader:
    """Minimise the loss over clips, half of them blurred, by Adam; the network is returned in evaluation mode.

    Args:
        reader: The network.
        loss: Of a batch.
        data: The training clips.
        to_model_units: Stored frames ``(B, T, *frame)`` -> floating values, as `Likelihood.to_model_units`.
        seed: Of the batches.
        steps: Of the optimiser.
        progress: Called with the share of the work that is done.
    """
    optimiser = torch.optim.Adam(reader.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps, pct_start=0.15)
    endless = batches(len(data), seed)
    work = Work(progress, steps)
    for _ in range(steps):
        rows, strength = next(endless)
        x, lengths = shown(reader, data, rows, to_model_units)
        optimiser.zero_grad()
        loss(blurred(x, strength.to(x)) if x.ndim == 5 else x, lengths, rows).backward()
        nn.utils.clip_grad_norm_(reader.parameters(), 5.0)
        optimiser.step()
        schedule.step()
        work.did(1)
    return reader.eval().requires_grad_(False)


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
