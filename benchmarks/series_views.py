"""Guide views of series, on series whose truth is known and on speakers: does f go with what stays, and z with the course?

    python benchmarks/series_views.py                              all candidates, both data sets, seed 0
    python benchmarks/series_views.py --views none rescale --seeds 3

Simulated series: level, scale and timbre (shares of three harmonics) belong to an entity; phase and envelope are its course. A
swap is compared with the series that the simulation gives for this entity and that course. JapaneseVowels: the training split
alone, of each speaker's 30 utterances 20 to fit and 10 to measure; the file is that of aeon, read without the package.

A line for each fit. rec, swap: share of the variance that reconstructions and swaps explain. f->x, z->x: the same of x by a
ridge regression on f, or on mean and spread of z. speaker: accuracy of a linear discriminant. EER: equal error rate of the
cosine between two utterances. with f, with z: swaps whose speaker a judge finds to be that of f, or of z.
"""

import argparse
from collections.abc import Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import RidgeCV
from torch import Tensor, nn

from pyro_dsvae.configuration.build import build
from pyro_dsvae.data.tables.columns import ColumnMoments
from pyro_dsvae.inference.batch import Batch
from pyro_dsvae.inference.posteriors import LSTM as Posterior
from pyro_dsvae.inference.posteriors.views import GuideViews, NoViews, Rescale, StaticEncoder
from pyro_dsvae.inference.prediction import decode
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.inference.training.objective import KLWeights, Objective
from pyro_dsvae.metrics.equal_error import equal_error_rate
from pyro_dsvae.models import encoders
from pyro_dsvae.models.decoders import Dense
from pyro_dsvae.models.dynamic_priors import LSTM
from pyro_dsvae.models.likelihoods import Normal
from pyro_dsvae.models.static_priors import StandardNormal

Array = NDArray[Any]
STEPS, BATCH = 400, 32


# --- candidates -------------------------------------------------------------------------------------------------------


class Pieces(StaticEncoder):
    """f from the mean and the largest features of four random pieces of some steps, in evaluation of all."""

    def __init__(self, columns: int, feature_size: int, hidden_size: int, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.read = nn.Sequential(
            nn.Conv1d(columns, feature_size, steps),
            nn.SiLU(),
            nn.Conv1d(feature_size, 2 * feature_size, 1),
            nn.SiLU(),
        )
        self.layers = nn.Sequential(
            nn.Linear(4 * feature_size, 2 * hidden_size), nn.SiLU(), nn.Linear(2 * hidden_size, 2 * hidden_size)
        )

    def forward(self, x: Tensor, observed: Tensor, lengths: Tensor | None) -> Tensor:
        features = self.read(x.transpose(1, 2)).transpose(1, 2)
        there = observed.unfold(1, self.steps, 1).all(-1)
        if self.training:
            chosen = torch.rand(there.shape).masked_fill(~there, 2.0).argsort(-1)[:, :4]
            features = features.gather(1, chosen.unsqueeze(-1).expand(-1, -1, features.shape[-1]))
            there = there.gather(1, chosen)
        seen = there.unsqueeze(-1)
        mean = (features * seen).sum(1) / seen.sum(1).clamp(min=1)
        return self.layers(torch.cat([mean, features.masked_fill(~seen, 0).amax(1)], -1))


class PiecesOf(NoViews):
    """f from a few short pieces, z as other views have it."""

    random = True

    def __init__(self, steps: int, other: GuideViews) -> None:
        self.steps, self.other = steps, other

    def static_encoder(self, frame_shape: Any, feature_size: int, hidden_size: int, encoder: Any) -> StaticEncoder:
        return Pieces(frame_shape[0], feature_size, hidden_size, self.steps)

    def dynamic_view(self, x: Tensor, observed: Tensor, training: bool) -> Tensor:
        return self.other.dynamic_view(x, observed, training)


class Mixed(Rescale):
    """z from columns that are mixed at random, too."""

    def dynamic_view(self, x: Tensor, observed: Tensor, training: bool) -> Tensor:
        if training:
            size = x.shape[-1]
            x = x @ (torch.eye(size) + 0.7 * torch.randn(len(x), size, size) / size**0.5)
        return super().dynamic_view(x, observed, training)


VIEWS: Mapping[str, GuideViews] = {
    "none": NoViews(),
    "rescale": Rescale(),
    "rescale strong": Rescale(2.0, 0.8),
    "mixed": Mixed(1.0, 0.3),
    "pieces": PiecesOf(4, NoViews()),
    "pieces, rescale": PiecesOf(4, Rescale()),
}


# --- data -------------------------------------------------------------------------------------------------------------


class Course(NamedTuple):
    """What moves, (N, T) each."""

    phase: Array
    envelope: Array


class Simulated:
    """Series of entities with a level, a scale and a timbre, and a course that owes nothing to them."""

    def __init__(self, count: int = 400, steps: int = 30, columns: int = 5) -> None:
        rng = np.random.default_rng(0)
        self.level = rng.normal(size=(count, columns))
        self.log_scale = 0.4 * rng.normal(size=(count, columns))
        self.timbre = rng.dirichlet(np.ones(3), count)
        self.offsets = rng.uniform(0, 2 * np.pi, (3, columns))
        rate = 0.25 + 0.15 * np.tanh(np.cumsum(0.35 * rng.normal(size=(count, steps)), 1))
        phase = rng.uniform(0, 2 * np.pi, (count, 1)) + np.cumsum(rate, 1)
        self.course = Course(phase, np.exp(0.5 * np.tanh(np.cumsum(0.3 * rng.normal(size=(count, steps)), 1))))
        everyone = np.arange(count)
        noise = 0.1 * rng.normal(size=(count, steps, columns))
        self.x, self.lengths = torch.tensor(self.of(everyone, everyone) + noise).float(), None
        self.fitted, self.measured = everyone[:300], everyone[300:]

    def of(self, who: Array, what: Array) -> Array:
        """The series (n, T, P) of these entities with the courses of those, without noise."""
        harmonics = np.arange(1, 4)[:, None] * self.course.phase[what][:, :, None, None]
        waves = np.sqrt(self.timbre[who])[:, None, :, None] * np.sin(harmonics + self.offsets)
        swing = np.exp(self.log_scale[who])[:, None] * self.course.envelope[what][:, :, None]
        found: Array = self.level[who][:, None] + swing * waves.sum(2)
        return found

    def measure(self, made: "Fitted") -> dict[str, float]:
        fit, test = self.fitted, self.measured
        other = np.roll(test, len(test) // 2)
        truth = torch.tensor(self.of(test, other)).float()
        found = {"swap": made.explained(decode(made.model, made.f[test], made.z[other]), truth)}
        course = np.stack([np.log(self.course.envelope).mean(1), np.diff(self.course.phase, axis=1).mean(1)], 1)
        said = {"level": self.level, "scale": self.log_scale, "timbre": self.timbre, "course": course}
        for name, values in said.items():
            for latent, codes in (("f", made.f.numpy()), ("z", made.summary)):
                told = RidgeCV(np.logspace(-3, 4, 15)).fit(codes[fit], values[fit]).predict(codes[test])
                error, spread = (told - values[test]) ** 2, (values[test] - values[fit].mean(0)) ** 2
                found[f"{latent}->{name}"] = float(1 - error.sum() / spread.sum())
        return found


class Vowels:
    """The training split of JapaneseVowels: nine speakers, 7 to 26 steps of 12 cepstral coefficients."""

    def __init__(self) -> None:
        spec = find_spec("aeon")
        if spec is None or spec.origin is None:
            raise SystemExit("JapaneseVowels ships with aeon: pip install --no-deps aeon")
        file = Path(spec.origin).parent / "datasets/data/JapaneseVowels/JapaneseVowels_TRAIN.ts"
        lines = file.read_text().lower().partition("@data\n")[2].split()
        series = [[row.split(",") for row in line.split(":")[:-1]] for line in lines]
        clips = [np.array(rows, dtype=np.float32).T for rows in series]
        self.speaker = np.array([int(line.rpartition(":")[2]) for line in lines])
        self.lengths = torch.tensor([len(clip) for clip in clips])
        self.x = nn.utils.rnn.pad_sequence([torch.from_numpy(clip.copy()) for clip in clips], batch_first=True)
        turn = np.array([(self.speaker[:i] == speaker).sum() for i, speaker in enumerate(self.speaker)])
        self.fitted, self.measured = np.flatnonzero(turn < 20), np.flatnonzero(turn >= 20)

    def features(self, x: Tensor, lengths: Tensor) -> Array:
        """Mean and spread of every column over time."""
        clips = [clip[:n] for clip, n in zip(x, lengths, strict=True)]
        return np.stack([torch.cat([clip.mean(0), clip.std(0)]).numpy() for clip in clips])

    def measure(self, made: "Fitted") -> dict[str, float]:
        fit, test, who = self.fitted, self.measured, self.speaker
        learned = partial(LinearDiscriminantAnalysis, solver="lsqr", shrinkage="auto")
        judge = learned().fit(self.features(self.x[fit], self.lengths[fit]), who[fit])
        found = {
            "judge right": float((judge.predict(self.features(self.x[test], self.lengths[test])) == who[test]).mean())
        }
        for latent, codes in (("f", made.f.numpy()), ("z", made.summary)):
            told = learned().fit(codes[fit], who[fit]).predict(codes[test])
            found[f"speaker {latent}"] = float((told == who[test]).mean())
        found["EER f"] = equal_error_rate(made.f[test], torch.from_numpy(who[test]))
        found["EER z"] = equal_error_rate(torch.from_numpy(made.summary[test]), torch.from_numpy(who[test]))
        rng, shares = np.random.default_rng(0), []
        for _ in range(5):
            other = rng.permutation(test)
            swapped = decode(made.model, made.f[test], made.z[other])
            told, differ = judge.predict(self.features(swapped, self.lengths[other])), who[other] != who[test]
            shares.append([(told == who[test])[differ].mean(), (told == who[other])[differ].mean()])
        found["with f"], found["with z"] = np.mean(shares, 0).tolist()
        return found


# --- fits -------------------------------------------------------------------------------------------------------------


class Fitted:
    """A model and its latents of all series."""

    def __init__(self, objective: Objective, data: Simulated | Vowels) -> None:
        self.model, guide = objective.model, objective.guide
        seen = guide.see(data.x, None, data.lengths)
        self.f = guide.static(seen).mean
        self.z = guide.dynamic(seen, self.f).mean
        length = data.x.shape[1]
        lengths = torch.full((len(data.x),), length) if data.lengths is None else data.lengths
        self.exists = (torch.arange(length) < lengths[:, None]).unsqueeze(-1)
        mean = (self.z * self.exists).sum(1) / self.exists.sum(1)
        square = ((self.z - mean.unsqueeze(1)).square() * self.exists).sum(1) / self.exists.sum(1)
        self.summary: Array = torch.cat([mean, square.sqrt()], -1).numpy()

    def explained(self, x: Tensor, truth: Tensor, exists: Tensor | None = None) -> float:
        """1 less the squared error over the variance, columns in standard deviations."""
        assert self.model.standardisation is not None
        weight = torch.ones_like(truth[..., :1]) if exists is None else exists.float()
        mean = (truth * weight).sum((0, 1)) / weight.sum((0, 1))
        error, spread = (
            (((values - truth) / self.model.standardisation.sd).square() * weight).sum() for values in (x, mean)
        )
        return float(1 - error / spread)


def fitted(data: Simulated | Vowels, views: GuideViews, seed: int, recombine: bool) -> tuple[Fitted, dict[str, float]]:
    """A small model after `STEPS` steps, and the terms of its ELBO on the series that are measured."""
    rows = torch.from_numpy(data.fitted)
    made = build(
        data.x[rows],
        seed,
        12,
        4,
        StandardNormal,
        partial(LSTM, hidden_size=16),
        partial(Posterior, hidden_size=32, feature_size=32, views=views),
        partial(Normal, scale=0.3, scale_kind="channel"),
        partial(Dense, units=64),
        None,
        ColumnMoments.of(Sequences.of(data.x, None, data.lengths).take(rows)),
        partial(encoders.Dense, units=64),
    )
    optimiser = torch.optim.Adam(made.parameters(), 3e-3)
    half_cosine = [min(1, s / 30) * (0.95 * (1 + np.cos(np.pi * s / STEPS)) / 2 + 0.05) for s in range(STEPS + 1)]
    rate = torch.optim.lr_scheduler.LambdaLR(optimiser, half_cosine.__getitem__)
    torch.manual_seed(seed)
    for step in range(STEPS):
        some = rows[torch.randint(len(rows), (BATCH,))]
        batch = Batch(data.x, None, data.lengths).rows(some)
        weight = min(1.0, 0.1 + step / (0.3 * STEPS))
        optimiser.zero_grad()
        made(batch, KLWeights(weight, weight), recombine and step > STEPS / 2)["loss"].backward()
        nn.utils.clip_grad_norm_(made.parameters(), 100.0)
        optimiser.step()
        rate.step()
    made.eval()
    with torch.no_grad():
        terms = made(Batch(data.x, None, data.lengths).rows(torch.from_numpy(data.measured)), KLWeights())
        return Fitted(made, data), {name: float(terms[name]) for name in ("elbo", "kl_static", "kl_dynamic")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=["Simulated", "Vowels"], choices=["Simulated", "Vowels"])
    parser.add_argument("--views", nargs="+", default=list(VIEWS), choices=VIEWS)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument(
        "--recombine", action="store_true", help="recombined clips in the second half, as fits have them"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    for kind in options.data:
        data = Simulated() if kind == "Simulated" else Vowels()
        for seed in range(options.seeds):
            for name in options.views:
                made, terms = fitted(data, VIEWS[name], seed, options.recombine)
                with torch.no_grad():
                    test = data.measured
                    rec = made.explained(decode(made.model, made.f, made.z)[test], data.x[test], made.exists[test])
                    found = {"rec": rec, **data.measure(made), **terms}
                said = "  ".join(f"{what} {value:.2f}" for what, value in found.items())
                print(f"{kind}, {name}, seed {seed}: {said}", flush=True)


if __name__ == "__main__":
    main()
