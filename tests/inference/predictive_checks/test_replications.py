"""Replications at every level, against the predictive distributions of a linear-Gaussian model that are known exactly."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pyro
import pytest
import torch
from planted_misfits import NOISE, SHAPE, D, F, T, World
from torch import Tensor

from pyro_dsvae.inference.estimation import Sampler
from pyro_dsvae.inference.posteriors.delta import Delta
from pyro_dsvae.inference.posteriors.lstm import LSTM as LSTMPosterior
from pyro_dsvae.inference.predictive_checks.replications import LEVELS, Replications, replicate
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.dynamic_priors.linear_gaussian import LinearGaussian
from pyro_dsvae.models.dynamic_priors.lstm import LSTM as LSTMPrior
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.likelihoods.normal import Normal
from pyro_dsvae.models.static_priors.standard_normal import StandardNormal
from tests.decoded import decoded_by
from tests.encoded import small_encoder

P = math.prod(SHAPE)


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    pyro.set_rng_seed(0)
    pyro.clear_param_store()
    yield
    assert len(pyro.get_param_store()) == 0


def clips(count: int, **options: Any) -> Sequences:
    world = World.of()
    fields = {"mask": None, "lengths": None, "times": None, **options}
    return Sequences(
        world.frames(*world.latents(count)), fields["mask"], fields["lengths"], torch.arange(count), fields["times"]
    )


def replications(sequences: Sequences, **options: Any) -> list[Replications]:
    world = World.of()
    sampler = Sampler(
        world.model, world.guide, max_frames=options.pop("max_frames", None), progress=options.pop("progress", None)
    )
    return list(replicate(sampler, sequences, **options))


@dataclass(frozen=True)
class Joined:
    """All chunks of one level: (K, N, ...)."""

    x: Tensor
    mean: Tensor
    f: Tensor
    z: Tensor


def joined(made: list[Replications], level: str) -> Joined:
    mine = [m for m in made if m.level == level]
    draws = sum(len(m.x) for m in mine if int(m.positions[0]) == 0)
    count = int(max(m.positions.max() for m in mine)) + 1
    values = []
    for value in (lambda m: m.x, lambda m: m.mean, lambda m: m.latents.f, lambda m: m.latents.z):
        whole = torch.full((draws, count, *value(mine[0]).shape[2:]), math.nan)
        for m in mine:
            whole[m.first : m.first + len(m.x), m.positions] = value(m)
        values.append(whole)
    return Joined(*values)


# --- the predictive distributions -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Exact:
    """Mean and covariance of x' (T P) of one clip x at every level, from one dense normal over (f, z, x)."""

    moments: dict[str, tuple[np.ndarray, np.ndarray]]

    @classmethod
    def of(cls, x: Tensor) -> "Exact":
        decoder = World.of().model.decoder
        W, C = decoder.W.double().numpy(), decoder.C.double().numpy()
        lag = np.abs(np.subtract.outer(np.arange(T), np.arange(T)))
        # The prior's timescale is 4 steps, its stationary scale 1.
        prior_z = np.kron(np.exp(-lag / 4.0), np.eye(D))
        by_f, by_z = np.tile(W, (T, 1)), np.kron(np.eye(T), C)
        M = np.hstack([by_f, by_z])
        prior = np.zeros((F + T * D, F + T * D))
        prior[:F, :F], prior[F:, F:] = np.eye(F), prior_z
        noise = NOISE**2 * np.eye(T * P)
        gain = prior @ M.T @ np.linalg.inv(M @ prior @ M.T + noise)
        mean = gain @ x.double().numpy().reshape(-1)
        covariance = prior - gain @ M @ prior
        return cls(
            {
                "frames": (M @ mean, M @ covariance @ M.T + noise),
                "dynamic": (by_f @ mean[:F], by_f @ covariance[:F, :F] @ by_f.T + by_z @ prior_z @ by_z.T + noise),
                "static": (by_z @ mean[F:], by_f @ by_f.T + by_z @ covariance[F:, F:] @ by_z.T + noise),
                "population": (np.zeros(T * P), M @ prior @ M.T + noise),
            }
        )


def test_replications_have_the_exact_predictive_distribution_of_their_level() -> None:
    """Means, and covariances in 20 random directions, within 4.5 standard errors."""
    draws, sequences = 3_000, clips(2)
    made = replications(sequences, draws=draws)
    directions = torch.randn(20, T * P).double()
    for level, row in product(LEVELS, range(2)):
        x = joined(made, level).x[:, row].flatten(1).double() @ directions.T
        mean, covariance = Exact.of(sequences.frames[row]).moments[level]
        expected = directions.numpy() @ mean
        variance = np.einsum("ij,jk,ik->i", directions.numpy(), covariance, directions.numpy())
        assert (np.abs(x.mean(0).numpy() - expected) < 4.5 * np.sqrt(variance / draws)).all(), (level, row)
        assert (np.abs(x.var(0).numpy() / variance - 1) < 4.5 * math.sqrt(2 / draws)).all(), (level, row)


def test_the_mean_is_the_decoder_at_the_latents_and_x_has_the_noise() -> None:
    sequences = clips(40)
    made = replications(sequences, draws=30)
    decoder = World.of().model.decoder
    for level in LEVELS:
        level_draws = joined(made, level)
        torch.testing.assert_close(level_draws.mean, decoder(level_draws.f, level_draws.z))
        noise = (level_draws.x - level_draws.mean).double()
        values = noise.numel()
        assert abs(float(noise.mean())) < 4.5 * NOISE / values**0.5
        assert abs(float(noise.std()) / NOISE - 1) < 4.5 / (2 * values) ** 0.5


def test_levels_keep_the_latents_they_say_they_keep() -> None:
    made = replications(clips(5), draws=7)
    frames, dynamic, static, population = (joined(made, level) for level in LEVELS)
    assert torch.equal(dynamic.f, frames.f)
    assert torch.equal(static.z, frames.z)
    for new, old in ((dynamic.z, frames.z), (static.f, frames.f), (population.f, static.f), (population.z, dynamic.z)):
        assert not (new == old).any()


# --- chunks, seeds, modes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_frames", [1, 24, 100, 10**6])
def test_every_draw_of_every_sequence_is_made_once_and_chunks_are_bounded(max_frames: int) -> None:
    made = replications(clips(7), draws=5, max_frames=max_frames)
    for level in LEVELS:
        seen = [
            (draw, row)
            for m in made
            if m.level == level
            for draw in range(m.first, m.first + len(m.x))
            for row in m.positions.tolist()
        ]
        assert sorted(seen) == list(product(range(5), range(7)))
    assert max(m.x.shape[0] * m.x.shape[1] * T for m in made) <= max(max_frames, T)


def test_a_seed_says_all_and_nothing_global_does() -> None:
    sequences = clips(6)
    pyro.set_rng_seed(1)
    first = replications(sequences, draws=3, seed=5, max_frames=24)
    pyro.set_rng_seed(2)
    again = replications(sequences, draws=3, seed=5, max_frames=24)
    other = replications(sequences, draws=3, seed=6, max_frames=24)
    assert all(torch.equal(a.x, b.x) for a, b in zip(first, again, strict=True))
    assert not any((a.x == b.x).any() for a, b in zip(first, other, strict=True))
    # Chunks of one call differ, too.
    assert len({float(m.x.sum()) for m in first}) == len(first)


@pytest.mark.parametrize("level", LEVELS)
def test_a_level_draws_the_same_whatever_other_levels_are_made(level: str) -> None:
    sequences = clips(4)
    alone = replications(sequences, draws=3, levels=(level,), max_frames=48)
    together = [m for m in replications(sequences, draws=3, max_frames=48) if m.level == level]
    assert all(torch.equal(a.x, b.x) for a, b in zip(alone, together, strict=True))


def test_between_chunks_generators_and_modes_are_as_they_were() -> None:
    """A reader that draws random numbers, or trains, does not change the replications, and is not changed by them."""
    world, sequences = World.of(), clips(6)
    world.model.train()
    expected = [m.x for m in replicate(Sampler(world.model, world.guide, max_frames=16), sequences, draws=2)]
    state = torch.get_rng_state()
    for made, x in zip(
        replicate(Sampler(world.model, world.guide, max_frames=16), sequences, draws=2), expected, strict=True
    ):
        assert world.model.training
        assert torch.is_grad_enabled()
        assert torch.equal(torch.get_rng_state(), state)
        assert torch.equal(made.x, x)
        torch.randn(3)
        state = torch.get_rng_state()


def test_progress_rises_to_one() -> None:
    told: list[float] = []
    replications(clips(5), draws=4, max_frames=32, progress=told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0


# --- what was not observed --------------------------------------------------------------------------------------------


def model_and_guide(kind: Any = LSTMPosterior) -> tuple[DSVAE, Any]:
    model = DSVAE(StandardNormal(F), LSTMPrior(D), *decoded_by(Normal, F, D, (6,))).eval()
    return model, kind((6,), F, D, small_encoder, hidden_size=5, feature_size=6).eval()


@pytest.mark.parametrize("kind", ["frames", "values"])
def test_replications_are_observed_where_the_data_are_and_see_nothing_else(kind: str) -> None:
    model, guide = model_and_guide()
    x, lengths = torch.rand(5, 4, 6), torch.tensor([4, 2, 3, 4, 2])
    mask = torch.rand(5, 4, *((6,) if kind == "values" else ())) < 0.6
    values = (mask if kind == "values" else mask.unsqueeze(-1)) & (torch.arange(4) < lengths[:, None]).unsqueeze(-1)
    values = values.expand(x.shape)
    results = []
    for hidden in (math.nan, 7.0):
        sequences = Sequences(torch.where(values, x, hidden), mask, lengths, torch.arange(5))
        results.append(list(replicate(Sampler(model, guide, max_frames=24), sequences, draws=3)))
    for a, b in zip(*results, strict=True):
        rows = values[a.positions]
        assert torch.equal(a.x, b.x)
        assert torch.equal(a.data, torch.where(rows, x[a.positions], torch.zeros(())))
        assert a.observed is not None
        assert torch.equal(a.observed.expand(rows.shape), rows)
        for made in (a.x, a.observed_mean):
            assert (made[:, ~rows] == 0).all()
            assert (made[:, rows] != 0).all()


def test_new_paths_are_at_the_times_of_their_clip() -> None:
    """Correlation of neighbouring z of a linear stochastic equation: exp(-dt / timescale), with each clip's own dt."""
    gaps = torch.tensor([0.5, 6.0])
    times = torch.arange(3) * gaps[:, None]
    model = DSVAE(StandardNormal(F), LinearGaussian(D, timescale=4.0), *decoded_by(Normal, F, D, (6,))).eval()
    sequences = Sequences(torch.rand(2, 3, 6), None, None, torch.arange(2), times)
    made = list(
        replicate(Sampler(model, model_and_guide()[1]), sequences, levels=("population", "dynamic"), draws=4_000)
    )
    for level in ("population", "dynamic"):
        z = joined(made, level).z
        for row in range(2):
            found = float((z[:, row, 1:] * z[:, row, :-1]).mean())
            # 16,000 products with a standard deviation of about 1.2.
            assert found == pytest.approx(math.exp(-float(gaps[row]) / 4), abs=4.5 * 1.3 / 8_000**0.5)


def test_a_point_guide_replicates_one_point() -> None:
    """Every draw of Delta is the same; what is new differs."""
    model, guide = model_and_guide(Delta)
    made = list(replicate(Sampler(model, guide), Sequences(torch.rand(3, 4, 6), None, None, torch.arange(3)), draws=4))
    frames, dynamic, static, _ = (joined(made, level) for level in LEVELS)
    assert frames.f.shape == (4, 3, F)
    assert (frames.f == frames.f[0]).all()
    assert (frames.z == frames.z[0]).all()
    assert not (dynamic.z[1:] == dynamic.z[0]).any()
    assert not (static.f[1:] == static.f[0]).any()
    assert not (frames.x[1:] == frames.x[0]).any()


# --- what a user can get wrong ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"levels": ("frame",)}, "levels frames, dynamic, static, population, not frame"),
        ({"levels": ()}, "not none"),
        ({"draws": 0}, "at least 1 replication"),
    ],
)
def test_what_cannot_be_replicated_is_said_before_anything_is_drawn(options: dict[str, Any], message: str) -> None:
    world = World.of()
    with pytest.raises(UsageError, match=message):
        replicate(Sampler(world.model, world.guide), clips(2), **options)
