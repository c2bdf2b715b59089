"""Images of floating numbers: intensities in [0, 1]. Bytes that were saved as floats are told; other ranges are refused."""

from dataclasses import replace

import torch

from pyro_dsvae.data.dataset import SequenceData
from pyro_dsvae.inference.stored import Stored
from pyro_dsvae.models.errors import UsageError

# Whole numbers up to less than this may be counts or classes as well; beyond, they are bytes.
BYTES = 128
# What rounding adds to 0 and 1.
ROUNDING = 1e-3
# What smooth resizing adds to 0 and 1, at most.
OVERSHOOT = 0.25

TAKEN_AS_BYTES = (
    "images of whole floating numbers from 0 to 255 are taken as bytes, as uint8 is: intensities are x / 255"
)


def with_bytes(data: SequenceData) -> SequenceData:
    """The data with bytes as bytes, where floating images hold whole numbers from 0 to 255; else the data themselves.

    Nothing is lost: a likelihood of counts takes bytes as they are.
    """
    stored = isinstance(data.frames, Stored)  # they were told when they were written
    if stored or len(data.frame_shape) != 3 or not data.frames.is_floating_point():
        return data
    highest = 0.0
    for part in data.stored().parts():
        values = part.visible
        low, high = (float(v) for v in values.aminmax())
        if low < 0 or high > 255 or bool((values != values.round()).any()):
            return data
        highest = max(highest, high)
    if highest < BYTES:
        return data
    return replace(data, frames=torch.cat([part.visible.to(torch.uint8) for part in data.stored().parts()]))


def as_fitted(data: SequenceData, known: str | None) -> SequenceData:
    """The data as a run was fitted to them, by their fingerprint that it kept; those of a new run without one.

    Runs of earlier versions took bytes that were saved as floats as they are. Their fingerprints left out ``recordings``, and
    most inferred f from each sequence itself.
    """
    stored = with_bytes(data)
    if known is None or (stored is data and data.recordings is None):
        return stored
    for form in (stored,) if stored is data else (stored, data):
        if form.fingerprint() == known:
            return form
        if form.recordings is not None and (bare := replace(form, recordings=None)).fingerprint() == known:
            return bare
    return stored


def check_intensities(
    data: SequenceData, name: str = "frames", verb: str = "save them as", tolerance: float = ROUNDING
) -> None:
    """Refuse floating images with observed values outside [0, 1], but for rounding.

    Args:
        data: The images, or other data, which pass.
        name: What their user calls the array.
        verb: What their user should do with it.
        tolerance: How far beyond 0 and 1 values may be.

    Raises:
        UsageError: With the line of code that makes them right, by their range.
    """
    if len(data.frame_shape) != 3 or not data.frames.is_floating_point():
        return
    ranges = [part.visible.aminmax() for part in data.stored().parts()]
    low, high = min(float(found.min) for found in ranges), max(float(found.max) for found in ranges)
    if low < -tolerance or high > 1 + tolerance:
        raise UsageError(
            f"images other than uint8 are intensities from 0 to 1, and these run from {low:.6g} to {high:.6g}: {verb} "
            f"{_remedy(low, high).replace('frames', name)}"
        )


def _remedy(low: float, high: float) -> str:
    """What makes frames of this range intensities."""
    if low >= -OVERSHOOT and high <= 1 + OVERSHOOT:
        return "frames.clip(0, 1)"
    if low >= -1 and high <= 1:
        return "(frames + 1) / 2"
    if low >= 0 and BYTES <= high <= 255:
        return "frames / 255"
    if low >= 0 and 2**15 <= high < 2**16:
        return "frames / 65535"
    return "(frames - frames.min()) / (frames.max() - frames.min())"
