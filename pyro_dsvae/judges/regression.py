"""A network that measures quantities in the frames of a clip: where something is, how fast it moves."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import smooth_l1_loss

from pyro_dsvae.data.dataset import SequenceData
from pyro_dsvae.inference.estimation import Progress
from pyro_dsvae.judges.judge import ClipReader, Device, ToModelUnits
from pyro_dsvae.judges.own import FEATURES, HIDDEN, WIDTH
from pyro_dsvae.judges.training import train, untrained
from pyro_dsvae.models.encoders.by_shape import frame_encoder
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.networks.recurrent import BidirectionalLSTM
from pyro_dsvae.models.steps import Steps

STEPS = 1_000


class RegressionJudge(ClipReader):
    """Predicts every quantity in every frame, in its unit.

    Frame features, joined with the outputs of a bidirectional LSTM over them, and one linear map to all numbers. The network
    predicts them at mean 0 and variance 1, and ``mean`` and ``deviation`` bring them to their units.

    Args:
        frame_shape: (C, H, W) or (P,).
        components: Quantity -> K, how many numbers it has.
    """

    mean: Tensor  # (sum of K,)
    deviation: Tensor  # (sum of K,)

    def __init__(self, frame_shape: tuple[int, ...], components: Mapping[str, int]) -> None:
        super().__init__(frame_shape)
        self.components = dict(components)
        count = sum(self.components.values())
        self.encoder = frame_encoder(self.frame_shape, FEATURES, WIDTH)
        self.normalise = nn.LayerNorm(FEATURES)
        self.lstm = BidirectionalLSTM(FEATURES, HIDDEN)
        self.head = nn.Linear(FEATURES + 2 * HIDDEN, count)
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("deviation", torch.ones(count))

    def standardised(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """All numbers (B, T, sum of K), at mean 0 and variance 1 over the training clips."""
        features = self.normalise(self.encoder(self.scaled(x)))
        found: Tensor = self.head(torch.cat([features, self.lstm(features, lengths)], dim=-1))
        return found

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> dict[str, Tensor]:
        """Quantities by name.

        Args:
            x: Frames, ``(B, T, *frame)``.
            lengths: (B,) as in `DSVAE.forward`.

        Returns:
            From the name of each quantity to (B, T, K), in its unit; meaningless beyond the end of a sequence.
        """
        found = self.standardised(x, lengths) * self.deviation + self.mean
        return dict(zip(self.components, found.split(list(self.components.values()), dim=-1), strict=True))


def components_of(data: SequenceData) -> dict[str, int]:
    """From each quantity to the number of its components."""
    return {name: len(quantity.components) for name, quantity in data.quantities.items()}


def train_regression_judge(
    data: SequenceData,
    to_model_units: ToModelUnits,
    seed: int = 0,
    device: Device = "cpu",
    *,
    progress: Progress | None = None,
) -> RegressionJudge:
    """Train on the train split; the judge is returned in evaluation mode, and global random state is kept.

    The loss is Huber's on standardised values, in the frames that exist. Half of the clips are blurred, as decoded ones are.

    Args:
        data: Sequences with quantities.
        to_model_units: Stored frames ``(B, T, *frame)`` -> floating values, as `Likelihood.to_model_units`.
        seed: Of weights and batches.
        device: Where to train.
        progress: Called with the share of the work that is done.

    Raises:
        UsageError: Where the data have no quantities or no network takes their frames.
    """
    if not data.quantities:
        raise UsageError("the data have no quantities; a judge that measures needs at least one")
    part = data.measured("train")
    true = torch.cat([quantity.values.float() for quantity in part.quantities.values()], dim=-1)
    exists = Steps(part.length, part.lengths).valid
    exists = torch.ones(true.shape[:2], dtype=torch.bool) if exists is None else exists
    components = components_of(data)
    judge = untrained(lambda: RegressionJudge(data.frame_shape, components), part, seed, to_model_units, device)
    judge.mean.copy_(true[exists].mean(0))
    judge.deviation.copy_(true[exists].std(0, correction=0).clamp(min=1e-6))
    aim, counted = (true.to(device) - judge.mean) / judge.deviation, exists.to(device)

    def loss(x: Tensor, lengths: Tensor | None, rows: Tensor) -> Tensor:
        errors = smooth_l1_loss(judge.standardised(x, lengths), aim[rows], reduction="none", beta=0.1)
        return torch.where(counted[rows].unsqueeze(-1), errors, 0.0).sum() / counted[rows].sum()

    return train(judge, loss, part, to_model_units, seed, STEPS, progress)
