"""Contrastive terms: the two estimators against values known otherwise, the views, and what the objective makes of them."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor
from torch.distributions import Normal as TorchNormal

from pyro_dsvae import fit as fit_module
from pyro_dsvae.fit import fit
from pyro_dsvae.inference.batch import Batch
from pyro_dsvae.inference.posteriors.autoregressive import Autoregressive
from pyro_dsvae.inference.posteriors.factorised import Factorised
from pyro_dsvae.inference.posteriors.guide_input import GuideInput
from pyro_dsvae.inference.posteriors.lstm import LSTM as LSTMPosterior
from pyro_dsvae.inference.posteriors.posterior import Posterior
from pyro_dsvae.inference.training.contrastive import Contrastive, ContrastiveTerms, info_nce, mutual_information
from pyro_dsvae.inference.training.contrastive_views import blur, content_view, motion_view
from pyro_dsvae.inference.training.objective import TERMS, KLWeights, Objective
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.dynamic_priors.lstm import LSTM
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.likelihoods.normal import Normal
from pyro_dsvae.models.static_priors.standard_normal import StandardNormal
from tests.decoded import SMALL_DECODER, decoded_by
from tests.encoded import SMALL_ENCODER, small_encoder

B, T, F, D = 4, 3, 3, 2
IMAGE = (3, 16, 16)
SMALL = [
    "--static_size=3",
    "--latent_size=2",
    "--dynamic_prior.hidden_size=4",
    "--posterior.hidden_size=4",
    "--posterior.feature_size=4",
    *SMALL_ENCODER,
    *SMALL_DECODER,
    "--steps=3",
    "--optimisation.evaluations=1",
    "--optimisation.batch_size=8",
    "--device=cpu",
]


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def objective(contrastive: Contrastive | None, kind: type[Posterior] = LSTMPosterior, static: int = F) -> Objective:
    """Always the same initial weights."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = DSVAE(StandardNormal(static), LSTM(D, hidden_size=5), *decoded_by(Normal, static, D, IMAGE, width=2))
        guide = kind(IMAGE, static, D, small_encoder, hidden_size=5, feature_size=6, views=False)  # type: ignore[call-arg]
    return Objective(model, guide, contrastive)


def apart(made: Objective) -> Objective:
    """With weights that tell clips of noise apart."""
    with torch.no_grad():
        for p in made.guide.parameters():
            p.add_(0.4 * torch.randn_like(p))
    return made


def clip(lengths: Tensor | None = None) -> GuideInput:
    return GuideInput.of(torch.rand(B, T, *IMAGE), lengths=lengths)


# --- InfoNCE ----------------------------------------------------------------------------------------------------------


def test_info_nce_is_what_loops_give() -> None:
    u, v = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)

    def score(a: Tensor, b: Tensor) -> float:
        return float(a @ b / (a.norm() * b.norm())) / 0.3

    total = 0.0
    for i in range(5):
        own = math.exp(score(u[i], v[i]))
        total += math.log(own / sum(math.exp(score(u[i], v[j])) for j in range(5)))
        total += math.log(own / sum(math.exp(score(u[j], v[i])) for j in range(5)))
    assert float(info_nce(u, v, 0.3)) == pytest.approx(math.log(5) + total / 10, rel=1e-12)


def test_info_nce_of_two_opposite_pairs_by_hand() -> None:
    """cos is 1 on the diagonal and -1 off it: log 2 - log(1 + exp(-2 / .5))."""
    u = torch.tensor([[1.0, 2.0], [-3.0, -6.0]], dtype=torch.float64)
    assert float(info_nce(u, 7 * u, 0.5)) == pytest.approx(math.log(2) - math.log1p(math.exp(-4)), rel=1e-12)


def test_info_nce_reaches_log_b_where_pairs_are_told_apart_and_is_nothing_where_none_is() -> None:
    u = torch.eye(6, dtype=torch.float64)
    assert float(info_nce(u, u, 1e-2)) == pytest.approx(math.log(6), rel=1e-12)
    same = torch.ones(6, 2, dtype=torch.float64)
    assert float(info_nce(u, u.roll(1, 0), 1e-2)) < 0
    assert float(info_nce(same, same)) == pytest.approx(0.0, abs=1e-12)
    assert float(info_nce(torch.randn(1, 3), torch.randn(1, 3))) == pytest.approx(0.0, abs=1e-6)


def test_info_nce_of_independent_views_is_not_above_zero_on_average() -> None:
    """It is a lower bound in expectation, and their information is 0."""
    values = torch.stack([info_nce(torch.randn(8, 3), torch.randn(8, 3)) for _ in range(400)])
    mean, error = float(values.mean()), float(values.std()) / 20
    assert mean < 2 * error


def test_info_nce_stays_below_the_exact_information_of_normal_views() -> None:
    """v = rho u + noise in 2 dimensions: I = -log(1 - rho^2)."""
    rho = 0.9
    u = torch.randn(200, 64, 2)
    v = rho * u + math.sqrt(1 - rho**2) * torch.randn(200, 64, 2)
    values = torch.stack([info_nce(a, b) for a, b in zip(u, v, strict=True)])
    assert 0.2 < float(values.mean()) < -math.log(1 - rho**2)


def test_its_gradient_draws_a_pair_together_and_pushes_others_apart() -> None:
    """From the middle of all of v, every row of u goes towards its own."""
    u = torch.ones(6, 6, requires_grad=True)
    (gradient,) = torch.autograd.grad(info_nce(u, torch.eye(6)), u)
    assert (gradient.diagonal() > 0).all()
    assert (gradient[~torch.eye(6, dtype=torch.bool)] < 0).all()


# --- the information of f and z ---------------------------------------------------------------------------------------


def correlated(count: int, scale: float, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """log q(f_i | x_j), log q(z_i | x_j) in two dimensions for x ~ N(0, 1), f = x + scale e, z = x + scale e'."""
    x, e, other = torch.randn(3, count, 2, dtype=torch.float64, generator=rng)
    q = TorchNormal(x, torch.full_like(x, scale))
    log_f, log_z = (q.log_prob((x + scale * noise).unsqueeze(1)).sum(-1) for noise in (e, other))
    return log_f, log_z.unsqueeze(0)


def test_the_information_of_f_and_z_of_a_normal_case_is_the_exact_one() -> None:
    """f and z are jointly normal with correlation 1 / (1 + s^2) in each of two dimensions: I = -log(1 - rho^2)."""
    scale = 0.8
    exact = -math.log(1 - (1 / (1 + scale**2)) ** 2)
    rng = torch.Generator().manual_seed(3)
    for count, repeats in ((100, 300), (700, 20)):
        values = torch.stack([mutual_information(*correlated(count, scale, rng)) for _ in range(repeats)])
        error = float(values.std()) / math.sqrt(repeats)
        assert error < 0.02 * exact
        assert float(values.mean()) == pytest.approx(exact, abs=4 * error + 1 / count)


def test_the_information_is_at_most_log_b_however_large_it_is() -> None:
    """The bias of a batch: with s = .02 the exact value is 7.1 nats."""
    assert -math.log(1 - (1 / (1 + 0.02**2)) ** 2) > 7
    found = mutual_information(*correlated(50, 0.02, torch.Generator().manual_seed(3)))
    assert math.log(50) - 0.1 < float(found) <= math.log(50) + 1e-9


def test_the_information_is_on_average_that_of_the_batch_as_a_mixture() -> None:
    """Three given clips: sum over j of q(f | x_j) q(z | x_j) / 3 has an information that quadrature knows."""
    x, scale = torch.tensor([-0.8, 0.1, 1.0], dtype=torch.float64), 0.5
    grid = torch.linspace(-4, 4, 401, dtype=torch.float64)
    each = TorchNormal(x, scale).log_prob(grid.unsqueeze(1)).exp()
    joint = torch.einsum("fj,zj->fz", each, each) / 3
    alone = each.mean(1)
    step = float(grid[1] - grid[0])
    exact = float((joint * (joint / (alone.unsqueeze(1) * alone)).log()).sum()) * step**2
    rng = torch.Generator().manual_seed(3)
    draws = x + scale * torch.randn(2, 200, 100, 3, dtype=torch.float64, generator=rng)
    log_f, log_z = TorchNormal(x, scale).log_prob(draws.unsqueeze(-1))
    values = torch.stack([mutual_information(*pair) for pair in zip(log_f, log_z, strict=True)])
    error = float(values.std()) / math.sqrt(200)
    assert error < 0.02 * exact
    assert float(values.mean()) == pytest.approx(exact, abs=4 * error)


def test_the_information_is_what_loops_give_and_ignores_steps_that_do_not_exist() -> None:
    log_f, log_z = torch.randn(B, B, dtype=torch.float64), torch.randn(T, B, B, dtype=torch.float64)
    lengths = [3, 1, 2, 1]
    exists = torch.tensor([[t < length for length in lengths] for t in range(T)])
    total = 0.0
    for t in range(T):
        there = [j for j in range(B) if lengths[j] > t]
        for i in there:
            f, z = ({j: math.exp(v[i, j]) for j in there} for v in (log_f, log_z[t]))
            ratio = sum(f[j] * z[j] for j in there) * len(there) / (sum(f.values()) * sum(z.values()))
            total += math.log(ratio)
    assert float(mutual_information(log_f, log_z, exists)) == pytest.approx(total / sum(lengths), rel=1e-12)
    everything = mutual_information(log_f, log_z, torch.ones(T, B, dtype=torch.bool))
    assert float(everything) == pytest.approx(float(mutual_information(log_f, log_z)), rel=1e-12)


def test_the_information_is_nothing_where_z_tells_nothing_and_log_b_where_both_tell_all() -> None:
    sharp = 1e3 * torch.eye(B, dtype=torch.float64)
    flat = torch.zeros(1, B, B, dtype=torch.float64)
    assert float(mutual_information(sharp, flat)) == pytest.approx(0.0, abs=1e-12)
    assert float(mutual_information(flat[0], sharp[None])) == pytest.approx(0.0, abs=1e-12)
    assert float(mutual_information(sharp, sharp[None])) == pytest.approx(math.log(B), rel=1e-12)


def test_the_gradient_of_the_information_is_finite_where_no_sequence_has_a_step() -> None:
    log_f, log_z = torch.randn(B, B, requires_grad=True), torch.randn(T, B, B, requires_grad=True)
    exists = torch.ones(T, B, dtype=torch.bool)
    exists[-1] = False
    # Nor is anything on the way to it: a debugger that looks for such values must find none.
    with torch.autograd.set_detect_anomaly(True):
        mutual_information(log_f, log_z, exists).backward()
    assert torch.isfinite(log_f.grad).all()
    assert torch.isfinite(log_z.grad).all()
    assert torch.count_nonzero(log_z.grad[-1]) == 0


def test_following_its_gradient_downwards_makes_what_f_and_z_share_less() -> None:
    """Two posteriors that both follow x: the penalty pulls the means of z together."""
    x = torch.randn(30, dtype=torch.float64)
    slope = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    e = torch.randn(2, 30, dtype=torch.float64)
    scale = torch.ones_like(x)
    log_f = TorchNormal(x, scale).log_prob((x + e[0]).unsqueeze(1))
    log_z = TorchNormal(slope * x, scale).log_prob((slope * x + e[1]).unsqueeze(1)).unsqueeze(0)
    (gradient,) = torch.autograd.grad(mutual_information(log_f, log_z), slope)
    assert gradient > 0


# --- views ------------------------------------------------------------------------------------------------------------


def test_the_content_view_holds_the_same_frames_in_another_order() -> None:
    lengths = torch.tensor([12, 5, 12, 1])
    x = torch.arange(4 * 12.0).view(4, 12, 1)
    mask = torch.rand(4, 12) < 0.7
    before = GuideInput.of(x, mask, lengths)
    after = content_view(before)
    moved = 0
    for i, length in enumerate(lengths.tolist()):
        frames, others = before.x[i, :length, 0], after.x[i, :length, 0]
        assert others.sort().values.tolist() == frames.sort().values.tolist()
        assert after.observed[i, :length].sum() == before.observed[i, :length].sum()
        assert not after.observed[i, length:].any()
        # A frame that was not observed is zero and stays not observed wherever it went.
        assert (after.x[i][~after.observed[i]] == 0).all()
        moved += int(others.tolist() != frames.tolist())
    assert moved >= 2
    assert after.steps is before.steps


def test_the_motion_view_changes_all_frames_of_a_sequence_alike() -> None:
    still = torch.rand(B, 1, *IMAGE).expand(-1, T, -1, -1, -1)
    after = motion_view(GuideInput.of(still)).x
    assert torch.allclose(after, after[:, :1].expand_as(after), atol=1e-6)
    assert not torch.allclose(after, still, atol=1e-2)


def test_blur_is_the_normal_kernel_by_hand() -> None:
    x, scale = torch.rand(2, 1, 1, 6, 6, dtype=torch.float64), torch.tensor([0.4, 1.3], dtype=torch.float64)
    blurred = blur(x, scale)
    for b in range(2):
        for i, j in ((0, 0), (2, 5), (3, 3)):
            weights = torch.tensor(
                [[math.exp(-((i - k) ** 2 + (j - m) ** 2) / (2 * scale[b] ** 2)) for m in range(6)] for k in range(6)],
                dtype=torch.float64,
            )
            expected = (weights * x[b, 0, 0]).sum() / weights.sum()
            assert float(blurred[b, 0, 0, i, j]) == pytest.approx(float(expected), rel=1e-12)
    level = torch.full((2, 1, 1, 6, 6), 0.3, dtype=torch.float64)
    assert torch.allclose(blur(level, scale), level)


# --- the objective ----------------------------------------------------------------------------------------------------


def test_the_loss_is_that_of_the_elbo_less_what_the_terms_gain() -> None:
    contrastive = Contrastive(weight_f=2.0, weight_z=3.0, weight_mi=5.0)
    made, plain = objective(contrastive), objective(None)
    frames = torch.rand(B, T, *IMAGE)
    torch.manual_seed(4)
    without = plain(Batch(frames), KLWeights(0.5, 2.0))
    # The terms draw after the ELBO, so their noise is what comes next.
    state = torch.get_rng_state()
    torch.manual_seed(4)
    found = made(Batch(frames), KLWeights(0.5, 2.0))
    for name in TERMS:
        assert torch.equal(found[name], without[name])
    torch.set_rng_state(state)
    terms = contrastive.terms(made.guide, GuideInput.of(made.model.likelihood.to_model_units(frames)))
    assert min(terms) != 0
    expected = without["loss"] - 2 * terms.static - 3 * terms.dynamic + 5 * terms.shared
    assert torch.allclose(found["loss"], expected, rtol=1e-6)


def test_two_terms_lower_the_loss_and_the_shared_information_raises_it() -> None:
    terms = ContrastiveTerms(torch.tensor(1.0), torch.tensor(10.0), torch.tensor(100.0))
    assert float(Contrastive(weight_f=2.0, weight_z=3.0, weight_mi=5.0).gain(terms)) == 2 + 30 - 500


@pytest.mark.parametrize("lengths", [None, torch.tensor([3, 1, 2, 3])])
def test_the_shared_information_is_that_of_the_guides_densities(lengths: Tensor | None) -> None:
    """Every density by itself: f_i and z_it under the normals of clip j."""
    guide, seen = apart(objective(None, Factorised)).guide, clip(lengths)
    torch.manual_seed(3)
    found = Contrastive(weight_f=0, weight_z=0).terms(guide, seen).shared
    torch.manual_seed(3)
    q_f = guide.static(seen)
    f = q_f.rsample()
    q_z = guide.dynamic(seen, f)
    z = q_z.rsample()
    log_f, log_z = torch.zeros(B, B), torch.zeros(T, B, B)
    with torch.no_grad():
        for i in range(B):
            for j in range(B):
                log_f[i, j] = TorchNormal(q_f.mean[j], q_f.stddev[j]).log_prob(f[i]).sum()
                log_z[:, i, j] = TorchNormal(q_z.mean[j], q_z.stddev[j]).log_prob(z[i]).sum(-1)
    exists = None if lengths is None else torch.arange(T).unsqueeze(1) < lengths
    expected = mutual_information(log_f, log_z, exists)
    assert abs(float(expected)) > 1e-2
    assert float(found.detach()) == pytest.approx(float(expected), rel=1e-5)


def test_without_terms_and_in_evaluation_mode_nothing_differs_by_a_bit() -> None:
    frames = torch.rand(B, T, *IMAGE)
    results = []
    for contrastive, training in ((None, True), (None, False), (Contrastive(), False)):
        made = objective(contrastive).train(training)
        torch.manual_seed(4)
        out = made(Batch(frames), KLWeights())
        out["loss"].backward()
        gradients = torch.cat([p.grad.flatten() for p in made.parameters() if p.grad is not None])
        results.append((out, gradients, torch.get_rng_state()))
    for out, gradients, state in results[1:]:
        assert all(torch.equal(out[name], results[1][0][name]) for name in ("loss", *TERMS))
        assert torch.equal(gradients, results[1][1])
        assert torch.equal(state, results[1][2])
    # This guide has no views, so it is the same in both modes.
    assert torch.equal(results[0][0]["loss"], results[1][0]["loss"])


@pytest.mark.parametrize("lengths", [None, torch.tensor([3, 1, 2, 3])])
def test_each_weight_asks_for_its_term_alone(lengths: Tensor | None) -> None:
    guide = objective(None, Factorised).guide
    seen = clip(lengths)
    for place, name in enumerate(("weight_f", "weight_z", "weight_mi")):
        weights: dict[str, Any] = {"weight_f": 0.0, "weight_z": 0.0, "weight_mi": 0.0, name: 1.0}
        with torch.no_grad():
            terms = Contrastive(**weights).terms(guide, seen)
        assert [bool(value != 0) for value in terms] == [place == i for i in range(3)]
        assert torch.isfinite(torch.stack(terms)).all()
        assert float(terms[place]) <= math.log(B) + 1e-6


def test_steps_that_do_not_exist_have_no_influence() -> None:
    lengths = torch.tensor([3, 1, 2, 3])
    frames = torch.rand(B, T, *IMAGE)
    other = frames.clone()
    other[torch.arange(T) >= lengths.unsqueeze(1)] = float("nan")
    guide = objective(None).guide
    values = []
    for x in (frames, other):
        torch.manual_seed(2)
        values.append(torch.stack(Contrastive().terms(guide, GuideInput.of(x, lengths=lengths))))
    assert torch.equal(*values)


def test_terms_reach_the_networks_that_they_speak_of() -> None:
    guide = objective(None).guide
    content = Contrastive(weight_z=0, weight_mi=0)
    content.gain(content.terms(guide, clip())).backward()
    moved = {name.partition(".")[0] for name, p in guide.named_parameters() if p.grad is not None and p.grad.any()}
    assert moved == {"static_encoder", "static_head"}
    both = Contrastive()
    both.gain(both.terms(guide, clip())).backward()
    moved = {name.partition(".")[0] for name, p in guide.named_parameters() if p.grad is not None and p.grad.any()}
    assert {"dynamic_encoder", "dynamic_head"} < moved


def test_a_posterior_without_normal_steps_is_refused_by_the_information_alone() -> None:
    guide = objective(None, Autoregressive).guide
    with pytest.raises(UsageError, match=r"Autoregressive is not: set weight_mi to 0"):
        Contrastive().terms(guide, clip())
    assert torch.isfinite(torch.stack(Contrastive(weight_mi=0).terms(guide, clip()))).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"weight_f": -1.0}, "weight_f"), ({"weight_z": math.inf}, "weight_z"), ({"temperature": 0.0}, "temperature")],
)
def test_options_out_of_range_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Contrastive(**options)


def test_what_data_or_sizes_cannot_give_is_refused() -> None:
    with pytest.raises(UsageError, match="set weight_z to 0"):
        Contrastive().check((6,), F)
    with pytest.raises(UsageError, match="static part"):
        Contrastive().check(IMAGE, 0)
    Contrastive(weight_z=0).check((6,), F)
    Contrastive(weight_f=0, weight_mi=0).check(IMAGE, 0)


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import numpy as np

    rng = np.random.default_rng(0)
    path = tmp_path / "clips.npz"
    split = np.repeat([0, 1, 2], [24, 8, 8])
    np.savez(path, frames=rng.integers(0, 256, (40, T, 3, 16, 16), dtype=np.uint8), split=split)
    return path


def test_the_command_fits_with_terms_and_goes_on_with_them(clips: Path, tmp_path: Path) -> None:
    arguments = ["--data=Arrays", f"--data.path={clips}", *SMALL]
    plain, with_terms = tmp_path / "plain", tmp_path / "with"
    assert fit_module.main([*arguments, f"--out={plain}"]) == 0
    assert fit_module.main([*arguments, f"--out={with_terms}", "--contrastive=Contrastive"]) == 0
    configs = [yaml.safe_load((run / "config.yaml").read_text()) for run in (plain, with_terms)]
    assert configs[0]["contrastive"] is None
    assert configs[1]["contrastive"] == {"weight_f": 10.0, "weight_z": 10.0, "weight_mi": 1.0, "temperature": 0.5}
    states = [torch.load(run / "checkpoint.pt", weights_only=True)["objective"] for run in (plain, with_terms)]
    assert states[0].keys() == states[1].keys()
    assert any(not torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert fit_module.main([f"--out={with_terms}", "--resume", "--steps=4"]) == 0
    with pytest.raises(UsageError, match="fitted with contrastive"):
        fit_module.main([f"--out={with_terms}", "--resume", "--contrastive.weight_f=3"])


def test_the_command_says_what_frames_cannot_give(tmp_path: Path) -> None:
    import numpy as np

    from pyro_dsvae.data.arrays import Arrays

    split = np.repeat([0, 1, 2], [6, 3, 3])
    np.savez(tmp_path / "vectors.npz", frames=np.zeros((12, T, 5), dtype=np.float32), split=split)
    with pytest.raises(UsageError, match="cannot be recoloured"):
        fit(Arrays(tmp_path / "vectors.npz"), tmp_path / "run", steps=1, contrastive=Contrastive())
