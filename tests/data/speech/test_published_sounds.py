"""The converted words in the documentation, listened to by measurement: level, clipping, silence, size."""

from pathlib import Path

import numpy as np
import pytest

from pyro_dsvae.data.speech.recordings import is_clipped

soundfile = pytest.importorskip("soundfile", reason="soundfile is the extra 'speech'")
FOLDER = Path(__file__).parents[3] / "docs" / "results" / "speech"
SOUNDS = sorted(FOLDER.glob("*.wav"))


def test_there_are_four_and_their_spectrograms_and_none_is_large() -> None:
    assert len(SOUNDS) == 4
    assert all(path.stat().st_size <= 40_000 for path in SOUNDS)
    assert (FOLDER / "converted.png").stat().st_size <= 200_000
    page = (FOLDER.parent / "speech.md").read_text()
    assert all(f"speech/{path.name}" in page for path in SOUNDS)


@pytest.mark.parametrize("path", SOUNDS, ids=lambda path: path.stem)
def test_a_converted_word_is_loud_enough_whole_and_not_silent(path: Path) -> None:
    samples, rate = soundfile.read(str(path), dtype="float32", always_2d=True)
    assert rate == 16_000
    assert samples.shape[1] == 1
    assert 0.25 < len(samples) / rate < 1.3
    assert not is_clipped(samples)
    level = 20 * np.log10(np.sqrt(np.mean(samples.astype(np.float64) ** 2)))
    assert -30 < level < -20
    assert np.abs(samples).max() < 0.99
    assert abs(float(samples.mean())) < 1e-3
    # Of 32 ms each, how many are 40 dB below the loudest.
    pieces = samples[: len(samples) // 512 * 512, 0].reshape(-1, 512)
    power = np.square(pieces, dtype=np.float64).mean(1)
    assert np.mean(power < power.max() * 1e-4) < 0.4
