"""Run directories: whole or not at all, and never a pickle."""

import errno
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.runs import directory as runs
from pyro_dsvae.runs.directory import COLUMNS, RunDirectory

ARRAYS = {"class_path": "pyro_dsvae.data.arrays.Arrays", "init_args": {"path": "x.npz", "rate": 1e-5}}
CONFIG = {"seed": 3, "standardise": True, "data": ARRAYS}
STATE = {"step": 7, "objective": {"weight": torch.arange(6.0).reshape(2, 3)}}


def row(step: int, split: str = "train") -> dict[str, Any]:
    return {column: split if column == "split" else step if column == "step" else step + 0.25 for column in COLUMNS}


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory.create(tmp_path / "run", CONFIG, STATE)


def refusal(action: Any, *arguments: Any) -> str:
    """The one line with which it is refused."""
    with pytest.raises(UsageError) as caught:  # a warning, which would be a second line, is an error here
        action(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def fail(number: int) -> Any:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


def test_created_run_can_be_opened(run: RunDirectory) -> None:
    opened = RunDirectory.open(run.path)
    assert opened.config() == CONFIG
    assert opened.metrics() == []
    assert opened.load("checkpoint.pt")["step"] == 7
    assert opened.figures.is_dir()
    assert sorted(os.listdir(run.path.parent)) == ["run"]


def test_missing_parents_are_made(tmp_path: Path) -> None:
    assert RunDirectory.create(tmp_path / "a" / "b", CONFIG).config_file.is_file()


def test_files_are_readable_as_the_umask_says(run: RunDirectory) -> None:
    plain = run.path.parent / "plain"
    plain.write_text("")
    (run.path.parent / "folder").mkdir()
    assert run.config_file.stat().st_mode == plain.stat().st_mode
    assert run.path.stat().st_mode == (run.path.parent / "folder").stat().st_mode


def test_what_exists_is_not_overwritten(run: RunDirectory, tmp_path: Path) -> None:
    assert f"--out {run.path} --resume" in refusal(RunDirectory.create, run.path, CONFIG)
    (tmp_path / "other").mkdir()
    line = refusal(RunDirectory.create, tmp_path / "other", CONFIG)
    assert "exists" in line
    assert "--resume" not in line
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    assert "exists" in refusal(RunDirectory.create, tmp_path / "dangling", CONFIG)


def test_folder_under_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot write" in refusal(RunDirectory.create, tmp_path / "file" / "run", CONFIG)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
@pytest.mark.parametrize("step", ["os.fsync", "os.replace", "pathlib.Path.rename", "pathlib.Path.mkdir"])
def test_failed_creation_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, step: str
) -> None:
    monkeypatch.setattr(step, fail(number))
    assert os.strerror(number) in refusal(RunDirectory.create, tmp_path / "run", CONFIG, STATE)
    assert os.listdir(tmp_path) == []


def test_interrupted_creation_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        RunDirectory.create(tmp_path / "run", CONFIG)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_failed_save_keeps_what_was_there(run: RunDirectory, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    before = (run.path / "checkpoint.pt").read_bytes()
    names = sorted(os.listdir(run.path))
    with monkeypatch.context() as patch:
        patch.setattr(os, step, fail(errno.ENOSPC))
        assert "checkpoint.pt: No space left" in refusal(run.save, "checkpoint.pt", {"step": 8})
    assert (run.path / "checkpoint.pt").read_bytes() == before
    assert sorted(os.listdir(run.path)) == names


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_disk_is_said_of_metrics(run: RunDirectory) -> None:
    run.metrics_file = Path("/dev/full")
    assert "No space left" in refusal(run.append_metrics, row(1))


def test_opening_nothing_is_refused(tmp_path: Path) -> None:
    assert "holds no run" in refusal(RunDirectory.open, tmp_path)
    assert "holds no run" in refusal(RunDirectory.open, tmp_path / "nothing")


def test_state_comes_back_as_it_was(run: RunDirectory) -> None:
    run.save("other.pt", {"step": 1, "nested": {"values": [1, 2.5, None, "x"]}, "weight": torch.ones(2)})
    state = run.load("other.pt")
    assert state.pop("schema") == runs.SCHEMA
    assert state.pop("weight").equal(torch.ones(2))
    assert state == {"step": 1, "nested": {"values": [1, 2.5, None, "x"]}}
    assert torch.load(run.path / "other.pt", weights_only=True)["step"] == 1


class Malicious:
    """Pickles as a call that creates a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.file,))


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("plain", [False, True])
def test_pickled_code_is_refused_and_does_not_run(run: RunDirectory, tmp_path: Path, legacy: bool, plain: bool) -> None:
    file, ran = run.path / "checkpoint.pt", tmp_path / "ran"
    if plain:
        file.write_bytes(pickle.dumps(Malicious(ran), protocol=2 if legacy else 5))
    else:
        state = {"schema": runs.SCHEMA, "code": Malicious(ran)}
        torch.save(state, file, _use_new_zipfile_serialization=not legacy)
    assert "is refused" in refusal(run.load, "checkpoint.pt")
    assert not ran.exists()
    if plain:
        pickle.loads(file.read_bytes())
        assert ran.exists(), "the control: unpickling it would have run the code"


def test_checkpoint_cut_anywhere_is_refused(run: RunDirectory) -> None:
    file = run.path / "checkpoint.pt"
    content = file.read_bytes()
    for share in (0, 0.001, 0.1, 0.5, 0.9, 0.99):
        file.write_bytes(content[: int(len(content) * share)])
        assert "checkpoint.pt" in refusal(run.load, "checkpoint.pt")
    file.write_bytes(content)
    assert run.load("checkpoint.pt")["step"] == 7


def test_overwritten_checkpoint_is_refused(run: RunDirectory) -> None:
    file = run.path / "checkpoint.pt"
    content = bytearray(file.read_bytes())
    content[40:200] = bytes(160)
    file.write_bytes(content)
    assert "checkpoint.pt" in refusal(run.load, "checkpoint.pt")


def test_single_spoilt_bytes_of_weights_are_refused(run: RunDirectory) -> None:
    """Every tensor of the archive has a checksum. Without a look at it, changed weights load without a word."""
    file = run.path / "checkpoint.pt"
    torch.save({"schema": 1, "step": 7, "objective": {"w": torch.arange(100.0)}}, file)
    content = file.read_bytes()
    start = content.index(torch.arange(100.0).numpy().tobytes())
    for place in (start, start + 200, start + 399):
        file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert not torch.equal(torch.load(file, weights_only=True)["objective"]["w"], torch.arange(100.0)), (
            "the control"
        )
        assert "is damaged" in refusal(run.load, "checkpoint.pt")


@pytest.mark.parametrize("state", [{"schema": 99}, {"step": 1}, [1, 2]])
def test_other_schema_is_refused(run: RunDirectory, state: object) -> None:
    torch.save(state, run.path / "checkpoint.pt")
    assert "has schema" in refusal(run.load, "checkpoint.pt")


def test_missing_checkpoint_is_refused(run: RunDirectory) -> None:
    assert "best.pt is missing" in refusal(run.load, "best.pt")


@pytest.mark.parametrize("text", ["a: [1\n", "", "- 1\n", "!!python/object/apply:os.getcwd []\n", "\x00"])
def test_unreadable_config_is_refused(run: RunDirectory, text: str) -> None:
    run.config_file.write_text(text)
    assert "config.yaml" in refusal(run.config)


def test_metrics_keep_their_types(run: RunDirectory) -> None:
    rows = [row(25), row(50), row(50, "validation")]
    for one in rows:
        run.append_metrics(one)
    assert run.metrics() == rows
    assert b"\r" not in run.metrics_file.read_bytes()


def test_rows_that_will_be_repeated_are_forgotten(run: RunDirectory) -> None:
    for step in (25, 50, 75):
        run.append_metrics(row(step))
    with run.metrics_file.open("a") as file:
        file.write("100,1.5,tra")  # a row that a kill cut short
    run.forget_after(50)
    assert run.metrics() == [row(25), row(50)]
    run.append_metrics(row(75))
    assert run.metrics() == [row(25), row(50), row(75)]


def test_damaged_metrics_are_refused(run: RunDirectory) -> None:
    run.metrics_file.write_text(",".join(COLUMNS) + "\n" + "x," * 7 + "x\n")
    assert "metrics.csv" in refusal(run.metrics)
    run.metrics_file.unlink()
    assert "metrics.csv" in refusal(run.metrics)


def test_summary_comes_back(run: RunDirectory) -> None:
    assert "--resume" in refusal(run.summary)
    run.write_summary({"test": {"elbo": -1.5}})
    assert run.summary() == {"test": {"elbo": -1.5}}
    (run.path / "summary.json").write_text("{")
    assert "--resume" in refusal(run.summary)
