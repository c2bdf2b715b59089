"""What ``--help`` says: every option of every verb and of every part has a text, and times are those of README."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyro_dsvae import cli
from pyro_dsvae import fit as fit_verb
from pyro_dsvae.compare import compare
from pyro_dsvae.configuration.catalogue import PARTS
from pyro_dsvae.configuration.parts import is_option
from pyro_dsvae.evaluate import evaluate
from pyro_dsvae.explore import explore
from pyro_dsvae.fit import fit
from pyro_dsvae.inference.training.contrastive import Contrastive
from pyro_dsvae.latents import ACTIONS, action
from pyro_dsvae.ppc import ppc

VERBS: dict[str, Callable[..., Any]] = {
    "fit": fit,
    "compare": compare,
    "ppc": ppc,
    "evaluate": evaluate,
    "explore": explore,
}
VERBS |= {f"latents {name}": action(name) for name in ACTIONS}
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_of_a_verb_has_a_help_text(verb: str) -> None:
    actions = cli.parser_for(VERBS[verb], None)._actions
    assert len(actions) > 5
    for option in actions:
        assert re.search(r"[a-z]{2}", str(option.help or "")), (verb, option.dest)


def constructors() -> list[type]:
    return [kind for kinds in PARTS.values() for kind in kinds.values()] + [Contrastive]


@pytest.mark.parametrize("kind", constructors(), ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_every_option_of_a_part_has_a_help_text(kind: type) -> None:
    parser = cli.parser_for(kind, None)
    free = kind in PARTS["data"].values()
    options = [p.name for p in inspect.signature(kind).parameters.values() if free or is_option(p)]
    helps = {option.dest: option.help for option in parser._actions}
    for name in options:
        assert re.search(r"[a-z]{2}", str(helps[name] or "")), (kind, name)


def test_help_readme_and_site_state_one_time_of_the_first_fit() -> None:
    """Fitting and all, in minutes."""
    texts = [str(fit_verb.__doc__), (ROOT / "README.md").read_text(), (ROOT / "docs" / "index.md").read_text()]
    for text in texts:
        found = re.search(r"(\d+)\s+minutes,\s+(\d+) of them for the fit", text)
        assert found is not None
        assert found.groups() == ("9", "7")
