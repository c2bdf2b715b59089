"""How far a measured quantity is from where a swap should have put it, in its own unit."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_dsvae.data.dataset import SequenceData
from pyro_dsvae.inference.latents import Latents
from pyro_dsvae.inference.prediction import decode
from pyro_dsvae.judges.judge import ToModelUnits, evaluating, shown
from pyro_dsvae.judges.regression import RegressionJudge
from pyro_dsvae.judges.swap_scores import partners
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.steps import Steps


@dataclass(frozen=True, kw_only=True)
class QuantityErrors:
    """Mean distances of one quantity over all frames of all sequences a, each with one partner b.

    A distance is Euclidean, between what the judge reads in a frame and the true values of the frame.

    Attributes:
        unit: Of all of them.
        true: The judge on the true clips: what it gets wrong itself.
        reconstructed: With f and z of a, against a.
        f_replaced: With z of a and f of b, against a: the quantity should stay.
        z_replaced: With f of a and z of b, against b: the quantity should be that of b.
        chance: Between the true values of a and of b: the error of a model that ignores z.
    """

    unit: str
    true: float
    reconstructed: float
    f_replaced: float
    z_replaced: float
    chance: float


def quantity_errors(
    judge: RegressionJudge,
    model: DSVAE,
    latents: Latents,
    data: SequenceData,
    to_model_units: ToModelUnits,
    *,
    seed: int = 0,
    batch_size: int = 256,
) -> dict[str, QuantityErrors]:
    """Decode every sequence with its own latents and with one of its partner, and measure the quantities in the result.

    Args:
        judge: On the device of the model.
        model: p(f) p(z) p(x | f, z).
        latents: Posterior means of ``data``.
        data: Sequences with quantities.
        to_model_units: Stored frames to floating values.
        seed: Chooses the `partners`, as in `swap_scores`.
        batch_size: Sequences at a time.

    Returns:
        From the name of each quantity to its errors.

    Raises:
        UsageError: For a single sequence.
    """
    own, partner = torch.arange(len(data)), partners(len(data), seed)
    exists = Steps(data.length, data.lengths).valid
    exists = torch.ones(len(data), data.length, dtype=torch.bool) if exists is None else exists

    def read(looks: Tensor | None, motions: Tensor) -> dict[str, Tensor]:
        """Each quantity (N, T, K) in the true clips ``motions``, or decoded with f of ``looks`` and z of ``motions``."""
        said: list[dict[str, Tensor]] = []
        for rows in own.split(batch_size):
            frames = None
            if looks is not None:
                f, z = latents.f[looks[rows]].to(judge.device), latents.z[motions[rows]].to(judge.device)
                frames = decode(model, f, z)
            said.append(judge(*shown(judge, data, motions[rows], to_model_units, frames)))
        return {name: torch.cat([s[name] for s in said]).cpu() for name in data.quantities}

    def distance(name: str, found: Tensor, rows: Tensor, counted: Tensor = exists) -> float:
        apart = (found.double() - data.quantities[name].values[rows].double()).norm(dim=-1)
        return float(apart[counted[rows]].mean())

    with torch.no_grad(), evaluating(judge, model):
        true, plain = read(None, own), read(own, own)
        f_replaced, z_replaced = read(partner, own), read(own, partner)
    both = exists & exists[partner]
    return {
        name: QuantityErrors(
            unit=quantity.unit,
            true=distance(name, true[name], own),
            reconstructed=distance(name, plain[name], own),
            f_replaced=distance(name, f_replaced[name], own),
            z_replaced=distance(name, z_replaced[name], partner),
            chance=distance(name, quantity.values[partner], own, both),
        )
        for name, quantity in data.quantities.items()
    }
