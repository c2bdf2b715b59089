"""A run on moving digits, from the command line: everything that is to be known of it is measured and printed."""

import json
from pathlib import Path

import pytest

from pyro_dsvae import evaluate, fit
from pyro_dsvae.models.errors import UsageError

SMALL = [
    "--data=MovingDigits",
    "--data.clips=100",
    "--data.length=3",
    "--data.colour=true",
    "--static_size=3",
    "--static_prior=StandardNormal",
    "--latent_size=2",
    "--posterior.feature_size=4",
    "--posterior.hidden_size=4",
    "--steps=1",
    "--device=cpu",
]


def without(*_: object) -> None:
    """DCI, MIG and SAP take longer than all the rest."""
    raise UsageError("not now")


def test_fit_and_evaluate_measure_digit_place_and_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for judge in ("own", "regression"):
        monkeypatch.setattr(f"pyro_dsvae.judges.{judge}.STEPS", 2)
    monkeypatch.setattr("pyro_dsvae.metrics.probes.STEPS", 20)
    monkeypatch.setattr("pyro_dsvae.metrics.probes.ITERATIONS", 10)
    monkeypatch.setattr(evaluate, "measure_scores", without)
    run = tmp_path / "digits"
    assert fit.main([*SMALL, f"--out={run}"]) == 0
    said = capsys.readouterr().out
    assert "share judged right" in said
    assert "mean distance from z's clip" in said
    summary = json.loads((run / "summary.json").read_text())
    assert set(summary["judge"]["taken_over"]) == {"digit", "size", "colour"}
    assert summary["quantities"]["position"]["unit"] == "pixels"
    assert evaluate.main([str(run), "--device=cpu"]) == 0
    said = capsys.readouterr().out
    for title in ("The judge (own)", "Swaps between clips", "Quantities in swaps", "posterior draws"):
        assert title in said
    found = json.loads((run / "evaluation" / "evaluation.json").read_text())
    assert 0 <= found["judged"]["swaps"]["f_replaced"]["digit"] <= 1
    assert found["judged"]["fixed_motion"]["digit"]["from_uniform"] >= 0
    assert {"nonlinear", "chance"} <= set(found["probes"]["draws"]["z"]["digit"])
    # Two clips are this far from each other: positions in a box of 12 pixels, at 32 pixels.
    assert 3 < found["quantities"]["position"]["chance"] < 10
    assert found["quantities"]["velocity"]["unit"] == "pixels per frame"


def test_two_digits_are_fitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for judge in ("own", "regression"):
        monkeypatch.setattr(f"pyro_dsvae.judges.{judge}.STEPS", 1)
    run = tmp_path / "two"
    assert fit.main([*SMALL, "--data.digits=2", f"--out={run}"]) == 0
    summary = json.loads((run / "summary.json").read_text())
    assert {"digit_1", "digit_2", "colour_1", "size_2"} <= set(summary["judge"]["taken_over"])
    assert set(summary["quantities"]) == {"position_1", "velocity_1", "position_2", "velocity_2"}


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--data.digits=3", "got '3'; it is one of 1, 2"),
        ("--data.size=7", "size is 7"),
        ("--data.clips=9", "clips is 9"),
    ],
)
def test_options_out_of_range_are_told(option: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        fit.main(["--data=MovingDigits", option, f"--out={tmp_path / 'run'}"])
    assert not (tmp_path / "run").exists()
