"""Names of labels with odd characters: every writer takes them, and every reader gets them back."""

import contextlib
import csv
import io
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray

import pyro_dsvae
from pyro_dsvae.actions.encode import encode
from pyro_dsvae.actions.sample import sample
from pyro_dsvae.actions.traverse import traverse
from pyro_dsvae.checks import figures as ppc_figures
from pyro_dsvae.data.arrays import Arrays, read_arrays
from pyro_dsvae.data.dataset import Label, SequenceData
from pyro_dsvae.figures.arviz import plot_statistics
from pyro_dsvae.fit import fit
from pyro_dsvae.inference.estimation import Sampler
from pyro_dsvae.inference.inference_data import open_tree, save_tree
from pyro_dsvae.inference.posteriors.lstm import LSTM as Posterior
from pyro_dsvae.inference.predictive_checks.draws import predictive_draws
from pyro_dsvae.inference.predictive_checks.tree import predictive_tree
from pyro_dsvae.inference.training.schedule import Optimisation
from pyro_dsvae.inference.variable_names import variable_names
from pyro_dsvae.loading import Run
from pyro_dsvae.metrics import figures as evaluation_figures
from pyro_dsvae.metrics.probes import Probe
from pyro_dsvae.models.dynamic_priors.lstm import LSTM
from pyro_dsvae.models.errors import UsageError
from tests.encoded import small_encoder

ODD = (
    "left/right",
    "left_right",
    "back\\slash",
    ".",
    "..",
    "a.b",
    " spaces ",
    "größe",
    "服装",
    "🎩",
    "$x$ and $y",
    "[red]",
    "[/red]",
    ":cat:",
    "<b>&amp;",
    'quo"te, comma',
    "100 %s {x}",
    "clip",
    "f_0",
    "mask",
    "time",
    "sequence",
    "x" * 100,
)
N = 12


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run after a few steps on vectors with these labels; their classes have odd names, too."""
    folder = tmp_path_factory.mktemp("odd")
    labels: dict[str, np.ndarray] = {}
    for number, name in enumerate(ODD):
        labels |= {f"labels_{name}": (np.arange(N) + number) % 2, f"classes_{name}": np.array([f"no/{name}", name])}
    np.savez(folder / "clips.npz", frames=np.random.RandomState(0).rand(N, 4, 2), split=np.arange(N) // 4, **labels)
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setenv("COLUMNS", "240")
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setattr("pyro_dsvae.judges.own.STEPS", 2)
        result = fit(
            data=Arrays(str(folder / "clips.npz")),
            out=folder / "run",
            steps=2,
            static_size=2,
            latent_size=2,
            dynamic_prior=partial(LSTM, hidden_size=4),
            posterior=partial(Posterior, hidden_size=6, feature_size=6),
            encoder=small_encoder,
            device="cpu",
            optimisation=Optimisation(batch_size=4, evaluations=1),
        )
    (folder / "printed").write_text(printed.getvalue())
    return pyro_dsvae.load(result.run)


def test_a_fit_prints_the_names_as_they_are(run: Run) -> None:
    """Brackets are no markup, and colons no picture."""
    printed = (run.path.parent / "printed").read_text()
    for name in ODD:
        assert f"│ {name.strip()}" in printed or f"│ {name}" in printed, name


def test_codes_come_back_under_the_names_of_their_labels(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From npz under the very names, from netCDF by the attribute, from CSV by the same rule."""
    monkeypatch.setattr("pyro_dsvae.metrics.probes.STEPS", 10)
    known = run.sequences().labels
    assert tuple(known) == ODD
    monkeypatch.setenv("COLUMNS", "240")
    folder = encode(run.path, format="npz,nc,csv", out=tmp_path / "codes")
    printed = capsys.readouterr().out
    assert all(f"│ {name.strip()}" in printed or f"│ {name}" in printed for name in ODD)
    arrays = read_arrays(folder / "encode.npz")
    with xarray.open_dataset(folder / "encode.nc", engine="h5netcdf") as opened:
        nc = opened.load()
    by_label = {v.attrs["label"]: v for name, v in nc.data_vars.items() if str(name).startswith("label_")}
    assert tuple(by_label) == ODD
    with (folder / "static.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert len(set(rows[0])) == len(rows[0])
    columns = dict(zip(ODD, range(2, 2 + len(ODD)), strict=True))
    for name, label in known.items():
        words = [label.classes[i] for i in label.values.tolist()]
        assert arrays[f"labels_{name}"].tolist() == label.values.tolist()
        assert arrays[f"classes_{name}"].tolist() == list(label.classes)
        assert [str(word) for word in by_label[name].values] == words
        assert [row[columns[name]] for row in rows[1:]] == words


def test_an_augmented_data_set_has_the_same_labels(run: Run, tmp_path: Path) -> None:
    folder = sample(run.path, augment=4, keep="static", out=tmp_path / "sample")
    arrays = {"split": np.array([0, 0, 1, 2]), **read_arrays(folder / "augmented.npz")}
    np.savez(tmp_path / "again.npz", **arrays)
    assert tuple(Arrays(str(tmp_path / "again.npz")).load().labels) == ODD


def test_pictures_take_any_name(run: Run, tmp_path: Path) -> None:
    labels = run.sequences().labels
    counts = {name: torch.tensor([[3, 1], [0, 2]]) for name in labels}
    evaluation_figures.confusion(counts, {}, labels, tmp_path / "confusion.png")
    told = {"means": {code: dict.fromkeys(labels, Probe(0.9, 0.8, 0.5)) for code in ("f", "z")}}
    evaluation_figures.probes(told, labels, tmp_path / "probes.png")
    values = {name: torch.randn(3, 8).double() for name in labels}
    plot_statistics({name: v[0] for name, v in values.items()}, values, tmp_path / "statistics.png")
    traverse(run.path, out=tmp_path / "traverse", reference=4)
    assert ppc_figures.literal("$x$ and $y") == r"\$x\$ and \$y"


def test_the_tree_of_ppc_takes_any_name(run: Run, tmp_path: Path) -> None:
    data = run.sequences()
    labels = {name: (label.values[8:], label.classes) for name, label in data.labels.items()}
    test = data.sequences("test")
    draws = predictive_draws(Sampler(run.model, run.guide), test, draws=2, frames_of=2)
    mask = torch.ones(4, 4, dtype=torch.bool)
    save_tree(predictive_tree(draws, test.rows, None, mask, labels=labels), tmp_path / "a.nc")
    found = open_tree(tmp_path / "a.nc")["constant_data"]
    assert found["mask"].dims == ("sequence", "time")
    by_label = {v.attrs["label"]: v.values.tolist() for v in found.data_vars.values() if "label" in v.attrs}
    assert by_label == {name: values.tolist() for name, (values, _) in labels.items()}


def test_names_stay_different() -> None:
    found = variable_names(["a/b", "a_b", "a_b_2", ".", "mask"], ["mask", "time"])
    assert list(found.values()) == ["a_b", "a_b_2", "a_b_2_2", "_.", "mask_2"]


@pytest.mark.parametrize(
    ("name", "classes", "says"),
    [
        ("", ("a",), "called ''; give it a name"),
        ("  ", ("a",), "give it a name"),
        ("x" * 101, ("a",), "101 characters; use at most 100"),
        ("who.npy", ("a",), "ends in .npy"),
        ("a\nb", ("a",), "control character, 'a\\nb'"),
        ("who", ("a\0b",), "control character, 'a\\x00b'"),
    ],
)
def test_names_that_some_file_cannot_hold_are_refused(name: str, classes: tuple[str, ...], says: str) -> None:
    split = torch.tensor([0, 1, 2], dtype=torch.uint8)
    with pytest.raises(UsageError) as caught:
        SequenceData(
            torch.rand(3, 4, 2), split, labels={name: Label(torch.zeros(3, dtype=torch.int64), classes, "static")}
        )
    assert says in str(caught.value)


def test_an_npz_keeps_both_of_two_names_that_differ_by_its_own_ending(tmp_path: Path) -> None:
    """numpy reads the first of labels_a and labels_a.npy for both, so the second name is refused."""
    np.savez(
        tmp_path / "a.npz", frames=np.random.rand(9, 4, 2), labels_a=np.arange(9) % 2, **{"labels_a.npy": np.arange(9)}
    )
    assert len(zipfile.ZipFile(tmp_path / "a.npz").namelist()) == 3
    with pytest.raises(UsageError, match=r"ends in \.npy"):
        Arrays(str(tmp_path / "a.npz"), validation=0.2).load()
