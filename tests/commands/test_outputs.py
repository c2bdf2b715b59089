"""Folders that verbs write: whole or not at all."""

from pathlib import Path

import pytest

from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.runs.output_folder import check_free, new_folder


def test_a_folder_appears_when_all_went_well(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "report"
    with new_folder(target) as part:
        (part / "a.txt").write_text("a")
        assert not target.exists()
    assert (target / "a.txt").read_text() == "a"
    assert [p.name for p in target.parent.iterdir()] == ["report"]


def test_nothing_is_left_of_work_that_failed(tmp_path: Path) -> None:
    def fail() -> None:
        with new_folder(tmp_path / "report") as part:
            (part / "a.txt").write_text("a")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_what_exists_is_replaced_on_request_only_and_only_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "report"
    target.mkdir()
    (target / "old.txt").write_text("old")
    with pytest.raises(UsageError, match="exists; name another"), new_folder(target):
        pass
    with pytest.raises(UsageError, match="exists"):
        check_free(target)
    with pytest.raises(ZeroDivisionError), new_folder(target, overwrite=True):
        raise ZeroDivisionError
    assert (target / "old.txt").exists()
    with new_folder(target, overwrite=True) as part:
        (part / "new.txt").write_text("new")
        assert (target / "old.txt").exists()
    assert [p.name for p in target.iterdir()] == ["new.txt"]


def test_a_place_that_cannot_be_written_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write"), new_folder(tmp_path / "file" / "report"):
        pass
