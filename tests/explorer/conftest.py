"""The run that comes with the package, with fewer clips than a page has."""

from collections.abc import Iterator

import pytest

from pyro_dsvae.actions.selection import Source
from pyro_dsvae.explorer import library as offered
from pyro_dsvae.explorer.library import Library
from pyro_dsvae.loading import load


@pytest.fixture(scope="session")
def library() -> Iterator[Library]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(offered, "OFFERED", 40)
        made = Library(Source(load("sprites")))
        _ = made.codes
        yield made
