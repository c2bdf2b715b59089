"""Every layout that docs/howto/own-data.md names goes from the file through a fit, its latents and its checks."""

import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import pyro_dsvae
from pyro_dsvae.actions.encode import encode
from pyro_dsvae.actions.swap import swap
from pyro_dsvae.data.arrays import Arrays
from pyro_dsvae.fit import fit
from pyro_dsvae.inference.posteriors.lstm import LSTM as Posterior
from pyro_dsvae.inference.training.schedule import Optimisation
from pyro_dsvae.models.dynamic_priors.lstm import LSTM
from pyro_dsvae.models.likelihoods.normal import Normal
from pyro_dsvae.ppc import ppc
from tests.decoded import small_decoder
from tests.encoded import small_encoder

N, T = 20, 4
SIZES = {"N": N, "T": T, "P": 3, "H": 16, "W": 16}
PAGE = (Path(__file__).parents[2] / "docs" / "howto" / "own-data.md").read_text()
# By the name in the page: the letters, channels, whether the option is needed, and what is printed.
LAYOUTS = {
    "(N, T)": ("NT", 1, False, "20 sequences of 4 steps of 1 value"),
    "(N, T, P)": ("NTP", 1, False, "20 sequences of 4 steps of 3 values"),
    "(N, T, H, W)": ("NTHW", 1, False, "20 clips of 4 frames of 16 x 16, 1 channel"),
    "(N, T, C, H, W)": ("NTCHW", 3, False, "20 clips of 4 frames of 16 x 16, 3 channels"),
    "(N, T, H, W, C)": ("NTHWC", 4, False, "20 clips of 4 frames of 16 x 16, 4 channels"),
    "`NPT`": ("NPT", 1, True, "20 sequences of 4 steps of 3 values"),
    "`NCT`": ("NCT", 3, True, "20 sequences of 4 steps of 3 values"),
    "`TNP`": ("TNP", 1, True, "20 sequences of 4 steps of 3 values"),
    "`NCTHW`": ("NCTHW", 3, True, "20 clips of 4 frames of 16 x 16, 3 channels"),
    "`TNHW`": ("TNHW", 1, True, "20 clips of 4 frames of 16 x 16, 1 channel"),
    "`NTCHW`": ("NTCHW", 2, True, "20 clips of 4 frames of 16 x 16, 2 channels"),
    "`TP`": ("TP", 1, True, "20 sequences of 4 steps of 3 values"),
    "`THWC`": ("THWC", 3, True, "20 clips of 4 frames of 16 x 16, 3 channels"),
}


def test_these_are_the_layouts_that_the_page_names() -> None:
    rows = [line for line in PAGE.splitlines() if re.match(r"\| (\(N, T|`[NTCHWP]+`)", line)]
    named = [name for line in rows for name in re.findall(r"\([NTCHWP, ]+\)|`[NTCHWP]+`", line.split("|")[1])]
    assert named == list(LAYOUTS)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_documented_layout_is_fitted_encoded_and_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """The first printed line is what the page says; a file of clips in the same layout has the codes of the data's own."""
    letters, channels, named, words = LAYOUTS[name]
    usual = "NT" + (
        "CHW" if "C" in letters and "H" in letters else "HW" if "H" in letters else "P" if letters != "NT" else ""
    )
    sizes = SIZES | {"C": channels}
    values = np.random.default_rng(0).integers(0, 256, [sizes[axis] for axis in usual], np.uint8)
    if "H" not in letters:
        values = (values / 128 - 1).astype(np.float32)
    order = letters if "H" in letters else letters.replace("C", "P")
    if "N" in order:
        frames, window = np.einsum(f"{usual}->{order}", values), None
    else:  # one after the other
        frames = np.einsum(f"{usual[1:]}->{order}", values.reshape(N * T, *values.shape[2:]))
        window = T
    split = np.arange(N) % 4 // 2 + (np.arange(N) % 4 == 3)
    np.savez(tmp_path / "mine.npz", frames=frames, split=split)
    data = Arrays(str(tmp_path / "mine.npz"), layout=letters if named else None, window=window)
    fitted = fit(
        data=data,
        out=tmp_path / "run",
        steps=2,
        static_size=3,
        latent_size=2,
        dynamic_prior=partial(LSTM, hidden_size=4),
        posterior=partial(Posterior, hidden_size=4, feature_size=4),
        encoder=small_encoder,
        decoder=small_decoder,
        likelihood=Normal,
        device="cpu",
        optimisation=Optimisation(batch_size=4, evaluations=1),
    )
    assert capsys.readouterr().err.splitlines()[0] == f"data: {words}"
    run = pyro_dsvae.load(fitted.run)
    stored = values if "H" not in usual or "C" in usual else values[:, :, None]
    stored = stored if "H" in usual or "P" in usual else stored[..., None]
    assert np.array_equal(run.sequences().frames.numpy(), stored)

    clips = np.einsum(f"{usual[1:]}->{order.replace('N', '')}", values[split == 2][0])
    np.savez(tmp_path / "clip.npz", frames=clips)
    codes = [
        np.load(encode(fitted.run, clips=clip, split="test", out=tmp_path / f"codes-{i}") / "encode.npz")["f"]
        for i, clip in enumerate(("0", str(tmp_path / "clip.npz")))
    ]
    np.testing.assert_allclose(codes[1], codes[0], rtol=1e-5)
    swapped = np.load(swap(fitted.run, out=tmp_path / "swapped", format="npz") / "swap.npz")["frames"]
    assert swapped.shape[-len(stored.shape[1:]) :] == stored.shape[1:]
    checked = ppc(fitted.run, sequences=4, draws=4, simulations=0, evidence_draws=0)
    assert (checked.path / "report.html").is_file()
