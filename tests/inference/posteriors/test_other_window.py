"""Guide views that infer f from another window of the recording."""

import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import pyro_dsvae
from pyro_dsvae import Arrays, SeriesTable
from pyro_dsvae.compare import compare
from pyro_dsvae.comparison.comparability import check_runs
from pyro_dsvae.data.dataset import SequenceData
from pyro_dsvae.data.reading import read_again
from pyro_dsvae.fit import fit
from pyro_dsvae.inference.posteriors import LSTM as Posterior
from pyro_dsvae.inference.posteriors.views import Jitter, NoViews, OtherWindow, Rescale, Turn, VocalTract
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.inference.training.schedule import Optimisation
from pyro_dsvae.models.decoders import Dense as Decoder
from pyro_dsvae.models.decoders import Joined
from pyro_dsvae.models.dynamic_priors import LSTM
from pyro_dsvae.models.encoders import Dense
from pyro_dsvae.models.errors import Remark, UsageError
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


def test_what_differs_between_windows_goes_with_z_though_it_never_changes_within_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
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
        said = "f is inferred from another sequence of the same recording or subject; 40 of them have several"
        assert (said in capsys.readouterr().err) == (type(views) is OtherWindow)
        run = pyro_dsvae.load(tmp_path / type(views).__name__)
        test = run.sequences().part("test")
        codes = run.encode(test.frames)
        others = torch.arange(len(test)).roll(3 * WINDOWS + 1)
        swapped = run.decode(codes.f, codes.z[others]).double().mean(1)
        shares[type(views)] = explained(swapped, levels + postured[others])
    assert shares[OtherWindow] > 0.5
    assert shares[Rescale] < 0


@pytest.mark.parametrize("recordings", [None, torch.arange(12), torch.zeros(12, dtype=torch.int64)])
def test_data_that_know_no_other_windows_are_refused_and_leave_nothing(
    tmp_path: Path, recordings: torch.Tensor | None
) -> None:
    split = torch.arange(12, dtype=torch.uint8) % 3
    data = SequenceData(torch.randn(12, T, P), split, recordings=recordings)
    with pytest.raises(UsageError, match="are not known to be of several recordings, some of two windows or more: cut"):
        fit(data=data, out=tmp_path / "run", posterior=partial(Posterior, views="other_window"), steps=1)
    assert not list(tmp_path.iterdir())


def train(recordings: torch.Tensor | None) -> Sequences:
    """Four training sequences, and one of each other split."""
    split = torch.tensor([0, 0, 0, 0, 1, 2], dtype=torch.uint8)
    return SequenceData(torch.randn(6, T, P), split, recordings=recordings).sequences("train")


def test_views_ask_for_the_recordings_that_they_use() -> None:
    known = train(torch.tensor([7, 7, 3, 3, 7, 3]))
    assert NoViews().recordings(known) is None
    assert Rescale().recordings(known) is None
    for views in (VocalTract(), OtherWindow(), Turn(), Jitter()):
        found = views.recordings(known)
        assert found is not None
        assert found.tolist() == [7, 7, 3, 3]


def test_recordings_of_one_training_window_each_are_none_and_so_is_one_of_all() -> None:
    """Or f would not wait for z, or would have nothing to say. What lies in other splits does not count."""
    assert Turn().recordings(train(torch.tensor([5, 5, 5, 5, 0, 1]))) is None
    assert VocalTract().recordings(train(torch.tensor([0, 1, 2, 3, 0, 1]))) is None
    with pytest.warns(
        Remark, match="2 of 4 training sequences are the only window of their recording, so f of these is"
    ):
        assert VocalTract().recordings(train(torch.tensor([0, 0, 2, 3, 0, 1]))) is not None


def test_a_run_that_was_fitted_without_recordings_goes_on_without(tmp_path: Path) -> None:
    """Else a fit that was begun by an earlier version would infer f from other sequences from its resumption on."""
    recordings = np.arange(12) // 2
    np.savez(
        tmp_path / "mine.npz", frames=np.random.default_rng(0).random((12, T, P), np.float32), recordings=recordings
    )
    source = Arrays(str(tmp_path / "mine.npz"))
    data = source.load()
    before = replace(data, recordings=None).fingerprint()
    assert read_again(source, before).recordings is None
    for known in (data.fingerprint(), None):
        found = read_again(source, known).recordings
        assert found is not None
        assert found.tolist() == recordings.tolist()


def test_a_run_without_recordings_compares_with_one_that_knows_them_in_either_order(tmp_path: Path) -> None:
    frames, split = np.random.default_rng(0).random((12, T, P), np.float32), np.arange(12) // 2 % 3
    np.savez(tmp_path / "mine.npz", frames=frames, recordings=np.arange(12) // 2, split=split)
    source = Arrays(str(tmp_path / "mine.npz"))
    small = partial(Posterior, hidden_size=8, feature_size=8)
    paths = [fit(data=source, out=tmp_path / n, posterior=small, steps=1, device="cpu").run for n in ("old", "new")]
    state = torch.load(paths[0] / "best.pt")
    state["data"] = replace(source.load(), recordings=None).fingerprint()
    torch.save(state, paths[0] / "best.pt")
    runs = [(path.name, pyro_dsvae.load(path)) for path in paths]
    assert runs[0][1].sequences().recordings is None
    for order in (runs, runs[::-1]):
        assert len(check_runs(order)) == 12
    np.savez(tmp_path / "mine.npz", frames=1 - frames, recordings=np.arange(12) // 2, split=split)
    state["data"] = replace(source.load(), recordings=None).fingerprint()
    torch.save(state, paths[0] / "best.pt")
    with pytest.raises(UsageError, match="different data or splits"):
        check_runs([(path.name, pyro_dsvae.load(path)) for path in paths])


def test_a_fit_without_f_infers_it_from_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames, recordings = np.zeros((20, T, 1, 8, 8), np.uint8), np.arange(20) // 2
    np.savez(tmp_path / "mine.npz", frames=frames, recordings=recordings)
    for size in (0, 2):
        fit(
            data=Arrays(str(tmp_path / "mine.npz")),
            out=tmp_path / f"run-{size}",
            static_size=size,
            latent_size=2,
            decoder=partial(Joined, width=4),
            posterior=partial(Posterior, hidden_size=8, feature_size=8),
            steps=1,
            device="cpu",
        )
        assert ("in training f is inferred from another" in capsys.readouterr().err) == (size > 0)


def test_a_comparison_is_refused_before_its_first_fit(tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", frames=np.zeros((12, T, P), np.float32))
    data, views = Arrays(str(tmp_path / "mine.npz")), partial(Posterior, views="other_window")
    with pytest.raises(UsageError, match="OtherWindow infer f from another window"):
        compare(data=data, vary={"posterior": [Posterior, views]}, steps=1, seeds=1, out=tmp_path / "out")
    assert not list(tmp_path.glob("out/**/checkpoint.pt"))


@pytest.mark.parametrize(
    ("recordings", "said"),
    [
        (np.arange(11), "recordings have shape (11,); they must be (12,), a name or a number for each sequence"),
        (np.arange(12) / 2, "recordings are float64; they must be names (strings) or integers"),
    ],
)
def test_recordings_of_a_file_that_mean_nothing_are_refused(tmp_path: Path, recordings: np.ndarray, said: str) -> None:
    np.savez(tmp_path / "mine.npz", frames=np.zeros((12, T, P), np.float32), recordings=recordings)
    with pytest.raises(UsageError, match=re.escape(said)):
        Arrays(str(tmp_path / "mine.npz")).load()


def test_recordings_of_a_file_are_in_one_split_each_or_it_is_said(tmp_path: Path) -> None:
    file, arrays = tmp_path / "mine.npz", {"frames": np.zeros((60, T, P), np.float32)}
    recordings = np.tile([f"pump {i}" for i in range(20)], 3)
    np.savez(file, **arrays, recordings=recordings)
    data = Arrays(str(file)).load()
    assert {len(data.split[torch.from_numpy(recordings == name)].unique()) for name in recordings} == {1}
    assert data.split.bincount().tolist() == [42, 6, 12]
    np.savez(file, **arrays, recordings=np.char.add(recordings, np.where(np.arange(60) < 20, " ", "")))
    spaced = Arrays(str(file)).load()  # a space at the end makes no other recording
    assert torch.equal(spaced.split, data.split)
    np.savez(file, **arrays, recordings=recordings, split=np.arange(60) % 3)
    with pytest.warns(Remark, match="20 of 20 recordings are in several splits"):
        Arrays(str(file)).load()
    np.savez(file, **arrays, recordings=np.zeros(60, int))
    with pytest.raises(UsageError, match=r"of 1 recording leave an empty split, .*; give 3 recordings or more"):
        Arrays(str(file)).load()
    np.savez(file, **arrays, recordings=np.where(np.arange(60) == 7, " ", recordings))
    with pytest.raises(UsageError, match="recordings have no name for sequence 7; give each one, its own where it is"):
        Arrays(str(file)).load()


def test_sources_know_what_their_windows_are_of(tmp_path: Path) -> None:
    rows = pd.DataFrame({"who": np.repeat([*"abcdefghi"], 8), "t": np.tile(np.arange(8), 9), "x": np.arange(72.0)})
    table = SeriesTable(entity="who", time="t", window=4).read(rows)
    assert table.recordings is not None
    assert table.names is not None
    assert [*table.names.entities] == ["abcdefghi"[i] for i in table.recordings.tolist()]
    np.save(tmp_path / "long.npy", np.arange(60, dtype=np.float32))
    long = Arrays(str(tmp_path / "long.npy"), layout="T", window=4).load()
    assert long.recordings is not None
    assert set(long.recordings.tolist()) == {0}
    # Those that the owner gives go before the numbers of what is cut.
    names = np.repeat(["pump", "fan"], 10)
    split = np.arange(20) % 3
    np.savez(tmp_path / "mine.npz", frames=np.zeros((20, 8, P), np.float32), recordings=names, split=split)
    with pytest.warns(Remark, match="2 of 2 recordings are in several splits"):
        own = Arrays(str(tmp_path / "mine.npz"), window=4).load()
    assert own.recordings is not None
    assert own.recordings.tolist() == [1] * 20 + [0] * 20
