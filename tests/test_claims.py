"""What pages say beside their figures: what is certain by construction, what separation costs, what has an unknown sign."""

import json
import re
from pathlib import Path
from statistics import mean

import pytest
import torch

from pyro_dsvae.comparison.report import make_report
from pyro_dsvae.inference.forecasting.log_prob import ForecastScore
from pyro_dsvae.inference.forecasting.paired import paired_forecast
from pyro_dsvae.models.decoders.regions import REGIONS, Regions

PROJECT = Path(__file__).parents[1]
README = PROJECT / "README.md"
RESULTS = PROJECT / "benchmarks/results"
PAGES = [README, *sorted((PROJECT / "docs").rglob("*.md")), *sorted(RESULTS.glob("*.md"))]
PAGES = [page for page in PAGES if "_build" not in page.parts]


def test_regions_forbid_f_to_move_anything() -> None:
    """Frames of one z under any f: each channel spans at most as many dimensions as there are regions."""
    torch.manual_seed(0)
    decoder = Regions(8, 3, (3, 32, 32)).double()
    count = 3 * REGIONS
    f, z = 3 * torch.randn(count, 8, dtype=torch.float64), torch.randn(1, 1, 3, dtype=torch.float64)
    with torch.no_grad():
        of_one_z = decoder(f, z.expand(count, 1, 3))[:, 0]
        of_one_f = decoder(f[:1].expand(count, 8), torch.randn(count, 1, 3, dtype=torch.float64))[:, 0]
    for channel in range(3):
        assert int(torch.linalg.matrix_rank(of_one_z[:, channel].flatten(1), rtol=1e-10)) <= REGIONS == 24
        assert int(torch.linalg.matrix_rank(of_one_f[:, channel].flatten(1), rtol=1e-10)) > REGIONS  # the control


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_who_says_that_the_action_is_kept_says_what_is_certain(page: Path) -> None:
    text = page.read_text()
    if re.search(r"action (is |was )?kept|\| action \(from z\)", text):
        assert re.search(r"by\s+construction|forbids\s+f\s+to\s+move|stays in \$z\$ whatever the guide does", text)


def test_what_guide_views_cost_is_said_beside_the_figures_from_the_records_of_raw_codes() -> None:
    runs = json.loads((RESULTS / "sprites.json").read_text())["runs"]
    elbos: dict[str, list[float]] = {"default": [], "no-views": []}
    for run in runs:
        terms = run["evaluation"]["terms"]
        raw = terms["elbo"] if terms["unanchored_elbo"] is None else terms["unanchored_elbo"]
        if (fit := run["row"].removesuffix("-anchored")) in elbos:
            elbos[fit].append(raw)
    assert [len(values) for values in elbos.values()] == [3, 3]
    views, without = (mean(values) for values in elbos.values())
    assert views < without
    page = (RESULTS / "sprites.md").read_text()
    assert re.search(rf"held-out ELBO is {views:,.1f} .* nats with guide views .* and {without:,.1f} .* without", page)


def test_no_page_gives_the_bias_of_a_forecast_a_sign() -> None:
    for manual in (paired_forecast.__doc__, ForecastScore.__doc__):
        assert re.search(r"sign of the bias that remains\s+is unknown|directions", manual or "")
    for page in PAGES:
        assert not re.search(
            r"errs? upwards?|an upper bound of the forecast|overstates the forecast", page.read_text()
        ), page
    assert "either direction" in Path(make_report.__code__.co_filename).read_text()
