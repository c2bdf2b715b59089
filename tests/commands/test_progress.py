"""Long work tells how far it is: a bar on a terminal; elsewhere a line per stage, and one a minute."""

import io
import re
import sys
import time
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from pyro_dsvae import progress
from pyro_dsvae.data.arrays import Arrays
from pyro_dsvae.fit import fit
from pyro_dsvae.inference.training.schedule import Optimisation
from pyro_dsvae.progress import Bar

PPC = ["--sequences=20", "--draws=2", "--simulations=50", "--evidence_draws=25"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    frames = np.random.default_rng(0).uniform(size=(60, 6, 3)).astype(np.float32)
    labels = {"labels_kind": np.arange(60) % 2, "labels_move": np.arange(60) % 3, "role_move": np.array("dynamic")}
    np.savez(folder / "clips.npz", frames=frames, **labels)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pyro_dsvae.judges.own.STEPS", 5)
        small = Optimisation(batch_size=4, evaluations=1)
        data = Arrays(str(folder / "clips.npz"), test=0.4)
        fit(data=data, steps=2, static_size=2, latent_size=2, optimisation=small, device="cpu", out=folder / "run")
    return folder / "run"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("pyro_dsvae.judges.own.STEPS", 5)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(progress, "PATIENCE", 0.0)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_stage_is_a_line_and_silence_is_broken_every_interval(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether the work reports or not."""
    monkeypatch.setattr(progress, "INTERVAL", 0.2)
    with Bar("first") as bar:
        time.sleep(0.5)
        told = bar.part(0.5, 1.0, "second")
        told(0.5)
        time.sleep(0.3)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "first"
    assert re.fullmatch(r"first: 0:00 so far", lines[1])
    assert lines[3] == "second"
    assert re.fullmatch(r"second: 75% of the whole after 0:01, 0:0\d left", lines[4])
    assert len(lines) in (5, 6)  # a busy machine may sleep through an interval more
    time.sleep(0.3)
    assert capsys.readouterr().err == ""  # nothing comes after the end


def test_less_than_a_minute_of_one_stage_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with Bar("encoding") as bar:
        for n in range(1000):
            bar(n / 1000)
    assert capsys.readouterr().err == "encoding\n"


def test_of_what_is_over_soon_nothing_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "PATIENCE", 0.3)
    for seconds in (0.1, 0.5):
        with Bar("first") as bar:
            bar(0.2, stage="second")
            time.sleep(seconds)
            bar(0.3, stage="third")
        assert capsys.readouterr().err == ("" if seconds == 0.1 else "second\nthird\n")


def test_on_a_terminal_there_is_a_bar_and_no_line_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    err = Terminal()
    monkeypatch.setattr(sys, "stderr", err)
    monkeypatch.setenv("TERM", "xterm")
    with Bar("encoding") as bar:
        bar(0.5, "half", stage="probes")
        bar.bar.refresh()
    assert "probes" in err.getvalue()
    assert "━" in err.getvalue()
    assert "50%" in err.getvalue()
    assert err.getvalue().endswith("\x1b[2K")  # the line is erased


@pytest.mark.parametrize(
    ("verb", "options", "stages"),
    [
        (
            ["ppc"],
            PPC,
            [
                "judge",
                "replications",
                "calibration",
                "simulation-based calibration",
                "latents",
                "latent usage",
                "evidence",
            ],
        ),
        (
            ["evaluate"],
            ["--evidence=2"],
            ["judge", "encoding", "ELBO", "evidence", "generation and swaps", "probes", "DCI"],
        ),
        (["latents", "forecast"], ["--score=4"], ["forecasting", "scores on held-out clips"]),
        (["latents", "encode"], [], ["encoding", "probing"]),
        (["latents", "impute"], ["--method=amortised"], ["imputing"]),
        (["latents", "traverse"], [], ["information of every dimension"]),
        (["latents", "sample"], ["--augment=3"], ["data set"]),
    ],
    ids=lambda value: "-".join(value) if value in (["ppc"], ["evaluate"]) or value[:1] == ["latents"] else "",
)
def test_piped_every_stage_of_a_command_is_a_line(
    run: Path,
    tmp_path: Path,
    verb: list[str],
    options: list[str],
    stages: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = [*verb[1:], str(run), *options, f"--out={tmp_path / 'out'}"]
    assert import_module(f"pyro_dsvae.{verb[0]}").main(arguments) == 0
    lines = capsys.readouterr().err.splitlines()
    at = [next((n for n, line in enumerate(lines) if line.startswith(stage)), -1) for stage in stages]
    assert at == sorted(at), lines
    assert at[0] >= 0, lines


def test_the_judge_after_the_last_step_of_a_fit_has_a_line(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = Arrays(str(run.parent / "clips.npz"))
    small = Optimisation(batch_size=4, evaluations=1)
    fit(data=data, steps=2, static_size=2, latent_size=2, optimisation=small, device="cpu", out=tmp_path / "run")
    said = [line.partition(":")[0] for line in capsys.readouterr().err.splitlines()]
    assert said[said.index("step 2") + 1] == "judge of labels"
