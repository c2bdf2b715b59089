"""The command that uses the latents of a run: what each action writes, and what it says of mistakes."""

import contextlib
import csv
import errno
import io
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray
from PIL import Image

import pyro_dsvae
from pyro_dsvae import cli, latents
from pyro_dsvae.actions.damage import Damage
from pyro_dsvae.actions.selection import Selection, Source
from pyro_dsvae.actions.traverse import told
from pyro_dsvae.clips.reading import read_clips
from pyro_dsvae.clips.writing import provenance, write_gif, write_strip
from pyro_dsvae.configuration.spellings import OldConfiguration, modern_arguments
from pyro_dsvae.data.arrays import Arrays
from pyro_dsvae.data.dataset import Label
from pyro_dsvae.fit import fit
from pyro_dsvae.inference.batch import Batch
from pyro_dsvae.inference.posteriors.lstm import LSTM as Posterior
from pyro_dsvae.inference.sampling.gap_filling import nearest_frame
from pyro_dsvae.inference.training.schedule import Optimisation
from pyro_dsvae.loading import Run
from pyro_dsvae.models.dynamic_priors.lstm import LSTM
from tests.decoded import small_decoder
from tests.encoded import small_encoder

PROJECT = Path(__file__).parents[2]
N, T, F, D = 24, 6, 5, 2
WHO, WHAT = ("ann", "bob"), ("jump", "run", "sit")
IMAGE, VECTOR = (3, 16, 16), (4,)


def tiny(folder: Path, shape: tuple[int, ...]) -> Run:
    """A run after a few steps on random clips with labels."""
    frames = np.random.RandomState(0).rand(N, T, *shape)
    labels = {"labels_who": np.arange(N) % 2, "classes_who": np.array(WHO)}
    labels |= {"labels_what": np.arange(N) // 2 % 3, "classes_what": np.array(WHAT), "role_what": np.array("dynamic")}
    stored = (frames * 255).astype(np.uint8) if len(shape) == 3 else frames
    np.savez(folder / "clips.npz", frames=stored, split=np.arange(N) // 8, **labels)
    result = fit(
        data=Arrays(str(folder / "clips.npz")),
        out=folder / "run",
        steps=4,
        static_size=F,
        latent_size=D,
        dynamic_prior=partial(LSTM, hidden_size=4),
        posterior=partial(Posterior, hidden_size=6, feature_size=6),
        encoder=small_encoder,
        decoder=small_decoder,
        device="cpu",
        optimisation=Optimisation(batch_size=4, evaluations=1),
    )
    return pyro_dsvae.load(result.run)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        # The judge of random labels is nothing to keep.
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setattr("pyro_dsvae.judges.own.STEPS", 2)
        return tiny(tmp_path_factory.mktemp("images"), IMAGE)


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setattr("pyro_dsvae.judges.own.STEPS", 2)
        return tiny(tmp_path_factory.mktemp("vectors"), VECTOR)


@dataclass(frozen=True)
class Outcome:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str

    @property
    def path(self) -> Path:
        """What the last line names."""
        last = self.out.splitlines()[-1]
        assert last.startswith("wrote: "), self
        return Path(last.removeprefix("wrote: "))


def command(*arguments: object) -> Outcome:
    """The command in this process, as ``python -m pyro_dsvae.latents`` runs it."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", ["latents", *map(str, arguments)])
        try:
            cli.main(latents.main)
        except SystemExit as ended:
            return Outcome(int(ended.code or 0), out.getvalue(), err.getvalue())
    raise AssertionError("a command ends with an exit status")


NPZ = "--format=npz"


def done(*arguments: object) -> Path:
    outcome = command(*arguments)
    assert outcome.code == 0, outcome
    assert outcome.err == ""
    return outcome.path


def arrays(path: Path) -> Mapping[str, Any]:
    with np.load(path, allow_pickle=False) as loaded:
        return {name: loaded[name] for name in loaded.files}


def of_split(run: Run, *positions: int) -> torch.Tensor:
    """Test clips, straight from the file."""
    data = run.sequences()
    return data.frames[(data.split == 1).nonzero().squeeze(1)[list(positions)]]


# --- what each action writes ------------------------------------------------------------------------------------------


def test_swap_writes_every_look_with_every_motion(run: Run, tmp_path: Path) -> None:
    folder = done("swap", run.path, "--appearances=1,3", "--motions=0:3", f"--out={tmp_path / 'out'}")
    assert folder == tmp_path / "out"
    made = arrays(folder / "swap.npz")
    looks, motions = run.encode(of_split(run, 1, 3)), run.encode(of_split(run, 0, 1, 2))
    assert made["frames"].shape == (2, 3, T, *IMAGE)
    assert made["look_indices"].tolist() == [1, 3]
    assert made["motion_indices"].tolist() == [0, 1, 2]
    for i in range(2):
        for j in range(3):
            alone = run.decode(looks.f[i : i + 1], motions.z[j : j + 1])[0]
            np.testing.assert_allclose(made["frames"][i, j], alone, atol=1e-5)
            strip = read_clips(folder / "clips" / f"appearance-{i:02}-motion-{j:02}.png", IMAGE).frames[0]
            assert (strip.float() / 255 - alone.clamp(0, 1)).abs().max() <= 0.5 / 255 + 1e-6
    np.testing.assert_allclose(made["frames"][1, 2], run.swap(of_split(run, 3), of_split(run, 2))[0], atol=1e-5)
    with Image.open(folder / "swap.gif") as gif, Image.open(folder / "swap.png") as png:
        assert 1 < gif.n_frames <= T  # type: ignore[attr-defined]
        assert png.width > gif.width > 200


def test_a_swap_twice_returns(run: Run, tmp_path: Path) -> None:
    """On latents: f and z that a swap of a with b, and of b with a, are made of, put together again."""
    there = arrays(
        done("swap", run.path, "--appearances=1", "--motions=2", "--format=npz", f"--out={tmp_path / 'a'}") / "swap.npz"
    )
    back = arrays(
        done("swap", run.path, "--appearances=2", "--motions=1", "--format=npz", f"--out={tmp_path / 'b'}") / "swap.npz"
    )
    again = run.decode(torch.from_numpy(there["f"]), torch.from_numpy(back["z"]))
    torch.testing.assert_close(again, run.reconstruct(of_split(run, 1)))
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["options.json", "swap.npz"]


def test_clips_of_files_are_taken_as_those_of_the_data(run: Run, tmp_path: Path) -> None:
    clip = of_split(run, 2)[0]
    write_strip(tmp_path / "mine.png", clip)
    np.savez(tmp_path / "mine.npz", frames=clip.numpy())
    paths = f"{tmp_path / 'mine.png'},{tmp_path / 'mine.npz'},2"
    made = arrays(
        done("swap", run.path, f"--appearances={paths}", "--motions=0", NPZ, f"--out={tmp_path / 'out'}") / "swap.npz"
    )
    assert made["look_indices"].tolist() == [-1, -1, 2]
    np.testing.assert_allclose(made["f"], made["f"][:1].repeat(3, 0), atol=1e-6)


def test_clips_of_different_lengths_go_together(run: Run, tmp_path: Path) -> None:
    short = of_split(run, 2)[0, :4]
    write_strip(tmp_path / "short.png", short)
    folder = done(
        "swap", run.path, "--appearances=0", f"--motions=1,{tmp_path / 'short.png'}", f"--out={tmp_path / 'out'}"
    )
    made = arrays(folder / "swap.npz")
    assert made["motion_lengths"].tolist() == [T, 4]
    expected = run.swap(of_split(run, 0), short[None])[0]
    np.testing.assert_allclose(made["frames"][0, 1, :4], expected, atol=1e-5)
    with Image.open(folder / "clips" / "appearance-00-motion-01.png") as strip:
        assert strip.size == (4 * 16, 16)


@pytest.mark.parametrize("keep", [None, "static", "dynamic"])
def test_sample_keeps_what_it_says(run: Run, tmp_path: Path, keep: str | None) -> None:
    kept = [] if keep is None else [f"--keep={keep}", "--clip=3"]
    folder = done("sample", run.path, "--number=3", "--length=9", "--seed=5", NPZ, *kept, f"--out={tmp_path / 'out'}")
    made, codes = arrays(folder / "sample.npz"), run.encode(of_split(run, 3))
    assert made["frames"].shape == (3, 9, *IMAGE)
    latents = run.sample_latents(3, 9, 5, keep, codes)  # type: ignore[arg-type]
    np.testing.assert_allclose(made["f"], latents.f, atol=1e-6)
    np.testing.assert_allclose(made["z"], latents.z, atol=1e-6)
    if keep == "static":
        np.testing.assert_allclose(made["f"], codes.f.expand(3, -1), atol=1e-6)
    if keep == "dynamic":
        np.testing.assert_allclose(made["z"][:, :T], codes.z.expand(3, -1, -1), atol=1e-6)
    np.testing.assert_allclose(made["frames"], run.decode(*latents), atol=1e-5)


def test_an_augmented_data_set_can_be_fitted(run: Run, tmp_path: Path) -> None:
    folder = done("sample", run.path, "--augment=30", "--keep=static", "--seed=2", NPZ, f"--out={tmp_path / 'out'}")
    data = Arrays(str(folder / "augmented.npz")).load()
    assert data.frames.shape == (30, T, *IMAGE)
    assert data.frames.dtype == torch.uint8
    assert list(data.labels) == ["who"]  # what is kept; the motions are new
    assert data.labels["who"].classes == WHO
    whole = run.sequences()
    train = (whole.split == 0).nonzero().squeeze(1)
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(2))
    rows = train[order][torch.arange(30) % len(train)]
    assert torch.equal(data.labels["who"].values, whole.labels["who"].values[rows])
    about = provenance(folder / "augmented.npz")
    assert about["run"] == str(run.path.resolve())
    assert about["options"]["seed"] == 2
    assert about["options"]["augment"] == 30
    assert {"pyro_dsvae", "command"} < set(about)
    assert json.loads((folder / "options.json").read_text()) == about
    moving = done("sample", run.path, "--augment=9", "--keep=dynamic", "--clip=1", NPZ, f"--out={tmp_path / 'b'}")
    what, known = Arrays(str(moving / "augmented.npz"), 0.2, 0.2).load().labels["what"], whole.labels["what"]
    action = int(known.values[(whole.split == 1).nonzero().squeeze(1)[1]])
    assert [what.classes[value] for value in what.values.tolist()] == [known.classes[action]] * 9
    assert what.role == "dynamic"


def test_interpolation_goes_from_the_one_to_the_other(run: Run, tmp_path: Path) -> None:
    a, b = run.encode(of_split(run, 0)), run.encode(of_split(run, 5))
    for latent in ("static", "dynamic", "both"):
        made = arrays(
            done(
                "interpolate",
                run.path,
                "--between=0,5",
                f"--latent={latent}",
                "--steps=5",
                NPZ,
                f"--out={tmp_path / latent}",
            )
            / "interpolate.npz"
        )
        assert made["frames"].shape == (5, T, *IMAGE)
        np.testing.assert_allclose(made["frames"][0], run.reconstruct(of_split(run, 0))[0], atol=1e-5)
        last = run.decode(a.f if latent == "dynamic" else b.f, a.z if latent == "static" else b.z)
        np.testing.assert_allclose(made["frames"][-1], last[0], atol=1e-5)
        assert np.abs(np.diff(made["f"], axis=0)).max() > 0 or latent == "dynamic"
        assert np.abs(np.diff(made["z"], axis=0)).max() > 0 or latent == "static"
    way = run.interpolate(of_split(run, 0), of_split(run, 5), 5)
    np.testing.assert_allclose(way, made["frames"], atol=1e-5)


@pytest.mark.parametrize("latent", ["static", "dynamic"])
def test_traversal_changes_one_dimension(run: Run, tmp_path: Path, latent: str) -> None:
    folder = done(
        "traverse",
        run.path,
        "--clip=1",
        f"--latent={latent}",
        "--number=2",
        "--steps=3",
        NPZ,
        f"--out={tmp_path / 'o'}",
    )
    made, codes = arrays(folder / "traverse.npz"), run.encode(of_split(run, 1))
    information = made["information"]
    assert made["frames"].shape == (2, 3, T, *IMAGE)
    assert made["dimensions"].tolist() == np.argsort(-information)[:2].tolist()
    for row, dimension in enumerate(made["dimensions"]):
        others = np.arange(F if latent == "static" else D) != dimension
        f, z = np.broadcast_to(codes.f, (3, F)), np.broadcast_to(codes.z, (3, T, D))
        changed, fixed = (made["f"][row], made["z"][row]) if latent == "static" else (made["z"][row], made["f"][row])
        was, stays = (f, z) if latent == "static" else (z, f)
        np.testing.assert_allclose(fixed, stays, atol=1e-6)
        np.testing.assert_allclose(changed[..., others], was[..., others], atol=1e-6)
        assert (np.diff(changed[..., dimension], axis=0) > 0).all()
    named = done(
        "traverse", run.path, f"--latent={latent}", "--dimensions=1", "--format=npz", f"--out={tmp_path / 'p'}"
    )
    assert arrays(named / "traverse.npz")["dimensions"].tolist() == [1]


def test_imputation_hides_restores_and_compares(run: Run, tmp_path: Path) -> None:
    outcome = command(
        "impute", run.path, "--clips=0,4", "--missing-frames=2,5", "--missing-pixels=.5", "--draws=3", "--method=amortised",
        f"--out={tmp_path / 'out'}",
    )  # fmt: skip
    made = arrays(outcome.path / "impute.npz")
    mask, truth = made["mask"], of_split(run, 0, 4).float().numpy() / 255
    assert not mask[:, [2, 5]].any()
    assert 0.4 < mask[:, [0, 1, 3, 4]].mean() < 0.6
    assert (mask[:, :, :1] == mask).all()  # a pixel is missing in all its channels
    np.testing.assert_allclose(made["truth"], truth)
    np.testing.assert_allclose(made["frames"][mask], truth[mask])
    assert (made["observed"][~mask] == 0).all()
    assert made["draws"].shape == (3, 2, T, *IMAGE)
    ours = math.sqrt(np.square(made["frames"] - truth)[~mask].mean())
    assert (
        f"root mean squared error over the values that were hidden: {ours:.4f}; copying the nearest frame"
        in outcome.out
    )
    clean = arrays(
        done("impute", run.path, "--noise=.3", "--draws=2", "--method=amortised", NPZ, f"--out={tmp_path / 'b'}")
        / "impute.npz"
    )
    assert clean["mask"].all()
    assert abs(np.std(clean["observed"] - clean["truth"]) - 0.3) < 0.01


def test_ones_own_gaps_are_filled(run: Run, tmp_path: Path) -> None:
    """Whatever stands in them; with nothing observed, that is said."""
    clip, results = of_split(run, 1)[0].float().numpy() / 255, []
    for fill in (0.0, 1e6):
        mask = np.array([1, 1, 0, 1, 0, 1], bool)
        frames = np.where(mask[:, None, None, None], clip, np.float32(fill))
        np.savez(tmp_path / "mine.npz", frames=frames, mask=mask)
        options = ("--draws=2", "--method=amortised", "--format=npz", f"--out={tmp_path / str(fill)}")
        results.append(arrays(done("impute", run.path, f"--clips={tmp_path / 'mine.npz'}", *options) / "impute.npz"))
    for name in ("frames", "draws", "spread", "f", "z"):
        assert np.array_equal(results[0][name], results[1][name]), name
    np.savez(tmp_path / "mine.npz", frames=frames, mask=np.zeros(T, bool))
    outcome = command(
        "impute", run.path, "--clips", tmp_path / "mine.npz", "--draws=2", NPZ, f"--out={tmp_path / 'none'}"
    )
    assert "mine: nothing is observed, so its draws are those of the prior" in outcome.out
    refused = command("encode", run.path, "--clips", tmp_path / "mine.npz")
    assert (refused.code, "mask leaves no observed value of mine" in refused.err) == (2, True)


def test_forecasts_go_on_and_are_scored(run: Run, tmp_path: Path) -> None:
    options = ("--given=4", "--horizon=3", "--draws=4", "--score=6", f"--out={tmp_path / 'out'}")
    outcome = command("forecast", run.path, "--clips=0,3", *options)
    made = arrays(outcome.path / "forecast.npz")
    assert made["frames"].shape == (2, 3, *IMAGE)
    assert made["draws"].shape == (4, 2, 3, *IMAGE)
    np.testing.assert_allclose(made["given"], of_split(run, 0, 3)[:, :4].float() / 255)
    np.testing.assert_allclose(made["draws"].mean(0), made["frames"], atol=1e-6)
    ahead = run.forecast(of_split(run, 0, 3)[:, :4], 3, draws=4)
    np.testing.assert_allclose(made["frames"], ahead.mean, atol=1e-6)
    report = json.loads((outcome.path / "scores.json").read_text())
    assert report["clips"] == 6
    # Random frames cannot be foretold: the last frame is the worst guess and the mean the best.
    assert report["errors"]["copy the last frame"]["mse"] == pytest.approx(1 / 6, rel=0.05)
    assert report["errors"]["repeat the mean frame"]["mse"] == pytest.approx((1 + 1 / 4) / 12, rel=0.05)
    assert all(sentence in outcome.out for sentence in report["says"])
    assert '"copy the last frame"' in outcome.out
    write_gif(tmp_path / "mine.gif", of_split(run, 0)[0])
    own = done("forecast", run.path, f"--clips={tmp_path / 'mine.gif'}", "--draws=2", NPZ, f"--out={tmp_path / 'b'}")
    assert arrays(own / "forecast.npz")["given"].shape == (1, T, *IMAGE)  # all of a file


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no room can be reserved")
def test_a_full_disk_is_told_before_codes_are_written(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To write a page of a mapped file that has no room ends the process without a word."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    refused = command("encode", run.path, NPZ, f"--out={tmp_path / 'out'}")
    assert (refused.code, "No space left on device" in refused.err) == (2, True)
    assert not (tmp_path / "out").exists()


def test_codes_are_written_in_every_format(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyro_dsvae.metrics.probes.STEPS", 10)  # what they find in random clips does not matter
    outcome = command("encode", run.path, "--format=npz,nc,csv", "--draws=2", f"--out={tmp_path / 'out'}")
    made, data = arrays(outcome.path / "encode.npz"), run.sequences()
    codes = run.encode(data.frames)
    for name in ("f", "z", "f_scale", "z_scale"):
        np.testing.assert_allclose(made[name], getattr(codes, name), atol=1e-5)
    assert made["f_draws"].shape == (2, N, F)
    assert made["labels_who"].tolist() == data.labels["who"].values.tolist()
    with xarray.open_dataset(outcome.path / "encode.nc", engine="h5netcdf") as nc:
        np.testing.assert_allclose(nc["z"], codes.z, atol=1e-5)
        assert nc["z"].dims == ("clip", "step", "z_dim")
        assert [str(v) for v in nc["label_what"].values] == [WHAT[i] for i in data.labels["what"].values]
        assert json.loads(nc.attrs["about"])["run"] == str(run.path.resolve())
    with (outcome.path / "static.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == N
    np.testing.assert_allclose(
        [[float(row[f"f_{i}"]) for i in range(F)] for row in rows], codes.f, rtol=1e-4, atol=1e-5
    )
    assert [row["who"] for row in rows] == [WHO[i] for i in data.labels["who"].values]
    assert rows[17]["split"] == "test"
    assert rows[17]["clip"] == "clip 1"
    with (outcome.path / "dynamic.csv").open(newline="") as file:
        steps = list(csv.DictReader(file))
    assert len(steps) == N * T
    assert float(steps[T + 2]["z_1"]) == pytest.approx(float(codes.z[1, 2, 1]), rel=1e-4)
    report = json.loads((outcome.path / "probe.json").read_text())
    assert set(report) == {"who", "what"}
    assert set(report["who"]) == {"f", "z"}
    assert "who" in outcome.out
    assert (outcome.path / "probe.png").stat().st_size > 5000


@pytest.mark.parametrize("clips", [None, "1,2"])
def test_anchored_codes_are_written_where_asked_for_and_said(run: Run, tmp_path: Path, clips: str | None) -> None:
    options = ["--split=validation", *([] if clips is None else [f"--clips={clips}"])]
    folder = done("encode", run.path, "--anchored=true", *options, f"--out={tmp_path / 'anchored'}")
    itself = done("encode", run.path, *options, f"--out={tmp_path / 'itself'}")
    frames = run.sequences().part("validation").frames
    codes = run.encode(frames if clips is None else frames[1:3], anchored=True)
    np.testing.assert_allclose(arrays(folder / "encode.npz")["f"], codes.f, atol=1e-6)
    assert not np.allclose(arrays(folder / "encode.npz")["f"], arrays(itself / "encode.npz")["f"], atol=1e-6)
    assert [json.loads((of / "options.json").read_text())["options"]["anchored"] for of in (folder, itself)] == [
        True,
        False,
    ]


def test_codes_of_some_clips_have_no_probe(run: Run, tmp_path: Path) -> None:
    some = done("encode", run.path, "--clips=1,2", f"--out={tmp_path / 'a'}")
    assert arrays(some / "encode.npz")["f"].shape == (2, F)
    assert not (some / "probe.json").exists()
    part = done("encode", run.path, "--split=validation", f"--out={tmp_path / 'b'}")
    assert arrays(part / "encode.npz")["f"].shape == (N // 3, F)


@pytest.mark.parametrize("name", ["swap", "sample", "interpolate", "traverse", "impute", "forecast"])
def test_vectors_become_curves(vectors: Run, tmp_path: Path, name: str) -> None:
    options = {"impute": ["--draws=2", "--method=amortised"], "forecast": ["--draws=2", "--score=0"]}.get(name, [])
    folder = done(name, vectors.path, *options, f"--out={tmp_path / 'out'}")
    tables = {f"{name}.csv", f"{name}-intervals.png"} if name in ("impute", "forecast") else set()
    assert {path.name for path in folder.iterdir()} == {f"{name}.npz", f"{name}.png", "options.json"} | tables
    with Image.open(folder / f"{name}.png") as image:
        assert min(image.size) > 100


# --- places and options -----------------------------------------------------------------------------------------------


def test_folders_are_numbered_and_never_replaced_unasked(run: Run, tmp_path: Path) -> None:
    first, second = (done("swap", run.path, "--format=npz", "--count=1") for _ in range(2))
    assert [path.relative_to(run.path).as_posix() for path in (first, second)] == [
        "latents/swap-001",
        "latents/swap-002",
    ]
    (tmp_path / "taken").mkdir()
    refused = command("swap", run.path, "--out", tmp_path / "taken")
    assert (refused.code, refused.out) == (2, "")
    assert "exists; name another place with --out" in refused.err
    done("swap", run.path, "--out", tmp_path / "taken", "--overwrite=true", "--format=npz")
    assert (tmp_path / "taken" / "swap.npz").exists()


def test_two_at_once_take_the_next_numbers(vectors: Run, tmp_path: Path) -> None:
    run = Path(shutil.copytree(vectors.path, tmp_path / "run"))
    command = [sys.executable, "-m", "pyro_dsvae.latents", "sample", str(run), "--format=npz"]
    started = [subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=120)[0].splitlines()[-1] for process in started]
    assert sorted(said) == [f"wrote: {run / 'latents' / f'sample-{n:03}'}" for n in (1, 2)]
    assert sorted(os.listdir(run / "latents")) == ["sample-001", "sample-002"]


def test_the_same_seed_gives_the_same_files(run: Run, tmp_path: Path) -> None:
    options = ("--number=2", "--format=npz")
    made = [
        arrays(done("sample", run.path, *options, f"--seed={seed}", f"--out={tmp_path / f'{i}'}") / "sample.npz")[
            "frames"
        ]
        for i, seed in enumerate((4, 4, 5))
    ]
    assert np.array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])


def test_help_lists_the_actions_and_their_options() -> None:
    listed = command("--help")
    assert listed.code == 0
    for name in latents.ACTIONS:
        assert f"\n  {name} " in listed.out
        assert f"latents {name} RUN" in listed.out
    for name in latents.ACTIONS:
        page = command(name, "--help")
        assert page.code == 0
        assert f"usage: python -m pyro_dsvae.latents {name}" in page.out
        assert "--out" in page.out
        assert "--seed" in page.out
        assert ">>>" not in page.out, "the example is Python"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "ACTION is missing"),
        (["swop", "RUN"], "unknown action 'swop' (did you mean swap?)"),
        (["--seed=1"], "unknown option --seed; the first argument is an action: swap"),
        (["swap"], "RUN is missing: python -m pyro_dsvae.latents swap RUN"),
        (["swap", "/nowhere"], "/nowhere holds no run"),
        (["swap", "RUN", "--appearance=1"], "unknown option --appearance (did you mean --appearances?)"),
        (["swap", "RUN", "--appearances=8"], "there is no clip 8: the validation split has 8 clips, 0 to 7"),
        (["swap", "RUN", "--appearances=-1"], "there is no clip -1"),
        (["swap", "RUN", "--appearances=3:3"], "the range 3:3 holds no clip"),
        (["swap", "RUN", "--appearances="], "no clip is named"),
        (["swap", "RUN", "--appearances=none.gif"], "none.gif: no such file"),
        (["swap", "RUN", "--format=jpg"], "--format got 'jpg'; it is one or more of gif, png, npz"),
        (["swap", "RUN", "--split=tset"], "it is one of train, validation, test"),
        (["sample", "RUN", "--clip=1"], "add --keep static or --keep dynamic"),
        (["sample", "RUN", "--keep=f"], "it is one of static, dynamic"),
        (["sample", "RUN", "--number=0"], "--number is 0"),
        (["interpolate", "RUN", "--between=1"], "--between takes two clips"),
        (["interpolate", "RUN", "--steps=1"], "at least 2"),
        (["traverse", "RUN", "--dimensions=7"], "f has dimensions 0 to 4"),
        (["traverse", "RUN", "--dimensions=a"], "--dimensions got 'a'"),
        (["traverse", "RUN", "--clip=1,2"], "names 2 clips"),
        (["impute", "RUN", "--missing-frames=6"], "the clips have frames 0 to 5"),
        (["impute", "RUN", "--missing-frames=x"], "--missing-frames got 'x'"),
        (["impute", "RUN", "--missing-pixels=2"], "--missing-pixels is 2"),
        (["impute", "RUN", "--crop=8,8,16,16"], "does not lie within a frame of 16 x 16"),
        (["impute", "RUN", "--crop=8,8"], "x,y,width,height"),
        (["impute", "RUN", "--method=best"], "it is one of amortised, refined, langevin"),
        (["forecast", "RUN", "--given=7"], "is too short to go on from 7 frames: it has 6"),
        (["forecast", "RUN", "--horizon=0"], "--horizon is 0"),
        (["encode", "RUN", "--format=gif"], "npz, nc, csv"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_one_line(run: Run, tmp_path: Path, arguments: list[str], says: str) -> None:
    place = [f"--out={tmp_path / 'out'}"] if "RUN" in arguments else []
    outcome = command(
        *(str(run.path) if part == "RUN" and i == 1 else part for i, part in enumerate(arguments)), *place
    )
    assert outcome.code == 2, outcome
    assert says in outcome.err
    assert outcome.err.count("\n") == 1
    assert outcome.out == ""
    assert not (tmp_path / "out").exists()


def test_files_of_another_size_are_resized_on_request(run: Run, tmp_path: Path) -> None:
    large = of_split(run, 0)[0].repeat_interleave(2, -1).repeat_interleave(2, -2)
    write_strip(tmp_path / "large.png", large)
    options = (f"--appearances={tmp_path / 'large.png'}", "--motions=0", "--format=npz", f"--out={tmp_path / 'out'}")
    refused = command("swap", run.path, *options)
    assert refused.code == 2
    assert "32 x 32 pixels with 3 channels; those of this run are 16 x 16 with 3" in refused.err
    made = arrays(done("swap", run.path, *options, "--resize=true") / "swap.npz")
    np.testing.assert_allclose(made["f"], run.encode(of_split(run, 0)).f, atol=1e-6)  # four equal pixels make one


def test_gif_is_not_for_vectors(vectors: Run, tmp_path: Path) -> None:
    outcome = command("swap", vectors.path, "--format=gif", f"--out={tmp_path / 'out'}")
    assert "--format gif is for images" in outcome.err
    assert "--crop is for images" in command("impute", vectors.path, "--crop=0,0,1,1").err


def test_a_run_of_an_older_schema_is_refused(run: Run, tmp_path: Path) -> None:
    import shutil

    old = tmp_path / "old"
    shutil.copytree(run.path, old)
    state = torch.load(old / "best.pt", weights_only=True)
    torch.save(state | {"schema": 0}, old / "best.pt")
    assert "has schema 0, this version reads" in command("swap", old).err


# --- parts ------------------------------------------------------------------------------------------------------------


def test_default_clips_differ_in_what_they_give(run: Run) -> None:
    """Two looks of two, three motions of three."""
    source = Source(run)
    assert set(source.named_or_varied(None, 2, "static", 0).labels["who"].values.tolist()) == {0, 1}
    assert set(source.named_or_varied(None, 3, "dynamic", 3).labels["what"].values.tolist()) == {0, 1, 2}


def test_the_nearest_frame_is_copied() -> None:
    """Against a loop over values."""
    generator = torch.Generator().manual_seed(0)
    x, seen = torch.rand(3, T, 2, generator=generator), torch.rand(3, T, 2, generator=generator) < 0.4
    seen[0, :, 0] = False
    filled = nearest_frame(torch.where(seen, x, torch.zeros_like(x)), seen)
    for b in range(3):
        for p in range(2):
            known = [t for t in range(T) if seen[b, t, p]]
            for t in range(T):
                near = min(known, key=lambda s: (abs(s - t), s), default=None)
                expected = x[b][seen[b]].mean() if near is None else x[b, near, p]
                torch.testing.assert_close(filled[b, t, p], expected)


def test_damage_is_what_it_says(run: Run) -> None:
    x = torch.rand(2, T, *IMAGE)
    clips = Selection(Batch(x), ("a", "b"), torch.arange(2))
    cropped = Damage(crop="2,3,5,7").of(clips, run).batch.observed
    inside = torch.zeros(16, 16, dtype=torch.bool)
    inside[3:10, 2:7] = True
    assert (cropped == inside).all()
    assert torch.equal(
        Damage(missing_pixels=0.5, seed=1).of(clips, run).batch.observed,
        Damage(missing_pixels=0.5, seed=1).of(clips, run).batch.observed,
    )
    assert not Damage(missing_pixels=1.0).of(clips, run).batch.observed.any()
    assert Damage().nothing


def test_a_dimension_is_named_after_what_it_tells() -> None:
    """A dimension that is a class's number plus noise of its own variance: half of it, and not the other label."""
    generator = torch.Generator().manual_seed(0)
    n = 6000
    who, what = torch.arange(n) % 2, torch.arange(n) // 2 % 3
    labels = {"who": Label(who, WHO, "static"), "what": Label(what, WHAT, "dynamic")}
    noise = torch.randn(n, 1, generator=generator)
    found = told(2.0 * who.unsqueeze(1) + noise, labels)  # variance 1 between the two classes, 1 within
    assert found is not None
    assert found.label == "who"
    assert found.share == pytest.approx(0.5, abs=0.03)
    assert told(noise, labels) is None
    assert told(torch.zeros(n, 1), labels) is None
    path = told(torch.cat([noise, what.unsqueeze(1) + 0 * noise], 1), labels)
    assert path is not None
    assert path.label == "what"


def test_the_old_name_of_appearances_is_understood_with_a_line() -> None:
    with pytest.warns(OldConfiguration, match="--looks is now --appearances"):
        assert modern_arguments(["RUN", "--looks=1,3"]) == ["RUN", "--appearances=1,3"]


# --- what is said -----------------------------------------------------------------------------------------------------


def test_clips_of_different_lengths_are_said_to_be_cut(run: Run, tmp_path: Path) -> None:
    """A swap is as long as its motion; an interpolation is as long as the shorter clip."""
    short = tmp_path / "short.npz"
    np.savez(short, frames=np.random.RandomState(1).rand(1, 4, *IMAGE).astype(np.float32))
    swapped = command("swap", run.path, "--appearances=0", f"--motions={short}", NPZ, f"--out={tmp_path / 'swap'}")
    assert f"clips have 4 to {T} frames; each swap is as long as the clip that gives its motion" in swapped.out
    way = command("interpolate", run.path, f"--between=0,{short}", NPZ, f"--out={tmp_path / 'way'}")
    assert f"the clips have {T} and 4 frames; only the first 4 of both are used" in way.out
    assert "f: on a great circle in the prior's noise space" in way.out
    alike = command("swap", run.path, "--appearances=0", "--motions=1", NPZ, f"--out={tmp_path / 'alike'}")
    assert "frames;" not in alike.out


def test_what_is_hidden_unasked_is_said_and_ones_own_clip_needs_gaps(run: Run, tmp_path: Path) -> None:
    few = ("--draws=2", "--method=amortised", NPZ)
    asked = command("impute", run.path, "--clips=0", *few, f"--out={tmp_path / 'a'}")
    assert "no gaps were asked for, so half of the pixels are hidden (--missing-pixels 0.5)" in asked.out
    own = tmp_path / "own.npz"
    np.savez(own, frames=np.random.RandomState(1).rand(1, T, *IMAGE).astype(np.float32))
    refused = command("impute", run.path, f"--clips={own}", *few, f"--out={tmp_path / 'b'}")
    assert refused.code == 2
    assert refused.err.count("\n") == 1
    assert (
        "nothing is missing in own: give its .npz an array mask, True where observed, or make gaps with" in refused.err
    )
    assert not (tmp_path / "b").exists()


def test_a_dimension_is_said_to_be_explained(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(
        "pyro_dsvae.actions.output.Output.page", lambda _, page: said.extend(row.label for row in page.rows)
    )
    done("traverse", run.path, "--reference=8", NPZ, f"--out={tmp_path / 'out'}")
    assert any(" explains " in label and label.endswith(" % of its variance") for label in said)
