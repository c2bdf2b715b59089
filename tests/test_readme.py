"""What README says can be done, and it is short."""

import re
import shlex
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyro_dsvae import cli, latents, recipes
from pyro_dsvae.fit import fit
from pyro_dsvae.inference.training.schedule import Optimisation

PROJECT = Path(__file__).parents[1]
README = (PROJECT / "README.md").read_text()
PYTHON, DATA, PART = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
COMMANDS = re.findall(r"python -m (pyro_dsvae\.\w+.*?)\s*(?:#.*)?$", README, re.MULTILINE)
SMALL = {"steps": 2, "device": "cpu", "optimisation": Optimisation(batch_size=4, evaluations=1, prior_refit_steps=0)}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder that the user works in, with the part that README shows."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path("my_parts.py").write_text(PART)
    yield tmp_path
    sys.modules.pop("my_parts", None)


def test_it_can_be_read_in_ten_minutes() -> None:
    assert len(README.splitlines()) <= 130
    assert len(README.split()) <= 1200


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(((?!https?:)[^)#]+)", README))))
def test_links_lead_somewhere(link: str) -> None:
    assert (PROJECT / link).exists()


@pytest.mark.parametrize("command", sorted(set(COMMANDS)))
def test_commands_are_understood(folder: Path, command: str) -> None:
    name, *arguments = shlex.split(command)
    verb = import_module(name)
    if verb is latents:
        function: Any = latents.action(arguments.pop(0))
    else:
        function = getattr(verb, name.rpartition(".")[2])
    arguments = [argument for argument in recipes.resolve(arguments) if argument != "--resume"]
    if "--vary" in arguments:  # compare takes it before the parser
        at = arguments.index("--vary")
        del arguments[at : at + 2]
    assert vars(cli.parse(cli.parser_for(function, None), arguments))


def test_python_runs(folder: Path) -> None:
    """On clips of the sprites' shape, for two steps."""
    np.savez("clips.npz", frames=np.random.default_rng(0).integers(256, size=(40, 8, 3, 32, 32), dtype=np.uint8))
    text = PYTHON.replace("pyro_dsvae.Sprites()", 'pyro_dsvae.Arrays("clips.npz")').replace("minutes=5", "**SMALL")
    assert text.count("SMALL") == text.count("clips.npz") == 1
    found: dict[str, Any] = {"SMALL": SMALL}
    exec(text, found)
    assert found["clips"].shape == found["swapped"].shape == (4, 8, 3, 32, 32)
    assert found["codes"].f.shape == (4, 64)
    assert found["codes"].z.shape == (4, 8, 8)
    assert found["future"].shape == (4, 4, 3, 32, 32)


def test_own_part_fits_own_data(folder: Path) -> None:
    found: dict[str, Any] = {}
    exec(DATA, found)
    part = import_module("my_parts").Sparse
    result = fit(data=import_module("pyro_dsvae").Arrays("walks.npz"), static_prior=part, out=Path("run"), **SMALL)
    prior = import_module("pyro_dsvae").load(result.run).model.static_prior
    assert type(prior) is part
    assert prior().event_shape == (64,)
