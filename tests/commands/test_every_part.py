"""``python -m pyro_dsvae.fit`` with every part and every recipe in turn, a few steps each.

python -m pytest tests/test_every_part.py
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pyro_dsvae
from pyro_dsvae import fit, recipes
from pyro_dsvae.configuration.catalogue import PARTS
from tests.decoded import SMALL_DECODER
from tests.encoded import SMALL_ENCODER

N, T, SIDE = 18, 4, 16
PARTS_IN_TURN = [
    (option, name)
    for option, parts in PARTS.items()
    if option not in ("data", "tracker")
    for name in parts
    # Those that take vectors only, or as well: the first is the default of vectors.
    if name not in ("Dense", "MaskedDense", "TCN", "Spectral", "Product")
]
# Bytes are 256 classes.
NEEDED: Mapping[str, list[str]] = {"Categorical": ["--likelihood.classes=256"]}
FEW = ["--steps=3", "--optimisation.evaluations=1", "--optimisation.batch_size=4", "--device=cpu"]
SMALL: Mapping[str, list[str]] = {
    "posterior": ["--posterior.hidden_size=4", "--posterior.feature_size=4"],
    "encoder": SMALL_ENCODER,
    "decoder": SMALL_DECODER,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images in bytes with a label, which every likelihood takes: Poisson as counts, the others as shares of 255."""
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (N, T, 1, SIDE, SIDE), dtype=np.uint8)
    path = tmp_path_factory.mktemp("data") / "clips.npz"
    np.savez(path, frames=frames, split=np.repeat([0, 1, 2], N // 3))
    return path


def fitted(data: Path, out: Path, *options: str) -> dict[str, Any]:
    """What summary.json says; the run opens again and generates."""
    assert fit.main(["--data=Arrays", f"--data.path={data}", f"--out={out}", *FEW, *options]) == 0
    run = pyro_dsvae.load(out)
    with torch.no_grad():
        drawn = run.model(shape=(2, T))
    assert drawn.shape == (2, T, 1, SIDE, SIDE)
    assert torch.isfinite(drawn).all()
    summary: dict[str, Any] = json.loads((out / "summary.json").read_text())
    assert summary["steps"] == 3
    assert all(math.isfinite(value) for value in summary["validation"].values())
    return summary


@pytest.mark.parametrize(("option", "name"), PARTS_IN_TURN)
def test_fit_with_this_part(data: Path, tmp_path: Path, option: str, name: str) -> None:
    sizes = [
        "--static_size=3",
        "--latent_size=2",
        *SMALL["posterior"],
        *(SMALL["encoder"] if option != "encoder" else []),
        *(SMALL["decoder"] if option != "decoder" else []),
    ]
    summary = fitted(data, tmp_path / "run", f"--{option}={name}", *NEEDED.get(name, []), *sizes)
    assert set(summary["kl_estimators"]) == {"f", "z"}
    assert summary["comparable"] == (name != "Delta")
    assert ("bits_per_dimension" in summary["validation"]) == (name == "DiscretizedLogistic")


@pytest.mark.parametrize("name", recipes.names())
def test_fit_with_this_recipe(data: Path, tmp_path: Path, name: str) -> None:
    summary = fitted(
        data, tmp_path / "run", f"--config={name}", *SMALL["posterior"], *SMALL["encoder"], *SMALL["decoder"]
    )
    if name not in ("dsvae", "dsvae-factorised", "c-dsvae", "series"):
        assert summary["validation"]["kl_static"] == 0  # no static part


def test_recipes_are_listed_by_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        fit.main(["--help"])
    assert ended.value.code in (0, None)
    said = capsys.readouterr().out
    assert all(f"--config {name} " in said for name in recipes.names())
    assert {
        "autoencoder",
        "vae",
        "dsvae",
        "dsvae-factorised",
        "c-dsvae",
        "deep-markov",
        "gp-vae",
        "kalman-vae",
        "series",
        "switching",
    } == set(recipes.names())
