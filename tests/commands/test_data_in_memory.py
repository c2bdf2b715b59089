"""Data that are given from Python: any kind is read as its file would be, and a run opens with them or with its copy."""

import shutil
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray
import yaml

import pyro_dsvae
from pyro_dsvae import SequenceData, SeriesTable, cli
from pyro_dsvae import fit as fit_module
from pyro_dsvae.compare import compare
from pyro_dsvae.data.arrays import Arrays
from pyro_dsvae.data.memory.conversion import as_sequences
from pyro_dsvae.data.memory.copy import read_copy, write_copy
from pyro_dsvae.fit import fit
from pyro_dsvae.inference.posteriors.lstm import LSTM as Posterior
from pyro_dsvae.models.dynamic_priors.random_walk import RandomWalk
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.static_priors.standard_normal import StandardNormal
from tests.commands.refusal import the_error
from tests.encoded import small_encoder

N, T, P = 20, 6, 3
FRAMES = np.random.default_rng(0).normal(size=(N, T, P)).astype(np.float32)
GAPS = np.where(np.random.default_rng(1).random(FRAMES.shape) < 0.2, np.nan, FRAMES)
SMALL: dict[str, Any] = {
    "static_prior": StandardNormal,
    "dynamic_prior": RandomWalk,
    "posterior": partial(Posterior, hidden_size=4, feature_size=4),
    "encoder": small_encoder,
    "static_size": 2,
    "latent_size": 2,
    "steps": 2,
    "device": "cpu",
}


def frame() -> pd.DataFrame:
    columns = {name: FRAMES[..., i].ravel() for i, name in enumerate("abc")}
    return pd.DataFrame({"id": np.repeat(np.arange(N), T), "time": np.tile(np.arange(T) ** 1.5, N), **columns})


def ragged() -> list[np.ndarray]:
    return [row[: 2 + i % 5] for i, row in enumerate(FRAMES)]


# --- every kind is read as its file -----------------------------------------------------------------------------------


def test_arrays_in_memory_are_read_as_those_of_a_file(tmp_path: Path) -> None:
    arrays = {
        "frames": GAPS,
        "split": np.arange(N) % 3,
        "labels_who": np.arange(N) % 4,
        "times": np.tile(range(T), (N, 1)),
    }
    np.savez(tmp_path / "a.npz", **arrays)
    np.save(tmp_path / "a.npy", FRAMES)
    whole, plain = (Arrays(str(tmp_path / name)).load().fingerprint() for name in ("a.npz", "a.npy"))
    assert as_sequences(arrays).fingerprint() == whole
    tensors = {name: torch.from_numpy(values) for name, values in arrays.items()}
    assert as_sequences(tensors).fingerprint() == whole
    names = arrays | {"labels_who": pd.Series(np.arange(N) % 4).astype(str).astype(object)}
    assert as_sequences(names).labels["who"].classes == ("0", "1", "2", "3")
    assert as_sequences(FRAMES).fingerprint() == plain
    assert as_sequences(torch.from_numpy(FRAMES)).fingerprint() == plain
    data = as_sequences(FRAMES)
    assert as_sequences(data) is data


def test_sequences_of_different_lengths_are_padded() -> None:
    """A list of them, of tensors too, and the array of objects that NumPy makes of it."""
    objects = np.empty(N, dtype=object)
    objects[:] = ragged()
    for given in (ragged(), [torch.from_numpy(each) for each in ragged()], objects):
        data = as_sequences(given)
        assert data.lengths is not None
        assert data.lengths.tolist() == [2 + i % 5 for i in range(N)]
        for row, own in zip(data.frames, ragged(), strict=True):
            assert np.array_equal(row[: len(own)].numpy(), own)


def test_tables_in_memory_are_read_as_those_of_a_file(tmp_path: Path) -> None:
    table = frame()
    table.to_parquet(tmp_path / "a.parquet")
    expected = SeriesTable(tmp_path / "a.parquet").load().fingerprint()
    indexed = table.set_index(["id", "time"])
    for given in (table, indexed, indexed.to_xarray()):
        assert as_sequences(given).fingerprint() == expected
    assert isinstance(indexed.to_xarray(), xarray.Dataset)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (object(), "data is .*object.*; give an object, such as .* or SequenceData, an array or a tensor"),
        ("fever.csv", r"data is 'fever.csv'; give the object, such as SeriesTable\('fever.csv'\)"),
        ("clips.npz", r"data is 'clips.npz'; give the object, such as Arrays\('clips.npz'\)"),
        (Arrays, r"data is the class Arrays; give an object"),
        ([1, 2], "data is .*; give an object"),
        (
            [FRAMES[0], FRAMES[1, :, :2]],
            r"sequences have frames of \(2,\) and \(3,\); all are \(T, …\), alike but for T",
        ),
        (np.array([["a"]]), "frames are <U1; convert them"),
        (np.zeros(()), r"they must be \(N, T\)"),
        ({"frames": FRAMES, "labelswho": np.zeros(N)}, r"has an unknown array 'labelswho' \(did you mean labels_\?\)"),
        (pd.DataFrame({"x": [1.0]}), "none of the columns x is called time"),
    ],
)
def test_what_holds_no_sequences_is_told_in_one_line(tmp_path: Path, given: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        fit(data=given, out=tmp_path / "run", **SMALL)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


# --- runs -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of a frame, one of which keeps a copy."""
    folder = tmp_path_factory.mktemp("runs")
    for name, kept in (("kept", True), ("bare", False)):
        fit(data=frame(), out=folder / name, keep_data=kept, **SMALL)
    return folder


def test_a_run_opens_with_its_data(runs: Path) -> None:
    with pytest.raises(
        UsageError, match=r"a DataFrame, and no copy was kept: give them again, pyro_dsvae.load\(RUN, data=…"
    ):
        pyro_dsvae.load(runs / "bare").sequences()
    run = pyro_dsvae.load(runs / "bare", data=frame())
    expected = SeriesTable().read(frame())
    assert run.sequences().fingerprint() == expected.fingerprint()
    other = frame()
    other.loc[3, "a"] += 1
    with pytest.raises(UsageError, match="was fitted to other data than those that were given"):
        pyro_dsvae.load(runs / "bare", data=other).sequences()


def test_a_run_with_a_copy_needs_nothing_and_may_be_moved(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(runs / "kept", tmp_path / "there" / "moved")
    monkeypatch.chdir(tmp_path)
    data = pyro_dsvae.load("there/moved").sequences()
    assert data.fingerprint() == SeriesTable().read(frame()).fingerprint()
    assert data.names is not None
    assert data.names.columns == ("a", "b", "c")
    fit_module.main(["--out", "there/moved", "--resume", "--steps", "3"])
    with pytest.raises(SystemExit) as stopped:
        cli.main(fit_module.main, ["--out", str(shutil.copytree(runs / "bare", "bare")), "--resume"])
    assert stopped.value.code == 2


def test_the_configuration_of_a_run_with_a_copy_repeats_it(runs: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    fit_module.main(["--config", str(runs / "kept" / "config.yaml"), "--out", str(again)])
    states = [torch.load(run / "checkpoint.pt", weights_only=True) for run in (runs / "kept", again)]
    assert all(torch.equal(v, states[1]["objective"][k]) for k, v in states[0]["objective"].items())
    assert len(list(again.glob("data-*.pt"))) == 1


def test_a_fit_is_resumed_with_its_data(runs: Path, tmp_path: Path) -> None:
    for name in ("kept", "bare"):
        shutil.copytree(runs / name, tmp_path / name)
        more = SMALL | {"steps": 4}
        assert fit(data=frame(), out=tmp_path / name, resume=True, **more).finished
        assert yaml.safe_load((tmp_path / name / "config.yaml").read_text())["steps"] == 4
        with pytest.raises(UsageError, match="was fitted to other data"):
            fit(data=frame().iloc[6:], out=tmp_path / name, resume=True, **more)


def test_a_comparison_takes_data_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyro_dsvae.judges.motion.TRAINING_STEPS", 2)
    options = {name: value for name, value in SMALL.items() if name != "dynamic_prior"}
    compare(
        data=FRAMES, vary={"dynamic_prior": ["RandomWalk", "IID"]}, out=tmp_path / "c", draws=25, seeds=1, **options
    )
    assert all((tmp_path / "c" / "runs" / f"{name}-seed0" / "summary.json").is_file() for name in ("RandomWalk", "IID"))


def test_only_data_in_memory_are_copied(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", FRAMES)
    with pytest.raises(UsageError, match="keep_data is for data in memory; those of Arrays are read again"):
        fit(data=Arrays(str(tmp_path / "a.npy")), out=tmp_path / "run", keep_data=True, **SMALL)


def test_a_copy_holds_everything_and_damage_is_told(tmp_path: Path) -> None:
    table = frame()
    table["who"] = table.id % 3
    data = SeriesTable(static="who").read(table)
    arrays = as_sequences({"frames": GAPS, "quantities_speed": FRAMES, "unit_speed": np.array("m/s")})
    for given in (
        data,
        arrays,
        SequenceData(torch.zeros(3, 4, 2, dtype=torch.uint8), torch.zeros(3, dtype=torch.uint8)),
        SequenceData(torch.zeros(3, 4, 2), torch.zeros(3, dtype=torch.uint8), recordings=torch.tensor([0, 0, 1])),
    ):
        write_copy(tmp_path / "copy.pt", given)
        found = read_copy(tmp_path / "copy.pt")
        assert found.fingerprint() == given.fingerprint()
        assert found.names == given.names
        missing = {field.name for field in fields(given) if (getattr(given, field.name) is None)}
        assert {field.name for field in fields(found) if (getattr(found, field.name) is None)} == missing
    (tmp_path / "copy.pt").write_bytes((tmp_path / "copy.pt").read_bytes()[:300])
    with pytest.raises(UsageError, match=r"copy.pt is damaged .*; restore it, or give the data again"):
        read_copy(tmp_path / "copy.pt")


def test_the_command_refuses_a_run_without_its_data_in_one_line(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from pyro_dsvae import latents

    with pytest.raises(SystemExit) as stopped:
        cli.main(latents.main, ["encode", str(runs / "bare"), "--out", str(tmp_path / "codes")])
    assert stopped.value.code == 2
    assert "and no copy was kept: give them again" in the_error(capsys.readouterr().err)
    assert latents.main(["encode", str(runs / "kept"), "--out", str(tmp_path / "codes")]) == 0
