"""``benchmarks/sprites.py``: what is fitted and evaluated when, and the page from constructed results."""

import copy
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pyro_dsvae import cli
from pyro_dsvae.data.lpc_sprites import ACTIONS
from pyro_dsvae.fit import fit

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
import fits
import sprites
import sprites_measures
import sprites_page

ATTRIBUTES = ("body", "bottomwear", "topwear", "hair")
DIRECTION, KIND = "action: front/left/right", "action: walk/spell/slash"


def evaluation(right: float, leak: float, score: float = 9.0) -> dict[str, Any]:
    """evaluation.json where all that should be right is so with this share, and nothing leaks more than so."""
    names = ("action", *ATTRIBUTES, DIRECTION, KIND)
    head = {
        "accuracy": right,
        "from_uniform": leak,
        "entropies": {"score": score, "conditional": 0.0, "marginal": 2.1972},
    }
    probe = {"linear": 0.2 + leak, "nonlinear": 0.1 + leak, "chance": 0.2}
    counts = {n: np.diag([5] * (9 if n == "action" else 6)).tolist() for n in names[:5]}
    return {
        "sequences": 45,
        "accuracy": dict.fromkeys(names[:5], 1.0),
        "certainty": {"action": {"score": 8.975, "conditional": 0.0027}},
        "terms": {"elbo": 100.0, "kl_static": 7.0, "kl_dynamic": 8.0, "squared_error": 0.001},
        "judged": {
            "fixed_motion": dict.fromkeys(names, head),
            "fixed_content": dict.fromkeys(names, head),
            "swaps": {which: dict.fromkeys(names, right) for which in ("f_replaced", "z_replaced")},
            "confusion": counts,
        },
        "probes": {source: {latent: dict.fromkeys(names, probe) for latent in "fz"} for source in ("draws", "means")},
    }


SUMMARY = {"steps": 3, "seconds": 10.0, "device": "a device", "threads": 1, "versions": {"torch": "2.9"}}
SETTING = {"command": "python it", "split": "test", "size": 64, "seeds": 2, "judge": "own"}


def plan(tmp_path: Path, *options: str) -> sprites.Plan:
    return sprites.planned(["--root", "art", "--out", str(tmp_path / "runs"), *options])[0]


# --- the table --------------------------------------------------------------------------------------------------------


def cells(text: str, measure: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {measure} |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_perfect_model_reaches_every_target_and_a_poor_one_none() -> None:
    for measure in sprites_measures.measures(reduced=False):
        if measure.target is None:
            continue
        assert measure.reached(measure.value(evaluation(1.0, 0.0)))
        if measure.name not in ("fixed motion: H(y given x)", "fixed motion: H(y)"):
            assert not measure.reached(measure.value(evaluation(0.5, 0.3, score=4.0)))


def test_the_targets_are_those_of_the_issue() -> None:
    goals = {m.name: m.goal() for m in sprites_measures.measures(reduced=False) if m.target is not None}
    assert goals["fixed motion: action accuracy"] == "≥ 99.99%"
    assert goals["fixed motion: IS"] == "≥ 8.950"
    assert goals["fixed motion: H(y given x)"] == "≤ 0.0050"
    assert goals["fixed motion: H(y)"] == "≥ 2.1970"
    assert goals["f replaced: action kept"] == "≥ 99.90%"
    for name in ATTRIBUTES:
        assert goals[f"fixed content: {name} kept"] == goals[f"f replaced: {name} taken over"] == "≥ 99.00%"
        assert goals[f"fixed motion: {name} drawn, distance from uniform"] == "≤ 0.050"
        assert goals[f"{name} from z, above chance (posterior draws)"] == "≤ 5.00%"
    assert goals["action from f, above chance (posterior draws)"] == "≤ 5.00%"
    assert "≥ 8.800" in {m.goal() for m in sprites_measures.measures(reduced=True)}


def test_every_measure_reads_its_own_figure() -> None:
    found = copy.deepcopy(evaluation(1.0, 0.0))
    found = json.loads(json.dumps(found))  # so that no two entries are one object
    before = {m.name: m.value(found) for m in sprites_measures.measures(False)}
    found["judged"]["swaps"]["z_replaced"]["hair"] = 0.25
    found["probes"]["draws"]["z"]["body"]["nonlinear"] = 0.75
    found["judged"]["fixed_motion"]["topwear"]["from_uniform"] = 0.4
    after = {m.name: m.value(found) for m in sprites_measures.measures(False)}
    assert {name: value for name, value in after.items() if value != before[name]} == {
        "z replaced: hair kept": 0.25,
        "body from z, above chance (posterior draws)": pytest.approx(0.55),
        "fixed motion: topwear drawn, distance from uniform": 0.4,
    }


def test_the_table_has_means_spread_and_what_reaches_its_target_in_bold() -> None:
    results = {"default": [evaluation(1.0, 0.0), evaluation(0.9, 0.02)], "IID prior": [evaluation(1.0, 0.5)] * 2}
    text = sprites_page.table(results, reduced=False)
    # Mean .95; standard deviation .1 / sqrt 2.
    assert cells(text, "f replaced: action kept")[1:] == ["≥ 99.90%", "", "95.00% ± 7.07%", "**100.00% ± 0.00%**"]
    leaked = cells(text, "action from f, above chance (posterior means)")
    assert leaked[1:] == ["", "", "1.00% ± 1.41%", "50.00% ± 0.00%"]
    leaked = cells(text, "action from f, above chance (posterior draws)")
    assert leaked[1:] == ["≤ 5.00%", "", "**1.00% ± 1.41%**", "50.00% ± 0.00%"]
    assert cells(text, "fixed motion: action accuracy")[2] == "99.99-100 %"
    one = sprites_page.table({"default": [evaluation(1.0, 0.0)]}, reduced=False)
    assert cells(one, "KL of f")[1:] == ["", "", "7.0"]
    assert len({line.count("|") for line in text.splitlines()}) == 1


def test_the_page_says_what_has_to_be_said() -> None:
    found = evaluation(1.0, 0.0)
    found["judged"]["confusion"]["body"][4][5] = 3
    results, summaries = {"default": [found] * 2}, {"default": [SUMMARY, SUMMARY | {"seconds": 20.0}]}
    text = sprites_page.page(results, summaries, {"default": ["python -m fit --seed N"]}, SETTING, "swaps.png")
    for said in (
        "other judge",
        "do not compare",
        "looked at once",
        "| walk front | 5 | 0 |",
        "body dark as dark 2 3",
        "looks in",
        "IS 8.975 and H(y given x) of 0.0027",
        "python -m fit --seed N",
        "| default | 3 ± 0 | 15 ± 7 |",
        "a device, 1 thread(s); torch 2.9",
        "CC-BY-SA 3.0 or GPL 3.0",
        "![24 swaps](swaps.png)",
        "not checked against the papers",
    ):
        assert said in text
    assert "Reduced" not in text
    small = sprites_page.page(results, summaries, {}, SETTING | {"size": 32, "split": "validation"})
    assert "Reduced setting" in small
    assert "not the benchmark's result" in small
    assert "swaps.png" not in small
    assert all(kind in text for kind in ACTIONS)


def test_the_record_holds_every_measure_of_every_run() -> None:
    found = json.loads(sprites_page.record({"default": [evaluation(1.0, 0.0)]}, {"default": [SUMMARY]}, SETTING))
    (run,) = found["rows"]["default"]
    assert run["measures"].keys() == {m.name for m in sprites_measures.measures(False)}
    assert run["fit"] == SUMMARY
    assert found["setting"] == SETTING


# --- what is done when ------------------------------------------------------------------------------------------------


class Machine:
    """Stands in for fit and evaluate, and keeps what it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, stops_after: int | None = None) -> None:
        self.fits: list[list[str]] = []
        self.evaluations: list[tuple[str, str]] = []
        self.stops_after = stops_after
        monkeypatch.setattr(fits.subprocess, "run", self.fit)

    def fit(self, command: Sequence[str], check: bool) -> None:
        assert check
        self.fits.append(list(command[3:]))
        folder = Path(command[command.index("--out") + 1])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").touch()
        if len(self.fits) == self.stops_after:
            raise subprocess.CalledProcessError(130, command)
        (folder / "summary.json").write_text(json.dumps(SUMMARY))

    def evaluate(self, run: Path, out: Path, split: str, judge: str, draws: int, device: str) -> None:
        assert (run / "summary.json").exists()
        self.evaluations.append((run.name, split))
        out.mkdir()
        (out / "evaluation.json").write_text(json.dumps(evaluation(1.0, 0.0)))


def test_every_run_is_made_once_and_what_was_cut_off_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = plan(tmp_path, "--seeds", "2", "--only", "default,iid", "--steps", "7")
    cut = Machine(monkeypatch, stops_after=3)
    with pytest.raises(subprocess.CalledProcessError):
        sprites.collect(work, evaluation=cut.evaluate)
    assert [options[1].rpartition("/")[2] for options in cut.fits] == ["default-0", "iid-0", "default-1"]
    assert cut.evaluations == [("default-0", "validation"), ("iid-0", "validation")]
    later = Machine(monkeypatch)
    results, summaries = sprites.collect(work, evaluation=later.evaluate)
    assert later.fits[0] == ["--out", str(work.folder("default", 1)), "--resume"]
    assert later.fits[1] == ["--out", str(work.folder("iid", 1)), *work.options("iid", 1), "--device", "auto"]
    assert len(later.fits) == 2
    assert later.evaluations == [("default-1", "validation"), ("iid-1", "validation")]
    assert {name: len(runs) for name, runs in results.items()} == {"default": 2, "IID prior": 2}
    assert summaries["default"] == [SUMMARY, SUMMARY]
    again = Machine(monkeypatch)
    sprites.collect(work, evaluation=again.evaluate)
    assert not again.fits
    assert not again.evaluations


def test_test_characters_are_evaluated_with_final_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    sprites.collect(plan(tmp_path, "--seeds", "1", "--only", "iid"), evaluation=machine.evaluate)
    sprites.collect(plan(tmp_path, "--seeds", "1", "--only", "iid", "--final"), evaluation=machine.evaluate)
    assert machine.evaluations == [("iid-0", "validation"), ("iid-0", "test")]
    assert len(machine.fits) == 1


def test_runs_with_other_options_are_not_mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    sprites.collect(plan(tmp_path, "--seeds", "1", "--only", "iid", "--steps", "7"), evaluation=machine.evaluate)
    for changed in (["--steps", "8"], ["--steps", "7", "--reduced"], ["--steps", "7", "--", "--latent_size", "4"]):
        with pytest.raises(SystemExit, match="iid-0 was made with"):
            sprites.collect(plan(tmp_path, "--seeds", "1", "--only", "iid", *changed), evaluation=machine.evaluate)
    elsewhere = plan(tmp_path, "--seeds", "1", "--only", "iid", "--steps", "7", "--device", "cuda")
    sprites.collect(elsewhere, evaluation=machine.evaluate)
    assert len(machine.fits) == 1


def test_the_page_is_written_where_it_belongs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    monkeypatch.setattr(sprites, "collect", lambda work, done=sprites.collect: done(work, evaluation=machine.evaluate))
    drawn: list[Path] = []
    monkeypatch.setattr(sprites, "draw_swaps", lambda run, split, path, device: drawn.append(path))
    options = [
        "--root",
        "/the/art",
        "--out",
        str(tmp_path / "runs"),
        "--seeds",
        "1",
        "--results",
        str(tmp_path / "results"),
    ]
    sprites.main(options)
    assert not (tmp_path / "results").exists()
    assert "not the benchmark's result" in (tmp_path / "runs/sprites.md").read_text()
    sprites.main([*options, "--final"])
    assert {p.name for p in (tmp_path / "results").iterdir()} == {"sprites.md", "sprites.json"}
    assert drawn == [tmp_path / "results/sprites-swaps.png"]
    assert "/the/art" not in (tmp_path / "results/sprites.md").read_text()


def test_a_cut_off_fit_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Machine(monkeypatch, stops_after=1)
    with pytest.raises(SystemExit, match="status 130; the same command goes on"):
        sprites.main(["--root", "art", "--out", str(tmp_path / "runs"), "--only", "iid"])


# --- options ----------------------------------------------------------------------------------------------------------


def test_every_row_is_a_command_of_fit_and_they_differ() -> None:
    parser = cli.parser_for(fit, None)
    work = sprites.planned(["--root", "art", "--out", "runs", "--reduced", "--", "--latent_size", "4"])[0]
    assert work.device == "cpu"
    parsed = {}
    for row in sprites.ROWS:
        options = cli.parse(parser, work.options(row, 2))
        assert (options.seed, options.steps, options.latent_size) == (2, sprites.STEPS[32], 4)
        assert options.data.init_args.size == 32
        parsed[row] = options
    values = cli.instantiate(parser, parsed["contrastive"])
    assert values.contrastive is not None
    assert parsed["no-static"].static_size == 0
    assert len({str(options) for options in parsed.values()}) == len(sprites.ROWS)


def test_a_budget_of_minutes_replaces_that_of_steps(tmp_path: Path) -> None:
    assert plan(tmp_path, "--minutes", "5").budget() == ["--minutes", "5.0"]
    assert plan(tmp_path).budget() == ["--steps", str(sprites.STEPS[64])]
    assert plan(tmp_path, "--steps", "9", "--minutes", "5").budget() == ["--steps", "9", "--minutes", "5.0"]


@pytest.mark.parametrize("options", [["--only", "default,idd"], ["--seeds", "0"]])
def test_mistakes_are_refused(tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        plan(tmp_path, *options)
    assert options[0] in capsys.readouterr().err


def test_credits_stand_below_the_picture(tmp_path: Path) -> None:
    path = tmp_path / "some.png"
    Image.new("RGB", (300, 40), (10, 20, 30)).save(path)
    sprites.credit(path)
    whole = np.asarray(Image.open(path))
    assert whole.shape[1] == 300
    assert (whole[:40] == (10, 20, 30)).all()
    below = whole[40:]
    assert (below == 255).mean() > 0.5
    assert (below < 128).any()
