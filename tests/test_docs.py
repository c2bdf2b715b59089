"""The documentation says what works: its commands and snippets run as they are written, page by page."""

import doctest
import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import pytest
import torch
from dask_jobqueue import SLURMCluster

from pyro_dsvae.comparison.options import ComparisonOptions
from pyro_dsvae.configuration.build import build_from
from pyro_dsvae.configuration.networks import for_frames
from pyro_dsvae.configuration.options import FitOptions

DOCS = Path(__file__).parents[1] / "docs"
EXAMPLES = Path(__file__).parent / "examples"
# Pages that others print, and what Sphinx writes.
ELSEWHERE = ("_build", "_extensions", "api", "results")
PAGES = sorted(p for p in DOCS.rglob("*.md") if p.relative_to(DOCS).parts[0] not in ELSEWHERE)
QUICKSTART = DOCS / "quickstart.md"

BLOCK = re.compile(
    r"^(?:<!-- not run: (?P<reason>[^\n]+) -->\n)?```(?P<language>sh|python)\n(?P<text>.*?)^```$", re.M | re.S
)
OPTION = re.compile(r"(?<![\w-])--([a-z][\w-]*(?:\.\w+)*)")
# Options of torchrun, of SLURM, of Dask's workers, and of TensorBoard.
OTHERS = {"nthreads", "lifetime", "lifetime_stagger", "nproc_per_node", "nnodes"}
OTHERS |= {"job_name", "cpus_per_task", "time", "signal", "requeue", "open_mode", "output", "gres", "logdir"}
VERBS = ("fit", "compare", "ppc", "evaluate", "explore")
ACTIONS = ("swap", "sample", "interpolate", "traverse", "impute", "forecast", "encode")
FILE = re.compile(r"# (\w+\.py)\n")


class Block(NamedTuple):
    """A fenced block of a page that is to be run."""

    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    """What a page tells its reader to run, in order; without the blocks that say why they are not run here."""
    found = BLOCK.finditer(page.read_text())
    return [Block(match["language"], match["text"]) for match in found if match["reason"] is None]


def run_page(page: Path, folder: Path) -> None:
    """Run the blocks of a page in a folder; a snippet that begins with the name of a file is saved there."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for language, text in blocks(page):
        if language == "sh":
            # The quickstart fits for longer than what is tested of it needs.
            for line in text.replace("\\\n", " ").replace("--steps 300", "--steps 30").splitlines():
                command(line)
        elif match := FILE.match(text):
            (folder / match[1]).write_text(text)
        else:
            exec(compile(text, str(page), "exec"), namespace)
    plt.close("all")


def command(line: str) -> None:
    """One ``python -m pyro_dsvae.VERB …``, in this process."""
    words = shlex.split(line, comments=True)
    if not words:
        return
    assert words[:2] == ["python", "-m"], line
    print(f"$ {line}")
    assert importlib.import_module(words[2]).main(words[3:]) == 0, line


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], None]]:
    """Go into a folder, whose modules can then be imported, as after ``python -m``; forget them afterwards."""
    before = set(sys.modules)

    def enter(folder: Path) -> None:
        monkeypatch.chdir(folder)
        monkeypatch.syspath_prepend(str(folder))

    yield enter
    for name in set(sys.modules) - before:
        if name.startswith("my_"):
            del sys.modules[name]


@pytest.fixture(scope="module", autouse=True)
def _hasty_judges(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What a page prints is not compared, so its judges need not have learned; they are kept where nobody else looks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setattr("pyro_dsvae.judges.own.STEPS", 20)
        patch.setattr("pyro_dsvae.judges.motion.TRAINING_STEPS", 5)
        patch.setattr("pyro_dsvae.metrics.probes.STEPS", 20)
        yield


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the reader has followed the quickstart."""
    folder = tmp_path_factory.mktemp("started")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run_page(QUICKSTART, folder)
    return folder


def test_the_quickstart_leaves_a_run(started: Path) -> None:
    assert (started / "runs" / "series" / "summary.json").exists()
    assert (started / "runs" / "series" / "latents" / "forecast-001").is_dir()


@pytest.mark.parametrize("page", [p for p in PAGES if p != QUICKSTART and blocks(p)], ids=lambda p: p.stem)
def test_a_page_runs_as_it_is_written(
    page: Path, started: Path, tmp_path: Path, inside: Callable[[Path], None]
) -> None:
    folder = tmp_path / "work"
    shutil.copytree(started, folder)
    shutil.copy(EXAMPLES / "my_priors.py", folder)
    inside(folder)
    run_page(page, folder)
    assert any(folder.rglob("summary.json"))


def test_every_option_that_a_page_names_exists(capsys: pytest.CaptureFixture[str]) -> None:
    """Also in commands that take too long to be run here; options of parts, with a dot, aside."""
    for verb, action in [*((v, "") for v in (*VERBS, "shard")), *(("latents", a) for a in ACTIONS)]:
        with pytest.raises(SystemExit):
            importlib.import_module(f"pyro_dsvae.{verb}").main([*action.split(), "--help"])
    known = {option.replace("-", "_") for option in OPTION.findall(capsys.readouterr().out)}
    assert {"seed", "data", "vary", "keep"} <= known
    for page in PAGES:
        named = {option.replace("-", "_") for option in OPTION.findall(page.read_text()) if "." not in option}
        assert named <= known | OTHERS, (page.name, named - known - OTHERS)


@pytest.mark.parametrize("status", [0, 2, 143])
def test_the_job_script_queues_itself_again_when_it_was_taken_down(tmp_path: Path, status: int) -> None:
    """Here srun notes its command and ends with a status."""
    page = (DOCS / "howto" / "cluster.md").read_text()
    (script,) = (text for text in re.findall(r"```sh\n(.*?)```", page, re.S) if text.startswith("#!"))
    (tmp_path / "job.sh").write_text(script)
    for name, ends in (("srun", status), ("scontrol", 0)):
        (tmp_path / name).write_text(f'#!/bin/sh\necho {name} "$@"\nexit {ends}\n')
        (tmp_path / name).chmod(0o755)
    found = subprocess.run(
        ["bash", tmp_path / "job.sh", "--data.path", "my clips.npz"],
        env={"PATH": f"{tmp_path}:{os.defpath}", "SLURM_JOB_ID": "7"},
        capture_output=True,
        text=True,
        check=False,
    )
    ran, *again = found.stdout.splitlines()
    assert ran == "srun python -m pyro_dsvae.fit --out runs/job --resume --data.path my clips.npz"
    assert again == (["scontrol requeue 7"] if status == 143 else [])
    assert found.returncode == status


def test_the_cluster_of_the_page_asks_slurm_for_one_fit_a_job() -> None:
    page = (DOCS / "howto" / "cluster.md").read_text()
    (script,) = (text for text in re.findall(r"```python\n(.*?)```", page, re.S) if "SLURMCluster" in text)
    made = SimpleNamespace(adapt=lambda **_: None, scheduler_address="tcp://login1:8786")
    asked: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dask_jobqueue.SLURMCluster", lambda **options: asked.update(options) or made)
        patch.setattr("pyro_dsvae.compare.compare", ComparisonOptions)
        exec(script, {"__name__": "__main__"})
    with SLURMCluster(**asked) as cluster:
        job = cluster.job_script()
    assert "#SBATCH --cpus-per-task=4" in job
    assert "--nthreads 1" in job
    assert job.index("export OMP_NUM_THREADS=4") < job.index("dask_worker")


def test_the_default_model_is_as_small_as_the_page_on_devices_says() -> None:
    (millions,) = re.findall(r"fewer than (\d+) million weights", (DOCS / "howto" / "devices.md").read_text())
    options = FitOptions()
    objective = build_from(
        for_frames(options, (3, 32, 32), options.source.recommended), torch.zeros(4, 8, 3, 32, 32).byte()
    )
    assert 0.25 < sum(weights.numel() for weights in objective.parameters()) / 1e6 / int(millions) < 1


def test_tutorials_are_stored_as_they_were_written() -> None:
    """The build of the site runs them, and what they show is never older than that."""
    pages = sorted((DOCS / "tutorials").glob("*.ipynb"))
    assert pages
    for page in pages:
        for cell in json.loads(page.read_text())["cells"]:
            assert cell["cell_type"] == "markdown" or (cell["outputs"], cell["execution_count"]) == ([], None), (
                page.name
            )


def test_every_page_of_results_is_on_the_site() -> None:
    site = "".join(page.read_text() for page in (DOCS / "results").glob("*.md"))
    for page in (DOCS.parent / "benchmarks" / "results").glob("*.md"):
        assert f"/benchmarks/results/{page.name}\n" in site


def test_blocks_are_found_and_reasons_heeded(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    left_out = "<!-- not run: why -->\n```python\nleft out\n```\n"
    page.write_text(f"a\n{left_out}```sh\none\n```\n```text\nprinted\n```\n{left_out}```python\ntwo\n```\n")
    assert blocks(page) == [Block("sh", "one\n"), Block("python", "two\n")]


def test_formulas_in_docstrings_are_no_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bars, stars and underscores stay; indented formulas and aligned tables keep their form."""
    pytest.importorskip("sphinx")
    monkeypatch.syspath_prepend(str(DOCS / "_extensions"))
    module = importlib.import_module("plain_docstrings")
    assert doctest.testmod(module).attempted > 0
    assert doctest.testmod(module).failed == 0
    assert module.mended(["With |x|:", "", "    p(x | z)", "", "one  the first", "     of them", "end"]) == [
        "",
        r"With \|x\|:",
        "",
        "::",
        "",
        "    p(x | z)",
        "",
        "",
        "* ``one``: the first",
        "  of them",
        "",
        "end",
    ]
