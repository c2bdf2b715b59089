"""Folders that verbs write: whole or not at all, each by one process."""

import errno
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import pytest

from pyro_dsvae.lock import FolderLock, TakenError
from pyro_dsvae.models.errors import Remark, UsageError
from pyro_dsvae.runs.output_folder import check_free, in_next_free, locked, new_folder, new_numbered_folder

PROJECT = Path(__file__).parents[2]


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


# --- several processes at once ----------------------------------------------------------------------------------------


def other_process(code: str) -> subprocess.Popen[str]:
    """Python code that prints a line when it has a lock, in a process of its own."""
    running = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"from pyro_dsvae.runs.output_folder import *; import time; from pathlib import Path\n{code}",
        ],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert running.stdout is not None
    with running.stdout as out:
        assert out.readline() == "locked\n"
    return running


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has locked the folder "run"."""
    (tmp_path / "run").mkdir()
    code = f"with locked(Path({str(tmp_path / 'run')!r})): print('locked', flush=True); time.sleep(60)"
    running = other_process(code)
    yield running
    running.kill()
    running.wait()


def test_a_lock_names_the_process_that_holds_it_and_is_taken_over_when_that_was_killed(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    says = rf"run is being written by process {holder.pid} on \S+ since 20\S+ \S+; wait for its end, or stop it$"
    with pytest.raises(TakenError, match=says), locked(tmp_path / "run"):
        pass
    holder.kill()
    holder.wait()
    assert (tmp_path / "run" / ".lock").exists()
    with locked(tmp_path / "run"), pytest.raises(TakenError, match=f"process {os.getpid()} "):
        FolderLock(tmp_path / "run").take()
    assert list((tmp_path / "run").iterdir()) == []


def test_of_many_that_want_a_lock_each_gets_it_once(tmp_path: Path) -> None:
    """Though each removes the file when it is done."""
    inside, got = [0], list[int]()

    def work(number: int) -> None:
        while True:
            try:
                with locked(tmp_path):
                    inside[0] += 1
                    assert inside[0] == 1
                    time.sleep(0.001)
                    inside[0] -= 1
                    got.append(number)
                    return
            except TakenError:
                time.sleep(0.0005)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(64)))
    assert sorted(got) == list(range(64))
    assert list(tmp_path.iterdir()) == []


def test_each_of_many_at_once_takes_a_number_of_its_own(tmp_path: Path) -> None:
    def write(number: int) -> Path:
        with new_numbered_folder(tmp_path / "latents", "sample") as (path, folder):
            (folder / "number.txt").write_text(str(number))
            time.sleep(0.01)
        return path

    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(write, range(24)))
    assert [int((path / "number.txt").read_text()) for path in paths] == list(range(24))
    assert sorted(path.name for path in (tmp_path / "latents").iterdir()) == [f"sample-{n:03}" for n in range(1, 25)]


def test_what_a_killed_process_left_is_removed_and_its_number_taken(tmp_path: Path) -> None:
    code = f"with new_folder(Path({str(tmp_path / 'sample-001')!r})) as part: (part / 'half').mkdir(); "
    running = other_process(code + "print('locked', flush=True); time.sleep(60)")
    with pytest.raises(TakenError, match=rf"sample-001 is being written by process {running.pid} on "):
        new_folder(tmp_path / "sample-001").__enter__()
    with new_numbered_folder(tmp_path, "sample") as (path, _):
        assert path.name == "sample-002"
    running.kill()
    running.wait()
    assert (tmp_path / ".sample-001.part" / "half").exists()
    with new_numbered_folder(tmp_path, "sample") as (path, folder):
        (folder / "whole").mkdir()
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")) == [
        *("sample-001", "sample-001/whole", "sample-002"),
    ]


def test_the_next_number_is_taken_where_another_process_was_faster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def make(path: Path) -> Path:
        if path.name == "compare-001":
            path.mkdir(parents=True, exist_ok=True)  # by the other one
        check_free(path)
        return path

    assert in_next_free(None, "compare", make) == Path("runs/compare-002")
    with pytest.raises(TakenError):
        in_next_free(Path("runs/compare-001"), "compare", make)


def test_a_file_system_that_cannot_rename_folders_is_told_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As some are that show an object store as folders."""

    def refuses(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(Path, "rename", refuses)
    with pytest.raises(UsageError, match="cannot rename folders"), new_folder(tmp_path / "a"):
        raise AssertionError("the work began")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("mounts", "said"),
    [
        ("1 0 0:1 / / rw - ext4 /dev/a rw", None),
        ("1 0 0:1 / / rw - nfs a:/ rw,local_lock=none", None),
        ("1 0 0:1 / / rw shared:1 - nfs a:/ rw,local_lock=flock,hard", "local_lock=flock"),
        ("1 0 0:1 / / rw - nfs a:/ rw,nolock\n2 1 0:2 / {} rw - lustre b:/ rw,flock", None),
        ("1 0 0:1 / / rw - ext4 /dev/a rw\n2 1 0:2 / {} rw - lustre b:/ rw,localflock", "localflock"),
    ],
)
def test_locks_that_hold_on_one_machine_only_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mounts: str, said: str | None
) -> None:
    """So are network file systems mounted now and then; of two mounts the inner one counts."""
    folder = tmp_path / "a b"
    folder.mkdir()
    (tmp_path / "mounts").write_text(mounts.format(str(folder).replace(" ", "\\040")) + "\n")
    monkeypatch.setattr("pyro_dsvae.lock.MOUNTS", tmp_path / "mounts")
    with nullcontext() if said is None else pytest.warns(Remark, match=f"mounted with {said}"), locked(folder):
        assert (folder / ".lock").is_file()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_said_and_nothing_is_spoilt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("pyro_dsvae.lock.fcntl.flock", refuse)
    with pytest.warns(Remark, match="has no locks"), new_folder(tmp_path / "a") as part:
        (part / "done").mkdir()
    assert [str(p.relative_to(tmp_path)) for p in sorted(tmp_path.rglob("*"))] == ["a", "a/done"]
    # Whether this one is in use cannot be known.
    (tmp_path / ".b.part" / "half").mkdir(parents=True)
    with pytest.warns(Remark), pytest.raises(TakenError, match=r"if so remove .*\.b\.part"):
        new_folder(tmp_path / "b").__enter__()
    assert (tmp_path / ".b.part" / "half").exists()
