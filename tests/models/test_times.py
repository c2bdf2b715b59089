"""Observation times, from a user's file to the prior."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pyro_dsvae import fit
from pyro_dsvae.configuration.catalogue import DYNAMIC_PRIORS, PARTS
from pyro_dsvae.data.arrays import Arrays
from pyro_dsvae.inference.elbo import SequenceELBO
from pyro_dsvae.inference.posteriors.guide_input import GuideInput
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.steps import Steps
from tests.decoded import SMALL_DECODER, decoded_by
from tests.encoded import SMALL_ENCODER, small_encoder

N, T, P = 12, 5, 3
TINY = [
    "--static_size=2",
    "--latent_size=2",
    "--steps=2",
    "--optimisation.batch_size=4",
    "--optimisation.evaluations=1",
]
SMALL = ["--posterior.hidden_size=4", "--posterior.feature_size=4", *SMALL_ENCODER, *SMALL_DECODER]
CONTINUOUS = [name for name, kind in DYNAMIC_PRIORS.items() if kind.continuous_time]
DISCRETE = [name for name in DYNAMIC_PRIORS if name not in CONTINUOUS]


def saved(path: Path, times: np.ndarray) -> Path:
    rng = np.random.default_rng(0)
    frames = rng.standard_normal((N, T, P)).astype(np.float32)
    np.savez(path, frames=frames, times=times, split=np.repeat([0, 1, 2], N // 3))
    return path


@pytest.fixture
def irregular(tmp_path: Path) -> Path:
    gaps = np.random.default_rng(1).uniform(0.2, 3, (N, T))
    # Seconds of an epoch: intervals that single precision would lose.
    return saved(tmp_path / "irregular.npz", 1.7e9 + gaps.cumsum(1))


def run(data: Path, prior: str) -> int:
    out = data.parent / f"run-{prior}"
    options = [*TINY, *SMALL, f"--dynamic_prior={prior}", f"--out={out}"]
    return fit.main(["--data=Arrays", f"--data.path={data}", *options])


def test_which_priors_are_in_continuous_time() -> None:
    assert set(CONTINUOUS) == {"RandomWalk", "LinearGaussian", "GaussianProcess", "IID"}


@pytest.mark.parametrize("prior", DISCRETE)
def test_other_priors_refuse_irregular_times(irregular: Path, prior: str) -> None:
    with pytest.raises(UsageError, match=rf"not equally spaced.*{prior} cannot tell: use one of RandomWalk, Linear"):
        run(irregular, prior)
    assert not (irregular.parent / f"run-{prior}").exists()


@pytest.mark.parametrize("prior", CONTINUOUS)
def test_priors_in_continuous_time_take_them(irregular: Path, prior: str) -> None:
    assert run(irregular, prior) == 0


@pytest.mark.parametrize("prior", ["LSTM", "RandomWalk"])
def test_regular_times_suit_every_prior(tmp_path: Path, prior: str) -> None:
    assert run(saved(tmp_path / "regular.npz", np.tile(0.04 * np.arange(T) + 7, (N, 1))), prior) == 0


def test_the_prior_of_a_batch_is_that_of_its_times(irregular: Path) -> None:
    """The KL of z in the ELBO is that of a walk over the intervals of the file, and not that of one over unit steps."""
    data = Arrays(irregular).load()
    torch.manual_seed(0)
    prior = DYNAMIC_PRIORS["RandomWalk"](2)
    guide = PARTS["posterior"]["Factorised"]((P,), 2, 2, small_encoder, hidden_size=4, feature_size=4)
    model = DSVAE(
        PARTS["static_prior"]["StandardNormal"](2), prior, *decoded_by(PARTS["likelihood"]["Normal"], 2, 2, (P,))
    )
    batch = data.sequences("train").batch(torch.arange(4), model.likelihood, torch.device("cpu"))
    terms = SequenceELBO().terms(model, guide, *batch)

    q = guide.dynamic(GuideInput.of(batch.x), torch.zeros(4, 2)).base_dist
    intervals = torch.from_numpy(np.diff(np.load(irregular)["times"][:4], axis=1)).float()
    start, walk = (
        prior(torch.zeros(4, 2), Steps(T)).transitions.scale[0],
        prior(torch.zeros(4, 2), Steps(T)).transitions.scale[1],
    )
    expected = -q.entropy().flatten(1).sum(1)
    for t in range(T):
        scale = start if t == 0 else walk * intervals[:, t - 1, None].sqrt()
        before = (0, 0) if t == 0 else (q.loc[:, t - 1], q.variance[:, t - 1])
        square = (q.loc[:, t] - before[0]) ** 2 + q.variance[:, t] + before[1]
        expected = expected + (0.5 * square / scale**2 + scale.log() + 0.9189385332).sum(1)
    torch.testing.assert_close(terms.kl["z"], expected, rtol=1e-4, atol=1e-4)
