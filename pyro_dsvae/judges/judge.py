"""A classifier of true clips, used on swapped ones: does appearance follow f, and motion follow z?"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import ClassVar

import torch
from torch import Tensor, nn

from pyro_dsvae.data.dataset import SequenceData
from pyro_dsvae.models.steps import Steps

ToModelUnits = Callable[[Tensor], Tensor]
Device = torch.device | str


class ClipReader(nn.Module, ABC):
    """A network that reads clips of these data, and the scale of its input. Images are clipped to the range of true ones.

    Args:
        frame_shape: (C, H, W) or (P,).

    Attributes:
        standardises: Whether values are brought to mean 0 and variance 1 per channel.
    """

    standardises: ClassVar[bool] = True
    shift: Tensor  # (C, 1, 1) or (P,)
    scale: Tensor  # (C, 1, 1) or (P,)
    bounds: Tensor  # (2,)

    def __init__(self, frame_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.frame_shape = tuple(frame_shape)
        self.register_buffer("shift", torch.zeros(frame_shape[0], *(1,) * (len(frame_shape) - 1)))
        self.register_buffer("scale", torch.ones_like(self.shift))
        self.register_buffer("bounds", torch.tensor([-math.inf, math.inf]))

    @property
    def device(self) -> torch.device:
        """The device of the network; its input has to be there."""
        return self.shift.device

    def scaled(self, x: Tensor) -> Tensor:
        """Frames x ``(B, T, *frame)``, clipped and standardised."""
        return (x.clamp(self.bounds[0], self.bounds[1]) - self.shift) / self.scale

    def fit_scale(self, x: Tensor) -> None:
        """Set shift, scale and bounds from some true clips x ``(B, T, *frame)``, nan where not observed."""
        values = x.flatten(0, 1).transpose(0, 1).flatten(1)
        mean = values.nanmean(1, keepdim=True).nan_to_num()
        if self.standardises:
            deviation = (values - mean).square().nanmean(1).sqrt()
            self.shift.copy_(mean.view_as(self.shift))
            self.scale.copy_(torch.where(deviation > 1e-6, deviation, torch.ones_like(deviation)).view_as(self.scale))
        if len(self.frame_shape) == 3:
            low, high = (float(v) for v in values.nan_to_num(float(mean[0])).aminmax())
            self.bounds.copy_(torch.tensor((0.0, 1.0) if low >= 0 and high <= 1 else (low, high)))


class Judge(ClipReader, ABC):
    """A classifier that predicts the class of every label from a clip.

    Args:
        frame_shape: (C, H, W) or (P,).
        classes: Label -> number of its classes.
    """

    def __init__(self, frame_shape: tuple[int, ...], classes: Mapping[str, int]) -> None:
        super().__init__(frame_shape)
        self.classes = dict(classes)

    @abstractmethod
    def logits(self, x: Tensor, lengths: Tensor | None) -> dict[str, Tensor]:
        """Logits (B, classes) by label, for frames x ``(B, T, *frame)`` that are clipped and standardised."""

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> dict[str, Tensor]:
        """Logits by label.

        Args:
            x: Frames, ``(B, T, *frame)``.
            lengths: (B,) as in `DSVAE.forward`.

        Returns:
            From the name of each label to (B, classes).
        """
        return self.logits(self.scaled(x), lengths)


def mask_and_lengths(data: SequenceData, rows: Tensor, device: Device) -> tuple[Tensor | None, Tensor | None]:
    """The mask and the lengths of some sequences."""
    mask, lengths = (None if values is None else values[rows].to(device) for values in (data.mask, data.lengths))
    return mask, lengths


def shown(
    judge: ClipReader,
    data: SequenceData,
    rows: Tensor,
    to_model_units: ToModelUnits,
    x: Tensor | None = None,
    fill: float | None = None,
) -> tuple[Tensor, Tensor | None]:
    """The judge's input for some sequences, or for x ``(B, T, *frame)`` in their place; gaps hold ``fill`` or the mean."""
    mask, lengths = mask_and_lengths(data, rows, judge.device)
    x = to_model_units(data.frames[rows].to(judge.device)) if x is None else x
    observed = Steps(x.shape[1], lengths).observed(mask, len(data.frame_shape))
    return x if observed is None else torch.where(observed, x, judge.shift if fill is None else fill), lengths


@torch.no_grad()
def log_probabilities(
    judge: Judge, data: SequenceData, rows: Tensor, to_model_units: ToModelUnits, frames: Tensor | None = None
) -> dict[str, Tensor]:
    """The judge's log probabilities of each class, for sequences or for frames in their place.

    Args:
        judge: On some device.
        data: The sequences.
        rows: (B,) which of them; mask and lengths are theirs too.
        to_model_units: Stored frames to floating values.
        frames: ``(B, T, *frame)`` on the judge's device, or None for the sequences' own.

    Returns:
        From the name of each label to (B, classes), float64 on the CPU.
    """
    with evaluating(judge):
        said = judge(*shown(judge, data, rows, to_model_units, frames))
    return {name: logits.double().log_softmax(-1).cpu() for name, logits in said.items()}


@contextmanager
def evaluating(*modules: nn.Module) -> Iterator[None]:
    """All modules in evaluation mode; every submodule's own mode is restored afterwards."""
    before = [(module, module.training) for root in modules for module in root.modules()]
    try:
        for root in modules:
            root.eval()
        yield
    finally:
        for module, training in before:
            module.training = training
