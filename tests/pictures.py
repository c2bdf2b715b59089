"""Pictures of the verbs, which `tests/conftest.py` leaves out: those of a small fit take 1.3 of its 1.5 seconds."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import pytest

# Of fit, compare, evaluate and ppc: the module, its function, and what is left of it.
DRAWN: list[tuple[str, str, Callable[..., None]]] = [
    ("pyro_dsvae.runs.report", "draw", lambda *_: None),
    ("pyro_dsvae.comparison.result", "_draw", lambda *_: None),
    ("pyro_dsvae.metrics.figures", "draw_evaluation", lambda *_: None),
    ("pyro_dsvae.checks.figures", "draw", lambda result, shown, folder: folder.mkdir()),
]
REAL: list[Any] = [getattr(import_module(module), name) for module, name, _ in DRAWN]


@contextmanager
def pictures(wanted: bool = True) -> Iterator[None]:
    """Within it, the verbs draw in this process, or not; those that run in a process of their own always do."""
    with pytest.MonkeyPatch.context() as patch:
        for (module, name, nothing), real in zip(DRAWN, REAL, strict=True):
            patch.setattr(import_module(module), name, real if wanted else nothing)
        yield
