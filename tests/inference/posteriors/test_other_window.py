"""Guide views that infer f from another window of the recording."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import pyro_dsvae
from pyro_dsvae import Arrays
from pyro_dsvae.data.dataset import SequenceData
from pyro_dsvae.fit import fit
from pyro_dsvae.inference.posteriors import LSTM as Posterior
from pyro_dsvae.inference.posteriors.views import NoViews, OtherWindow, Rescale
from pyro_dsvae.inference.training.schedule import Optimisation
from pyro_dsvae.models.decoders import Dense as Decoder
from pyro_dsvae.models.dynamic_priors import LSTM
from pyro_dsvae.models.encoders import Dense
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.static_priors import StandardNormal

ENTITIES, WINDOWS, T, P = 60, 8, 6, 4


def postures(directory: Path) -> tuple[Arrays, torch.Tensor, torch.Tensor]:
    """Windows a_i + b_w + noise: a_i is of an entity, b_w one of three postures, and both stay all through a window."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(ENTITIES, P)), 1.5 * rng.normal(size=(3, P))
    entity, posture = np.repeat(np.arange(ENTITIES), WINDOWS), rng.integers(0, 3, ENTITIES * WINDOWS)
    levels, postured = a[entity], b[posture]
    frames = levels[:, None] + postured[:, None] + 0.2 * rng.normal(size=(len(entity), T, P))
    split = np.where(entity < 40, 0, np.where(entity < 50, 1, 2))
    names = [f"patient {i}" for i in entity]
    np.savez(directory / "postures.npz", frames=frames.astype(np.float32), split=split, recordings=names)
    test = split == 2
    return Arrays(str(directory / "postures.npz")), torch.tensor(levels[test]), torch.tensor(postured[test])


def explained(found: torch.Tensor, true: torch.Tensor) -> float:
    """Share of the variance."""
    return float(1 - (found - true).square().sum() / (true - true.mean(0)).square().sum())


def test_what_differs_between_windows_goes_with_z_though_it_never_changes_within_one(tmp_path: Path) -> None:
    """The oracle of a swap is the simulation: a of the entity of f, and b of the window of z."""
    source, levels, postured = postures(tmp_path)
    shares = {}
    for views in (OtherWindow(), Rescale()):
        fit(
            data=source,
            out=tmp_path / type(views).__name__,
            static_size=8,
            latent_size=3,
            static_prior=StandardNormal,
            dynamic_prior=partial(LSTM, hidden_size=16),
            encoder=partial(Dense, units=32),
            decoder=partial(Decoder, units=32),
            posterior=partial(Posterior, hidden_size=16, feature_size=16, views=views),
            steps=250,
            optimisation=Optimisation(learning_rate=1e-2, evaluations=1, prior_refit_steps=0, kl_static=0.01),
            device="cpu",
        )
        run = pyro_dsvae.load(tmp_path / type(views).__name__)
        test = run.sequences().part("test")
        codes = run.encode(test.frames)
        others = torch.arange(len(test)).roll(3 * WINDOWS + 1)
        swapped = run.decode(codes.f, codes.z[others]).double().mean(1)
        shares[type(views)] = explained(swapped, levels + postured[others])
    assert shares[OtherWindow] > 0.5
    assert shares[Rescale] < 0


@pytest.mark.parametrize("recordings", [None, torch.arange(12)])
def test_data_that_know_no_other_windows_are_refused_and_leave_nothing(
    tmp_path: Path, recordings: torch.Tensor | None
) -> None:
    split = torch.arange(12, dtype=torch.uint8) % 3
    data = SequenceData(torch.randn(12, T, P), split, recordings=recordings)
    with pytest.raises(UsageError, match="no two training sequences are known to be of one: cut a table or an array"):
        fit(data=data, out=tmp_path / "run", posterior=partial(Posterior, views="other_window"), steps=1)
    assert not list(tmp_path.iterdir())


def test_views_ask_for_the_recordings_that_they_use() -> None:
    data = SequenceData(torch.randn(6, T, P), torch.tensor([0, 0, 0, 0, 1, 2], dtype=torch.uint8))
    known = SequenceData(data.frames, data.split, recordings=torch.tensor([7, 7, 3, 3, 7, 3])).sequences("train")
    assert all(views.recordings(known) is None for views in (NoViews(), Rescale()))
    assert OtherWindow().recordings(known).tolist() == [7, 7, 3, 3]
