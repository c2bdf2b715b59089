"""Docstrings: their examples run, everything that a user starts from has one, and arguments are named as they are."""

import ast
import doctest
import inspect
import re
from collections.abc import Iterator
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch

from pyro_dsvae.__main__ import VERBS
from pyro_dsvae.configuration.catalogue import PARTS
from pyro_dsvae.data.arrays import Arrays
from pyro_dsvae.fit import fit
from pyro_dsvae.inference.posteriors.lstm import LSTM as Posterior
from pyro_dsvae.inference.training.schedule import Optimisation
from pyro_dsvae.latents import ACTIONS
from pyro_dsvae.loading import Run, load
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.dynamic_priors import IID, LSTM
from tests.decoded import small_decoder
from tests.encoded import small_encoder
from tests.test_package import FOLDERS, PROJECT, modules

# Some verbs print a report, whose words are not what an example is about.
IGNORE_OUTPUT = doctest.register_optionflag("IGNORE_OUTPUT")
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef)


class Checker(doctest.OutputChecker):
    """Compares printed and stated output, but for examples marked ``+IGNORE_OUTPUT``."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        return bool(optionflags & IGNORE_OUTPUT) or super().check_output(want, got, optionflags)


def name_of(file: str) -> str:
    """The installed name of a module: ``pyro_dsvae/models/dsvae.py`` is ``pyro_dsvae.models.dsvae``."""
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def examples() -> Iterator[doctest.DocTest]:
    """The docstrings with examples, read from the source: to collect them imports nothing."""
    parser = doctest.DocTestParser()
    for folder in FOLDERS:
        for file in modules(folder):
            yield from _examples(parser, name_of(file), ast.parse((PROJECT / file).read_text()), file)


def _examples(parser: doctest.DocTestParser, name: str, node: ast.AST, file: str) -> Iterator[doctest.DocTest]:
    if isinstance(node, DOCUMENTED) and ">>>" in (text := ast.get_docstring(node) or ""):
        # No names are given, so that a reader can copy each example as it is.
        yield parser.get_doctest(text, {"__name__": "__main__"}, name, file, getattr(node, "lineno", 0))
    for child in ast.iter_child_nodes(node):
        if isinstance(child, DOCUMENTED):
            yield from _examples(parser, f"{name}.{child.name}", child, file)  # type: ignore[union-attr]


@pytest.fixture(autouse=True)
def _hasty_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    """No example shows what it says."""
    monkeypatch.setattr("pyro_dsvae.judges.motion.TRAINING_STEPS", 5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where examples run: it holds the data ``clips.npz``, and two runs fitted to them, ``runs/clips`` and ``runs/iid``."""
    path = tmp_path_factory.mktemp("examples")
    frames = np.random.RandomState(0).randint(0, 256, (16, 6, 3, 16, 16)).astype(np.uint8)
    np.savez(path / "clips.npz", frames=frames)
    for name, prior in (("clips", partial(LSTM, hidden_size=4)), ("iid", IID)):
        fit(
            data=Arrays(str(path / "clips.npz"), validation=0.25, test=0.25),
            out=path / "runs" / name,
            steps=2,
            static_size=4,
            latent_size=2,
            dynamic_prior=prior,
            posterior=partial(Posterior, hidden_size=6, feature_size=6),
            encoder=small_encoder,
            decoder=small_decoder,
            device="cpu",
            optimisation=Optimisation(batch_size=4, evaluations=1),
        )
    return path


@pytest.mark.parametrize("example", list(examples()), ids=lambda example: example.name)
def test_example_prints_what_it_says(
    example: doctest.DocTest, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_run = any("clips" in line.source for line in example.examples)
    monkeypatch.chdir(request.getfixturevalue("folder") if needs_run else tmp_path)
    torch.manual_seed(0)
    said: list[str] = []
    doctest.DocTestRunner(Checker(), optionflags=OPTIONS).run(example, out=said.append)
    assert not said, "".join(said)


def started_from() -> dict[str, object]:
    """What a user starts from: every part, verb, action of latents and public method of a run."""
    found: dict[str, object] = {"load": load, "DSVAE": DSVAE}
    found |= {f"{option} {name}": kind for option, kinds in PARTS.items() for name, kind in kinds.items()}
    # The verb latents is a family of functions, its actions.
    found |= {verb: getattr(import_module(f"pyro_dsvae.{verb}"), verb) for verb in VERBS if verb != "latents"}
    found |= {f"latents {name}": getattr(import_module(f"pyro_dsvae.actions.{name}"), name) for name in ACTIONS}
    public = {name: value for name, value in vars(Run).items() if not name.startswith("_")}
    return found | {f"Run.{name}": value for name, value in public.items() if inspect.isroutine(value)}


# Named, since two workers must not call a test by two addresses.
@pytest.mark.parametrize(("name", "what"), started_from().items(), ids=list(started_from()))
def test_everything_that_a_user_starts_from_has_an_example(name: str, what: object) -> None:
    assert ">>>" in (what.__doc__ or ""), f"the docstring of {name} has no example"


def parameters(node: ast.ClassDef | ast.FunctionDef) -> set[str] | None:
    """The arguments of a function or of a class's own constructor; of a dataclass the fields; else None."""
    if isinstance(node, ast.ClassDef):
        own = [child for child in node.body if isinstance(child, ast.FunctionDef) and child.name == "__init__"]
        fields = {child.target.id for child in node.body if isinstance(child, ast.AnnAssign)}  # type: ignore[union-attr]
        return parameters(own[0]) if own else fields if node.decorator_list else None
    given = node.args
    return {a.arg for a in (*given.args, *given.kwonlyargs, given.vararg, given.kwarg) if a is not None}


@pytest.mark.parametrize("file", [file for folder in FOLDERS for file in modules(folder)])
def test_documented_arguments_exist(file: str) -> None:
    for node in ast.walk(ast.parse((PROJECT / file).read_text())):
        if not isinstance(node, ast.ClassDef | ast.FunctionDef) or (known := parameters(node)) is None:
            continue
        _, _, section = (ast.get_docstring(node) or "").partition("\nArgs:\n")
        section = section.partition("\n\n")[0]
        named = {name for line in re.findall(r"^    (\w[\w, ]*):", section, re.MULTILINE) for name in line.split(", ")}
        assert named <= known, f"{node.name} has no {named - known}"
