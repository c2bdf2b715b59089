"""A search for candidates: it finds a planted option, goes on after a stop as without, and says what a winner is worth."""

import csv
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch

from pyro_dsvae import compare as verb
from pyro_dsvae.comparison import search
from pyro_dsvae.comparison.candidates import Candidate
from pyro_dsvae.comparison.options import ComparisonOptions
from pyro_dsvae.comparison.space import Range, Space, range_of
from pyro_dsvae.comparison.study import FILE, RANDOM, Study
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.process import Stopped
from pyro_dsvae.runs.directory import RunDirectory
from pyro_dsvae.runs.evaluations import evaluations

TRIALS = 8
OPTIONS = [
    *("--static_size=2", "--posterior.hidden_size=4", "--posterior.feature_size=4", "--device=cpu", "--search=optuna"),
    *("--steps=40", "--optimisation.evaluations=2", "--optimisation.batch_size=4", "--sequences=4", "--draws=30"),
    # With the second a fit learns, with the first nothing, with the last it breaks down.
    *("--vary=optimisation.learning_rate=1e-7,3e-2,1e30", "--vary=latent_size=1..3", "--seeds=1", f"--trials={TRIALS}"),
]


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pyro_dsvae.judges.motion.TRAINING_STEPS", 5)
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def found(walks: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search that was not disturbed."""
    out = tmp_path_factory.mktemp("search") / "out"
    assert verb.main([*walks, *OPTIONS, f"--out={out}"]) == 0
    return out


def rows(out: Path, name: str) -> list[dict[str, str]]:
    with (out / name).open(newline="") as file:
        return [{**row, "seconds": ""} for row in csv.DictReader(file)]


def test_a_planted_option_is_found_and_measured_anew(found: Path) -> None:
    trials = rows(found, "trials.csv")
    assert len(trials) == TRIALS
    ended = {row["trial"]: float(row["log_evidence"]) for row in trials if row["state"] == "complete"}
    best = trials[int(max(ended, key=lambda number: ended[number]))]
    assert best["optimisation.learning_rate"] == "learning_rate=0.03"
    states = {row["state"] for row in trials if "1e+30" in row["optimisation.learning_rate"]}
    assert states <= {"failed", "pruned"}
    assert "failed" in states
    first, *_ = rows(found, "comparison.csv")
    assert first["candidate"] == f"learning_rate=0.03+latent_size={best['latent_size']}"
    assert float(first["log_evidence"]) == pytest.approx(max(ended.values()))
    (note,) = (n for n in json.loads((found / "summary.json").read_text())["notes"] if "winner's curse" in n)
    assert f"{first['candidate']} was chosen among {TRIALS} trials" in note
    kept = torch.load(next((found / "evidence").glob("*.test.pt")), weights_only=True)["stages"]["evidence"]
    assert f"log p(x) {float(kept['log_evidence'].mean()):,.1f} ± " in note
    # The test split is looked at once, with the one that was chosen.
    looks = {run.name: len(evaluations(run)) for run in (found / "runs").iterdir()}
    assert looks[f"{first['candidate']}-seed0"] == sum(looks.values()) == 1
    assert RunDirectory(found).config()["vary"]["latent_size"] == ["1..3"]


def test_a_page_shows_the_candidates_and_not_all_trials(found: Path) -> None:
    pytest.importorskip("panel", reason="Panel is the extra 'explore'")
    from pyro_dsvae.explorer.pages.comparison import candidates

    shown = candidates(found)
    assert list(shown) == [row["candidate"] for row in rows(found, "comparison.csv")]
    assert len(shown) < len(list(found.glob("runs/*/best.pt")))
    assert all((run / "best.pt").is_file() for run in shown.values())


def test_a_search_that_is_stopped_goes_on_as_if_it_had_not_been(
    found: Path, walks: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a fit; when a fit was measured and that not told; and when all was."""
    out = tmp_path / "out"
    goes_on, log_evidence, tell = search._goes_on, search.log_evidence, search.Trial.tell

    def in_a_fit(trial: search.Trial, row: dict[str, Any]) -> bool:
        if trial.number == 1 and row["split"] == "validation":
            raise Stopped
        return goes_on(trial, row)

    def not_told(*arguments: Any) -> torch.Tensor:
        log_evidence(*arguments)
        raise Stopped

    def told(trial: search.Trial, value: float | None, failed: str) -> None:
        tell(trial, value, failed)
        if trial.number == 4:
            raise Stopped

    for place, name, stops in (
        (search, "_goes_on", in_a_fit),
        (search, "log_evidence", not_told),
        (search.Trial, "tell", told),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, stops)
            assert verb.main([*walks, *OPTIONS, f"--out={out}"]) == 130
    assert verb.main([f"--out={out}"]) == 0  # the options are those of the folder
    assert rows(out, "trials.csv") == rows(found, "trials.csv")
    assert rows(out, "comparison.csv") == rows(found, "comparison.csv")


def space(**vary: list[Any]) -> Space:
    return Space(ComparisonOptions(steps=1).shared(), vary)


def test_what_is_drawn_does_not_depend_on_who_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One process, or a new one for each trial, of which each takes over one that was interrupted."""
    monkeypatch.setattr(Space, "candidate", lambda _, drawn: Candidate(str(drawn), {}))
    drawn: list[list[int]] = [[], []]
    for folder, listed in zip(("one", "many"), drawn, strict=True):
        (tmp_path / folder).mkdir()
        study = Study(tmp_path / folder, space(latent_size=["1..200"]), seed=0)
        for _ in range(25):
            if folder == "many":
                study.ask()  # which is interrupted
                study = Study(tmp_path / folder, space(latent_size=["1..200"]), seed=0)
            trial = study.ask()
            listed.append(trial.trial.params["latent_size"])
            trial.tell(-((np.log(listed[-1]) - np.log(20)) ** 2))
    assert drawn[0] == drawn[1]
    assert len(optuna.load_study(study_name="search", storage=study.study._storage).trials) == 25


@pytest.mark.parametrize("known", [0, 1])
def test_a_kill_while_a_trial_is_drawn_or_a_line_written_changes_nothing(
    known: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Space, "candidate", lambda _, drawn: Candidate(str(drawn), {}))
    suggest = optuna.trial.Trial._suggest
    options = {"latent_size": ["1..200"], "static_size": ["1..200"]}

    def killed(trial: optuna.trial.Trial, name: str, distribution: Any) -> Any:
        if len(trial.params) == known:
            raise Stopped
        return suggest(trial, name, distribution)

    drawn: list[list[dict[str, Any]]] = [[], []]
    for folder, listed in zip(("whole", "killed"), drawn, strict=True):
        (tmp_path / folder).mkdir()
        for _ in range(RANDOM + 3):
            if folder == "killed":
                study = Study(tmp_path / folder, space(**options), seed=0)
                with monkeypatch.context() as patch:
                    patch.setattr(optuna.trial.Trial, "_suggest", killed)
                    with pytest.raises(Stopped):
                        study.ask()
                with (tmp_path / folder / FILE).open("ab") as file:
                    file.write(b'{"op_code":5,"worker')
            study = Study(tmp_path / folder, space(**options), seed=0)
            trial = study.ask()
            listed.append(trial.trial.params)
            trial.tell(-float(abs(listed[-1]["latent_size"] - 20)))
        assert len(study.table().splitlines()) == 1 + RANDOM + 3
    assert drawn[0] == drawn[1]


def test_a_journal_that_is_damaged_inside_is_one_line(tmp_path: Path) -> None:
    Study(tmp_path, space(latent_size=["1..9"]), seed=0)
    (tmp_path / FILE).write_bytes(b'{"op_co' + (tmp_path / FILE).read_bytes() * 2)
    with pytest.raises(UsageError, match=rf"{FILE} is damaged: restore it, or begin .* another folder$"):
        Study(tmp_path, space(latent_size=["1..9"]), seed=0)


def test_a_trial_below_the_median_is_cut_short_also_by_the_next_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Space, "candidate", lambda _, drawn: Candidate(str(drawn), {}))
    study = Study(tmp_path, space(latent_size=["1..9"]), seed=0)
    for number in range(RANDOM):
        trial = study.ask()
        assert trial.goes_on(10, float(number))
        trial.tell(1.0)
    trial = study.ask()
    assert not trial.goes_on(10, 1.0)
    again = Study(tmp_path, space(latent_size=["1..9"]), seed=0).ask()
    assert (again.number, again.pruned) == (RANDOM, True)
    again.tell(None)
    assert study.ask().goes_on(10, 3.0)
    assert "\n5,pruned,,latent_size" not in study.table()
    assert f"\n{RANDOM},pruned,," in study.table()


def test_fits_of_as_many_minutes_are_held_against_each_other_although_their_steps_differ() -> None:
    config: dict[str, Any] = {"steps": None, "minutes": 2.0, "optimisation": {"evaluations": 3}}
    fast, slow = ({"step": step, "seconds": 80.0 + late} for step, late in ((900, 0.01), (70, 3.2)))
    assert search.moment(config, fast) == search.moment(config, slow) == 2
    assert search.moment(config, {"step": 950, "seconds": 119.9999}) == 3
    assert search.moment({**config, "steps": 900, "minutes": None}, slow) == 70


def test_a_combination_that_a_part_refuses_is_a_trial_that_failed(walks: list[str], tmp_path: Path) -> None:
    """The ends of the range are even, as the width of a Transformer has to be."""
    few = ["--static_size=2", "--posterior.hidden_size=4", "--posterior.feature_size=4", "--device=cpu", "--steps=2"]
    few += ["--optimisation.evaluations=1", "--optimisation.batch_size=4", "--sequences=4", "--draws=30", "--seeds=1"]
    wide = ["--dynamic_prior=Transformer", "--dynamic_prior.heads=2", "--dynamic_prior.layers=1"]
    search = ["--search=optuna", "--trials=8", "--vary=dynamic_prior.width=8..12", f"--out={tmp_path / 'out'}"]
    assert verb.main([*walks, *few, *wide, *search]) == 0
    states = {(int(row["dynamic_prior.width"]), row["state"]) for row in rows(tmp_path / "out", "trials.csv")}
    assert {state for width, state in states if width % 2} == {"failed"}
    assert {state for width, state in states if width % 2 == 0} <= {"complete", "pruned"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4..64", Range(4, 64, True)),
        ("-1..1", Range(-1, 1, True)),
        ("1e-4..1e-2", Range(1e-4, 1e-2, False)),
        (".5..1.", Range(0.5, 1, False)),
        ("LSTM", None),
        ("../clips", None),
    ],
)
def test_ranges_are_read(text: str, expected: Range | None) -> None:
    assert range_of("latent_size", [text]) == expected


def test_numbers_of_ranges_can_be_typed_and_stay_inside() -> None:
    one = Range(1.2345e-4, 1e-2, False)
    assert (one.logarithmic, one.value(0.00345678), one.value(1.2345e-4)) == (True, 0.00346, 1.2345e-4)
    assert (Range(4, 8, True).logarithmic, Range(4, 8, True).value(5)) == (False, 5)


def test_each_value_and_each_end_is_built_before_the_first_fit() -> None:
    found = space(
        dynamic_prior=["GRU", "LSTM"], **{"dynamic_prior.hidden_size": ["8..64"], "latent_size": ["2", "3", "4"]}
    )
    built = [each.config for each in found.corners()]
    assert {each["dynamic_prior"]["class_path"].rpartition(".")[2] for each in built} == {"GRU", "LSTM"}
    assert {each["dynamic_prior"]["init_args"]["hidden_size"] for each in built} == {8, 64}
    assert {each["latent_size"] for each in built} == {2, 3, 4}
    drawn = {"dynamic_prior": "GRU", "dynamic_prior.hidden_size": 16, "latent_size": "latent_size=3"}
    assert found.candidate(drawn).name == "GRU+hidden_size=16+latent_size=3"


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--vary=latent_size=2..8"], "--vary latent_size=2..8 is a range, for --search optuna"),
        (["--vary=latent_size=2,8", "--trials=5"], "--trials is for --search optuna"),
        (["--vary=latent_size=2..8", "--search=optuna", "--trials=1"], "a search takes at least 2"),
        (["--vary=latent_size=2..8", "--search=optuna", "--devices=2"], "leave out --devices"),
        (["--vary=latent_size=2..8", "--search=optuna", "--cluster=tcp://a:1"], "leave out --cluster"),
        (["--vary=latent_size=8..2", "--search=optuna"], "8..2 holds no number"),
        (["--vary=latent_size=2.5..8", "--search=optuna"], "latent_size"),
        (
            ["--vary=dynamic_prior=LSTM..GRU", "--search=optuna"],
            "--vary dynamic_prior: LSTM..GRU is no range; a range is two",
        ),
        (["--vary=dynamic_prior=LSTM..GRU"], "--vary dynamic_prior: LSTM..GRU is no range; a range is two"),
        (["--vary=latent_size=4..x", "--search=optuna"], "4..x is no range; a range is two numbers LOW..HIGH"),
        (["--vary=latent_size=4..8,16", "--search=optuna"], "4..8 stands beside 16; a range"),
        (["--search=optuna"], "--search optuna needs what it searches over: --vary latent_size=2..16"),
        (["--vary=latent_size=2,2", "--search=optuna"], "names a value twice"),
        (["--vary=seed=1..9", "--search=optuna"], "seed cannot vary"),
        (["a", "b", "--search=optuna"], "takes --vary and no finished runs"),
    ],
)
def test_mistakes_are_told_before_anything_is_fitted(
    walks: list[str], tmp_path: Path, more: list[str], says: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(says)):
        verb.main([*walks, *more, f"--out={tmp_path / 'out'}"])
    assert not (tmp_path / "out").exists()


def test_the_extra_that_is_missing_is_named(walks: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UsageError, match=r"pip install 'pyro-dsvae\[scale\]'"):
        verb.main([*walks, *OPTIONS, f"--out={tmp_path / 'out'}"])
    assert not (tmp_path / "out").exists()
