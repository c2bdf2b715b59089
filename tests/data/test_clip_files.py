"""Clips in files: what is written is read back, what others write is understood, and what cannot be is told in one line."""

import json
import zipfile
from itertools import accumulate, groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from pyro_dsvae.clips.reading import read_clips
from pyro_dsvae.clips.writing import provenance, write_gif, write_npz, write_strip
from pyro_dsvae.data.files.layout import Layout
from pyro_dsvae.models.errors import Remark, UsageError

T, SIDE = 5, 16
COLOUR, GREY, ALPHA, VECTOR = (3, SIDE, SIDE), (1, SIDE, SIDE), (4, SIDE, SIDE), (6,)


def clip(shape: tuple[int, ...] = COLOUR, length: int = T, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (length, *shape), generator=torch.Generator().manual_seed(seed)).byte()


def refusal(path: Path, shape: tuple[int, ...] = COLOUR, resize: bool = False) -> str:
    with pytest.raises(UsageError) as caught:
        read_clips(path, shape, resize)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def saved(path: Path, **arrays: Any) -> Path:
    np.savez(path, **{name: np.asarray(value) for name, value in arrays.items()})
    return path


# --- round trips ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [COLOUR, GREY, ALPHA, (3, 20, 12), (1, 12, 20)])
def test_a_strip_holds_a_clip_exactly(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = tmp_path / "clip.png"
    write_strip(path, clip(shape))
    with Image.open(path) as image:
        assert image.size == (T * shape[2], shape[1])
    assert torch.equal(read_clips(path, shape).frames, clip(shape)[None])
    write_strip(path, clip(shape).float() / 255)  # as the model's frames are
    assert torch.equal(read_clips(path, shape).frames, clip(shape)[None])


def test_values_beyond_the_range_are_cut_off(tmp_path: Path) -> None:
    write_strip(tmp_path / "a.png", torch.tensor([-3.0, 0.5, 7.0, float("nan")]).view(4, 1, 1, 1).expand(4, *COLOUR))
    assert read_clips(tmp_path / "a.png", COLOUR).frames[0, :, 0, 0, 0].tolist() == [0, 128, 255, 0]


def test_a_gif_of_few_colours_holds_them_exactly(tmp_path: Path) -> None:
    """64 colours fit its palette."""
    coarse = clip(seed=1) // 64 * 64
    write_gif(tmp_path / "a.gif", coarse)
    assert torch.equal(read_clips(tmp_path / "a.gif", COLOUR).frames[0], coarse)


def test_a_gif_of_many_colours_holds_them_about(tmp_path: Path) -> None:
    """A smooth clip of 10,000 colours: 256 chosen ones leave an error of a few levels, as a grid of 6 x 7 x 6 would."""
    ramp = torch.linspace(0, 255, 32)
    frames = torch.stack(
        [
            torch.stack([ramp.expand(32, 32), ramp[:, None].expand(32, 32), 0 * ramp.expand(32, 32) + 40 * t])
            for t in range(T)
        ]
    )
    write_gif(tmp_path / "a.gif", frames.round().byte())
    error = (read_clips(tmp_path / "a.gif", (3, 32, 32)).frames[0].float() - frames).abs()
    assert error.mean() < 255 / 6 / 4
    assert error.max() < 64


def test_frames_that_repeat_survive_a_gif(tmp_path: Path) -> None:
    """The format joins them into one that lasts longer."""
    still = (clip(length=3) // 64 * 64)[[0, 0, 1, 2, 2, 2]]
    write_gif(tmp_path / "a.gif", still)
    with Image.open(tmp_path / "a.gif") as image:
        assert image.n_frames == 3  # type: ignore[attr-defined]
    assert torch.equal(read_clips(tmp_path / "a.gif", COLOUR).frames[0], still)
    write_gif(tmp_path / "b.gif", still[:1].expand(4, -1, -1, -1))
    assert read_clips(tmp_path / "b.gif", COLOUR).frames.shape[:2] == (1, 4)


def test_arrays_are_kept_exactly_with_where_they_come_from(tmp_path: Path) -> None:
    path, about = tmp_path / "a.npz", {"run": "runs/a", "options": {"seed": 3}}
    frames, f = torch.randn(2, T, *COLOUR), torch.randn(2, 7)
    write_npz(path, {"frames": frames, "f": f, "names": np.array(["a", "b"])}, about)
    with np.load(path, allow_pickle=False) as loaded:
        assert np.array_equal(loaded["f"], f.numpy())
        assert loaded["names"].tolist() == ["a", "b"]
    assert torch.equal(read_clips(path, COLOUR).frames, frames)
    assert provenance(path) == about
    assert json.loads(zipfile.ZipFile(path).comment) == about
    with pytest.raises(UsageError, match="does not say"):
        provenance(saved(tmp_path / "b.npz", x=0))


# --- what others write ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "stored"),
    [
        (COLOUR, (T, 3, SIDE, SIDE)),
        (COLOUR, (1, T, 3, SIDE, SIDE)),
        (COLOUR, (T, SIDE, SIDE, 3)),
        (COLOUR, (1, T, SIDE, SIDE, 3)),
        (COLOUR, (1, 1, T, 3, SIDE, SIDE)),
        (GREY, (T, SIDE, SIDE)),
        (GREY, (1, T, SIDE, SIDE)),
        (GREY, (1, T, SIDE, SIDE, 1)),
        (VECTOR, (T, 6)),
        (VECTOR, (1, T, 6)),
        ((1,), (1, T)),
        ((1,), (1, T, 1)),
    ],
)
def test_layouts_of_arrays(tmp_path: Path, shape: tuple[int, ...], stored: tuple[int, ...]) -> None:
    values = np.random.RandomState(0).rand(*stored).astype(np.float32)
    frames = read_clips(saved(tmp_path / "a.npz", frames=values), shape).frames
    assert frames.shape == (1, T, *shape)
    plain = values.reshape(T, *([v for v in stored if v != 1][1:] or [1]))
    if stored[-1] == 3:
        plain = plain.transpose(0, 3, 1, 2)
    assert np.array_equal(frames[0].numpy().squeeze(), plain.squeeze())


@pytest.mark.parametrize("letters", ["NCTHW", "CTHW", "TNHWC", "THWC", "NTHWC"])
def test_clips_may_have_the_layout_of_the_data(tmp_path: Path, letters: str) -> None:
    """A clip of as many frames as channels would be read in the usual order; a file of this project keeps its own."""
    clips = np.random.RandomState(0).rand(1, 3, *COLOUR).astype(np.float32)
    seen, times = np.random.RandomState(1).rand(*clips.shape) < 0.5, np.array([[0, 1, 5]])
    as_letters = {
        name: np.einsum(f"NTCHW->{letters}" if "N" in letters else f"NTCHW->N{letters}", values)
        for name, values in (("frames", clips), ("mask", seen.astype(int)))
    }
    arrays = {name: values if "N" in letters else values[0] for name, values in as_letters.items()}
    layout = Layout(letters if "N" in letters else f"N{letters}")
    path = saved(tmp_path / "a.npz", times=times.T if letters[0] == "T" and "N" in letters else times[0], **arrays)
    read = read_clips(path, COLOUR, layout=layout)
    assert read.mask is not None
    assert read.times is not None
    assert np.array_equal(read.frames.numpy(), clips)
    assert np.array_equal(read.mask.numpy(), seen)
    assert read.times.tolist() == times.tolist()
    write_npz(tmp_path / "ours.npz", {"frames": torch.from_numpy(clips)}, {"run": "a"})
    assert np.array_equal(read_clips(tmp_path / "ours.npz", COLOUR, layout=layout).frames.numpy(), clips)


def test_what_arrays_say_of_gaps_is_read(tmp_path: Path) -> None:
    frames = np.zeros((2, T, SIDE, SIDE, 3), np.uint8)
    mask = np.random.RandomState(0).rand(*frames.shape) < 0.5
    path = saved(
        tmp_path / "a.npz", frames=frames, mask=mask, lengths=[3, T], times=np.arange(2 * T).reshape(2, T), f=1
    )
    clips = read_clips(path, COLOUR)
    assert clips.mask is not None
    assert clips.lengths is not None
    assert clips.times is not None
    assert np.array_equal(clips.mask.numpy(), mask.transpose(0, 1, 4, 2, 3))
    assert clips.lengths.tolist() == [3, T]
    assert clips.times.shape == (2, T)
    with pytest.warns(Remark, match=r"'x' \(5, 16, 16, 3\) is taken for it"):
        of_frames = read_clips(saved(tmp_path / "b.npz", x=frames[0], mask=[1, 0, 1, 1, 0]), COLOUR).mask
    assert of_frames is not None
    assert of_frames.tolist() == [[True, False, True, True, False]]


def test_a_folder_of_frames_is_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    frames = clip(length=11)
    for i, frame in enumerate(frames):
        Image.fromarray(frame.permute(1, 2, 0).numpy()).save(tmp_path / f"frame{i}.png")
    (tmp_path / "notes.txt").write_text("")
    assert torch.equal(read_clips(tmp_path, COLOUR).frames[0], frames)


def test_palettes_greys_and_transparency_are_resolved(tmp_path: Path) -> None:
    coarse = clip(length=2) // 64 * 64
    strip = Image.fromarray(np.concatenate(list(coarse.permute(0, 2, 3, 1).numpy()), axis=1))
    strip.quantize(256).save(tmp_path / "palette.png")
    assert torch.equal(read_clips(tmp_path / "palette.png", COLOUR).frames[0], coarse)
    grey = clip(GREY, 2)
    strip = Image.fromarray(np.concatenate(list(grey[:, 0].numpy()), axis=1))
    strip.convert("RGB").save(tmp_path / "grey.png")  # stored as colours
    assert torch.equal(read_clips(tmp_path / "grey.png", GREY).frames[0], grey)
    assert torch.equal(read_clips(tmp_path / "grey.png", COLOUR).frames[0], grey.expand(-1, 3, -1, -1))
    deep = np.concatenate(list(grey[:, 0].numpy()), axis=1).astype(np.uint16) * 257
    Image.fromarray(deep).save(tmp_path / "deep.png")  # 16 bit
    assert torch.equal(read_clips(tmp_path / "deep.png", GREY).frames[0], grey)
    clear = clip(ALPHA, 2)
    write_strip(tmp_path / "clear.png", clear)
    on_black = (clear[:, :3].double() * clear[:, 3:] / 255).round().byte()
    assert torch.equal(read_clips(tmp_path / "clear.png", COLOUR).frames[0], on_black)
    assert torch.equal(read_clips(tmp_path / "clear.png", ALPHA).frames[0], clear)
    opaque = read_clips(tmp_path / "palette.png", ALPHA).frames[0]
    assert torch.equal(opaque[:, :3], coarse)
    assert (opaque[:, 3] == 255).all()


def test_a_transparent_gif_of_others_is_read_frame_by_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGBA", (SIDE, SIDE), (0, 0, 0, 0)) for _ in range(3)]
    for i, frame in enumerate(frames):
        frame.paste((255, 0, 0, 255), (4 * i, 0, 4 * i + 4, SIDE))
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=[100, 300, 100], disposal=2)
    read = read_clips(tmp_path / "a.gif", COLOUR).frames[0]
    assert len(read) == 5
    for i, frame in zip((0, 1, 1, 1, 2), read, strict=True):
        assert frame[0].float().mean(0).tolist() == [255.0 if 4 * i <= x < 4 * i + 4 else 0.0 for x in range(SIDE)]
        assert frame[1:].sum() == 0


@pytest.mark.parametrize("kind", ["gif", "png", "webp"])
@pytest.mark.parametrize(
    ("order", "frame_ms"),
    [
        ("AAABBC", 100),
        ("ABCABC", 40),
        ("ABBBBBBBBB", 150),
        ("AABBBAC", 70),
        ("AABCCCABCBBBBBA", 100 / 3),  # 30 a second: each begins at a rounded time
        ("ABCABCABC", 1000 / 24),
        ("AABC", 20),
    ],
)
def test_pictures_are_repeated_for_as_long_as_they_last(tmp_path: Path, kind: str, order: str, frame_ms: float) -> None:
    """Pillow writes each picture once, with the time from its rounded beginning to its rounded end."""
    colours = {"A": (255, 0, 0), "B": (0, 255, 0), "C": (0, 0, 255)}
    runs = [(letter, len(list(group))) for letter, group in groupby(order)]
    unit = 10 if kind == "gif" else 1
    ends = [unit * round(frame_ms * count / unit) for count in accumulate(n for _, n in runs)]
    lasts = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    first, *others = (Image.new("RGB", (SIDE, SIDE), colours[letter]) for letter, _ in runs)
    options = {"lossless": True} if kind == "webp" else {}
    path = tmp_path / f"a.{kind}"
    first.save(path, save_all=True, append_images=others, duration=lasts, **options)
    with Image.open(path) as image:
        assert image.n_frames == len(runs)  # type: ignore[attr-defined]
    read = read_clips(path, COLOUR).frames[0]
    assert "".join("ABC"[int(frame[:, 0, 0].argmax())] for frame in read) == order


def test_frames_that_another_encoder_joined_come_back(tmp_path: Path) -> None:
    """Six pictures A A A B B C, given to Pillow one by one."""
    a, b, c = (Image.new("RGB", (SIDE, SIDE), (level, 0, 0)) for level in (0, 100, 200))
    a.save(tmp_path / "a.gif", save_all=True, append_images=[a, a, b, b, c], duration=100)
    with Image.open(tmp_path / "a.gif") as image:
        assert image.n_frames == 3  # type: ignore[attr-defined]
    assert read_clips(tmp_path / "a.gif", COLOUR).frames[0, :, 0, 0, 0].tolist() == [0, 0, 0, 100, 100, 200]


def test_animations_without_durations_are_read_picture_by_picture(tmp_path: Path) -> None:
    first, *others = (Image.new("RGB", (SIDE, SIDE), (level, 0, 0)) for level in (0, 100, 200))
    first.save(tmp_path / "a.gif", save_all=True, append_images=others)
    first.save(tmp_path / "a.tiff", save_all=True, append_images=others)
    # Shown by viewers that play no APNG, and no frame of the animation.
    still = Image.new("RGB", (SIDE, SIDE), (9, 9, 9))
    still.save(
        tmp_path / "a.png", save_all=True, default_image=True, append_images=[first, *others], duration=[50, 100, 50]
    )
    for name, levels in (("a.gif", [0, 100, 200]), ("a.tiff", [0, 100, 200]), ("a.png", [0, 100, 100, 200])):
        assert read_clips(tmp_path / name, COLOUR).frames[0, :, 0, 0, 0].tolist() == levels, name


def test_a_pause_of_too_many_frames_is_told(tmp_path: Path) -> None:
    first, *others = (Image.new("RGB", (SIDE, SIDE), (level, 0, 0)) for level in (0, 100, 200))
    first.save(tmp_path / "a.png", save_all=True, append_images=others, duration=[7, 60000, 60001])
    assert "its pictures last 7 to 60001 ms, in steps of 1 ms 120,008 frames" in refusal(tmp_path / "a.png")


def test_other_sizes_and_channels_are_converted_on_request_only(tmp_path: Path) -> None:
    large = clip((3, 32, 32), 2)
    write_strip(tmp_path / "a.png", large)
    line = refusal(tmp_path / "a.png")
    assert "32 x 32 pixels with 3 channels" in line
    assert "16 x 16 with 3" in line
    assert "--resize true" in line
    blocks = large.double().unfold(2, 2, 2).unfold(3, 2, 2).mean((-1, -2))  # each pixel the mean of four
    assert (read_clips(tmp_path / "a.png", COLOUR, resize=True).frames[0] - blocks).abs().max() <= 0.5
    assert "with 3 channels" in refusal(tmp_path / "a.png", (1, 32, 32))
    made = read_clips(tmp_path / "a.png", (1, 32, 32), resize=True).frames[0]
    assert (made.double() - large.double().mean(1, keepdim=True)).abs().max() <= 0.5
    arrays = saved(tmp_path / "a.npz", frames=large.float().numpy() / 255)
    assert "--resize true" in refusal(arrays)
    assert (read_clips(arrays, COLOUR, resize=True).frames[0] - blocks / 255).abs().max() < 1e-6


# --- bad input --------------------------------------------------------------------------------------------------------


def test_files_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "none.gif")
    (tmp_path / "text.png").write_text("no image")
    assert "no image that can be read" in refusal(tmp_path / "text.png")
    for name, write in (("a.png", write_strip), ("a.gif", write_gif)):
        write(tmp_path / name, clip())
        whole = (tmp_path / name).read_bytes()
        for share in (0.02, 0.3, 0.7):
            (tmp_path / name).write_bytes(whole[: int(share * len(whole))])
            assert "cut short" in refusal(tmp_path / name), (name, share)
    (tmp_path / "a.npz").write_bytes(saved(tmp_path / "b.npz", frames=clip().numpy()).read_bytes()[:3000])
    assert "damaged" in refusal(tmp_path / "a.npz")
    (tmp_path / "empty").mkdir()
    assert "holds no image" in refusal(tmp_path / "empty")


def test_what_is_no_clip_is_told(tmp_path: Path) -> None:
    Image.new("RGB", (SIDE * 2 + 3, SIDE)).save(tmp_path / "odd.png")
    assert f"{SIDE} x {SIDE * 2 + 3} (H x W) pixels; a strip" in refusal(tmp_path / "odd.png")
    Image.new("RGB", (SIDE, SIDE)).save(tmp_path / "one.png")
    assert "1 frame; a clip to condition on needs at least 2" in refusal(tmp_path / "one.png")
    assert "are vectors (6,)" in refusal(tmp_path / "one.png", VECTOR)
    Image.new("RGB", (SIDE, 2 * SIDE)).save(tmp_path / "one.gif")
    assert "one.gif holds one picture" in refusal(tmp_path / "one.gif")
    (tmp_path / "mixed").mkdir()
    Image.new("RGB", (SIDE, SIDE)).save(tmp_path / "mixed" / "0.png")
    Image.new("RGB", (SIDE, SIDE + 1)).save(tmp_path / "mixed" / "1.png")
    assert "different sizes (16 x 16, 17 x 16 (H x W))" in refusal(tmp_path / "mixed")


def test_nan_is_missing_and_integers_are_measurements_as_in_the_data_of_a_fit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames, seen = rng.normal(size=(2, T, 6)).astype(np.float32), rng.random((2, T, 6)) < 0.6
    clips = read_clips(saved(tmp_path / "a.npz", frames=np.where(seen, frames, np.nan)), VECTOR)
    assert clips.mask is not None
    assert np.array_equal(clips.mask.numpy(), seen)
    told = read_clips(saved(tmp_path / "b.npz", frames=frames, mask=seen), VECTOR)
    assert torch.equal(clips.stored().visible, told.stored().visible)
    whole = read_clips(saved(tmp_path / "c.npz", frames=np.arange(12 * T).reshape(2, T, 6)), VECTOR)
    assert (whole.mask, whole.frames.dtype, float(whole.frames.sum())) == (None, torch.float32, sum(range(12 * T)))
    image = np.ones((T, *COLOUR), np.float32)
    image[1, :, 3] = np.nan
    pixels = read_clips(saved(tmp_path / "d.npz", frames=image), COLOUR).mask
    assert pixels is not None
    assert np.array_equal(pixels.numpy()[0], np.isfinite(image))


def test_files_of_images_are_no_clips_of_vectors(tmp_path: Path) -> None:
    (tmp_path / "a.gif").touch()
    assert "is a .gif, and the frames of this run are vectors (6,): give an .npz" in refusal(tmp_path / "a.gif", VECTOR)
    assert "is a folder, and the frames of this run are vectors" in refusal(tmp_path, VECTOR)


@pytest.mark.parametrize(
    ("arrays", "shape", "says"),
    [
        ({"f": np.zeros(3)}, COLOUR, "has no 'frames'; it holds f"),
        ({"x": np.zeros((T, 6)), "y": np.zeros((T, 6))}, VECTOR, "has no 'frames', and 'x', 'y' may each be meant"),
        ({"frames": np.zeros((T, *COLOUR), int)}, COLOUR, "convert them to uint8"),
        ({"frames": np.zeros((1, *COLOUR))}, COLOUR, "at least 2"),
        ({"frames": np.zeros(COLOUR)}, COLOUR, "at least 2"),
        ({"frames": np.zeros((T, 7))}, VECTOR, "those of this run have (6,)"),
        ({"frames": np.zeros((T, 6))}, COLOUR, "no clip; a clip of this run is (T, 3, 16, 16)"),
        (
            {"frames": np.zeros((9, T, 6))},
            COLOUR,
            "(9, 5, 6), that of vectors (N, T, P); a clip of this run is images (T, 3",
        ),
        ({"frames": np.zeros((T, 6)), "mask": np.eye(T, 6, dtype=bool)}, VECTOR, ""),
        ({"frames": np.zeros((T, 6)), "mask": np.zeros(T + 1, bool)}, VECTOR, "mask has shape"),
        ({"frames": np.zeros((T, 6)), "mask": np.full(T, 2)}, VECTOR, "mask must be boolean"),
        ({"frames": np.zeros((T, 6)), "times": np.zeros(3)}, VECTOR, "times are"),
        (
            {"frames": np.zeros((T, 6)), "lengths": np.array([1])},
            VECTOR,
            "at least 2 frames, and here has at most 5: see seq",
        ),
        (
            {"frames": np.zeros((3, T, 6)), "lengths": np.array([T, T + 1, 9])},
            VECTOR,
            "from 5 to 9; a clip to condition on",
        ),
        ({"frames": np.zeros((3, T, 6)), "lengths": np.array([T, T + 1, 9])}, VECTOR, "see sequences 1 and 2"),
        (
            {"frames": np.zeros((3, T, 6)), "mask": np.arange(3)[:, None].repeat(T, 1) == 1},
            VECTOR,
            "",  # to be filled from the prior
        ),
    ],
)
def test_arrays_that_are_no_clips_are_told(
    tmp_path: Path, arrays: dict[str, Any], shape: tuple[int, ...], says: str
) -> None:
    path = saved(tmp_path / "a.npz", **arrays)
    if says:
        assert says in refusal(path, shape)
    else:
        assert read_clips(path, shape).mask is not None
