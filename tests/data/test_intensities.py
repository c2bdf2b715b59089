"""Floating images: bytes are told, other ranges are refused with what makes them right."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pyro_dsvae
from pyro_dsvae.compare import compare
from pyro_dsvae.data.arrays import Arrays
from pyro_dsvae.data.dataset import SequenceData
from pyro_dsvae.data.intensities import check_intensities, with_bytes
from pyro_dsvae.fit import fit
from pyro_dsvae.inference.posteriors.factorised import Factorised
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.inference.training.schedule import Optimisation
from pyro_dsvae.models.dynamic_priors.iid import IID
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.likelihoods.normal import Normal
from pyro_dsvae.models.likelihoods.poisson import Poisson
from pyro_dsvae.models.static_priors.standard_normal import StandardNormal
from pyro_dsvae.runs.directory import RunDirectory
from tests.encoded import small_encoder

N, T, SIDE = 9, 3, 16
SPLIT = torch.arange(N).remainder(3).to(torch.uint8)
BYTES = np.random.default_rng(0).integers(0, 256, (N, T, 3, SIDE, SIDE))
UNIT = BYTES / 255
SMALL: dict[str, Any] = {
    "static_prior": StandardNormal,
    "dynamic_prior": IID,
    "posterior": partial(Factorised, hidden_size=4, feature_size=4),
    "encoder": small_encoder,
    "static_size": 2,
    "latent_size": 2,
    "steps": 2,
    "device": "cpu",
    "optimisation": Optimisation(batch_size=3, evaluations=1),
}


def data(frames: np.ndarray, **fields: Any) -> SequenceData:
    return SequenceData(torch.from_numpy(frames.astype(np.float32)), SPLIT, **fields)


def source(folder: Path, frames: np.ndarray) -> Arrays:
    np.savez(folder / "clips.npz", frames=frames, split=SPLIT.numpy())
    return Arrays(str(folder / "clips.npz"))


RANGES = {
    "minus one to one": (2 * UNIT - 1, lambda x: (x + 1) / 2),
    "overshoot of resizing": (1.1 * UNIT - 0.05, lambda x: x.clip(0, 1)),
    "fractions up to 255": (255 * UNIT.clip(0, 0.999) + 0.2, lambda x: x / 255),
    "16 bit": (BYTES * 257.0, lambda x: x / 65535),
    "far off": (1e5 * UNIT - 7e4, lambda x: (x - x.min()) / (x.max() - x.min())),
    "small counts": (BYTES // 32, lambda x: (x - x.min()) / (x.max() - x.min())),
    "negative": (-UNIT, None),
}


@pytest.mark.parametrize("name", RANGES)
def test_other_ranges_are_refused_with_code_that_makes_them_right(name: str) -> None:
    values, remedy = RANGES[name]
    given = data(values)
    assert with_bytes(given) is given
    with pytest.raises(UsageError) as caught:
        check_intensities(given)
    line = str(caught.value)
    assert "\n" not in line
    made = eval(line.rpartition(" as ")[2], {"frames": values})
    if remedy is not None:
        np.testing.assert_array_equal(made, remedy(values))
    check_intensities(data(made))


def test_what_is_right_passes() -> None:
    """Intensities, also with rounding; vectors in any range; what was not observed may be anything."""
    mask = np.random.default_rng(1).random((N, T)) < 0.7
    mask[:, 0] = True
    hidden = np.where(mask[..., None, None, None], UNIT, -999.0)
    for frames in (UNIT, UNIT + 1e-7, BYTES % 2):
        check_intensities(data(frames))
        assert with_bytes(data(frames)).frames.is_floating_point()
    check_intensities(data(hidden, mask=torch.from_numpy(mask)))
    check_intensities(data(1000 * UNIT[:, :, 0, 0]))
    vectors = data(BYTES[:, :, 0, 0])
    assert with_bytes(vectors) is vectors


def test_bytes_saved_as_floats_are_bytes() -> None:
    mask = np.random.default_rng(1).random(BYTES.shape) < 0.7
    hidden = data(np.where(mask, BYTES, np.nan), mask=torch.from_numpy(mask))
    for given, expected in ((data(BYTES), BYTES), (hidden, np.where(mask, BYTES, 0))):
        found = with_bytes(given).frames
        assert found.dtype == torch.uint8
        np.testing.assert_array_equal(found.numpy(), expected)


def test_a_fit_takes_them_as_bytes_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """To the bit the fit to uint8; under counts, too, where bytes are counts as they are."""
    for kind in (Normal, Poisson):
        states = []
        for name, frames in (("floats", BYTES.astype(np.float32)), ("bytes", BYTES.astype(np.uint8))):
            folder = tmp_path / kind.__name__ / name
            folder.mkdir(parents=True)
            result = fit(data=source(folder, frames), out=folder / "run", likelihood=kind, **SMALL)
            assert (capsys.readouterr().err.count("taken as bytes") == 1) == (name == "floats")
            run = pyro_dsvae.load(result.run)
            assert run.sequences().frames.dtype == torch.uint8
            states.append(torch.load(result.run / "best.pt", weights_only=True)["objective"])
        assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


def test_frames_are_looked_at_in_parts_as_they_are_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """They may be a file that is larger than the memory. What only the last sequence has is found."""
    monkeypatch.setattr("pyro_dsvae.inference.batch.PART", 2 * T * 3 * SIDE**2)  # two sequences
    frames = torch.from_numpy(BYTES.astype(np.float32))
    assert torch.equal(with_bytes(SequenceData(frames, SPLIT)).frames, torch.from_numpy(BYTES.astype(np.uint8)))
    frames[-1, 0, 0, 0, 0] = 0.5
    assert with_bytes(SequenceData(frames, SPLIT)).frames.dtype == torch.float32
    frames = torch.from_numpy(UNIT.astype(np.float32))
    frames[-1, 0, 0, 0, 0] = -3
    with pytest.raises(UsageError, match="from -3 to 1"):
        check_intensities(SequenceData(frames, SPLIT))
    frames[-1, 0, 0, 0, 0] = torch.nan
    with pytest.raises(UsageError, match="sequence 8"):
        SequenceData(frames, SPLIT)
    mask = ~frames.isnan()
    assert SequenceData(frames, SPLIT, mask=mask).frames[-1, 0, 0, 0, 0] == 0
    counts = torch.full((N,), T * 3 * SIDE**2)
    counts[-1] -= 1
    assert torch.equal(Sequences.of(frames, mask).observed_count(), counts)


def test_fit_and_compare_refuse_other_images_before_anything_is_written(tmp_path: Path) -> None:
    given, alike = (
        source(tmp_path, 2 * UNIT - 1),
        {name: value for name, value in SMALL.items() if name != "latent_size"},
    )
    with pytest.raises(UsageError, match=r"from -1 to 1: save them as \(frames \+ 1\) / 2$"):
        fit(data=given, out=tmp_path / "run", **SMALL)
    with pytest.raises(UsageError, match="from -1 to 1"):
        compare(data=given, vary={"latent_size": ["2", "3"]}, out=tmp_path / "comparison", **alike)
    assert [path.name for path in tmp_path.iterdir()] == ["clips.npz"]


@pytest.mark.parametrize(
    "frames", [BYTES.astype(np.float32), (2 * UNIT - 1).astype(np.float32)], ids=["bytes", "signed"]
)
def test_a_run_of_before_opens_and_goes_on_with_the_values_it_was_fitted_to(
    tmp_path: Path, frames: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = source(tmp_path, frames)
    with monkeypatch.context() as earlier:
        earlier.setattr("pyro_dsvae.data.reading.with_bytes", lambda data: data)
        earlier.setattr("pyro_dsvae.configuration.loop.check_intensities", lambda data: None)
        result = fit(data=given, out=tmp_path / "run", **SMALL)
    run = pyro_dsvae.load(result.run)
    assert torch.equal(run.sequences().frames, torch.from_numpy(frames))
    fit(data=given, out=tmp_path / "run", resume=True, **SMALL | {"steps": 3})
    assert RunDirectory(tmp_path / "run").load("checkpoint.pt")["step"] == 3
