"""``python -m benchmarks.sprites``: what is fitted and evaluated when, and the page from constructed results."""

import copy
import dataclasses
import functools
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.sprites import benchmark, fits, measures
from benchmarks.sprites import page as pages
from benchmarks.sprites import records as record_files
from benchmarks.sprites import rows as benchmark_rows
from pyro_dsvae import cli
from pyro_dsvae.data.lpc_sprites import ACTIONS
from pyro_dsvae.fit import fit

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
        "terms": {"elbo": 100.0, "unanchored_elbo": None, "kl_static": 7.0, "kl_dynamic": 8.0, "squared_error": 0.001},
        "judged": {
            "fixed_motion": dict.fromkeys(names, head),
            "fixed_content": dict.fromkeys(names, head),
            "swaps": {which: dict.fromkeys(names, right) for which in ("f_replaced", "z_replaced")},
            "confusion": counts,
        },
        "probes": {source: {latent: dict.fromkeys(names, probe) for latent in "fz"} for source in ("draws", "means")},
        "scores": {
            "dci": {
                "disentanglement": 0.7,
                "completeness": 0.4,
                "informativeness": dict.fromkeys(names[1:5], right) | {"action": 0.0},
            },
            "mig": {"mean": 0.05, "factors": {}},
            "sap": {"mean": 0.02, "factors": {}},
            "in_f": {"action": leak, "body": right, "bottomwear": right, "topwear": right, "hair": 0.0},
        },
    }


SUMMARY = {"steps": 3, "seconds": 10.0, "device": "a device", "threads": 1, "versions": {"torch": "2.9"}}
SETTING = {"command": "python it", "split": "test", "size": 64, "judge": "own"}
RESULTS = Path(benchmark.__file__).parents[1] / "results"


def record(row: str, seed: int, found: dict[str, Any], **fit: Any) -> record_files.Record:
    commands = (f"python -m fit --seed {seed} {row}", "python -m evaluate")
    return record_files.Record(row, seed, commands, f"c0ffee{seed}", SUMMARY | fit, found)


def plan(tmp_path: Path, *options: str) -> benchmark.Plan:
    return benchmark.planned(["--root", "art", "--out", str(tmp_path / "runs"), *options])[0]


# --- the table --------------------------------------------------------------------------------------------------------


def cells(text: str, measure: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {measure} |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_perfect_model_reaches_every_target_and_a_poor_one_none() -> None:
    for measure in measures.measures(reduced=False):
        if measure.target is None:
            continue
        assert measure.reached(measure.value(evaluation(1.0, 0.0)))
        if measure.name not in ("fixed motion: H(y given x)", "fixed motion: H(y)"):
            assert not measure.reached(measure.value(evaluation(0.5, 0.3, score=4.0)))


def test_the_targets_are_those_of_the_issue() -> None:
    goals = {m.name: m.goal() for m in measures.measures(reduced=False) if m.target is not None}
    assert goals["fixed motion: action accuracy"] == "≥ 99.99%"
    assert goals["fixed motion: IS"] == "≥ 8.950"
    assert goals["fixed motion: H(y given x)"] == "≤ 0.0050"
    assert goals["fixed motion: H(y)"] == "≥ 2.1970"
    assert goals["f replaced: action kept (certain with `Regions`)"] == "≥ 99.90%"
    for name in ATTRIBUTES:
        assert goals[f"fixed content: {name} kept"] == goals[f"f replaced: {name} taken over"] == "≥ 99.00%"
        assert goals[f"fixed motion: {name} drawn, distance from uniform"] == "≤ 0.050"
        assert goals[f"{name} from z, above chance (posterior draws)"] == "≤ 5.00%"
    assert goals["action from f, above chance (posterior draws)"] == "≤ 5.00%"
    assert "≥ 8.800" in {m.goal() for m in measures.measures(reduced=True)}


def test_every_measure_reads_its_own_figure() -> None:
    found = copy.deepcopy(evaluation(1.0, 0.0))
    found = json.loads(json.dumps(found))  # so that no two entries are one object
    before = {m.name: m.value(found) for m in measures.measures(False)}
    found["judged"]["swaps"]["z_replaced"]["hair"] = 0.25
    found["probes"]["draws"]["z"]["body"]["nonlinear"] = 0.75
    found["judged"]["fixed_motion"]["topwear"]["from_uniform"] = 0.4
    after = {m.name: m.value(found) for m in measures.measures(False)}
    assert {name: value for name, value in after.items() if value != before[name]} == {
        "z replaced: hair kept": 0.25,
        "body from z, above chance (posterior draws)": pytest.approx(0.55),
        "fixed motion: topwear drawn, distance from uniform": 0.4,
    }


def rows_of(**found: Sequence[dict[str, Any]]) -> dict[str, pages.Seeds]:
    """Evaluations of the guide itself, by row, with seeds that count from 0."""
    return {name: pages.Seeds(dict(enumerate(some)), {}) for name, some in found.items()}


def test_the_table_has_means_spread_and_what_reaches_its_target_in_bold() -> None:
    results = rows_of(default=[evaluation(1.0, 0.0), evaluation(0.9, 0.02)], iid=[evaluation(1.0, 0.5)] * 2)
    text = pages.table(results, measures.measures(reduced=False))
    # Mean .95; standard deviation .1 / sqrt 2.
    kept = cells(text, "f replaced: action kept (certain with `Regions`)")
    assert kept[1:] == ["≥ 99.90%", "", "95.00% ± 7.07%", "**100.00% ± 0.00%**"]
    assert cells(text, "seeds")[3:] == ["2", "2"]
    leaked = cells(text, "action from f, above chance (posterior means)")
    assert leaked[1:] == ["", "", "1.00% ± 1.41%", "50.00% ± 0.00%"]
    leaked = cells(text, "action from f, above chance (posterior draws)")
    assert leaked[1:] == ["≤ 5.00%", "", "**1.00% ± 1.41%**", "50.00% ± 0.00%"]
    assert cells(text, "fixed motion: action accuracy")[2] == "99.99-100 %"
    one = pages.table(rows_of(default=[evaluation(1.0, 0.0)]), measures.measures(reduced=False))
    assert cells(one, "KL of f")[1:] == ["", "", "7.0"]
    assert len({line.count("|") for line in text.splitlines()}) == 1


def test_scores_of_single_codes_are_means_over_the_runs_that_have_them() -> None:
    found, other, without = evaluation(1.0, 0.0), evaluation(0.5, 0.2), evaluation(1.0, 0.0) | {"scores": None}
    other["scores"]["dci"]["disentanglement"] = 0.9
    text = pages.codes(rows_of(default=[found, other], iid=[without], contrastive=[without, found], never=[]))
    head = ["DCI disentanglement", "completeness", "informativeness", "MIG", "SAP", "attributes in f", "action in f"]
    assert cells(text, "row")[1:] == head
    # Of five labels one is never told, of four attributes one is not in f: means .8 and .4, and .75 and .375.
    told, share = "60.0% ± 28.3%", "56.2% ± 26.5%"
    same = ["0.400 ± 0.000", told, "0.050 ± 0.000", "0.020 ± 0.000", share]
    assert cells(text, "default")[1:] == ["0.800 ± 0.141", *same, "10.0% ± 14.1%"]
    assert cells(text, "contrastive")[1:] == ["0.700", "0.400", "80.0%", "0.050", "0.020", "75.0%", "0.0%"]
    assert "iid" not in text
    assert set(cells(text, "never")[1:]) == {"no record"}
    page = pages.page([record("default", 0, found)], SETTING)
    assert "## DCI, MIG and SAP" in page
    assert "## DCI, MIG and SAP" not in pages.page([record("default", 0, without)], SETTING)


def anchored(right: float, leak: float, itself: float, elbo: float = 90.0) -> dict[str, Any]:
    """evaluation.json by anchored inference; ``itself`` is the ELBO under the guide itself."""
    found = evaluation(right, leak)
    return found | {"terms": found["terms"] | {"elbo": elbo, "unanchored_elbo": itself}}


def columns(text: str) -> dict[str, list[list[str]]]:
    """From what heads a column, or a line, of a table of the page to its cells, in order, with the measure beside each."""
    found: dict[str, list[list[str]]] = {}
    head: list[str] = []
    for line in text.splitlines():
        row = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("| ") else []
        head = (head or row) if row or line.startswith("|---") else []
        if row and row is not head and head[0] == "measure":
            for name, cell in zip(head[3:], row[3:], strict=True):
                found.setdefault(name, []).append([row[0], cell])
        elif row and row is not head and head[0] == "row":
            found.setdefault(row[0], []).append(row[1:])
    return found


def test_no_cell_averages_raw_and_anchored_codes() -> None:
    """What the page says of either is what it says where there is nothing else, but for the ELBO of the guide itself."""
    raw = [record("iid", seed, evaluation(1.0, 0.0)) for seed in (0, 1)]
    other = [record("iid-anchored", seed, anchored(0.5, 0.3, itself=100.0)) for seed in (1, 2)]
    # The anchored runs alone say of the raw row that there is no record.
    alone = columns(pages.page(other, SETTING)) | columns(pages.page(raw, SETTING))
    both = columns(pages.page([*other, *raw], SETTING))
    assert set(both) == {"IID prior", "IID prior, anchored"}
    raw_elbo = "held-out ELBO under the guide itself, nats per sequence"
    for name, cells_alone in alone.items():
        assert [c for c in both[name] if c[0] != raw_elbo] == [c for c in cells_alone if c[0] != raw_elbo], name
        assert [raw_elbo, "100.0 ± 0.0 (3 seeds)"] in both[name]  # seed 1 counts once
    # The control: means over all four would be these.
    assert "75.00%" not in pages.page([*other, *raw], SETTING)


def test_what_was_measured_by_anchored_inference_alone_has_no_raw_record() -> None:
    text = pages.page([record("default-anchored", seed, anchored(0.9, 0.1, 100.0)) for seed in (0, 1)], SETTING)
    cells_of = columns(text)
    told = [cell for _, cell in cells_of["default"][: len(measures.measures(False)) + 1]]
    assert told.count("no record") == len(measures.measures(False)) - 1
    assert [cell for cell in told if cell != "no record"] == ["0", "100.0 ± 0.0 (2 seeds)"]
    assert "were measured by anchored inference alone" in text
    assert "first seed, anchored inference." in pages.page(
        [record("default-anchored", 0, anchored(1, 0, 1.0))], SETTING, "s.png"
    )
    assert text.index("| default |") < text.index("default, anchored")
    assert "no record" not in pages.page([record("default", 0, evaluation(1.0, 0.0))], SETTING)


def test_the_published_page_is_made_from_the_published_records() -> None:
    command = "python -m benchmarks.sprites --root DIR --out runs/sprites --reduced --final"
    records = record_files.Records(RESULTS / "sprites.json").all()
    setting = {"command": command, "split": "test", "size": 32, "judge": "own"}
    assert (RESULTS / "sprites.md").read_text() == pages.page(records, setting, benchmark.PICTURE)
    for run in records:
        switched = run.evaluation["options"]["anchored"]
        assert (
            switched == benchmark_rows.is_anchored(run.row) == (run.evaluation["terms"]["unanchored_elbo"] is not None)
        )
        assert ("--anchored true" in run.commands[1]) == switched


def test_published_cells_are_means_over_runs_of_one_guide() -> None:
    """From the records, without the code of the page: hair read off draws of z, IID prior."""
    runs = json.loads((RESULTS / "sprites.json").read_text())["runs"]
    text = (RESULTS / "sprites.md").read_text()
    for row, title, seeds in (("iid", "IID prior", 1), ("iid-anchored", "IID prior, anchored", 2)):
        leaks = []
        for run in runs:
            if run["row"] == row:
                probe = run["evaluation"]["probes"]["draws"]["z"]["hair"]
                leaks.append(100 * (max(probe["linear"], probe["nonlinear"]) - probe["chance"]))
        assert len(leaks) == seeds
        (told,) = [c[1] for c in columns(text)[title] if c[0] == "hair from z, above chance (posterior draws)"]
        assert float(told.strip("*").split("%")[0]) == pytest.approx(np.mean(leaks), abs=0.005)


def test_the_page_says_what_has_to_be_said() -> None:
    found = evaluation(1.0, 0.0)
    found["judged"]["confusion"]["body"][4][5] = 3
    runs = [record("iid", 0, found), record("default", 1, found, seconds=20.0), record("default", 0, found)]
    text = pages.page(runs, SETTING, "swaps.png")
    for said in (
        "other judge",
        "do not compare",
        "how often they were looked at",
        "| walk front | 5 | 0 |",
        "body dark as dark 2 3",
        "looks in",
        "IS 8.975 and H(y given x) of 0.0027",
        "    python -m fit --seed N default\n    python -m evaluate",
        "| default | 2 | 3 ± 0 | 15 ± 7 | c0ffee0; c0ffee1 |",
        "| IID prior | 1 | 3 | 10 | c0ffee0 |",
        "\na device, 1 thread(s), torch 2.9.\n",
        "CC-BY-SA 3.0 or GPL 3.0",
        "![24 swaps](swaps.png)",
        "first row, first seed, raw codes.",
        "f cannot move anything",
        "not checked against the papers",
    ):
        assert said in text
    assert "Reduced" not in text
    assert cells(text, "measure")[3:] == ["default", "IID prior"]  # in the order of the titles
    small = pages.page(runs, SETTING | {"size": 32, "split": "validation"})
    assert "Reduced setting" in small
    assert "not the benchmark's result" in small
    assert "swaps.png" not in small
    assert all(kind in text for kind in ACTIONS)


# --- records ----------------------------------------------------------------------------------------------------------


def test_records_grow_run_by_run_and_a_run_is_there_once(tmp_path: Path) -> None:
    records = record_files.Records(tmp_path / "results/sprites.json")
    assert records.all() == []
    first, second = record("default", 0, evaluation(1.0, 0.0)), record("iid", 0, evaluation(0.5, 0.3))
    records.add(first)
    record_files.Records(records.file).add(second)  # another command, beside it
    assert records.all() == [first, second]
    better = record("default", 0, evaluation(0.9, 0.1))
    records.add(better)
    assert records.all() == [second, better]
    assert [path.name for path in records.file.parent.iterdir()] == ["sprites.json"]


def test_the_commit_is_told_with_what_differs_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_files, "__file__", str(tmp_path / "sprites_records.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert record_files.commit() == "unknown"

    def git(*words: str) -> str:
        some = ["-c", "user.name=a", "-c", "user.email=a@b"]
        found = subprocess.run(["git", "-C", str(tmp_path), *some, *words], check=True, capture_output=True, text=True)
        return found.stdout.strip()

    git("init")
    code, page = tmp_path / "models/part.py", tmp_path / "sprites.json"
    code.parent.mkdir()
    for file in (code, page):
        file.write_text("one")
    git("add", ".")
    git("commit", "-m", "one")
    page.write_text("two")
    assert record_files.commit() == git("rev-parse", "--short", "HEAD")
    code.write_text("two")
    assert record_files.commit() == git("rev-parse", "--short", "HEAD") + "+"


# --- what is done when ------------------------------------------------------------------------------------------------


class Machine:
    """Stands in for fit and evaluate, and keeps what it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, stops_after: int | None = None) -> None:
        self.fits: list[list[str]] = []
        self.evaluations: list[tuple[str, str]] = []
        self.stops_after = stops_after
        monkeypatch.setattr(fits.subprocess, "run", self.fit)
        monkeypatch.setattr(benchmark, "commit", lambda: "c0ffee")

    def fit(self, command: Sequence[str], check: bool) -> None:
        assert check
        self.fits.append(list(command[3:]))
        folder = Path(command[command.index("--out") + 1])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").touch()
        if len(self.fits) == self.stops_after:
            raise subprocess.CalledProcessError(130, command)
        (folder / "summary.json").write_text(json.dumps(SUMMARY))

    def evaluate(self, run: Path, out: Path, split: str, judge: str, draws: int, device: str, anchored: bool) -> None:
        assert (run / "summary.json").exists()
        self.evaluations.append((run.name, f"{split}, anchored" if anchored else split))
        out.mkdir()
        paths = {"path": str(out), "run": str(run)}
        (out / "evaluation.json").write_text(json.dumps(evaluation(1.0, 0.0) | paths))


def made(work: benchmark.Plan, machine: Machine, file: str = "runs/sprites.json") -> list[str]:
    """The names of the runs that had to be made."""
    records = record_files.Records(work.out.parent / file)
    return [run.name for _, run in benchmark.collect(work, records, evaluation=machine.evaluate)]


def test_every_run_is_made_once_and_what_was_cut_off_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = plan(tmp_path, "--seeds", "2", "--only", "default,iid", "--steps", "7")
    cut = Machine(monkeypatch, stops_after=3)
    with pytest.raises(subprocess.CalledProcessError):
        made(work, cut)
    assert [options[1].rpartition("/")[2] for options in cut.fits] == ["default-0", "iid-0", "default-1"]
    assert cut.evaluations == [("default-0", "validation"), ("iid-0", "validation")]
    later = Machine(monkeypatch)
    assert made(work, later) == ["default-1", "iid-1"]
    assert later.fits[0] == ["--out", str(work.folder("default", 1)), "--resume"]
    assert later.fits[1] == ["--out", str(work.folder("iid", 1)), *work.options("iid", 1), "--device", "auto"]
    assert len(later.fits) == 2
    assert later.evaluations == [("default-1", "validation"), ("iid-1", "validation")]
    again = Machine(monkeypatch)
    assert made(work, again) == []
    assert not again.fits
    assert not again.evaluations


def test_what_another_machine_has_measured_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = (plan(tmp_path / name, "--seeds", "2", "--only", "iid") for name in ("here", "there"))
    there = dataclasses.replace(there, root=Path("elsewhere"), rows=("iid", "default"))
    machine = Machine(monkeypatch)
    assert made(here, machine, "../sprites.json") == ["iid-0", "iid-1"]
    assert made(there, machine, "../sprites.json") == ["default-0", "default-1"]
    records = record_files.Records(tmp_path / "sprites.json").all()
    assert [(run.row, run.seed) for run in records] == [("iid", 0), ("iid", 1), ("default", 0), ("default", 1)]
    assert records[0].evaluation == evaluation(1.0, 0.0)
    assert records[0].fit == SUMMARY
    written = (tmp_path / "sprites.json").read_text()
    assert "elsewhere" not in written
    assert str(tmp_path) not in written
    longer = dataclasses.replace(there, out=tmp_path / "third", steps=9)
    with pytest.raises(SystemExit, match=r"sprites.json holds row iid, seed 0, made with .* not with .*--steps 9"):
        made(longer, machine, "sprites.json")
    of_another_size = dataclasses.replace(there, out=tmp_path / "fourth", size=32, rows=("no-static",))
    with pytest.raises(SystemExit, match="one page has one setting"):
        made(of_another_size, machine, "sprites.json")
    assert not (tmp_path / "fourth/no-static-0").exists()


def test_test_characters_are_evaluated_with_final_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    made(plan(tmp_path, "--seeds", "1", "--only", "iid"), machine)
    made(plan(tmp_path, "--seeds", "1", "--only", "iid", "--final"), machine, "results/sprites.json")
    assert machine.evaluations == [("iid-0", "validation"), ("iid-0", "test")]
    assert len(machine.fits) == 1


def test_anchored_rows_measure_the_fits_that_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    work = plan(tmp_path, "--seeds", "1", "--only", "iid,iid-anchored", "--final")
    assert made(work, machine) == ["iid-0", "iid-0"]
    assert machine.evaluations == [("iid-0", "test"), ("iid-0", "test, anchored")]
    assert len(machine.fits) == 1
    assert work.commands("iid-anchored", 0)[1] == work.commands("iid", 0)[1] + " --anchored true"
    assert made(work, machine) == []


def test_the_page_alone_needs_no_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    records = record_files.Records(tmp_path / "results/sprites.json")
    records.add(record("iid", 0, evaluation(1.0, 0.0)))
    folders = ["--out", str(tmp_path / "runs"), "--results", str(records.file.parent)]
    benchmark.main(["--root", "art", *folders, "--final", "--page"])
    assert not machine.fits
    assert "| IID prior | 1 |" in (records.file.parent / "sprites.md").read_text()


def test_runs_with_other_options_are_not_mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    made(plan(tmp_path, "--seeds", "1", "--only", "iid", "--steps", "7"), machine)
    for changed in (["--steps", "8"], ["--steps", "7", "--reduced"], ["--steps", "7", "--", "--latent_size", "4"]):
        with pytest.raises(SystemExit, match="iid-0 was made with"):
            made(plan(tmp_path, "--seeds", "1", "--only", "iid", *changed), machine)
    elsewhere = plan(tmp_path, "--seeds", "1", "--only", "iid", "--steps", "7", "--device", "cuda")
    made(elsewhere, machine)
    assert len(machine.fits) == 1


def test_the_page_is_written_where_it_belongs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    collect = functools.partial(benchmark.collect, evaluation=machine.evaluate)
    monkeypatch.setattr(benchmark, "collect", collect)
    drawn: list[Path] = []

    def draw(run: Path, split: str, path: Path, device: str) -> None:
        drawn.append(path)
        path.touch()

    monkeypatch.setattr(benchmark, "draw_swaps", draw)
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
    benchmark.main(options)
    assert not (tmp_path / "results").exists()
    assert "not the benchmark's result" in (tmp_path / "runs/sprites.md").read_text()
    benchmark.main([*options, "--final"])
    results = tmp_path / "results"
    assert {p.name for p in results.iterdir()} == {"sprites.md", "sprites.json", "sprites-swaps.png"}
    assert drawn == [results / "sprites-swaps.png"]
    text = (results / "sprites.md").read_text()
    assert "/the/art" not in text
    assert "\n    python -m benchmarks.sprites --root DIR --out runs/sprites --device cuda --seeds 1 --final\n" in text
    assert "![24 swaps](sprites-swaps.png)" in text
    machine.fits.clear()
    benchmark.main(
        ["--root", "art", "--out", str(tmp_path / "new"), "--results", str(results), "--seeds", "1", "--final"]
    )
    assert not machine.fits
    assert (results / "sprites.md").read_text() == text


def test_a_cut_off_fit_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Machine(monkeypatch, stops_after=1)
    with pytest.raises(SystemExit, match="status 130; the same command goes on"):
        benchmark.main(["--root", "art", "--out", str(tmp_path / "runs"), "--only", "iid"])


# --- options ----------------------------------------------------------------------------------------------------------


def test_every_row_is_a_command_of_fit_and_they_differ() -> None:
    parser = cli.parser_for(fit, None)
    work = benchmark.planned(["--root", "art", "--out", "runs", "--reduced", "--", "--latent_size", "4"])[0]
    assert work.device == "cpu"
    parsed = {}
    for row in benchmark_rows.FITS:
        options = cli.parse(parser, work.options(row, 2))
        assert (options.seed, options.latent_size) == (2, 4)
        assert options.steps == (benchmark.PRESENT_STEPS if row == benchmark_rows.PRESENT else benchmark.STEPS[32])
        assert options.data.init_args.size == 32
        parsed[row] = options
    values = cli.instantiate(parser, parsed["contrastive"])
    assert values.contrastive is not None
    assert parsed["no-static"].static_size == 0
    assert len({str(options) for options in parsed.values()}) == len(benchmark_rows.FITS)
    for fit_name, row in benchmark_rows.ANCHORED.items():
        assert (benchmark_rows.fit_of(row), work.options(row, 2)) == (fit_name, work.options(fit_name, 2))


@pytest.mark.parametrize("row", ["no-views-paper", "contrastive-paper"])
@pytest.mark.parametrize(("reduced", "error"), [([], 1.0), (["--reduced"], 4.0)])
def test_the_papers_likelihood_is_the_squared_error_summed_over_64_pixels(
    reduced: list[str], error: float, row: str
) -> None:
    work = benchmark.planned(["--root", "art", "--out", "runs", *reduced])[0]
    options = work.options(row, 0)
    values = cli.instantiate(cli.parser_for(fit, None), cli.parse(cli.parser_for(fit, None), options))
    assert (values.contrastive is not None) == (row == "contrastive-paper")
    likelihood = values.likelihood((3, 16, 16))
    x = torch.rand(2, 1, 1, 3, 16, 16)
    frames = likelihood(torch.rand(1, 1, 3, 16, 16))
    assert not [name for name, _ in likelihood.named_parameters() if "scale" in name]
    log_p = frames.log_prob(x).flatten(1).sum(1)
    squares = (x - frames.mean).square().flatten(1).sum(1)
    torch.testing.assert_close(log_p[0] - log_p[1], error * (squares[1] - squares[0]), rtol=1e-4, atol=1e-4)


def test_a_budget_of_minutes_replaces_that_of_steps(tmp_path: Path) -> None:
    assert plan(tmp_path, "--minutes", "5").budget("present") == ["--minutes", "5.0"]
    assert plan(tmp_path).budget("iid") == ["--steps", str(benchmark.STEPS[64])]
    assert plan(tmp_path, "--steps", "9", "--minutes", "5").budget("present") == ["--steps", "9", "--minutes", "5.0"]


@pytest.mark.parametrize("options", [["--only", "default,idd"], ["--seeds", "0"]])
def test_mistakes_are_refused(tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        plan(tmp_path, *options)
    assert options[0] in capsys.readouterr().err


def test_credits_stand_below_the_picture(tmp_path: Path) -> None:
    path = tmp_path / "some.png"
    Image.new("RGB", (300, 40), (10, 20, 30)).save(path)
    benchmark.credit(path)
    whole = np.asarray(Image.open(path))
    assert whole.shape[1] == 300
    assert (whole[:40] == (10, 20, 30)).all()
    below = whole[40:]
    assert (below == 255).mean() > 0.5
    assert (below < 128).any()
