"""The verb ppc: its tree, its discrepancies of labels, its words, its files, and what a user can do wrong."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pytest
import torch
import xarray
from planted_misfits import World
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyro_dsvae import ppc as verb
from pyro_dsvae.checks.findings import NOISE, calibration_findings, check_findings, label_findings
from pyro_dsvae.checks.folding import folded
from pyro_dsvae.checks.label_discrepancies import JudgedClips, label_discrepancies
from pyro_dsvae.checks.result import Judged, PPCResult
from pyro_dsvae.data.arrays import Arrays
from pyro_dsvae.fit import fit
from pyro_dsvae.inference.calibration.intervals import calibration
from pyro_dsvae.inference.estimation import Sampler
from pyro_dsvae.inference.evidence import estimate_evidence
from pyro_dsvae.inference.finding import Finding
from pyro_dsvae.inference.inference_data import open_tree, save_tree
from pyro_dsvae.inference.posteriors.lstm import LSTM as Posterior
from pyro_dsvae.inference.predictive_checks.checks import PredictiveChecks, predictive_checks
from pyro_dsvae.inference.predictive_checks.discrepancies import applicable
from pyro_dsvae.inference.predictive_checks.discrepancy import Frames
from pyro_dsvae.inference.predictive_checks.draws import PredictiveDraws, predictive_draws
from pyro_dsvae.inference.predictive_checks.replications import Level
from pyro_dsvae.inference.predictive_checks.tree import predictive_tree
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.inference.training.schedule import Optimisation
from pyro_dsvae.judges.judge import Judge
from pyro_dsvae.models.dynamic_priors.lstm import LSTM
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.likelihoods.continuous_bernoulli import ContinuousBernoulliDistribution
from pyro_dsvae.models.likelihoods.discretized_logistic import DiscretizedLogisticDistribution
from pyro_dsvae.ppc import ppc
from pyro_dsvae.runs.json_values import json_values
from tests.decoded import small_decoder
from tests.encoded import small_encoder
from tests.inference.calibration.test_simulation_based_calibration import ExactGuide
from tests.inference.test_linear_gaussian import EXACT, D, F, P, linear_gaussian_dsvae
from tests.pictures import pictures

T = 6


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    torch.manual_seed(0)
    yield
    assert len(pyro.get_param_store()) == 0


# --- variances that standardise residuals -----------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.002, 0.004, 0.02, 0.1, 0.8])
def test_the_variance_of_rounded_logistics_is_the_sum_over_levels(scale: float) -> None:
    """Standard deviations within 5 %, in single precision, where they are above a quarter of a grey level."""
    loc = torch.linspace(-0.3, 1.3, 161)
    levels = torch.arange(256, dtype=torch.float64)[:, None] / 255
    p = DiscretizedLogisticDistribution(loc.double(), torch.tensor(scale).double()).log_prob(levels).exp()
    torch.testing.assert_close(p.sum(0), torch.ones(161).double())
    mean = (p * levels).sum(0)
    exact = (p * (levels - mean).square()).sum(0).sqrt()
    found = DiscretizedLogisticDistribution(loc, torch.tensor(scale)).variance.sqrt().double()
    matters = exact > 1e-3
    torch.testing.assert_close(found[matters], exact[matters], rtol=0.05, atol=0)
    assert bool((found[~matters] < 1.1e-3).all())
    assert bool((found >= 0).all())


def test_the_variance_of_continuous_bernoullis_is_that_by_quadrature() -> None:
    eta = torch.tensor([-99.0, -3, -1.01, -0.99, -0.1, 0, 0.1, 1, 5, 40, 100])
    x = (torch.arange(200_000, dtype=torch.float64) + 0.5)[:, None] / 200_000
    p = (eta.double() * (x - (eta > 0).double())).exp()
    p = p / p.sum(0)
    mean = (p * x).sum(0)
    exact = (p * (x - mean).square()).sum(0)
    torch.testing.assert_close(ContinuousBernoulliDistribution(eta).variance.double(), exact, rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    "distribution",
    [
        DiscretizedLogisticDistribution(torch.tensor([0.02, 0.5, 0.97]), torch.tensor(0.06)),
        ContinuousBernoulliDistribution(torch.tensor([-20.0, 0.5, 7])),
    ],
    ids=["logistic", "bernoulli"],
)
def test_standardised_residuals_have_unit_size(distribution: TorchDistribution) -> None:
    """In the mean over 100,000 draws of the distribution itself, to within 3 %."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        x = distribution.sample(torch.Size([100_000, 1]))
    given = Frames(x, 1, expected=distribution.expand(torch.Size([100_000, 1, 3])))
    torch.testing.assert_close(given.residuals.square().mean(0), torch.ones(1, 3), rtol=0.03, atol=0)


# --- the tree ---------------------------------------------------------------------------------------------------------

DIMS = {
    "posterior": {
        "f": ("chain", "draw", "sequence", "static_dim"),
        "z": ("chain", "draw", "sequence", "time", "dynamic_dim"),
    },
    "prior": {
        "f": ("chain", "draw", "sequence", "static_dim"),
        "z": ("chain", "draw", "sequence", "time", "dynamic_dim"),
    },
    "posterior_predictive": {
        "x": ("chain", "draw", "sequence", "time", "value"),
        "mean": ("chain", "draw", "sequence", "time", "value"),
    },
    "prior_predictive": {"x": ("chain", "draw", "sequence", "time", "value")},
    "observed_data": {"x": ("sequence", "time", "value")},
    "constant_data": {
        "mask": ("sequence", "time"),
        "lengths": ("sequence",),
        "times": ("sequence", "time"),
        "who/what": ("sequence",),
    },
    "log_likelihood": {
        "x": ("sequence",),
        "monte_carlo_error": ("sequence",),
        "effective_sample_size": ("sequence",),
        "k_hat": ("sequence",),
    },
}
DIMS["constant_data"]["who_what"] = DIMS["constant_data"].pop("who/what")


def gappy(count: int = 5) -> Sequences:
    """Clips of the linear-Gaussian model, ragged, and with missing frames; rows are not 0, 1, …."""
    rng = np.random.default_rng(0)
    frames = torch.stack([torch.from_numpy(EXACT.simulate(T, rng)) for _ in range(count + 2)])
    mask = torch.from_numpy(rng.random((count + 2, T)) < 0.8)
    lengths = torch.tensor([T, T, 4, T, 3, 5, T][: count + 2])
    return Sequences(frames, mask, lengths, torch.arange(count + 2)[[6, 4, 2, 0, 1][:count]])


@pytest.fixture(scope="module")
def tree() -> xarray.DataTree:
    torch.set_default_dtype(torch.float64)
    try:
        model, sequences = linear_gaussian_dsvae(), gappy()
        draws = predictive_draws(Sampler(model, ExactGuide()), sequences, draws=400, frames_of=3)
        evidence = estimate_evidence(Sampler(model, ExactGuide()), sequences, draws=25)
    finally:
        torch.set_default_dtype(torch.float32)
    rows = sequences.rows
    assert sequences.mask is not None
    assert sequences.lengths is not None
    return predictive_tree(
        draws,
        rows,
        evidence,
        sequences.mask[rows],
        sequences.lengths[rows],
        torch.arange(T).expand(5, T) * 0.5,
        {"who/what": (torch.tensor([0, 1, 1, 0, 1]), ("ann", "bob"))},
        {"seed": 3},
    )


def test_every_group_has_its_dimensions_and_coordinates(tree: xarray.DataTree) -> None:
    assert {name: {v: a.dims for v, a in tree[name].data_vars.items()} for name in tree.children} == DIMS
    sizes = {"chain": 1, "draw": 400, "time": T, "static_dim": F, "dynamic_dim": D, "value": P}
    for name in tree.children:
        few = name in ("posterior_predictive", "prior_predictive", "observed_data")
        for dim, size in tree[name].sizes.items():
            if dim == "sequence":
                assert tree[name]["sequence"].values.tolist() == [6, 4, 2, 0, 1][: 3 if few else 5]
            else:
                assert size == sizes[str(dim)]
                assert tree[name][dim].values.tolist() == list(range(size))
    assert tree["constant_data/who_what"].attrs["classes"] == ["ann", "bob"]
    assert tree.attrs["seed"] == 3


def test_the_tree_holds_the_exact_posterior_and_evidence(tree: xarray.DataTree) -> None:
    """Means of 400 draws within 5 standard errors, log p(x) to rounding: the guide is exact, so all weights are alike."""
    sequences = gappy()
    assert sequences.mask is not None
    assert sequences.lengths is not None
    for place, row in enumerate(sequences.rows.tolist()):
        length = int(sequences.lengths[row])
        x = sequences.frames[row, :length].numpy()
        seen = sequences.mask[row, :length].numpy()[:, None].repeat(P, 1)
        mean, covariance = EXACT.posterior(x, seen)
        at = {"sequence": place, "chain": 0}
        f = tree["posterior/f"].isel(at).values
        z = tree["posterior/z"].isel(at).values
        assert np.isnan(z[:, length:]).all()
        drawn = np.concatenate([f, z[:, :length].reshape(400, -1)], 1)
        error = np.sqrt(np.diag(covariance) / 400)
        assert (np.abs(drawn.mean(0) - mean) < 5 * error).all()
        assert float(tree["log_likelihood/x"][place]) == pytest.approx(EXACT.kalman_evidence(x, seen), abs=1e-8)
        assert float(tree["log_likelihood/k_hat"][place]) == 0
        prior = tree["prior/f"].isel(at).values
        assert (np.abs(prior.mean(0)) < 5 / 20).all()


def test_frames_belong_to_the_latents_of_their_draw(tree: xarray.DataTree) -> None:
    """The mean is W f + C z_t, the draws stay around it with variance r, and data are those that were observed."""
    f, z = (tree[f"posterior/{name}"].isel(chain=0, sequence=slice(3)).values for name in "fz")
    mean = tree["posterior_predictive/mean"].isel(chain=0).values
    np.testing.assert_allclose(mean, (f @ EXACT.W.T)[:, :, None] + z @ EXACT.C.T, atol=1e-10)
    residual = tree["posterior_predictive/x"].isel(chain=0).values - mean
    assert np.nanvar(residual) == pytest.approx(EXACT.r, rel=0.06)
    prior_f = tree["prior/f"].isel(chain=0, sequence=slice(3)).values
    prior_z = tree["prior/z"].isel(chain=0, sequence=slice(3)).values
    prior = tree["prior_predictive/x"].isel(chain=0).values - (prior_f @ EXACT.W.T)[:, :, None] - prior_z @ EXACT.C.T
    assert np.nanvar(prior) == pytest.approx(EXACT.r, rel=0.06)
    sequences = gappy()
    assert sequences.mask is not None
    assert sequences.lengths is not None
    for place, row in enumerate(sequences.rows[:3].tolist()):
        seen = sequences.mask[row] & (torch.arange(T) < sequences.lengths[row])
        data = tree["observed_data/x"].isel(sequence=place).values
        assert np.isnan(data[~seen.numpy()]).all()
        np.testing.assert_array_equal(data[seen.numpy()], sequences.frames[row][seen].numpy())


def test_the_tree_survives_netcdf_for_plain_xarray(tree: xarray.DataTree, tmp_path: Path) -> None:
    save_tree(tree, tmp_path / "predictive.nc")
    for opened in (open_tree(tmp_path / "predictive.nc"), xarray.open_datatree(tmp_path / "predictive.nc").load()):
        assert set(opened.children) == set(tree.children)
        for name in tree.children:
            xarray.testing.assert_equal(opened[name].to_dataset(), tree[name].to_dataset())
        assert list(opened["constant_data/who_what"].attrs["classes"]) == ["ann", "bob"]
        assert opened["constant_data/mask"].dtype == bool


def test_images_have_channels_height_and_width_and_labels_take_no_names() -> None:
    world = World.of()
    x = world.frames(*world.latents(4))
    draws = predictive_draws(Sampler(world.model, world.guide), Sequences(x, None, None, torch.arange(4)), 2, 2)
    tree = predictive_tree(draws, torch.arange(4))
    assert tree["posterior_predictive/x"].dims == ("chain", "draw", "sequence", "time", "channel", "height", "width")
    assert "log_likelihood" not in tree.children
    lengths = torch.full((4,), x.shape[1])
    labels = {"lengths": (torch.arange(4), ("a",) * 4)}
    constants = predictive_tree(draws, torch.arange(4), lengths=lengths, labels=labels)["constant_data"]
    assert constants["lengths"].values.tolist() == lengths.tolist()
    assert constants["lengths_2"].values.tolist() == [0, 1, 2, 3]
    assert constants["lengths_2"].attrs["label"] == "lengths"


def test_draws_do_not_depend_on_the_world_around_them() -> None:
    world = World.of()
    sequences = Sequences(world.frames(*world.latents(4)), None, None, torch.arange(4))

    def drawn(seed: int) -> PredictiveDraws:
        torch.rand(3)
        return predictive_draws(Sampler(world.model, world.guide), sequences, 2, 2, seed)

    assert torch.equal(drawn(1).posterior.x, drawn(1).posterior.x)
    assert not torch.equal(drawn(1).prior.x, drawn(2).prior.x)
    with pytest.raises(UsageError, match="at least 1"):
        predictive_draws(Sampler(world.model, world.guide), sequences, 0)


# --- discrepancies of labels ------------------------------------------------------------------------------------------


class Brightness(Judge):
    """Class 1 where the mean of the steps that exist is above 1/2; surer the further it is away."""

    calls = 0

    def logits(self, x: Tensor, lengths: Tensor | None) -> dict[str, Tensor]:
        self.calls += 1
        ends = torch.full((len(x),), x.shape[1]) if lengths is None else lengths
        mean = torch.stack([clip[:end].mean() for clip, end in zip(x, ends.tolist(), strict=True)])
        return {"light": torch.stack([torch.zeros_like(mean), 8 * (mean - 0.5)], -1)}


def test_what_the_judge_sees_is_counted_as_by_a_loop() -> None:
    judge = Brightness((2,), {"light": 2})
    judge.shift.fill_(0.7)
    confidence, dark, light = label_discrepancies(judge, {"light": ("dark", "light")})
    assert [d.name for d in (confidence, dark, light)] == [
        "the judge's confidence in light",
        "share seen as light dark",
        "share seen as light light",
    ]
    x = torch.rand(3, 4, 5, 2)
    observed = torch.rand(4, 5, 2) < 0.6
    observed[1, 3:] = False
    observed[2] = False
    frames = Frames(x * observed, 1, observed)
    surest, seen_dark, seen_light = (d.function(frames) for d in (confidence, dark, light))
    assert judge.calls == 1
    for k in range(3):
        for b in range(4):
            there = [t for t in range(5) if observed[b, t].any()]
            filled = torch.where(observed[b], x[k, b], torch.tensor(0.7))[: (there[-1] + 1) if there else 1]
            p = float(torch.sigmoid(8 * ((filled - 0.7).mean() - 0.5)))
            assert float(surest[k, b]) == pytest.approx(max(p, 1 - p), abs=1e-6)
            assert float(seen_light[k, b]) == float(p > 0.5)
            assert float(seen_dark[k, b]) == float(p <= 0.5)


def test_the_judge_is_asked_anew_for_other_frames() -> None:
    judge = Brightness((2,), {"light": 2})
    judged = JudgedClips(judge)
    first, second = Frames(torch.zeros(1, 3, 4, 2), 1), Frames(torch.ones(1, 3, 4, 2), 1)
    low, high = (judged.probabilities(frames, "light")[..., 1] for frames in (first, second))
    assert float(low.max()) < 0.5 < float(high.min())
    assert judge.calls == 2


def test_labels_of_many_classes_are_asked_for_confidence_alone() -> None:
    judge = Brightness((2,), {"light": 2})
    assert len(label_discrepancies(judge, {"light": tuple(map(str, range(100)))})) == 1


# --- findings ---------------------------------------------------------------------------------------------------------


def world_checks(world: World, noise: float = 0.5) -> tuple[PredictiveChecks, PredictiveChecks]:
    """Checks of ``world`` on clips of the right one, with and without noise."""
    truth = World.of()
    sequences = Sequences(truth.frames(*truth.latents(120), noise=noise), None, None, torch.arange(120))
    first, second = (
        predictive_checks(Sampler(world.model, world.guide), sequences, draws=8, rounds=6_000, noise=noise)
        for noise in (True, False)
    )
    return first, second


def test_a_likelihood_with_too_much_noise_is_said_to_be_that() -> None:
    noisy, means = world_checks(World.of(noise=0.8), noise=0.05)
    findings = folded(check_findings(noisy, means), Judged(noisy, None), Judged(means, None))
    assert findings[0].subject == NOISE
    assert findings[0].severity == "serious"
    motion = next(f for f in findings if f.subject == "motion energy")
    assert motion.explained_by == NOISE
    assert "the decoder and its noise make it, not the priors" in motion.sentence
    shown = [f.subject for f in findings if not f.explained_by and f.severity != "good"]
    assert len(shown) <= 3 < len(findings)


def test_a_right_model_has_no_noise_to_complain_of() -> None:
    """And what only means show, because data have noise, is a note."""
    found = check_findings(*world_checks(World.of()))
    assert NOISE not in [f.subject for f in found]
    assert {f.severity for f in found} == {"good", "note"}
    assert all("decoder means" in f.sentence for f in found if f.severity == "note")
    assert "motion energy" in next(f for f in found if f.severity == "good").sentence


def test_the_dynamic_prior_is_named_where_motion_is_wrong() -> None:
    from pyro_dsvae.models.dynamic_priors.iid import IID

    found = check_findings(*world_checks(World.of(IID(2))))
    sentence = next(f for f in found if f.subject == "lag-1 autocorrelation").sentence
    assert "it comes with new motion, not with new appearances: the dynamic prior makes it" in sentence


def test_labels_that_come_too_often_are_said_with_both_numbers() -> None:
    judge = Brightness((3, 4, 4), {"light": 2})
    world = World.of()
    sequences = Sequences(world.frames(*world.latents(100)) + 0.6, None, None, torch.arange(100))
    discrepancies = label_discrepancies(judge, {"light": ("dark", "light")})
    checks = predictive_checks(Sampler(world.model, world.guide), sequences, discrepancies, ("population",), 5, 6_000)
    judged = [checks.check(f"share seen as light {name}", "population") for name in ("dark", "light")]
    findings = label_findings(checks, checks)
    shares = next(f for f in findings if f.subject == "label frequencies in generated clips")
    assert any(f"{c.replicated:.3g} against {c.observed:.3g} in the data" in shares.sentence for c in judged)
    assert "2 of 2 classes differ" in shares.sentence
    assert shares.severity in ("warning", "serious")


def test_forecasts_of_one_severity_are_one_finding() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        clips = torch.stack([torch.from_numpy(EXACT.simulate(T, np.random.default_rng(i))) for i in range(60)])
        found = calibration(
            Sampler(linear_gaussian_dsvae(), ExactGuide(0.2)), Sequences(clips, None, None, torch.arange(60))
        )
    finally:
        torch.set_default_dtype(torch.float32)
    merged = calibration_findings(found)
    assert len(found.findings) == 1 + len(found.forecasts)
    assert [f.severity for f in merged[1:]] == list(dict.fromkeys(f.severity for f in found.findings[1:]))
    said = " ".join(f.sentence for f in merged[1:])
    assert all(str(c.horizon) in said for c in found.forecasts)


def test_numbers_become_plain() -> None:
    value = {"a": (torch.tensor([1.0, float("nan")]), float("inf")), "b": Finding("note", "s", "t"), "c": Path("x")}
    assert json_values(value) == {
        "a": [[1.0, None], None],
        "b": {"severity": "note", "subject": "s", "sentence": "t", "explained_by": "", "small": False},
        "c": "x",
    }


# --- the verb ---------------------------------------------------------------------------------------------------------


def fitted(folder: Path, shape: tuple[int, ...] = (4,), count: int = 48, **arrays: Any) -> Path:
    """A run after a few steps on random clips, of which about a quarter is held out."""
    frames = np.random.RandomState(0).rand(count, T, *shape)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "clips.npz"
    np.savez(file, frames=(255 * frames).astype(np.uint8) if len(shape) == 3 else frames, **arrays)
    return fit(
        data=Arrays(str(file), validation=0.25, test=0.25),
        out=folder / "run",
        steps=4,
        static_size=5,
        latent_size=2,
        dynamic_prior=partial(LSTM, hidden_size=4),
        posterior=partial(Posterior, hidden_size=6, feature_size=6),
        encoder=small_encoder,
        decoder=small_decoder,
        device="cpu",
        optimisation=Optimisation(batch_size=4, evaluations=1),
    ).run


SMALL: dict[str, Any] = {"sequences": 12, "draws": 3, "simulations": 50, "evidence_draws": 25, "device": "cpu"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lengths = np.random.RandomState(1).randint(3, T + 1, 48)
    return fitted(tmp_path_factory.mktemp("vectors"), lengths=lengths)


def user_value(frames: Frames) -> Tensor:
    """A user's own discrepancy."""
    return frames.average(frames.x.abs())


def wrong_shape(frames: Frames) -> Tensor:
    return frames.x.mean()


def not_finite(frames: Frames) -> Tensor:
    return frames.average(frames.x) / 0


@pytest.fixture(scope="module")
def result(run: Path) -> PPCResult:
    own = [f"{__name__}.{name}" for name in ("user_value", "wrong_shape", "not_finite")]
    with pictures():
        return ppc(run, discrepancies=own, **SMALL)


def test_everything_is_written(run: Path, result: PPCResult) -> None:
    assert result.path == run / "ppc"
    assert {p.name for p in result.path.iterdir()} == {"report.html", "ppc.json", "predictive.nc", "figures"}
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in (result.path / "figures").iterdir())
    tree = open_tree(result.path / "predictive.nc")
    assert set(tree.children) == {*DIMS}
    assert tree["posterior/z"].shape == (1, 3, 12, T, 2)
    assert "lengths" in tree["constant_data"]


def test_single_columns_of_series_are_checked_too(result: PPCResult) -> None:
    names = {check.name for check in result.checks.frames.checks}
    assert {"level of column 0", "trend of column 3", "largest value of column 1"} <= names


def test_json_holds_the_numbers(result: PPCResult) -> None:
    found = json.loads((result.path / "ppc.json").read_text())
    checks = result.checks.frames.checks
    assert [c["p"] for c in found["checks"]["frames"]["checks"]] == [c.p for c in checks]
    assert found["options"] == dict(result.options)
    assert [f["sentence"] for f in found["findings"]] == [f.sentence for f in result.findings]
    assert [line["sentence"] for line in found["verdict"]] == [line.sentence for line in result.verdict]
    assert result.evidence is not None
    assert found["evidence"]["log_evidence"] == result.evidence.log_evidence.tolist()
    assert found["versions"]["torch"] == torch.__version__
    assert found["held_out"] is True
    assert found["seconds"] > 0


def test_held_out_clips_are_a_random_choice_of_the_split(run: Path, result: PPCResult) -> None:
    tree = open_tree(result.path / "predictive.nc")
    data = Arrays(str(run.parent / "clips.npz"), validation=0.25, test=0.25).load()
    rows = tree["posterior"]["sequence"].values.tolist()
    assert rows == data.rows("validation").tolist()


def test_discrepancies_that_fail_are_named_and_the_rest_goes_on(result: PPCResult) -> None:
    reasons = {f.subject: f.sentence for f in result.findings if f.subject.startswith("failed")}
    assert set(reasons) == {"failed: wrong shape", "failed: not finite"}
    assert "it returned the shape ()" in reasons["failed: wrong shape"]
    assert "infinite" in reasons["failed: not finite"]
    names = {c.name for c in result.checks.frames.checks}
    assert {"user value", *(d.name for d in applicable((4,)))} <= names
    # Of series there are checks of every column, too.
    assert {f"level of column {column}" for column in range(4)} <= names
    report = (result.path / "report.html").read_text()
    assert "wrong shape was left out" in report.lower()


def test_findings_come_the_most_severe_first(result: PPCResult) -> None:
    ranks = [f.rank for f in result.findings]
    assert ranks == sorted(ranks, reverse=True)


def test_the_same_seed_gives_the_same_numbers(run: Path, result: PPCResult, tmp_path: Path) -> None:
    own = [f"{__name__}.{name}" for name in ("user_value", "wrong_shape", "not_finite")]
    again = ppc(run, tmp_path / "again", discrepancies=own, **SMALL)
    first, second = (json.loads(r.json()) for r in (result, again))
    for found in (first, second):
        found.pop("seconds"), found.pop("path")
    assert first == second


def test_training_data_are_marked(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = [f"--{name}={value}" for name, value in {**SMALL, "simulations": 0, "evidence_draws": 0}.items()]
    assert verb.main([str(run), "--split", "train", "--out", str(tmp_path / "out"), *options]) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[-1] == f"wrote: {tmp_path / 'out'}"
    assert "Training data: every check uses the data twice" in said
    report = (tmp_path / "out" / "report.html").read_text()
    assert '<p class="mark"><strong>Training data.' in report
    found = json.loads((tmp_path / "out" / "ppc.json").read_text())
    assert found["held_out"] is False
    assert all(check["uses_data_twice"] for check in found["checks"]["frames"]["checks"])
    assert found["evidence"] is None
    assert "log_likelihood" not in open_tree(tmp_path / "out" / "predictive.nc").children


def test_few_sequences_leave_out_what_needs_more(run: Path, tmp_path: Path) -> None:
    found = ppc(run, tmp_path / "few", **{**SMALL, "sequences": 5, "simulations": 0, "evidence_draws": 0})
    assert found.calibration is None
    assert any("calibration needs at least 8 sequences" in reason for reason in found.left_out)
    assert "What was left out" in (tmp_path / "few" / "report.html").read_text()


def test_images_get_a_palette_and_labels_a_judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judge = Brightness((3, 16, 16), {"light": 2})
    monkeypatch.setattr("pyro_dsvae.checks.pipeline.load_or_train_judge", lambda *_, **__: judge)
    monkeypatch.setattr("pyro_dsvae.runs.report.load_or_train_judge", lambda *_, **__: judge)
    names = {"labels_light": np.arange(40) % 2, "classes_light": np.array(["<none>", "red & blue"])}
    run = fitted(tmp_path, (3, 16, 16), 40, **names)
    with pictures():
        found = ppc(run, **{**SMALL, "sequences": 6, "simulations": 0, "evidence_draws": 0})
    assert "distance from the palette" in {c.name for c in found.checks.frames.checks}
    assert found.checks.labels is not None
    levels: set[Level] = {c.level for c in found.checks.labels.checks}
    assert levels == {"dynamic", "static", "population"}
    shares = {(c.name, c.statistic) for c in found.checks.labels.checks if "seen as" in c.name}
    assert shares == {("share seen as light <none>", "mean"), ("share seen as light red & blue", "mean")}
    report = (found.path / "report.html").read_text()
    assert "share seen as light red &amp; blue" in report
    assert "<none>" not in report
    assert (found.path / "figures" / "labels.png").is_file()
    tree = open_tree(found.path / "predictive.nc")
    assert list(tree["constant_data/light"].attrs["classes"]) == ["<none>", "red & blue"]
    assert tree["observed_data/x"].dims == ("sequence", "time", "channel", "height", "width")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sequences": 1}, "at least 2"),
        ({"draws": 1}, "at least 2 replications"),
        ({"simulations": 10}, "at least 50, or 0"),
        ({"evidence_draws": 3}, "at least 25, or 0"),
        ({"discrepancies": ["numpy.no_such_thing"]}, "numpy has no 'no_such_thing'"),
        ({"discrepancies": "no.such.module"}, "cannot be imported"),
    ],
)
def test_what_cannot_be_is_one_line(run: Path, options: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=words):
        ppc(run, tmp_path / "out", **{**SMALL, **options})
    assert list(tmp_path.iterdir()) == []


def test_a_report_that_exists_stays(run: Path, result: PPCResult) -> None:
    before = (result.path / "ppc.json").read_text()
    with pytest.raises(UsageError, match="exists; name another place with --out"):
        ppc(run, **SMALL)
    assert (result.path / "ppc.json").read_text() == before


def test_a_damaged_run_is_one_line(run: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(run, broken, ignore=shutil.ignore_patterns("ppc"))
    (broken / "best.pt").write_bytes((broken / "best.pt").read_bytes()[:500])
    with pytest.raises(UsageError, match=r"best\.pt is damaged"):
        ppc(broken, **SMALL)
    with pytest.raises(UsageError, match="holds no run"):
        ppc(tmp_path / "nowhere", **SMALL)
    assert not (broken / "ppc").exists()


def test_a_run_without_held_out_data_is_one_line(tmp_path: Path) -> None:
    run = fitted(tmp_path)
    file = tmp_path / "clips.npz"
    with np.load(file) as arrays:
        frames = arrays["frames"]
    np.savez(file, frames=frames, split=np.arange(48) % 2 * 2)  # to train and to test
    state = torch.load(run / "best.pt", weights_only=True)
    torch.save({**state, "data": Arrays(str(file)).load().fingerprint()}, run / "best.pt")
    with pytest.raises(
        UsageError, match=r"nothing to be checked against: the validation split is empty.*--split train"
    ):
        ppc(run, **SMALL)


def test_replications_of_one_sequence_of_many_are_the_most_severe_of_its_name(result: PPCResult) -> None:
    """The pictures of the worst show one check of each discrepancy, and none that is no finding."""
    from pyro_dsvae.checks.figures import worst_checks

    worst = worst_checks(result.checks.frames)
    assert len({c.name for c in worst}) == len(worst)
    for check in worst:
        rivals = [
            c for c in result.checks.frames.checks if c.name == check.name and c.finding and c.statistic == "mean"
        ]
        assert check.severity == max(c.severity for c in rivals)
    none = replace(result.checks.frames, checks=tuple(c for c in result.checks.frames.checks if not c.finding))
    assert worst_checks(none) == []
