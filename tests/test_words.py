"""Sentences that a stranger reads: one name for one thing, and numbers that are refused as what they are."""

import math
import re
from pathlib import Path

import pytest
import torch

from pyro_dsvae.actions.encode import encode
from pyro_dsvae.evaluate import evaluate
from pyro_dsvae.inference.calibration.ecdf_band import ECDFBand
from pyro_dsvae.inference.calibration.ranks import BINS, rank_test
from pyro_dsvae.inference.calibration.sbc import _finding
from pyro_dsvae.inference.elbo import CLOSED_FORM, CLOSED_FORM_PER_STEP, MONTE_CARLO, STICKING_THE_LANDING
from pyro_dsvae.inference.predictive_checks.discrepancies import applicable
from pyro_dsvae.inference.training.schedule import Budget, Optimisation
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.runs.directory import RunDirectory

ROOT = Path(__file__).parents[1]
ESTIMATORS = (CLOSED_FORM, CLOSED_FORM_PER_STEP, STICKING_THE_LANDING, MONTE_CARLO)


def test_the_estimators_of_a_kl_have_one_set_of_names() -> None:
    """In what fit and compare print, and in the docs that explain them."""
    concepts, parts = ((ROOT / "docs" / name).read_text() for name in ("concepts.md", "parts.md"))
    for name in ESTIMATORS:
        assert f"| {name} |" in concepts
        assert f"*{name}*" in parts
    for page in (ROOT / "docs").rglob("*.md"):
        for line in page.read_text().splitlines():
            assert not re.search(r"MC-STL|\| (exact|per step|MC) \|", line), (page.name, line)
    assert "MC-STL" not in (ROOT / "pyro_dsvae" / "comparison" / "report.py").read_text()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_said_to_be_none(value: float) -> None:
    with pytest.raises(UsageError, match=r"learning_rate is .*; it must be a finite number"):
        Optimisation(learning_rate=value)
    with pytest.raises(UsageError, match=r"minutes is .*; it must be a finite number"):
        Budget(minutes=value)
    with pytest.raises(UsageError, match=r"learning_rate is -1\.0; it must be positive"):
        Optimisation(learning_rate=-1.0)


@pytest.mark.parametrize("content", ["", "- a list", "{"])
def test_a_configuration_that_is_none_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(UsageError) as caught:
        RunDirectory(tmp_path).config()
    assert str(caught.value) == f"{tmp_path / 'config.yaml'} is empty, damaged or no YAML"


def test_anchored_inference_is_told_by_what_it_does() -> None:
    for verb in (encode, evaluate):
        said = re.sub(r"\s+", " ", str(verb.__doc__))
        assert "anchored: f and z are inferred from a redrawn clip, so that they tell less of each other" in said


def test_nothing_is_called_bright_that_need_not_be_a_picture() -> None:
    for shape in ((3,), (3, 32, 32)):
        assert not [d.name for d in applicable(shape) if "bright" in d.name or "contrast" in d.name]


def test_a_guide_that_is_too_narrow_says_what_to_do_about_error_bars() -> None:
    """Ranks of true values among draws of a guide of a quarter of the right width."""
    generator = torch.Generator().manual_seed(0)
    draws, count = 99, 4_000
    truth, width = torch.randn(count, 1, 1, generator=generator), 0.25
    inside = torch.special.ndtr(truth / width)
    ranks = (inside * (draws + 1)).long().clamp(max=draws)
    found = _finding("f", rank_test(ranks, draws, ECDFBand.of(count, BINS), generator))
    assert re.search(
        r"too narrow in 1 of 1 dimensions \(median width 0\.2\d of the right one: multiply error bars by about [34]",
        found.sentence,
    )
