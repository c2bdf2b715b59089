"""The run that comes with the package works right after installation, and nothing is ever written into the package."""

import shutil
from pathlib import Path

import pytest
import torch

import pyro_dsvae
from pyro_dsvae import latents, pretrained
from pyro_dsvae.models.errors import Remark, UsageError
from pyro_dsvae.runs.evaluations import evaluations, record
from pyro_dsvae.runs.run import Run

SHIPPED = pretrained.FOLDER / "sprites"


@pytest.fixture(scope="module")
def shipped() -> Run:
    return pyro_dsvae.load("sprites")


def files() -> list[str]:
    return sorted(str(path.relative_to(SHIPPED)) for path in SHIPPED.rglob("*"))


def test_it_is_small_and_holds_what_opens_a_run() -> None:
    assert pretrained.names() == ["sprites"]
    assert files() == ["best.pt", "config.yaml", "metrics.csv", "summary.json"]
    assert (SHIPPED / "best.pt").stat().st_size <= 5_000_000


def test_its_swaps_are_nearest_to_the_true_clips_that_they_should_be(shipped: Run) -> None:
    """Every character does every action, so the clip that a swap should be exists and can be looked for."""
    data = shipped.sequences().part("validation")
    a, b = torch.arange(0, 64), torch.arange(64, 128).flip(0)
    swapped = shipped.swap(data.frames[b], data.frames[a])
    true = data.frames.float().flatten(1) / 255
    nearest = torch.cdist(swapped.flatten(1), true).argmin(1)
    right = {}
    for name, label in data.labels.items():
        donor = a if label.role == "dynamic" else b
        right[name] = float((label.values[nearest] == label.values[donor]).float().mean())
    assert right["action"] > 0.8  # of nine
    assert min(right[name] for name in ("hair", "top", "skin", "trousers")) > 0.8  # of six each


def test_results_go_beside_and_not_into_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = files()
    with pytest.warns(Remark, match="the run sprites is part of the package, so results go to sprites-results"):
        latents.main(["swap", "sprites", "--appearances", "3", "--motions", "1", "--format", "npz"])
    assert (tmp_path / "sprites-results" / "latents" / "swap-001" / "swap.npz").exists()
    latents.main(["swap", "sprites", "--appearances", "3", "--motions", "1", "--format", "npz", "--out", "own"])
    assert (tmp_path / "own" / "swap.npz").exists()
    assert record(SHIPPED, "evaluate", tmp_path / "somewhere").endswith("evaluated 1 time (evaluate 1).")
    assert [one.command for one in evaluations(SHIPPED)] == ["evaluate"]
    assert files() == before


def test_a_folder_of_that_name_is_what_its_owner_means(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sprites").mkdir()
    (tmp_path / "sprites" / "clip.png").touch()
    with pytest.warns(Remark, match="the folder sprites here holds no run, so sprites is the run that comes with"):
        assert pyro_dsvae.load("sprites").path == SHIPPED
    (tmp_path / "sprites" / "best.pt").touch()  # what is left of a run
    with pytest.raises(UsageError, match="sprites holds no run"):
        pyro_dsvae.load("sprites")
    shutil.rmtree(tmp_path / "sprites")
    assert pyro_dsvae.load(Path("sprites")).path == SHIPPED
