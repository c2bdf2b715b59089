"""How often a judge sees a factor where a swap should have put it."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pyro_dsvae.data.dataset import SequenceData
from pyro_dsvae.inference.latents import Latents
from pyro_dsvae.inference.prediction import decode, posterior_means
from pyro_dsvae.judges.judge import Judge, ToModelUnits, evaluating, mask_and_lengths, shown
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.errors import UsageError


@dataclass(frozen=True)
class SwapScores:
    """The judge's answers on clips decoded with z of clip a and f of clip b, as shares of all pairs (a, b).

    Attributes:
        kept: From each dynamic label to the share where the judge sees the class of a: motion follows z.
        taken_over: From each static label to the share where it sees the class of b: appearance follows f.
        chance: From any label to the share of pairs whose classes agree: the score of a model that ignores the latent.
        reconstructed: From any label to the share where it sees the clip's own class in a plain reconstruction.
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


def accuracies(
    judge: Judge, data: SequenceData, to_model_units: ToModelUnits, batch_size: int = 256
) -> dict[str, float]:
    """From each label to the share of these true sequences that the judge classifies correctly."""
    with torch.no_grad(), evaluating(judge):
        chunks = torch.arange(len(data)).split(batch_size)
        found = [_classes(judge, *shown(judge, data, rows, to_model_units)) for rows in chunks]
    return {name: _share(found, name, label.values) for name, label in data.labels.items()}


def swap_scores(
    judge: Judge,
    model: DSVAE,
    guide: nn.Module,
    data: SequenceData,
    to_model_units: ToModelUnits,
    *,
    seed: int = 0,
    batch_size: int = 256,
) -> SwapScores:
    """Decode every sequence a with f of its partner b, from posterior means, and judge the result against the true labels.

    Args:
        judge: On the device of model and guide.
        model: p(f) p(z) p(x | f, z).
        guide: q(f, z | x).
        data: The sequences.
        to_model_units: Stored frames to floating values.
        seed: Chooses the `partners`.
        batch_size: Sequences at a time.

    Raises:
        UsageError: For a single sequence.
    """
    partner = partners(len(data), seed)
    chunks = torch.arange(len(data)).split(batch_size)
    f, z = means_of(guide, data, to_model_units, judge.device, batch_size)
    swapped: list[dict[str, Tensor]] = []
    plain: list[dict[str, Tensor]] = []
    with torch.no_grad(), evaluating(judge, model):
        for rows in chunks:
            for look, found in ((partner[rows], swapped), (rows, plain)):
                frames = decode(model, f[look], z[rows])
                found.append(_classes(judge, *shown(judge, data, rows, to_model_units, frames)))
    labels = data.labels.items()
    return SwapScores(
        {name: _share(swapped, name, label.values) for name, label in labels if label.role == "dynamic"},
        {name: _share(swapped, name, label.values[partner]) for name, label in labels if label.role == "static"},
        {name: _share([{name: label.values}], name, label.values[partner]) for name, label in labels},
        {name: _share(plain, name, label.values) for name, label in labels},
    )


def means_of(
    guide: nn.Module, data: SequenceData, to_model_units: ToModelUnits, device: torch.device, batch_size: int = 256
) -> Latents:
    """Posterior means f (N, F) and z (N, T, D) of these sequences, on the device of the guide."""
    found = []
    since = None if data.times is None else (data.times - data.times[:, :1]).float()
    with torch.no_grad(), evaluating(guide):
        for rows in torch.arange(len(data)).split(batch_size):
            x = to_model_units(data.frames[rows].to(device))
            times = None if since is None else since[rows].to(device)
            found.append(Latents(*posterior_means(guide, x, *mask_and_lengths(data, rows, device), times)))
    return Latents.joined(found)


def partners(count: int, seed: int) -> Tensor:
    """(count,) each sequence's successor in one random cycle through all.

    Raises:
        UsageError: Where there is only one.
    """
    if count < 2:
        raise UsageError("a swap needs at least two sequences, but this split has one")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return order.roll(-1)[order.argsort()]


def _classes(judge: Judge, x: Tensor, lengths: Tensor | None) -> dict[str, Tensor]:
    """Label -> most likely class (B,)."""
    return {name: logits.argmax(-1).cpu() for name, logits in judge(x, lengths).items()}


def _share(found: list[dict[str, Tensor]], name: str, true: Tensor) -> float:
    return float((torch.cat([classes[name] for classes in found]) == true).double().mean())
