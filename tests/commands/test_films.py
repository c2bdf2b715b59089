"""Videos into and out of the latents of a run: read as its data were, of any length, with their sound."""

import sys
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pyro_dsvae
from pyro_dsvae import VideoFolder
from pyro_dsvae.actions.selection import Source
from pyro_dsvae.clips.films import read_film, write_film
from pyro_dsvae.clips.reading import read_clips
from pyro_dsvae.clips.writing import write_gif
from pyro_dsvae.data.video.framing import Crop
from pyro_dsvae.fit import fit
from pyro_dsvae.inference.posteriors.lstm import LSTM as Posterior
from pyro_dsvae.inference.training.schedule import Optimisation
from pyro_dsvae.loading import Run
from tests.commands.test_latents import arrays, command, done
from tests.data.videos import noise, squares, write_animation, write_sound, write_video
from tests.decoded import small_decoder
from tests.encoded import small_encoder

av: Any = pytest.importorskip("av", reason="PyAV is the extra 'video'")
WINDOW, SIDE, RATE = 6, 16, 20


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Of a folder of videos; it has seen windows of 6 frames at 20 frames a second."""
    folder = tmp_path_factory.mktemp("films")
    for i in range(4):
        write_video(folder / "in" / f"{i}.mkv", noise(12, SIDE, 2 * SIDE, seed=i), rate=RATE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        fitted = fit(
            data=VideoFolder(folder / "in", WINDOW, height=SIDE, rate=RATE, validation=0.25, test=0.25),
            out=folder / "run",
            steps=2,
            static_size=5,
            latent_size=2,
            posterior=partial(Posterior, hidden_size=6, feature_size=6),
            encoder=small_encoder,
            decoder=small_decoder,
            device="cpu",
            optimisation=Optimisation(batch_size=2, evaluations=1),
        )
    return pyro_dsvae.load(fitted.run)


@pytest.fixture(autouse=True)
def _data_are_cached(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(run.path.parent / "cache"))


def write_talking(path: Path, frames: np.ndarray, rate: int, codec: str) -> None:
    """A video with a tone, both from 0 s on."""
    with av.open(str(path), "w") as container:
        shown = container.add_stream("ffv1", rate=rate)
        shown.height, shown.width, shown.pix_fmt = *frames.shape[1:3], "bgr0"
        heard = container.add_stream(codec, rate=48_000)
        for each in frames:
            container.mux(shown.encode(av.VideoFrame.from_ndarray(each, "rgb24").reformat(format="bgr0")))
        container.mux(shown.encode())
        seconds = np.arange(48_000 * len(frames) // rate) / 48_000
        tone = (9_000 * np.sin(2 * np.pi * 440 * seconds)).astype(np.int16)
        for i in range(0, len(tone) - 959, 960):
            frame = av.AudioFrame.from_ndarray(tone[None, i : i + 960], "s16", "mono")
            frame.sample_rate, frame.pts = 48_000, i
            container.mux(heard.encode(frame))
        container.mux(heard.encode())


def sound(path: Path) -> tuple[list[bytes], float]:
    """The packets of the sound of a file, and how long it is."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(container.streams.audio[0]) if packet.pts is not None]
        return [bytes(packet) for packet in packets], float(sum(p.duration * p.time_base for p in packets))


def shown(path: Path) -> tuple[int, Fraction]:
    """Frames of a video, and its rate."""
    with av.open(str(path)) as container:
        rate = container.streams.video[0].average_rate
        return sum(1 for _ in container.decode(video=0)), rate


@pytest.mark.parametrize("name", ["you.mkv", "you.gif"])
def test_other_clips_become_frames_as_those_of_the_fit_did(run: Run, tmp_path: Path, name: str) -> None:
    pictures = noise(10, 2 * SIDE, 3 * SIDE, seed=7) // 64 * 64
    if name.endswith("gif"):
        write_animation(tmp_path / name, pictures, 100)
    else:
        write_video(tmp_path / name, pictures, rate=10)
    written = run.swap(*(_frames(pictures),) * 2)
    folder = done("swap", run.path, "--appearances", tmp_path / name, "--motions", tmp_path / name, "--format=npz")
    assert np.allclose(arrays(folder / "swap.npz")["frames"][0, 0], written[0].numpy(), atol=1e-5)


@pytest.mark.parametrize("crop", ["random", "face", "centre"])
def test_a_clip_of_the_fit_is_cut_where_it_was_for_the_fit(run: Run, tmp_path: Path, crop: Crop) -> None:
    names = [f"in/00{i}/wave.mkv" for i in range(4)]
    for i, name in enumerate(names):
        write_video(tmp_path / name, noise(WINDOW, 2 * SIDE, 5 * SIDE, seed=i), rate=RATE)
    source = VideoFolder(tmp_path / "in", WINDOW, height=SIDE, crop=crop, validation=0.25, test=0.25, seed=3)
    data = source.load()
    of_folder = Source(replace(run, data=source))
    read = of_folder.named(",".join(str(tmp_path / name) for name in names))
    assert torch.equal(read.batch.x, of_folder.run.model.likelihood.to_model_units(data.frames))


@pytest.mark.parametrize("name", ["made.mp4", "made.gif"])
def test_what_was_written_is_not_cropped_again(tmp_path: Path, name: str) -> None:
    """Else a head that was cut out of portraits, `face`, comes back as its own middle, enlarged."""
    clip = torch.from_numpy(squares(4, SIDE, SIDE).transpose(0, 3, 1, 2).copy())
    cutting = VideoFolder(tmp_path, 4, height=SIDE, crop="face").cutting()
    if name.endswith("mp4"):
        write_film(tmp_path / name, clip, RATE)
    else:
        write_gif(tmp_path / name, clip)
    read, _ = read_film(
        tmp_path / name, "video" if name.endswith("mp4") else "animation", (3, SIDE, SIDE), False, cutting
    )
    assert (read.int() - clip.int()).abs().max() <= 6


def _frames(pictures: np.ndarray) -> torch.Tensor:
    """The middle of pictures, each pixel the mean of four, at twice the rate, by hand."""
    middle = pictures[:, :, SIDE // 2 : -SIDE // 2].reshape(len(pictures), SIDE, 2, SIDE, 2, 3)
    halved = (middle.astype(np.float32).mean((2, 4)) + 0.5).astype(np.uint8)
    return torch.from_numpy(halved.repeat(2, 0).transpose(0, 3, 1, 2))[None]


@pytest.mark.parametrize("codec", ["aac", "pcm_s16le"])
def test_whole_videos_are_swapped_with_the_sound_of_the_motion(run: Run, tmp_path: Path, codec: str) -> None:
    write_talking(tmp_path / "you.mkv", noise(40, SIDE, SIDE, seed=8), RATE, codec)
    write_video(tmp_path / "me.mkv", noise(9, SIDE, SIDE, seed=9), rate=RATE)
    named = ("--appearances", tmp_path / "me.mkv", "--motions", tmp_path / "you.mkv")
    folder = done("swap", run.path, *named, "--format=mp4,npz")
    assert arrays(folder / "swap.npz")["z"].shape == (1, 40, 2)
    for path in (folder / "swap.mp4", folder / "clips" / "appearance-00-motion-00.mp4"):
        assert shown(path) == (40, RATE)
    packets, seconds = sound(folder / "clips" / "appearance-00-motion-00.mp4")
    assert abs(seconds - 2) < 0.1
    if codec == "aac":
        whole = sound(tmp_path / "you.mkv")[0]
        assert packets == whole[: len(packets)]
        assert len(packets) >= len(whole) - 1
    silent = done(
        "swap", run.path, "--appearances", tmp_path / "you.mkv", "--motions", tmp_path / "me.mkv", "--format=mp4"
    )
    with av.open(str(silent / "clips" / "appearance-00-motion-00.mp4")) as container:
        assert not container.streams.audio


def test_a_gif_of_one_clip_can_be_given_back(run: Run, tmp_path: Path) -> None:
    """Of few colours, so that its palette has them all."""
    write_animation(tmp_path / "you.gif", noise(9, SIDE, SIDE) // 128 * 128, 50)
    folder = done("swap", run.path, "--appearances=0", "--motions", tmp_path / "you.gif", "--format=gif,png")
    made = folder / "clips" / "appearance-00-motion-00.gif"
    frames, film = read_film(made, "animation", (3, SIDE, SIDE))
    assert len(frames) == 9
    assert film.rate == pytest.approx(RATE)
    strip = read_clips(made.with_suffix(".png"), (3, SIDE, SIDE)).frames[0]
    assert (frames.float() - strip.float()).abs().mean() < 8


def test_every_action_writes_an_mp4(run: Run, tmp_path: Path) -> None:
    film = tmp_path / "film.mkv"
    write_video(film, noise(9, SIDE, SIDE), rate=RATE)
    for arguments, frames in (
        (["swap", "--appearances=0", f"--motions={film}"], 9),
        (["sample", "--number=1", "--length=4"], 4),
        (["interpolate", "--between=0,1", "--steps=3"], WINDOW),
        (["traverse", "--dimensions=0", "--steps=2", "--reference=2"], WINDOW),
        (["impute", f"--clips={film}", "--missing-frames=2", "--draws=2", "--method=amortised"], 9),
        (["forecast", "--clips=0", "--given=3", "--horizon=2", "--draws=2", "--score=0"], 5),
    ):
        folder = done(arguments[0], run.path, *arguments[1:], "--format=mp4")
        assert shown(folder / f"{arguments[0]}.mp4") == (frames, RATE), arguments
        assert {path.suffix for path in folder.rglob("*") if path.is_file()} == {".json", ".mp4"}


@pytest.mark.parametrize("shape", [(3, 15, 17), (1, 16, 16), (3, 300, 300)])
def test_a_film_that_was_written_is_read_back(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    """Small frames as squares, which keep their colours; about, since mp4 loses a little."""
    smooth = torch.rand(5, shape[0], 4, 4, generator=torch.Generator().manual_seed(0))
    clip = (torch.nn.functional.interpolate(smooth, size=shape[1:], mode="bilinear") * 255).byte()
    write_film(tmp_path / "a.mp4", clip, 12.5)
    found, film = read_film(tmp_path / "a.mp4", "video", shape, resize=shape[0] == 1)
    assert found.shape == clip.shape
    assert film.rate == pytest.approx(12.5)
    assert (found.float() - clip.float()).abs().mean() < 3


def test_files_that_are_no_films_are_told_in_a_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("This is no video.\n")
    write_sound(tmp_path / "sound.mp4")
    write_video(tmp_path / "whole.mp4", squares(40), codec="mpeg4", pixels="yuv420p", options={})
    whole = (tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    write_video(tmp_path / "one.mkv", noise(1))
    (tmp_path / "table.csv").write_text("time,value\n1,2\n2,3\n")
    for name, says in (
        ("text.mp4", "is no video that can be read"),
        ("sound.mp4", "holds sound only"),
        ("cut.mp4", "is no video that can be read, or is cut short"),
        ("one.mkv", "holds a clip of 1 frame"),
        ("table.csv", "is a table, and the frames of this run are images: give a video"),
    ):
        outcome = command("swap", run.path, "--motions", tmp_path / name, "--out", tmp_path / "out")
        assert outcome.code == 2
        assert outcome.err.count("\n") == 1
        assert f"{name} {says}" in outcome.err, outcome.err
    assert not (tmp_path / "out").exists()


def test_a_missing_extra_is_named_with_its_line(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "film.mp4").touch()
    for arguments in (["--format=mp4"], [f"--motions={tmp_path / 'film.mp4'}"]):
        outcome = command("swap", run.path, *arguments)
        assert outcome.code == 2
        assert "pip install 'pyro-dsvae[video]'" in outcome.err
