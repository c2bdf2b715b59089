"""Shards: the same data, fits and codes as from memory; written whole, resumed, checked, and refused where they changed."""

import csv
import multiprocessing
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr

import pyro_dsvae
from pyro_dsvae import cli
from pyro_dsvae.actions.encode import encode
from pyro_dsvae.compare import compare
from pyro_dsvae.configuration.networks import for_frames
from pyro_dsvae.configuration.options import FitOptions
from pyro_dsvae.configuration.parts import describe
from pyro_dsvae.data import Arrays, Label, Quantity, SequenceData, Shards, SpeechFolder
from pyro_dsvae.data.names import Clock, Names
from pyro_dsvae.data.shard.writing import write
from pyro_dsvae.evaluate import evaluate
from pyro_dsvae.fit import fit, fit_watched
from pyro_dsvae.inference.posteriors.factorised import Factorised
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.inference.stored import Stored
from pyro_dsvae.inference.training.read_ahead import lost_reader, read_ahead
from pyro_dsvae.inference.training.schedule import Optimisation
from pyro_dsvae.models import decoders, encoders
from pyro_dsvae.models.dynamic_priors import IID
from pyro_dsvae.models.errors import Remark, UsageError
from pyro_dsvae.models.static_priors import StandardNormal
from pyro_dsvae.ppc import ppc
from pyro_dsvae.runs.directory import RunDirectory
from pyro_dsvae.shard import shard

N, T, P, SIZE = 23, 5, 4, 4
GENERATOR = torch.Generator().manual_seed(0)
FRAMES = torch.randn(N, T, P, generator=GENERATOR)
FRAMES[3] = 0
MASK = torch.rand(N, T, P, generator=GENERATOR) > 0.2
DATA = SequenceData(
    FRAMES.masked_fill(~MASK, torch.nan),
    torch.arange(N).remainder(3).to(torch.uint8),
    lengths=torch.tensor([T, T - 1] * N)[:N],
    mask=MASK,
    times=torch.arange(T).double().expand(N, T).clone(),
    labels={"who/what": Label(torch.arange(N) % 2, ("a", "b"), "static")},
    quantities={"place": Quantity(torch.rand(N, T, 1, generator=GENERATOR), ("x",), "m")},
    names=Names(("p", "q", "r", "s"), tuple(f"entity {i}" for i in range(N)), clock=Clock("hours", 0)),
    recordings=torch.arange(N) // 3,
)
TINY: dict[str, Any] = {
    "static_prior": StandardNormal,
    "dynamic_prior": IID,
    "posterior": partial(Factorised, hidden_size=4, feature_size=4),
    "encoder": partial(encoders.Dense, units=4),
    "decoder": partial(decoders.Dense, units=4),
    "static_size": 2,
    "latent_size": 2,
    "device": "cpu",
    "optimisation": Optimisation(batch_size=3, evaluations=2),
}


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def spoil(path: Path) -> None:
    """Change one byte in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(DATA, str(tmp_path / "shards"), SIZE)
    return tmp_path / "shards"


@pytest.mark.parametrize("remote", [False, True])
def test_what_is_written_is_what_was_given(tmp_path: Path, remote: bool) -> None:
    place = "memory://shards" if remote else str(tmp_path / "shards")
    write(DATA, place, SIZE)
    data = Shards(place).load()
    assert isinstance(data.frames, Stored)
    assert isinstance(data.mask, Stored)
    rows = torch.randperm(N, generator=torch.Generator().manual_seed(1))
    found, given = data.take(rows), DATA.take(rows)
    assert found.fingerprint() == given.fingerprint()
    assert found.names == given.names
    assert torch.equal(found.recordings, given.recordings)
    np.testing.assert_array_equal(zarr.open_group(place, mode="r")["frames"][:], DATA.frames)  # as others read it
    read = read_ahead(data.sequences("train").until(3), torch.arange(8).split(3))
    for one, other in zip(read, torch.arange(8).split(3), strict=True):
        expected = DATA.sequences("train").until(3).read(other)
        assert all(torch.equal(a, b) for a, b in zip(one, expected, strict=True))


def test_what_the_source_recommends_is_said_as_options_of_a_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With them a fit to the shards takes the parts that one to the source takes."""
    monkeypatch.setattr("pyro_dsvae.shard.read_first", lambda _: DATA)
    source = SpeechFolder(str(tmp_path))
    with pytest.warns(Remark, match="a fit to them is one to SpeechFolder with --decoder") as said:
        shard(source, out=str(tmp_path / "shards"), size=SIZE)
    (line,) = [str(each.message) for each in said if isinstance(each.message, Remark)]
    typed = line.partition(" with ")[2].split()
    options = FitOptions(**cli.values(cli.parser_for(fit, ""), ["--data=Shards", "--data.path=shards", *typed]))
    ours, theirs = for_frames(options, (80,)), for_frames(FitOptions(source), (80,), source.recommended)
    for part in ("decoder", "encoder", "likelihood", "posterior"):
        assert describe(getattr(ours, part)) == describe(getattr(theirs, part))


def test_a_tensor_outside_memory_is_read_where_it_is_taken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x, frames = Shards(str(folder)).load().frames, DATA.frames
    assert torch.equal(x[-1], frames[-1])
    assert torch.equal(x[2:9][torch.tensor([5, 0])], frames[[7, 2]])
    assert torch.equal(x[:, :3][torch.tensor([-1])], frames[-1:, :3])
    assert torch.equal(x[DATA.split == 1], frames[DATA.split == 1])
    assert torch.equal(x * 2, frames * 2)
    with pytest.raises(IndexError, match="of 23 sequences"):
        x[torch.tensor([N])]
    monkeypatch.setattr("pyro_dsvae.inference.stored.AT_ONCE", 100)
    with pytest.raises(UsageError, match="kept outside memory"):
        x * 2
    assert len(x[torch.arange(N)]) == N


def metrics(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def test_fits_resumed_in_mid_epoch_and_codes_have_the_bits_of_data_in_memory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """8 training sequences in batches of 3: the fit is stopped after 4 steps, in the middle of the second epoch."""
    one, two = folder.parent / "memory", folder.parent / "of-shards"
    fit(data=DATA, out=one, steps=9, **TINY)
    asked = iter([False, False, False, True])
    with monkeypatch.context() as stopping:
        stopping.setattr("pyro_dsvae.runs.fit_journal.FitJournal.stop", lambda _: next(asked))
        assert not fit(data=Shards(str(folder)), out=two, steps=9, **TINY).finished
    assert torch.load(two / "checkpoint.pt", weights_only=True)["step"] == 4
    fit(data=Shards(str(folder)), out=two, steps=9, resume=True, **TINY)
    states = [torch.load(run / "checkpoint.pt", weights_only=True)["objective"] for run in (one, two)]
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())
    assert metrics(one)[-1] == metrics(two)[-1]  # on held-out sequences
    found = np.load(encode(two, probes=False) / "encode.npz")
    codes = pyro_dsvae.load(one, data=DATA).encode(DATA.frames, DATA.mask, DATA.lengths, DATA.times)
    np.testing.assert_allclose(found["f"], codes.f, atol=1e-6)


@pytest.mark.slow
def test_every_command_takes_shards_as_it_takes_data_in_memory(folder: Path) -> None:
    """python -m pytest -n0 -m slow tests/data/test_shards.py"""
    options = {**TINY, "steps": 4, "vary": {"latent_size": ["2", "3"]}, "draws": 25}
    del options["latent_size"]
    tables, found = [], []
    for name, data in (("memory", DATA), ("shards", Shards(str(folder)))):
        out = folder.parent / f"compare-{name}"
        compare(data=data, out=out, **options)
        tables.append([metrics(path.parent) for path in sorted(out.rglob("metrics.csv"))])
        run = fit(data=data, out=folder.parent / f"run-{name}", steps=4, keep_data=name == "memory", **TINY).run
        found.append(evaluate(run, judge_epochs=1, device="cpu").terms)
        ppc(run, device="cpu")
    assert len(tables[0]) == 2
    assert tables[0] == tables[1]
    assert found[0] == found[1]


def test_a_set_that_was_stopped_goes_on_to_the_same_files(tmp_path: Path, folder: Path) -> None:
    def stop(done: float) -> None:
        if done > 0.5:
            raise KeyboardInterrupt

    place = str(tmp_path / "stopped")
    with pytest.raises(KeyboardInterrupt):
        write(DATA, place, SIZE, stop)
    before = files(tmp_path / "stopped")
    (tmp_path / "stopped/frames/c/0/0/0.8f14e45f.partial").write_bytes(b"half of it")  # as of a process that was killed
    with pytest.raises(UsageError, match="no finished set of shards"):
        Shards(place).load()
    with pytest.raises(UsageError, match="of other data, or of another size"):
        write(DATA, place, SIZE + 1)
    write(DATA, place, SIZE)
    assert files(tmp_path / "stopped") == files(folder)
    assert len(before) < len(files(folder))
    with pytest.raises(UsageError, match="exists: name another folder"):
        shard(Arrays("nowhere.npz"), out=place)  # it is said before anything is read
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "a.txt").touch()
    with pytest.raises(UsageError, match="holds other files"):
        write(DATA, str(tmp_path / "others"), SIZE)


def test_a_damaged_shard_is_named_and_refused_or_its_sequences_are_skipped(folder: Path) -> None:
    spoil(folder / "frames/c/2/0/0")
    with pytest.raises(
        UsageError,
        match=r"frames/c/2/0/0 is damaged: its checksum is wrong; restore it, .*: fit into another --out with .* skip$",
    ):
        Shards(str(folder)).load()
    with pytest.warns(Remark, match=r"frames/c/2/0/0 .*4 of 23 sequences are left out"):
        some = Shards(str(folder), damaged="skip").load()
    kept = torch.tensor([i for i in range(N) if i not in range(8, 12)])
    assert some.take(torch.arange(len(some))).fingerprint() == DATA.take(kept).fingerprint()
    quick = Shards(str(folder), check="sizes").load()
    assert some.fingerprint() != quick.fingerprint()
    with pytest.raises(UsageError, match="frames/c/2/0/0 is damaged"):
        quick.take(torch.arange(8, 12))
    with pytest.raises(UsageError, match="frames/c/2/0/0 is damaged"):  # of the process that reads ahead, in one line
        list(read_ahead(Sequences.of(quick.frames), [torch.arange(12)]))
    (folder / "frames/c/1/0/0").write_bytes(b"short")
    (folder / "mask/c/0/0/0").unlink()
    with pytest.raises(UsageError, match=r"frames/c/1/0/0 is damaged: it has 5 bytes instead of .*1 more files are"):
        Shards(str(folder), check="sizes").load()
    spoil(folder / "split/c/0")
    with pytest.raises(UsageError, match=r"; restore it$"):
        Shards(str(folder), damaged="skip").load()


def test_a_fit_whose_reader_is_killed_ends_in_a_line_and_goes_on(folder: Path) -> None:
    """As where there is too little memory."""
    options = FitOptions(data=Shards(str(folder)), out=folder.parent / "run", steps=100_000, **TINY)

    def kill(row: Mapping[str, Any]) -> bool:
        for reader in multiprocessing.active_children():
            reader.kill()
        return True

    with pytest.raises(
        UsageError, match=r"^the process that reads the data has ended, .*go on with --out .*run --resume$"
    ):
        fit_watched(options, kill)
    step = RunDirectory(folder.parent / "run").load("checkpoint.pt")["step"]
    assert fit(data=Shards(str(folder)), out=folder.parent / "run", steps=step + 1, resume=True, **TINY).finished


@pytest.mark.parametrize("error", [EOFError, ConnectionRefusedError, FileNotFoundError])
def test_a_reader_that_dies_while_it_hands_over_a_batch_is_known_to_be_lost(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    """Its memory cannot be reached any more, though it may still be listed as alive: a race that no test can run."""

    def unreachable(_: object) -> None:
        raise error

    monkeypatch.setattr("torch.utils.data.dataloader._MultiProcessingDataLoaderIter._next_data", unreachable)
    with pytest.raises(RuntimeError) as raised:
        list(read_ahead(Shards(str(folder)).load().sequences("train"), torch.arange(8).split(2)))
    assert lost_reader(raised.value)


def test_a_run_refuses_a_set_that_was_written_anew(folder: Path) -> None:
    run = fit(data=Shards(str(folder)), out=folder.parent / "run", steps=2, **TINY).run
    folder.rename(folder.parent / "before")
    shard(Shards(str(folder.parent / "before")), out=str(folder), size=SIZE + 1)  # the same sequences in other files
    with pytest.raises(UsageError, match="other data"):
        fit(data=Shards(str(folder)), out=run, steps=4, resume=True, **TINY)
    with pytest.raises(UsageError, match="other data"):
        pyro_dsvae.load(run).sequences()
