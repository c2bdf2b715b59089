"""The judge of the sequential-disentanglement literature, trained anew: its published weights cannot be had."""

import copy
import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pyro_dsvae.data.dataset import SequenceData
from pyro_dsvae.inference.estimation import Progress, Work
from pyro_dsvae.judges.judge import Device, Judge, ToModelUnits, log_probabilities, shown
from pyro_dsvae.judges.own import new_judge
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.networks.images import check_image, halvings
from pyro_dsvae.models.networks.recurrent import BidirectionalLSTM

FEATURES, HIDDEN, UNITS = 128, 256, 256
WIDTH, WIDEST = 64, 512
BATCH, LEARNING_RATE, PATIENCE = 128, 2e-4, 5


class LiteratureJudge(Judge):
    """A DCGAN frame encoder, a bidirectional LSTM, and one head of two layers per label.

    Four 4x4 convolutions of stride 2 (64 to 512 channels, batch norm, leaky ReLU .2) bring 64 pixels to a map of 4; smaller
    frames need fewer, larger ones more. A convolution over the whole map gives 128 features (batch norm, tanh). The
    forward state at the last frame and the backward one at the first, 256 each, go to every head. Values are not
    standardised. At 64 x 64 with 9 actions and four attributes of 6 classes it has 5,263,073 parameters.

    Source: the classifier of public code for Bai et al., "Contrastively Disentangled Sequential Variational
    Autoencoder", NeurIPS 2021.
    """

    standardises = False

    def __init__(self, frame_shape: tuple[int, ...], classes: Mapping[str, int]) -> None:
        if len(frame_shape) != 3:
            raise UsageError(
                f"the literature's judge looks at images, not at vectors {tuple(frame_shape)}; use --judge own"
            )
        check_image(frame_shape)
        super().__init__(frame_shape, classes)
        channels, height, width = frame_shape
        layers: list[nn.Module] = []
        for level in range(halvings(frame_shape)):
            out = min(WIDTH * 2**level, WIDEST)
            layers += [nn.Conv2d(channels, out, 4, stride=2, padding=1), nn.BatchNorm2d(out), nn.LeakyReLU(0.2)]
            channels, height, width = out, height // 2, width // 2
        self.encoder = nn.Sequential(
            *layers, nn.Conv2d(channels, FEATURES, (height, width)), nn.BatchNorm2d(FEATURES), nn.Tanh()
        )
        self.lstm = BidirectionalLSTM(FEATURES, HIDDEN)
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(2 * HIDDEN, UNITS), nn.ReLU(), nn.Linear(UNITS, count))
            for count in self.classes.values()
        )

    def logits(self, x: Tensor, lengths: Tensor | None) -> dict[str, Tensor]:
        features = self.encoder(x.flatten(0, 1)).flatten(1).unflatten(0, x.shape[:2])
        joined = self.lstm.summary(features, lengths)
        return {name: head(joined) for name, head in zip(self.classes, self.heads, strict=True)}


def train_literature_judge(
    data: SequenceData,
    to_model_units: ToModelUnits,
    seed: int = 0,
    device: Device = "cpu",
    *,
    epochs: int = 100,
    progress: Progress | None = None,
) -> Judge:
    """Train the literature's judge on the train split; it is returned in evaluation mode, and global random state is kept.

    The sum of the cross entropies by Adam, learning rate 2e-4, batches of 128, at most ``epochs`` epochs. Training ends
    when the cross entropy on the validation split has not fallen for 5 epochs; the weights with the lowest one are
    kept. An epoch of the sprites at 32 pixels takes about a minute and a half on two cores.

    Args:
        data: Labelled images.
        to_model_units: Stored frames ``(B, T, *frame)`` to floating values, as `Likelihood.to_model_units`.
        seed: Of weights and batches.
        device: Where to train.
        epochs: At most.
        progress: Called with the share of the work that is done.

    Raises:
        UsageError: Where the data have no labels or are no images.
    """
    if epochs < 1:
        raise UsageError(f"judge_epochs is {epochs}; a judge needs at least 1")
    part, held_out = data.measured("train"), data.measured("validation")
    judge = new_judge(part, LiteratureJudge, seed, to_model_units, device)
    optimiser = torch.optim.Adam(judge.parameters(), lr=LEARNING_RATE)
    generator = torch.Generator().manual_seed(seed)
    size = min(BATCH, len(part))
    lowest, since, best = math.inf, 0, copy.deepcopy(judge.state_dict())
    work = Work(progress, epochs * len(part))
    for _ in range(epochs):
        judge.train()
        for rows in torch.randperm(len(part), generator=generator)[: len(part) - len(part) % size].split(size):
            logits = judge(*shown(judge, part, rows, to_model_units))
            losses = [cross_entropy(logits[name], label.values[rows].to(device)) for name, label in part.labels.items()]
            optimiser.zero_grad()
            torch.stack(losses).sum().backward()
            optimiser.step()
            work.did(len(rows))
        loss = _loss(judge, held_out, to_model_units)
        since += 1
        if loss < lowest:
            lowest, since, best = loss, 0, copy.deepcopy(judge.state_dict())
        if since >= PATIENCE:
            break
    judge.load_state_dict(best)
    return judge.eval().requires_grad_(False)


def _loss(judge: Judge, data: SequenceData, to_model_units: ToModelUnits) -> float:
    """Sum of the cross entropies, mean over the sequences."""
    total = 0.0
    for rows in torch.arange(len(data)).split(BATCH):
        for name, log_p in log_probabilities(judge, data, rows, to_model_units).items():
            total -= float(log_p.gather(1, data.labels[name].values[rows].unsqueeze(1)).sum())
    return total / len(data)
