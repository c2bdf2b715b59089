"""Runs that were written by earlier versions open, and mean what they meant."""

import math
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

import pyro_dsvae
from pyro_dsvae.configuration.spellings import OldConfiguration
from pyro_dsvae.loading import Run
from pyro_dsvae.runs.directory import RunDirectory
from tests.commands.test_run_api import IMAGE, clips, tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return tiny(tmp_path_factory.mktemp("images"), IMAGE)


def older(run: Run, to: Path, ready: bool) -> Path:
    """A copy of the run with checkpoints as they were when the guide held its anchor clip, and could be switched."""
    shutil.copytree(run.path, to)
    directory = RunDirectory(to)
    for name in ("best.pt", "checkpoint.pt"):
        state: dict[str, Any] = torch.load(to / name, weights_only=True)
        state["objective"]["guide.reference.frames"] = state["objective"].pop("anchor")
        state["objective"]["guide.reference._extra_state"] = torch.tensor(ready)
        del state["objective"]["model.static_prior._extra_state"]
        if name == "checkpoint.pt":
            del state["prior_refitted"]
            state["settled"] = True
        directory.save(name, state)
    return to


@pytest.mark.parametrize("ready", [True, False])
def test_a_run_whose_guide_held_the_anchor_opens_with_the_guide_itself(run: Run, tmp_path: Path, ready: bool) -> None:
    """One that had been switched to anchored inference says in a line how that is asked for now, and looks for a new best."""
    path = older(run, tmp_path / "run", ready)
    says = pytest.warns(OldConfiguration, match="^[^\\n]*anchored=True[^\\n]*$") if ready else nullcontext()
    with says:
        opened = pyro_dsvae.load(path)
    with says:
        state = RunDirectory(path).load("checkpoint.pt")
    assert state["prior_refitted"]
    assert (state["best"] == -math.inf) == ready
    assert not opened.model.static_prior.frozen
    x = clips(3)
    for anchored in (False, True):
        expected, found = (of.encode(x, anchored=anchored) for of in (run, opened))
        torch.testing.assert_close((found.f, found.z), (expected.f, expected.z), rtol=0, atol=0)


def test_a_run_of_this_version_is_read_as_it_is(run: Run) -> None:
    state = torch.load(run.path / "best.pt", weights_only=True)
    loaded = RunDirectory(run.path).load("best.pt")
    assert list(loaded) == list(state)
    assert list(loaded["objective"]) == list(state["objective"])
