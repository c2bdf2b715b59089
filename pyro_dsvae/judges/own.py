"""The small classifier that the project trains itself."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pyro_dsvae.data.dataset import SequenceData
from pyro_dsvae.inference.estimation import Progress
from pyro_dsvae.judges.judge import Device, Judge, ToModelUnits
from pyro_dsvae.judges.training import train, untrained
from pyro_dsvae.models.encoders.by_shape import frame_encoder
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.networks.recurrent import BidirectionalLSTM
from pyro_dsvae.models.steps import Steps

WIDTH, FEATURES, HIDDEN, STEPS = 16, 128, 32, 2_000


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
    classes = {name: len(label.classes) for name, label in data.labels.items()}
    return untrained(lambda: kind(data.frame_shape, classes), data, seed, to_model_units, device)


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
    part = data.measured("train")
    judge = new_judge(part, OwnJudge, seed, to_model_units, device)

    def loss(x: Tensor, lengths: Tensor | None, rows: Tensor) -> Tensor:
        logits = judge(x, lengths)
        losses = [cross_entropy(logits[name], label.values[rows].to(device)) for name, label in part.labels.items()]
        return torch.stack(losses).sum()

    return train(judge, loss, part, to_model_units, seed, STEPS, progress)
