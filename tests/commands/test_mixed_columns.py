"""Fits to tables whose columns are of several kinds, from the command line."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import pyro_dsvae
from pyro_dsvae import compare, fit
from pyro_dsvae.inference.evidence import estimate_evidence
from pyro_dsvae.models.errors import UsageError
from tests.encoded import SMALL_ENCODER

N, T = 30, 6
GROUPS = {"Normal": "rest", "Poisson": [2], "Categorical": {"columns": [3], "classes": 3}, "Bernoulli": [4]}
FEW = [
    "--data=Arrays",
    "--steps=4",
    "--device=cpu",
    "--static_size=3",
    "--latent_size=2",
    "--static_prior=StandardNormal",
    "--optimisation.evaluations=1",
    "--optimisation.batch_size=4",
    "--posterior.hidden_size=4",
    "--posterior.feature_size=4",
    *SMALL_ENCODER,
    "--decoder=Dense",
    "--decoder.units=8",
]
SEEN = np.random.default_rng(3).random((N, T, 5)) < 0.7


def table() -> np.ndarray:
    """Two measurements far from zero, a count, a state and a switch: (N, T, 5)."""
    rng = np.random.default_rng(0)
    columns = [
        rng.normal(2000, 40, (N, T)),
        rng.normal(-1, 1e-3, (N, T)),
        rng.poisson(30, (N, T)),
        rng.integers(0, 3, (N, T)),
        rng.integers(0, 2, (N, T)),
    ]
    return np.stack(columns, -1).astype(np.float32)


def fitted(folder: Path, hidden: float = 0.0, groups: Mapping[str, Any] = GROUPS, factors: Any = 1.0) -> Path:
    """A fit by the command to the table in other units; what was not observed holds ``hidden``."""
    folder.mkdir(exist_ok=True)
    frames = np.where(SEEN, table() * np.float32(factors), np.float32(hidden))
    np.savez(folder / "table.npz", frames=frames, mask=SEEN, split=np.arange(N) % 5 // 2 % 3)
    options = [f"--data.path={folder / 'table.npz'}", f"--out={folder / 'run'}", "--likelihood=Product"]
    assert fit.main([*FEW, *options, f"--likelihood.groups={json.dumps(groups)}"]) == 0
    return folder / "run"


def test_a_fit_to_columns_of_several_kinds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = pyro_dsvae.load(fitted(tmp_path / "one"))
    said = capsys.readouterr().err
    assert "2 columns, mean -1 to 2e+03" in said
    assert "columns 2, 3, 4 are of another kind than real numbers, so not standardised" in said
    units = run.model.standardisation
    assert units is not None
    assert units.mean[2:].tolist() == [0, 0, 0]
    assert units.sd[2:].tolist() == [1, 1, 1]
    assert units.spread[2].item() == pytest.approx(30**0.5, rel=0.2)
    drawn = run.sample(40, seed=0)
    assert drawn.shape == (40, T, 5)
    part = run.sequences().part("test")
    future = run.forecast(part.frames[:2], horizon=2, mask=part.mask[:2], draws=30).samples  # type: ignore[index]
    assert bool((future[..., 2:] == future[..., 2:].round()).all())
    assert set(future[..., 3].unique().tolist()) <= {0.0, 1.0, 2.0}
    assert set(future[..., 4].unique().tolist()) <= {0.0, 1.0}
    assert (future[..., 0] > 1000).all()
    evidence = estimate_evidence(run.sampler(), run.sequences().sequences("test"), draws=30)
    assert torch.isfinite(evidence.log_evidence).all()
    config = yaml.safe_load((run.path / "config.yaml").read_text())
    assert config["likelihood"]["init_args"]["groups"] == GROUPS
    assert fit.main([*FEW[1:2], f"--config={run.path / 'config.yaml'}", f"--out={tmp_path / 'again'}"]) == 0
    states = [torch.load(each / "best.pt", weights_only=True)["objective"] for each in (run.path, tmp_path / "again")]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_classes_are_shown_as_the_most_probable_one(tmp_path: Path) -> None:
    """By the probabilities of each class; of draws the one that most of them find. Other columns keep their means."""
    run = pyro_dsvae.load(fitted(tmp_path / "one"))
    part = run.sequences().part("test")
    f, z = 20 * torch.randn(8, 3), 20 * torch.randn(8, 6, 2)
    said, density = run.decode(f, z), run.model.frames(f, z)
    whole = torch.stack([torch.full_like(said, k) for k in range(3)])
    p = torch.stack(
        [density.log_prob(torch.where(torch.tensor([0, 0, 0, 1, 0]) > 0, each, said.round())) for each in whole]
    )
    assert torch.equal(said[..., 3], p[..., 3].argmax(0).float())
    assert len(said[..., 3].unique()) > 1
    others = [0, 1, 2, 4]
    torch.testing.assert_close(said[..., others], density.mean[..., others])
    imputed = run.impute(part.frames, part.mask, draws=5, method="amortised")
    future = run.forecast(part.frames, 2, part.mask, draws=5)
    for means, mean in ((imputed.means, imputed.model_mean), (future.means, future.mean)):
        counts = torch.stack([(means[..., 3] == k).sum(0) for k in range(3)])
        assert torch.equal(counts.gather(0, mean[None, ..., 3].long())[0], counts.max(0).values)
        torch.testing.assert_close(mean[..., others], means.mean(0)[..., others])


def refused(main: Callable[[Sequence[str]], int], *arguments: str) -> str:
    """The one line of a command that refuses."""
    with pytest.raises(UsageError) as error:
        main(arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("hidden", [1e6, -1e6, math.nan])
def test_what_was_not_observed_touches_no_bit_of_a_fit(tmp_path: Path, hidden: float) -> None:
    """Values that no count and no class can have, too: neither refused nor felt."""
    runs = [fitted(tmp_path / "one"), fitted(tmp_path / "other", hidden)]
    states = [torch.load(run / "best.pt", weights_only=True)["objective"] for run in runs]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    held_out = [json.loads((run / "summary.json").read_text())["validation"] for run in runs]
    assert held_out[0] == held_out[1]


def test_units_of_measurements_change_nothing_but_their_columns(tmp_path: Path) -> None:
    """Factors are powers of two, so that nothing is rounded: weights are equal to the bit."""
    factors = torch.tensor([64.0, 2.0**-10, 1.0, 1.0, 1.0])
    one, other = (pyro_dsvae.load(fitted(tmp_path / str(n), factors=f)) for n, f in enumerate((1.0, factors.numpy())))
    for mine, theirs in ((one.model.decoder, other.model.decoder), (one.model.likelihood, other.model.likelihood)):
        assert all(torch.equal(a, b) for a, b in zip(mine.parameters(), theirs.parameters(), strict=True))
    found = []
    for run in (one, other):
        part = run.sequences().part("test")
        assert part.mask is not None
        codes = run.encode(part.frames, part.mask)
        imputed = run.impute(part.frames[:2], part.mask[:2], draws=4, method="amortised")
        found.append((codes.f, codes.z, run.decode(codes.f, codes.z), imputed.mean, imputed.sd))
    (f, z, *mine), (other_f, other_z, *theirs) = found
    assert torch.equal(f, other_f)
    assert torch.equal(z, other_z)
    for values, scaled in zip(mine, theirs, strict=True):
        torch.testing.assert_close(scaled, values * factors, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ('{"Normal": "rest", "Poison": [2]}', "did you mean Poisson?"),
        ('{"Normal": [0, 1]}', "no likelihood has the columns 2, 3, 4"),
        ('{"Normal": "rest", "Poisson": [1]}', "column 1: the Poisson likelihood needs counts"),
        ("[0, 1]", "groups"),
        ("{0: 1", "groups"),
    ],
)
def test_wrong_groups_are_told_in_one_line(tmp_path: Path, groups: str, said: str) -> None:
    np.savez(tmp_path / "table.npz", frames=table())
    options = [f"--data.path={tmp_path / 'table.npz'}", f"--out={tmp_path / 'run'}", "--likelihood=Product"]
    assert said in refused(fit.main, *FEW, *options, f"--likelihood.groups={groups}")
    assert not (tmp_path / "run").exists()


def test_columns_of_other_kinds_cannot_be_compared(tmp_path: Path) -> None:
    """A density of a count and its probability have no common unit."""
    runs = [fitted(tmp_path / "one"), fitted(tmp_path / "other", 0.0, {"Normal": "rest", "Bernoulli": [4]})]
    said = refused(compare.main, *map(str, runs), f"--out={tmp_path / 'comparison'}")
    assert "a probability of some columns and a density of others" in said


def test_columns_of_a_table_go_by_their_names(tmp_path: Path) -> None:
    """And config.yaml has their numbers, which the run is opened with."""
    rng = np.random.default_rng(0)
    rows = [
        f"p{who},{time},{rng.normal(80, 5):.2f},{rng.poisson(4)},{rng.normal(37, 1):.2f}"
        for who in range(12)
        for time in range(5)
    ]
    path = tmp_path / "table.csv"
    path.write_text("\n".join(["patient,time,heart,steps,heat", *rows]))
    options = ["--data=SeriesTable", f"--data.path={path}", "--likelihood=Product", *FEW[1:]]
    groups = '{"Normal": ["heat", 0], "Poisson": ["steps"]}'
    assert fit.main([*options, f"--likelihood.groups={groups}", f"--out={tmp_path / 'run'}"]) == 0
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["likelihood"]["init_args"]["groups"] == {"Normal": [2, 0], "Poisson": [1]}
    assert pyro_dsvae.load(tmp_path / "run").model.likelihood.real_channels == (True, False, True)
    said = refused(
        fit.main, *options, '--likelihood.groups={"Normal": "rest", "Poisson": ["step"]}', f"--out={tmp_path / 'no'}"
    )
    assert "no column 'step' (did you mean steps?)" in said
