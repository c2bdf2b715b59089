"""The order of axes: what is named is taken, what is likelier than what is read is said, and what is unlikely is not."""

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyro_dsvae.data.arrays import Arrays
from pyro_dsvae.data.files.layout import Layout
from pyro_dsvae.data.files.likelier import likelier, roughness
from pyro_dsvae.data.reading import UnaskedChannelsError, read_again, read_first
from pyro_dsvae.data.sprites import Sprites
from pyro_dsvae.models.errors import Remark, UsageError

RNG = np.random.default_rng(0)
START = RNG.bit_generator.state


@pytest.fixture(autouse=True)
def the_same_numbers() -> None:
    """In every test, whichever went before."""
    RNG.bit_generator.state = START


def saved(folder: Path, frames: np.ndarray, **arrays: Any) -> str:
    np.savez(folder / "mine.npz", frames=frames, **arrays)
    return str(folder / "mine.npz")


def ordered(values: np.ndarray, letters: str, order: str) -> np.ndarray:
    return np.einsum(f"{letters}->{order}", values)


def series(n: int, steps: int, size: int, share: float) -> np.ndarray:
    """First-order autoregressions x_t = share x_{t-1} + noise of unit variance."""
    x = RNG.normal(size=(n, steps, size))
    for t in range(1, steps):
        x[:, t] = share * x[:, t - 1] + np.sqrt(1 - share**2) * x[:, t]
    return x.astype(np.float32)


def balls(n: int, steps: int, side: int = 32) -> np.ndarray:
    """(n, steps, side, side) uint8: a disk that goes straight and is reflected at the walls."""
    place, speed = RNG.uniform(6, side - 6, (n, 1, 2)), RNG.uniform(-3, 3, (n, 1, 2))
    gone = (place + speed * np.arange(steps)[:, None] - 4) % (2 * (side - 9))
    at = 4 + np.minimum(gone, 2 * (side - 9) - gone)
    rows, columns = np.mgrid[:side, :side]
    far = (rows - at[..., :1, None]) ** 2 + (columns - at[..., 1:, None]) ** 2
    return ((far < 16) * 255).astype(np.uint8)


def coloured(clips: np.ndarray, axis: int) -> np.ndarray:
    return np.stack([clips, clips // 2, 255 - clips], axis)


# --- what is named is taken -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "letters",
    [
        "NT",
        "TN",
        "NTP",
        "TNP",
        "NPT",
        "PTN",
        "NTHW",
        "TNHW",
        "HWNT",
        "NTCHW",
        "NTHWC",
        "NCTHW",
        "TNHWC",
        "HWCTN",
        "ntchw",
    ],
)
def test_frames_mask_and_times_follow_the_layout(tmp_path: Path, letters: str) -> None:
    """Each element is found where its letters say, by an einsum of its own."""
    sizes = dict(zip("NTPCHW", (20, 5, 3, 2, 6, 7), strict=True))
    capital = letters.upper()
    frames = RNG.normal(size=[sizes[letter] for letter in capital]).astype(np.float32)
    mask = RNG.random(frames.shape) < 0.95
    steps = "".join(letter for letter in capital if letter in "NT")
    times = np.cumsum(RNG.random((20, 5)) + 0.1, 1)
    path = saved(tmp_path, frames, mask=mask, times=times if steps == "NT" else times.T, lengths=np.full(20, 5))
    data = Arrays(path, layout=letters).load()
    frame = "CHW" if "C" in capital else "HW" if "H" in capital else "P" if "P" in capital else ""
    expected = ordered(frames, capital, f"NT{frame}").reshape(data.frames.shape)
    seen = ordered(mask.astype(int), capital, f"NT{frame}").astype(bool)
    assert data.mask is not None
    assert data.times is not None
    assert data.frames.shape[:2] == (20, 5)
    assert len(data.frame_shape) == (3 if "H" in capital else 1)
    assert np.array_equal(data.mask.numpy().reshape(seen.shape), seen)
    assert np.array_equal(data.frames.numpy(), expected)
    assert np.allclose(data.times.numpy(), times)
    assert data.fingerprint()


def test_a_mask_of_whole_frames_follows_the_layout(tmp_path: Path) -> None:
    frames, seen = balls(20, 6), RNG.random((20, 6)) < 0.9
    seen[:, 0] = True
    mask = Arrays(saved(tmp_path, ordered(frames, "NTHW", "TNHW"), mask=seen.T), layout="TNHW").load().mask
    assert mask is not None
    assert np.array_equal(mask.numpy(), seen)


def test_one_long_sequence_is_cut_into_windows_in_order(tmp_path: Path) -> None:
    """No window of the test split is older than one of training, and what is left over is said."""
    table = series(1, 207, 3, 0.9)[0]
    path = saved(tmp_path, table, mask=np.arange(207) % 7 > 0, times=np.arange(207) * 0.5)
    with pytest.warns(Remark, match="the last 7 of 207 steps fill no window of 10 and are left out") as told:
        data = Arrays(path, layout="TP", window=10).load()
    assert {each.message.options for each in told} == {("data.window",)}  # type: ignore[union-attr]
    assert np.array_equal(data.frames.numpy(), table[:200].reshape(20, 10, 3))
    assert data.split.tolist() == [0] * 14 + [1] * 2 + [2] * 4
    assert data.times is not None
    assert data.times[3].tolist() == [15 + 0.5 * i for i in range(10)]
    assert data.mask is not None
    assert np.array_equal(data.mask.numpy().ravel(), np.arange(200) % 7 > 0)
    clip = coloured(balls(1, 40)[0], -1)
    data = Arrays(saved(tmp_path, clip), layout="THWC", window=4).load()
    assert np.array_equal(data.frames.numpy(), clip.transpose(0, 3, 1, 2).reshape(10, 4, 3, 32, 32))


@pytest.mark.parametrize("letters", ["", "NP", "NTT", "NTX", "NTH", "NTPC", "NTPHW", "frames", "N,T,P"])
def test_what_is_no_layout_is_told_in_one_line(letters: str) -> None:
    with pytest.raises(UsageError, match="is not understood: it has one letter for each axis of frames") as caught:
        Arrays("mine.npz", layout=letters)
    assert caught.value.options == ("data.layout",)
    assert "\n" not in str(caught.value)


def test_layouts_that_do_not_go_with_the_file_are_told(tmp_path: Path) -> None:
    path = saved(tmp_path, series(20, 5, 3, 0.5))
    with pytest.raises(UsageError, match=r"frames have shape \(20, 5, 3\), 3 axes, and layout NTHW names 4"):
        Arrays(path, layout="NTHW").load()
    with pytest.raises(UsageError, match="layout TP is one long sequence; say how many steps") as caught:
        Arrays(path, layout="TP")
    assert caught.value.options == ("data.window",)
    with pytest.raises(
        UsageError,
        match="no window of 6 steps fits: none of the 20 sequences has more than 5 steps; take",
    ):
        Arrays(path, window=6).load()
    with pytest.raises(UsageError, match="window = 1; it has at least 2 steps"):
        Arrays(path, layout="TP", window=1)


def test_a_count_of_sequences_that_another_axis_has_is_told(tmp_path: Path) -> None:
    path = saved(tmp_path, series(6, 20, 3, 0.5), labels_who=np.arange(20) % 2)
    with pytest.raises(
        UsageError, match=r"labels_who has 20 values, and frames \(6, 20, 3\) are read as NTP, 6 seq"
    ) as caught:
        Arrays(path).load()
    assert caught.value.options == ("data.layout",)
    assert len(Arrays(path, layout="TNP").load()) == 20


# --- what is likelier is said -----------------------------------------------------------------------------------------

MISREAD = {
    "channels first": (series(80, 100, 6, 0.9), "NTP", "NPT", "80 sequences of 100 steps of 6 values"),
    "two channels": (series(60, 50, 2, 0.9), "NTP", "NPT", "60 sequences of 50 steps of 2 values"),
    "steps first": (series(40, 30, 3, 0.9), "NTP", "TNP", "40 sequences of 30 steps of 3 values"),
    "of other units": (
        series(80, 100, 6, 0.9) * np.array([1, 100, 0.01, 5, 3, 1000]) + np.array([0, 1e3, 5, 1, -50, 1e4]),
        "NTP",
        "NPT",
        "80 sequences of 100 steps of 6 values",
    ),
    "one long table": (series(1, 3000, 6, 0.98)[0], "TP", "TP", "1 sequence of 3000 steps of 6 values"),
    "numbers, steps first": (series(300, 40, 1, 0.9)[..., 0].T, "TP", "TP", "1 sequence of 40 steps of 300 values"),
    "grey, steps first": (balls(100, 20), "NTHW", "TNHW", "100 clips of 20 frames of 32 x 32, 1 channel"),
    "grey, steps last": (balls(100, 20), "NTHW", "NHWT", "100 clips of 20 frames of 32 x 32, 1 channel"),
    "one grey clip": (balls(1, 200)[0], "THW", "THW", "1 clip of 200 frames of 32 x 32, 1 channel"),
    "one clip": (coloured(balls(1, 60)[0], 1), "TCHW", "TCHW", "1 clip of 60 frames of 32 x 32, 3 channels"),
    "one clip, channels last": (
        coloured(balls(1, 60)[0], 1),
        "TCHW",
        "THWC",
        "1 clip of 60 frames of 32 x 32, 3 channels",
    ),
    "four steps": (coloured(balls(60, 4), 2), "NTCHW", "NCTHW", "60 clips of 4 frames of 32 x 32, 3 channels"),
    "colour, steps first": (
        coloured(balls(50, 12), 2),
        "NTCHW",
        "TNCHW",
        "50 clips of 12 frames of 32 x 32, 3 channels",
    ),
    "the same, channels last": (
        coloured(balls(50, 12), 2),
        "NTCHW",
        "TNHWC",
        "50 clips of 12 frames of 32 x 32, 3 channels",
    ),
}


@pytest.mark.parametrize("name", MISREAD)
def test_a_likelier_layout_is_said_with_the_remedy(tmp_path: Path, name: str) -> None:
    """The line says how the file was read, and the layout in which it was made; named, that one is read without a word."""
    values, letters, order, words = MISREAD[name]
    frames = ordered(values, letters, order)
    path = saved(tmp_path, frames)
    with pytest.warns(Remark, match=re.escape(f"{order} ({words})")) as told:
        Arrays(path).load()
    (line,) = (str(each.message) for each in told)
    read = Layout.usual(frames.shape)
    assert (
        f"{path}: frames {frames.shape} are read as {read.letters}, {Arrays(path, layout=read.letters).load().in_words()}. "
        in line
    )
    assert ("data.window" in line) == ("N" not in order)
    assert "\n" not in line
    Arrays(path, layout=order, window=None if "N" in order else 4).load()


def as_meant() -> dict[str, tuple[np.ndarray, dict[str, Any]]]:
    sprites = Sprites(32).load().frames[::20].numpy()
    grey = sprites[:, :, 1]
    spectra = series(60, 50, 40, 0.9)
    spectra = np.apply_along_axis(lambda v: np.convolve(v, np.exp(-(np.arange(-6, 7) ** 2) / 18), "same"), 2, spectra)
    by_class = np.repeat(np.arange(4), 10)
    return {
        "series": (series(80, 100, 6, 0.9), {}),
        "short series": (series(60, 8, 3, 0.9), {}),
        "noise": (RNG.random((20, 30, 3)), {}),
        "of other units": (series(80, 100, 6, 0.9) * np.array([1, 100, 0.01, 5, 3, 1000]), {}),
        "numbers": (series(300, 40, 1, 0.9)[..., 0], {}),
        "spectra, smooth along both axes": (spectra, {}),
        "sorted by class": (by_class[:, None, None] + series(40, 20, 3, 0.5), {}),
        "sorted by class, no course": (by_class[:, None, None] + series(40, 20, 3, 0), {"labels_kind": by_class}),
        "sprites": (sprites, {}),
        "sprites, channels last": (sprites.transpose(0, 1, 3, 4, 2), {}),
        "grey sprites": (grey, {}),
        "sprites in rows of pixels": (grey.reshape(*grey.shape[:2], -1), {}),
        "balls": (balls(60, 20), {}),
        "few balls": (balls(12, 20), {}),
        "random images": (RNG.integers(0, 256, (40, 8, 16, 16, 3), np.uint8), {}),
        "times that say what is a step": (
            ordered(series(80, 30, 6, 0.9), "NTP", "NPT"),
            {"times": np.tile(np.arange(6), (80, 1))},
        ),
    }


def test_what_is_read_as_meant_is_not_doubted(tmp_path: Path) -> None:
    doubted: dict[str, list[str]] = {}
    for name, (frames, arrays) in as_meant().items():
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            assert len(Arrays(saved(tmp_path, frames, **arrays)).load()) == len(frames)
        doubted[name] = [str(each.message) for each in told]
    assert not any(doubted.values()), doubted


def test_no_false_alarm_in_a_hundred_small_files() -> None:
    """Noise and courses of few and short sequences, in which smoothness is known badly."""
    shapes = [(4, 10, 3), (12, 4, 2), (20, 6, 3), (8, 40, 2), (60, 8, 1)]
    doubted = [
        shape
        for shape in shapes
        for share in (0.0, 0.9)
        for _ in range(10)
        if likelier(series(*shape, share), Layout("NTP"))
    ]
    assert len(doubted) <= 2


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1.0), (0.5, 0.5), (0.9, 0.1)])
def test_roughness_is_one_less_the_correlation_of_neighbours(share: float, expected: float) -> None:
    """E (x_{t+1} - x_t)^2 = 2 (1 - share) Var x, for steps so many that the mean of a line is known."""
    values = series(200, 250, 4, share)
    assert roughness(values, 1) == pytest.approx(expected, abs=0.03)
    assert roughness(values, 0) == pytest.approx(1, abs=0.1)
    seen = RNG.random(values.shape) < 0.7
    assert roughness(np.where(seen, values, 1e6), 1, seen) == pytest.approx(expected, abs=0.05)


# --- channels ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "likely"),
    [
        ((20, 5, 2, 16, 16), "NTCHW (20 clips of 5 frames of 16 x 16, 2 channels)"),
        ((20, 5, 8, 16, 16), "NTCHW (20 clips of 5 frames of 16 x 16, 8 channels)"),
        ((48, 6, 16, 16, 2), "NTHWC (48 clips of 6 frames of 16 x 16, 2 channels)"),
        ((48, 4, 16, 16, 8), "NTHWC (48 clips of 4 frames of 16 x 16, 8 channels)"),
        ((48, 4, 20, 12, 2), "NTHWC (48 clips of 4 frames of 20 x 12 (H x W), 2 channels)"),
        ((20, 2, 8, 16, 16), "NCTHW (20 clips of 8 frames of 16 x 16, 2 channels)"),
        ((20, 3, 8, 16, 16), "NCTHW (20 clips of 8 frames of 16 x 16, 3 channels)"),
    ],
)
def test_other_channels_are_images_only_if_asked_for(tmp_path: Path, shape: tuple[int, ...], likely: str) -> None:
    path = saved(tmp_path, RNG.integers(0, 256, shape, np.uint8))
    with pytest.raises(UsageError, match=re.escape(f"frames {shape} have no 1, 3 or 4 channels as NTCHW")) as caught:
        read_first(Arrays(path))
    assert likely in str(caught.value)
    assert caught.value.options == ("data.layout",)
    assert isinstance(caught.value, UnaskedChannelsError)
    assert Arrays(path, layout=likely[:5]).load().in_words() == likely[7:-1]
    # A run of a version that took them opens as it was fitted.
    assert tuple(read_again(Arrays(path)).frames.shape) == shape


def test_one_step_is_told_with_the_remedy(tmp_path: Path) -> None:
    path = saved(tmp_path, series(30, 50, 1, 0.9).transpose(0, 2, 1))
    with pytest.raises(UsageError, match=r"T = 1 frames; .*: if another axis is time, name the axes") as caught:
        Arrays(path).load()
    assert caught.value.options == ("data.layout",)
    assert Arrays(path, layout="NCT").load().in_words() == "30 sequences of 50 steps of 1 value"


# --- the first line ---------------------------------------------------------------------------------------------------


def test_a_new_fit_says_how_the_file_was_understood(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(tmp_path, series(80, 6, 100, 0.9), labels_gait=1 + np.arange(80) % 4, role_gait="dynamic")
    read_first(Arrays(path))
    assert capsys.readouterr().err.splitlines() == [
        "data: 80 sequences of 6 steps of 100 values",
        "label gait, dynamic: 4 classes (1, 2, 3, 4)",
    ]
    read_again(Arrays(path))
    assert capsys.readouterr().err == ""
    path = saved(tmp_path, ordered(series(80, 100, 6, 0.9), "NTP", "NPT"))
    with pytest.warns(Remark, match="are read as NTP, 80 sequences of 6 steps of 100 values. Likelier is NPT"):
        read_first(Arrays(path))
    assert capsys.readouterr().err == "data: 80 sequences of 6 steps of 100 values\n"
    read_again(Arrays(path))  # was said when the run was fitted
