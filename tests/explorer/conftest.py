"""A copy of the run that comes with the package, with fewer clips than a page has."""

import shutil
from collections.abc import Iterator

import pytest

from pyro_dsvae import pretrained
from pyro_dsvae.actions.selection import Source
from pyro_dsvae.explorer import library as offered
from pyro_dsvae.explorer.library import Library
from pyro_dsvae.loading import load


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    run = tmp_path_factory.mktemp("runs") / "sprites"
    shutil.copytree(pretrained.FOLDER / "sprites", run)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(offered, "OFFERED", 40)
        made = Library(Source(load(run)))
        _ = made.codes
        yield made
