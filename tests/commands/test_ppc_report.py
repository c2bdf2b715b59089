"""The report: one file that needs nothing else, well-formed, with everything that was found, and nothing that was not said."""

import base64
import io
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pyro
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console

from pyro_dsvae.checks import figures as ppc_figures
from pyro_dsvae.checks.report import page
from pyro_dsvae.checks.result import PPCResult
from pyro_dsvae.checks.terminal import print_summary
from pyro_dsvae.figures.arviz import plot_pit, plot_statistics
from pyro_dsvae.inference.calibration.ecdf_band import ECDFBand
from pyro_dsvae.inference.calibration.ranks import BINS, rank_test
from pyro_dsvae.inference.finding import Finding
from pyro_dsvae.inference.latent_checks.aggregated_posterior import Aggregate
from pyro_dsvae.ppc import ppc
from tests.commands.test_ppc import SMALL, fitted
from tests.pictures import pictures


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    torch.manual_seed(0)
    yield
    assert len(pyro.get_param_store()) == 0


VOID = {"meta", "link", "img", "br"}


class Page(HTMLParser):
    """What a browser would see: tags with attributes, their nesting, text; fails where tags are not closed in order."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None], tuple[str, ...]]] = []
        self.words: list[str] = []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs), tuple(self.open)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes, _ in self.tags if name == tag]

    @property
    def text(self) -> str:
        return " ".join(self.words)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> PPCResult:
    with pictures():
        return ppc(fitted(tmp_path_factory.mktemp("run")), **SMALL)


@pytest.fixture(scope="module")
def report(result: PPCResult) -> Page:
    return Page((result.path / "report.html").read_text())


def test_the_report_asks_for_nothing_from_outside(report: Page) -> None:
    assert not report.named("script")
    for _, attributes, _ in report.tags:
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            assert (attributes.get(name) or "data:").startswith("data:")
        assert not any(name.startswith("on") for name in attributes)
    source = report.rawdata if report.rawdata else ""
    assert "http" not in source
    assert "url(" not in " ".join(report.words)
    assert "@import" not in " ".join(report.words)


def test_every_picture_of_the_folder_is_inside_and_has_words(report: Page, result: PPCResult) -> None:
    files = {p.read_bytes() for p in (result.path / "figures").iterdir()}
    inside = set()
    for image in report.named("img"):
        assert image["alt"]
        kind, _, data = str(image["src"]).partition(",")
        assert kind == "data:image/png;base64"
        content = base64.b64decode(data, validate=True)
        Image.open(io.BytesIO(content)).verify()
        inside.add(content)
    assert inside == files


def test_headings_are_nested_and_tables_scroll_inside_their_box(report: Page) -> None:
    levels = [int(tag[1]) for tag, _, _ in report.tags if tag in ("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))
    boxes = [i for i, (_, attributes, _) in enumerate(report.tags) if attributes.get("class") == "scroll"]
    for place, (tag, _, _) in enumerate(report.tags):
        if tag == "table":
            assert place - 1 in boxes
    for attributes in report.named("th"):
        assert attributes["scope"] == "col"
    assert ("html", {"lang": "en"}, ()) in report.tags
    assert any(m.get("name") == "viewport" for m in report.named("meta"))
    style = " ".join(report.words)
    assert "prefers-color-scheme: dark" in style


def test_findings_and_numbers_are_those_of_the_result(report: Page, result: PPCResult) -> None:
    for finding in result.findings:
        assert (finding.sentence[1:] in report.text) != finding.small
    for line in result.verdict:
        assert f"{line.about}: {line.sentence}." in report.text.replace(":  ", ": ")
    rows = sum(parents.count("tbody") > 0 for tag, _, parents in report.tags if tag == "tr")
    expected = len(result.checks.frames.checks)
    assert result.calibration is not None
    expected += 1 + len(result.calibration.forecasts) + 2 + 3
    assert rows == expected
    for check in result.checks.frames.checks:
        assert f"{check.observed:.3g}" in report.text
    assert "Training data." not in report.text


def test_what_comes_from_outside_is_escaped(result: PPCResult, tmp_path: Path) -> None:
    evil = '<script>alert("x")</script> & "co"'
    findings = (Finding("note", "s", evil), *result.findings)
    shown = replace(result, run=tmp_path / "<b>run & co", findings=findings, left_out=(evil,), held_out=False)
    source = page(shown, result.path / "figures")
    read = Page(source)
    assert not read.named("script")
    assert not read.named("b")
    assert read.text.count('<script>alert("x")</script>') == 2
    assert "<b>run & co" in read.text
    assert "uses the data twice" in read.text


def test_pictures_that_were_not_drawn_leave_no_hole(result: PPCResult, tmp_path: Path) -> None:
    bare = replace(result, calibration=None, simulated=None, latents=None, use=None, evidence=None)
    read = Page(page(bare, tmp_path))
    assert not read.named("img")
    assert "Do intervals hold" not in read.text
    assert "log p(x)" not in read.text


def test_the_terminal_shows_what_the_report_shows(result: PPCResult) -> None:
    console = Console(file=io.StringIO(), width=400, highlight=False)
    shown = replace(result, findings=(Finding("note", "s", "[red]brackets[/red] stay"), *result.findings))
    print_summary(shown, console)
    said = " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]
    assert "[red]brackets[/red] stay" in said
    for finding in result.findings:
        assert (finding.subject if finding.explained_by else finding.sentence[1:]) in said or finding.small
    for line in result.verdict:
        assert line.sentence in said


def test_what_a_finding_explains_is_folded_under_it_and_what_is_small_is_counted(result: PPCResult) -> None:
    """The page shows causes; what follows from them opens on demand; nothing of it leaves the JSON."""
    findings = (
        Finding("serious", "cause", "the cause is wrong"),
        Finding("warning", "effect", "the effect follows", explained_by="cause"),
        Finding("note", "speck", "a speck is off", small=True),
        Finding("good", "rest", "the rest is right"),
    )
    read = Page(page(replace(result, findings=findings), result.path / "figures"))
    places = {words: place for place, words in enumerate(read.words)}
    assert " The cause is wrong." in places
    assert "Explains 1 more: effect" in places
    assert "The effect follows." in places
    assert "As it should be: 1 findings" not in places
    assert "As it should be: 1 finding" in places
    assert "speck" not in read.text
    assert "1 sure difference of less than 1 % is not shown" in read.text
    summaries = [i for i, (tag, _, _) in enumerate(read.tags) if tag == "summary"]
    assert all("details" in read.tags[i][2] for i in summaries)
    console = Console(file=io.StringIO(), width=400, highlight=False)
    print_summary(replace(result, findings=findings), console)
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert "Serious. The cause is wrong. Explains 1 more: effect." in said
    assert "As it should be: the rest is right." in said
    assert "speck" not in said
    assert "the effect follows" not in said


# --- figures: what is drawn is what was found -------------------------------------------------------------------------


def lines(figure: Figure, place: int = 0) -> list[tuple[list[float], list[float]]]:
    return [(list(line.get_xdata()), list(line.get_ydata())) for line in figure.axes[place].lines]


def test_rank_lines_are_the_empirical_distribution_less_the_uniform(tmp_path: Path) -> None:
    """Counted by a loop; two of three dimensions are off, and the title says so."""
    draws, count = 19, 200
    generator = torch.Generator().manual_seed(0)
    rank = torch.randint(0, draws + 1, (count, 1, 3), generator=generator)
    rank[..., 1], rank[..., 2] = rank[..., 1] // 2, draws - rank[..., 2] // 3
    band = ECDFBand.of(count, BINS)
    test = rank_test(rank, draws, band, generator)
    figure = ppc_figures.ranks(test, draws, band, "q(f)", tmp_path / "ranks.png")
    assert figure.axes[0].get_title() == "q(f): 2 of 3 outside"
    for dimension, (x, y) in enumerate(lines(figure)[:3]):
        for point, height in zip(x, y, strict=True):
            below = sum((r + 0.5) / (draws + 1) <= point for r in rank[:, 0, dimension].tolist())
            assert height == pytest.approx(below / count - point, abs=1e-12)


def test_bars_are_sorted_and_unused_dimensions_grey(tmp_path: Path) -> None:
    figure = ppc_figures.bars(
        "z", torch.tensor([0.0, 2.0, 0.3]), torch.tensor([False, True, False]), "#0b6bcb", tmp_path / "b.png"
    )
    bars = figure.axes[0].patches
    assert [bar.get_height() for bar in bars] == pytest.approx([2.0, 0.3, 0.0])  # type: ignore[attr-defined]
    assert len({bar.get_facecolor() for bar in bars[:2]}) == 1
    assert bars[2].get_facecolor() != bars[0].get_facecolor()
    assert figure.axes[0].get_title() == "z: 2 of 3 dimensions used"


def test_the_cloud_says_its_p_value(tmp_path: Path) -> None:
    points = torch.randn(10, 2)
    found = Aggregate("f", 0.1, 0.004, torch.ones(3), torch.zeros(3), points, points + 1, 0.6)
    figure = ppc_figures.aggregated(found, tmp_path / "a.png")
    assert figure.axes[0].get_title() == "f: MMD, p = .004"
    assert lines(figure)[1] == (points[:, 0].tolist(), points[:, 1].tolist())


def test_effects_point_to_where_replications_lie(result: PPCResult, tmp_path: Path) -> None:
    """The sign and, up to the edge, the size of every difference is drawn."""
    frames = result.checks.frames
    figure = ppc_figures.effects(frames, result.means.frames, tmp_path / "effects.png")
    drawn = sorted(round(float(x[0]), 6) for x, _ in lines(figure) if len(x) == 1)
    expected = [
        round(min(c.severity, 6.0) * (1 if c.replicated >= c.observed else -1), 6)
        for c in (*frames.checks, *result.means.frames.checks)
        if c.statistic == "mean"
    ]
    assert drawn == sorted(expected)


def test_arviz_draws_the_mean_of_every_replicated_set(tmp_path: Path) -> None:
    observed, replicated = torch.randn(30).double(), torch.randn(9, 30).double()
    plot = plot_statistics({"motion": observed}, {"motion": replicated}, tmp_path / "t.png")
    marker = plot.viz["observed_tstat"]["motion"].item().get_offsets()
    assert float(marker[0][0]) == pytest.approx(float(observed.mean()))
    dots = plot.viz["dist"]["motion"].item().get_offsets()
    assert len(dots) == 9
    spread = float(replicated.mean(1).max() - replicated.mean(1).min())
    assert dots[:, 0].min() >= float(replicated.mean(1).min()) - 0.1 * spread
    assert dots[:, 0].max() <= float(replicated.mean(1).max()) + 0.1 * spread


def test_a_mean_of_exactly_zero_is_drawn_without_a_warning(tmp_path: Path) -> None:
    plot_statistics({"smallest": torch.zeros(30)}, {"smallest": torch.randn(9, 30)}, tmp_path / "t.png")
    assert (tmp_path / "t.png").stat().st_size > 1_000


def test_arviz_draws_the_pit_of_uniform_values_inside_its_band(tmp_path: Path) -> None:
    u = (torch.arange(100).double() + 0.5) / 100
    plot = plot_pit(torch.cat([u, torch.tensor([torch.nan])]), "even", tmp_path / "p.png")
    heights = plot.viz["ecdf_lines"]["PIT"].item().get_ydata()
    assert abs(heights).max() <= 0.02
    assert (tmp_path / "p.png").stat().st_size > 1_000
