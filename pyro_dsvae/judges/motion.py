"""Is generated motion right? A classifier of temporal order, trained on what the model itself decodes. It needs no labels."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from pyro_dsvae.data.dataset import SequenceData, Split
from pyro_dsvae.inference.estimation import CPU, Guide, Work, evaluation
from pyro_dsvae.inference.latents import Latents
from pyro_dsvae.inference.prediction import decode
from pyro_dsvae.inference.sampling.proposal import Proposal
from pyro_dsvae.inference.sequences import Sequences, evenly_spaced
from pyro_dsvae.judges.judge import Judge, log_probabilities
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.encoders.by_shape import frame_encoder
from pyro_dsvae.models.networks.recurrent import BidirectionalLSTM
from pyro_dsvae.models.steps import Steps

MotionVerdict = Literal["right", "partly right", "wrong", "cannot tell"]

# Clips to train on and to judge, at most, and numbers that are kept decoded for them.
TRAINED, JUDGED, NUMBERS = 384, 256, 2**24
# Of longer clips the judge sees the beginning.
MOST_STEPS = 32
WIDTH, FEATURES, HIDDEN = 8, 64, 32
TRAINING_STEPS, PAIRS, LEARNING_RATE = 200, 16, 4e-3
# A judge that tells true from wrong motion by less than this is no judge.
TELLING = 0.5
# A clip shows an action where the judge of labels is as sure as this.
SURE = 0.9


@dataclass(frozen=True)
class JudgedMotion:
    """Shares of held-out clips whose motion the judge takes for true.

    Attributes:
        generated: With f of the clip and z drawn from the prior: the score.
        reconstructed: With f and z of the clip: the score that a perfect prior would have.
        wrong: With f of the clip and wrong z: its own z in a random order of time, or at every step the z of another clip.
            This is the score of motion without memory.
        clips: How many were judged.
        confident: From each dynamic label to two shares of clips, generated and true, in which the judge of labels is sure
            of a class (p >= .9). That judge may be sure of meaningless motion too, so these are not the score.
    """

    generated: float
    reconstructed: float
    wrong: float
    clips: int
    confident: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def verdict(self) -> MotionVerdict:
        """Verdict on generated motion, by where it lies on the way from wrong motion (0) to true motion (1).

        "wrong" up to 0.1, "right" from 0.9 on, "partly right" between. "cannot tell" where the judge does not separate the
        two controls, for example where frames do not move.
        """
        span = self.reconstructed - self.wrong
        if span < TELLING:
            return "cannot tell"
        way = (self.generated - self.wrong) / span
        return "wrong" if way <= 0.1 else "right" if way >= 0.9 else "partly right"


def judge_motion(
    model: DSVAE,
    guide: Guide,
    data: SequenceData,
    split: Split = "validation",
    judge: Judge | None = None,
    seed: int = 0,
    device: torch.device = CPU,
    progress: Callable[[float], None] | None = None,
) -> JudgedMotion:
    """Train a judge for this model, and judge motion drawn from the model's prior.

    The judge is trained on decoded training clips. True motion is decoded from f and z drawn from q(f, z | x). Wrong motion
    is decoded from the same f with the same z in a random order of time, or with z_t of a random clip at every step t. Both
    kinds consist of the same frames, as sharp as this decoder makes them, so only temporal order tells them apart. Draws of
    q are used, not its means, because draws from a perfect prior look like draws of q. The judge is then applied to
    held-out clips with z from the prior, with their own z, and with wrong z.

    The judge takes seconds to train and is not strong: motion that passes need not be right, but motion that fails is wrong.

    Args:
        model: On ``device``.
        guide: On ``device``.
        data: The judge is trained on its train split and applied to at most 256 clips of ``split``, evenly spaced.
        split: The held-out split.
        judge: A judge of labels on ``device``, for ``JudgedMotion.confident``; None without labels.
        seed: Of weights, batches and draws.
        device: Where everything is.
        progress: Called with the share of the work that is done.
    """
    size = min(MOST_STEPS, data.length) * math.prod(data.frame_shape)
    most = max(16, min(TRAINED, NUMBERS // size))
    train, held_out = _Part.of(data, "train", most, device), _Part.of(data, split, min(JUDGED, most), device)
    work = Work(progress, 10.0 + TRAINING_STEPS / 10)
    with evaluation(model, guide, seed, device):
        latents = _inferred(model, guide, train, device)
        work.did(2)
        real = _decoded(model, *latents)
        wrong = [_decoded(model, latents.f, _disordered(latents.z, train.lengths, kind)) for kind in _WRONG]
        work.did(3)
        order = OrderJudge(data.frame_shape).to(device)
        order.fit_scale(real, train.seen)
        _train(order, real, torch.cat(wrong), train.seen, work)
        latents = _inferred(model, guide, held_out, device)
        drawn = model.dynamic_prior(latents.f, held_out.steps(device)).sample()
        half = torch.arange(len(latents.f), device=device) % 2 == 0
        in_disorder, of_others = (_disordered(latents.z, held_out.lengths, kind) for kind in _WRONG)
        shares = []
        for z in (drawn, latents.z, torch.where(half[:, None, None], in_disorder, of_others)):
            odds = order(_decoded(model, latents.f, z), held_out.seen)
            shares.append(float((odds > 0).double().mean()))
            work.did(1)
        confident = {} if judge is None else _confident(judge, model, data, held_out, latents.f, drawn)
        work.did(2)
    generated, reconstructed, disordered = shares
    return JudgedMotion(generated, reconstructed, disordered, len(held_out.sequences), confident)


class OrderJudge(nn.Module):
    """The log odds that the frames of a clip are in their true order: frame features, then a bidirectional LSTM."""

    shift: Tensor
    scale: Tensor

    def __init__(self, frame_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.encoder = frame_encoder(frame_shape, FEATURES, WIDTH)
        self.normalise = nn.LayerNorm(FEATURES)
        self.lstm = BidirectionalLSTM(FEATURES, HIDDEN)
        self.head = nn.Linear(2 * HIDDEN, 1)
        self.register_buffer("shift", torch.zeros(frame_shape[0], *(1,) * (len(frame_shape) - 1)))
        self.register_buffer("scale", torch.ones_like(self.shift))

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Log odds (B,) of frames x ``(B, T, *frame)``."""
        features = self.normalise(self.encoder((x - self.shift) / self.scale))
        return self.head(self.lstm.summary(features, lengths)).squeeze(-1)

    def fit_scale(self, x: Tensor, lengths: Tensor | None = None) -> None:
        """Standardise channels (images) or values (vectors) by their statistics in existing steps of x ``(B, T, *frame)``."""
        valid = Steps(x.shape[1], lengths).valid
        frames = x.flatten(0, 1) if valid is None else x[valid]
        values = frames.transpose(0, 1).flatten(1)
        self.shift.copy_(values.mean(1).view_as(self.shift))
        self.scale.copy_(values.std(1).clamp(min=1e-6).view_as(self.scale))


@dataclass(frozen=True)
class _Part:
    """Some sequences of one split, evenly spaced, and their lengths."""

    sequences: Sequences
    lengths: Tensor | None

    @classmethod
    def of(cls, data: SequenceData, split: Split, most: int, device: torch.device) -> "_Part":
        whole = data.sequences(split)
        sequences = whole.take(evenly_spaced(len(whole), most))
        return cls(sequences, None if data.lengths is None else data.lengths[sequences.rows].to(device))

    @property
    def seen(self) -> Tensor | None:
        """How long the judge sees each of them."""
        return None if self.lengths is None else self.lengths.clamp(max=MOST_STEPS)

    def steps(self, device: torch.device) -> Steps:
        times = None if self.sequences.times is None else self.sequences.times[self.sequences.rows].to(device)
        return Steps(self.sequences.length, self.lengths, times)


def _inferred(model: DSVAE, guide: Guide, part: _Part, device: torch.device) -> Latents:
    """One draw of q(f, z | x) per sequence."""
    drawn = []
    for positions in torch.arange(len(part.sequences)).split(64):
        latents, _ = Proposal(guide, part.sequences.batch(positions, model.likelihood, device)).draw(1)
        drawn.append(latents)
    return Latents(*(torch.cat(values, dim=1)[0] for values in zip(*drawn, strict=True)))


def _decoded(model: DSVAE, f: Tensor, z: Tensor) -> Tensor:
    """What the judge sees of clips: mean frames ``(B, T', *frame)``."""
    z = z[:, :MOST_STEPS]
    return torch.cat([decode(model, *part) for part in zip(f.split(64), z.split(64), strict=True)])


_WRONG: tuple[Literal["order", "clips"], ...] = ("order", "clips")


def _disordered(z: Tensor, lengths: Tensor | None, kind: Literal["order", "clips"]) -> Tensor:
    """z (B, T, D) with the steps of each clip in a random order, or with every step that of a random clip which has it."""
    valid = Steps(z.shape[1], lengths).valid
    if kind == "order":
        place = torch.rand(z.shape[:2], device=z.device)
        if valid is not None:  # steps that do not exist stay behind those that do
            place = place + (~valid).to(place)
        return z.gather(1, place.argsort(1).unsqueeze(-1).expand_as(z))
    steps = []
    for t in range(z.shape[1]):
        able = torch.arange(len(z), device=z.device) if valid is None else valid[:, t].nonzero().squeeze(1)
        able = able if len(able) else torch.arange(len(z), device=z.device)
        steps.append(z[able[torch.randint(len(able), (len(z),), device=z.device)], t])
    return torch.stack(steps, dim=1)


def _train(judge: OrderJudge, real: Tensor, wrong: Tensor, lengths: Tensor | None, work: Work) -> None:
    """Equal numbers of both kinds in every step."""
    pairs = max(4, min(PAIRS, 8 * PAIRS // real.shape[1]))
    optimiser = torch.optim.Adam(judge.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=TRAINING_STEPS, pct_start=0.15)
    truth = torch.arange(2 * pairs, device=real.device) < pairs
    for _ in range(TRAINING_STEPS):
        a, b = (torch.randint(len(v), (pairs,), device=real.device) for v in (real, wrong))
        clips = torch.cat([real[a], wrong[b]])
        ends = None if lengths is None else lengths[torch.cat([a, b % len(real)])]
        with torch.enable_grad():
            loss = binary_cross_entropy_with_logits(judge(clips, ends), truth.to(clips))
            optimiser.zero_grad()
            loss.backward()
        optimiser.step()
        schedule.step()
        work.did(0.1)


def _confident(
    judge: Judge, model: DSVAE, data: SequenceData, part: _Part, f: Tensor, z: Tensor
) -> dict[str, tuple[float, float]]:
    names = [name for name, label in data.labels.items() if label.role == "dynamic"]
    sure: dict[str, list[Tensor]] = {name: [] for name in names}
    to_model_units = model.likelihood.to_model_units
    for places in torch.arange(len(part.sequences)).split(64):
        frames = decode(model, f[places], z[places])
        said = [log_probabilities(judge, data, part.sequences.rows[places], to_model_units, x) for x in (frames, None)]
        for name in names:
            sure[name].append(torch.stack([s[name].amax(1) >= math.log(SURE) for s in said]))
    shares = {name: torch.cat(values, dim=1).double().mean(1).tolist() for name, values in sure.items()}
    return {name: (generated, true) for name, (generated, true) in shares.items()}
