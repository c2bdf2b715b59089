"""A file that is replaced is the old one or the new one, never a part."""

import os
from pathlib import Path

import pytest

from pyro_dsvae.inference.files import replacing


@pytest.mark.parametrize("shared", [False, True])
def test_a_file_is_replaced_at_the_end_of_the_block(tmp_path: Path, shared: bool) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with replacing(path, shared) as part:
        part.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("failure", [OSError("no space"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_file_alone(tmp_path: Path, failure: BaseException) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write() -> None:
        with replacing(path) as part:
            part.write_text("ne")
            raise failure

    with pytest.raises(type(failure)):
        write()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_what_a_killed_process_left_is_overwritten(tmp_path: Path) -> None:
    with replacing(tmp_path / "a.txt") as part:
        part.write_text("first")
    part.write_text("left by a process that was killed")
    with replacing(tmp_path / "a.txt") as part:
        part.write_text("new")
    assert os.listdir(tmp_path) == ["a.txt"]


def test_processes_that_share_a_file_have_parts_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    with replacing(path, shared=True) as mine:
        mine.write_text("mine")
        with monkeypatch.context() as another_process:
            another_process.setattr(os, "getpid", lambda: -1)
            with replacing(path, shared=True) as theirs:
                theirs.write_text("theirs")
        assert path.read_text() == "theirs"
    assert path.read_text() == "mine"
    assert os.listdir(tmp_path) == ["a.txt"]
