"""Who reads the test split: what is asked to, and each time it is counted in the run."""

import contextlib
import io
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pyro_dsvae
from pyro_dsvae import compare, evaluate, fit, latents, ppc
from pyro_dsvae.data.dataset import SequenceData
from pyro_dsvae.inference.training.held_out_elbo import held_out_terms
from pyro_dsvae.inference.training.objective import Objective
from pyro_dsvae.judges.cache import load_or_train_judge
from pyro_dsvae.judges.swap_scores import accuracies, swap_scores
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.runs.evaluations import FILE, evaluations, record, said
from tests.pictures import pictures

N, T, P = 48, 5, 3
SMALL = [
    "--static_size=3",
    "--latent_size=2",
    "--dynamic_prior=LSTM",
    "--dynamic_prior.hidden_size=4",
    "--posterior.hidden_size=4",
    "--posterior.feature_size=4",
    "--steps=3",
    "--optimisation.evaluations=1",
    "--optimisation.batch_size=8",
    "--device=cpu",
]
QUICK = ["--draws=30", "--sequences=4", "--device=cpu"]


@pytest.fixture(scope="module", autouse=True)
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setattr("pyro_dsvae.judges.own.STEPS", 4)
        patch.setattr("pyro_dsvae.judges.motion.TRAINING_STEPS", 2)
        patch.setattr("pyro_dsvae.metrics.probes.STEPS", 20)
        patch.setattr("pyro_dsvae.metrics.probes.ITERATIONS", 10)
        # Trees take longer than all the rest.
        patch.setitem(sys.modules, "sklearn.ensemble", None)
        yield


def clips(path: Path, **changed: Any) -> Path:
    """Labelled vectors; those of the test split are other ones, so that no figure of theirs is that of the others."""
    rng = np.random.default_rng(0)
    split = np.repeat([0, 1, 2], N // 3)
    frames = (rng.normal(size=(N, T, P)) + 3 * (split == 2)[:, None, None]).astype(np.float32)
    labels = {
        "labels_who": np.arange(N) % 2,
        "role_who": "static",
        "labels_act": np.arange(N) % 3,
        "role_act": "dynamic",
    }
    np.savez(path, **{"frames": frames, "split": split, **labels, **changed})
    return path


def fitted(folder: Path, *options: str, **changed: Any) -> Path:
    source = clips(folder / "clips.npz", **changed)
    assert fit.main(["--data=Arrays", f"--data.path={source}", f"--out={folder / 'run'}", *SMALL, *options]) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs to the same data, and what the fit of the first printed."""
    folder = tmp_path_factory.mktemp("runs")
    with contextlib.redirect_stdout(io.StringIO()) as out:
        run = fitted(folder)
    (folder / "printed.txt").write_text(out.getvalue())
    second = [
        f"--config={run / 'config.yaml'}",
        f"--out={folder / 'other'}",
        "--seed=1",
        "--static_prior=StandardNormal",
    ]
    assert fit.main(second) == 0
    return folder


@pytest.fixture
def run(home: Path, tmp_path: Path) -> Path:
    """The first run, the other one beside it."""
    for name in ("run", "other"):
        shutil.copytree(home / name, tmp_path / name)
    return tmp_path / "run"


def test_a_fit_reports_the_validation_split(home: Path) -> None:
    run, out = home / "run", (home / "printed.txt").read_text()
    opened = pyro_dsvae.load(run, device="cpu")
    data = opened.sequences()
    summary = json.loads((run / "summary.json").read_text())
    objective = Objective(opened.model, opened.guide)
    terms = held_out_terms(objective, data.sequences("validation"), torch.device("cpu"), 0)
    assert summary["validation"] == terms | {"step": 3}
    assert held_out_terms(objective, data.sequences("test"), torch.device("cpu"), 0)["elbo"] != terms["elbo"]
    units = opened.model.likelihood.to_model_units
    judge = load_or_train_judge(data, units)
    held_out = data.part("validation")
    scores = swap_scores(judge, opened.model, opened.guide, held_out, units)
    assert summary["judge"]["accuracy"] == accuracies(judge, held_out, units)
    assert (summary["judge"]["kept"], summary["judge"]["taken_over"]) == (scores.kept, scores.taken_over)
    assert "test" not in summary
    assert f"{terms['elbo']:,.1f}" in out
    assert re.findall("^(?:swaps between )?(test|validation)", out, re.M) == ["validation", "validation"]
    assert f"python -m pyro_dsvae.evaluate {run}" in out
    assert not (run / FILE).exists()


def test_a_fit_takes_nothing_from_test_sequences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures, too: none of the sequences that are decoded or drawn are of the test split."""
    taken: list[torch.Tensor] = []
    take = SequenceData.take

    def spy(self: SequenceData, rows: torch.Tensor) -> SequenceData:
        taken.append(self.split[rows])
        return take(self, rows)

    monkeypatch.setattr(SequenceData, "take", spy)
    with pictures():
        fitted(tmp_path)
    assert taken
    assert not any((split == 2).any() for split in taken)


def test_data_without_a_test_split_can_be_fitted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = fitted(tmp_path, split=np.arange(N) % 2)
    assert evaluate.main([str(run), "--split=validation", "--device=cpu"]) == 0
    with pytest.raises(UsageError, match="test split is empty"):
        evaluate.main([str(run), f"--out={tmp_path / 'out'}", "--device=cpu"])
    assert evaluations(run) == []
    assert not (tmp_path / "out").exists()


def test_every_evaluation_of_the_test_split_is_counted_and_told(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run.parent
    assert evaluate.main([str(run), "--split=validation", f"--out={folder / 'a'}", "--device=cpu"]) == 0
    assert "has been evaluated" not in capsys.readouterr().out
    assert evaluations(run) == []
    told = []
    for name, command in {
        "b": lambda out: evaluate.main([str(run), out, "--device=cpu"]),
        "c": lambda out: ppc.main([str(run), "--split=test", "--simulations=0", "--sequences=8", out]),
        "d": lambda out: latents.main(["forecast", str(run), "--split=test", "--score=4", "--given=3", out]),
        "e": lambda out: evaluate.main([str(run), "--split=test", out, "--device=cpu"]),
        "f": lambda out: evaluate.main([str(run), "--split=validation", out, "--device=cpu"]),
    }.items():
        assert command(f"--out={folder / name}") == 0
        told += re.findall("has been evaluated (.*)\\.", " ".join(capsys.readouterr().out.split()))
    whole = "evaluate 2, ppc 1, latents forecast 1"
    assert [text.split(".")[0] for text in told] == [
        "1 time (evaluate 1)",
        "2 times (evaluate 1, ppc 1)",
        "3 times (evaluate 1, ppc 1, latents forecast 1)",
        f"4 times ({whole})",
        f"4 times ({whole})",
    ]
    assert [Path(one.wrote).name for one in evaluations(run)] == ["b", "c", "d", "e"]
    assert f"4 times ({whole})" in (folder / "f" / "evaluation.md").read_text()
    assert f"4 times ({whole})" in json.loads((folder / "e" / "evaluation.json").read_text())["notes"][-1]
    # A fit that is resumed and reports again says it, too.
    assert fit.main(["--out", str(run), "--resume"]) == 0
    assert f"4 times ({whole})" in " ".join(capsys.readouterr().out.split())


def test_verbs_take_the_validation_split_unless_told_otherwise(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All but evaluate, which is for the final figures."""
    folder = run.parent
    assert ppc.main([str(run), "--simulations=0", "--sequences=8", f"--out={folder / 'ppc'}"]) == 0
    assert json.loads((folder / "ppc" / "ppc.json").read_text())["options"]["split"] == "validation"
    assert "the guide itself (raw codes)" in (folder / "ppc" / "report.html").read_text()
    for action, options in {"forecast": ["--given=3", "--score=4"], "swap": [], "encode": []}.items():
        assert latents.main([action, str(run), f"--out={folder / action}", *options]) == 0
    assert "linear probes on validation clips" in capsys.readouterr().out
    found = compare.compare(runs=[run, folder / "other"], out=folder / "compared", sequences=4, draws=30, device="cpu")
    assert "all figures are of the guide itself (raw codes)" in found.report.notes[0]
    assert evaluations(run) == []


def test_a_comparison_counts_once_for_each_run_however_often_it_goes_on(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = run.parent / "other"
    record(other, "evaluate", run.parent / "elsewhere")
    out = run.parent / "compared"
    words = [str(run), str(other), *QUICK, f"--out={out}"]
    assert compare.main([*words, "--split=test"]) == 0
    first = (out / "comparison.md").read_text()
    assert "the test split of these runs has been evaluated: run 1 time, other 2 times" in first
    assert compare.main([*words, "--split=test"]) == 0
    assert (out / "comparison.md").read_text() == first
    assert [one.command for one in evaluations(run)] == ["compare"]
    later = run.parent / "later"
    assert compare.main([str(run), str(other), *QUICK, f"--out={later}"]) == 0
    text = (later / "comparison.md").read_text()
    assert "of the validation split" in text
    assert "the test split of these runs has been evaluated: run 1 time, other 2 times" in text


def test_what_cannot_be_recorded_is_said_and_damage_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(tmp_path) == ""
    assert "1 time (evaluate 1)." in record(tmp_path, "evaluate", tmp_path / "out")
    assert "1 time (evaluate 1)." in record(tmp_path, "evaluate", tmp_path / "out", again=False)
    with (tmp_path / FILE).open("a") as file:
        file.write('{"command": "evalu\n')
    assert "2 times (evaluate 1, unknown 1)." in said(tmp_path)
    missing = record(tmp_path / "no such run", "ppc", tmp_path)
    assert re.search(r"1 time \(ppc 1\). This one could not be recorded in .*: No such file", missing)
