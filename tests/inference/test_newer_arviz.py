"""The tree of predictive checks opens with the newest ArviZ; skipped where only its modular packages are installed."""

from pathlib import Path

import pytest
import torch

from pyro_dsvae.inference.inference_data import save_tree
from pyro_dsvae.inference.latents import Latents
from pyro_dsvae.inference.predictive_checks.draws import Drawn, PredictiveDraws
from pyro_dsvae.inference.predictive_checks.tree import predictive_tree

arviz = pytest.importorskip("arviz", minversion="1.0", reason="needs ArviZ 1, on Python 3.12 or newer")


def drawn() -> Drawn:
    latents = Latents(torch.randn(50, 4, 2), torch.randn(50, 4, 5, 3))
    return Drawn(latents, torch.randn(50, 2, 5, 7), torch.randn(50, 2, 5, 7))


def test_arviz_reads_and_summarises_the_tree(tmp_path: Path) -> None:
    tree = predictive_tree(PredictiveDraws(drawn(), drawn(), torch.randn(2, 5, 7)), torch.arange(4))
    save_tree(tree, tmp_path / "predictive.nc")
    opened = arviz.from_netcdf(tmp_path / "predictive.nc")
    assert set(opened.children) == set(tree.children)
    summary = arviz.summary(opened, var_names=["f"], round_to="none")
    expected = tree["posterior/f"].mean(("chain", "draw")).values.ravel()
    assert summary["mean"].to_numpy() == pytest.approx(expected, abs=1e-6)
