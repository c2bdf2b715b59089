"""SequenceELBO against the textbook model with one site per frame, and what it promises to its callers."""

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any

import pyro
import pytest
import torch
from pyro import poutine
from pyro.distributions import MixtureSameFamily, Normal, TorchDistribution
from pyro.infer import SVI, Trace_ELBO, TraceMeanField_ELBO
from torch import Tensor

from pyro_dsvae.inference.elbo import (
    CLOSED_FORM,
    CLOSED_FORM_PER_STEP,
    STICKING_THE_LANDING,
    ELBOTerms,
    SequenceELBO,
)
from pyro_dsvae.inference.posteriors.factorised import Factorised
from pyro_dsvae.inference.posteriors.posterior import Posterior
from pyro_dsvae.inference.training.kl_weights import weigh_kl
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.dynamic_priors.autoregressive import AutoregressivePath
from pyro_dsvae.models.dynamic_priors.iid import IID
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.likelihoods.bernoulli import Bernoulli
from pyro_dsvae.models.likelihoods.normal import Normal as NormalLikelihood
from pyro_dsvae.models.static_priors.standard_normal import StandardNormal
from pyro_dsvae.models.static_priors.static_prior import StaticPrior
from tests.decoded import decoded_by
from tests.encoded import small_encoder
from tests.oracles import (
    FrozenNoise,
    LSTMPosterior,
    LSTMPrior,
    SiteCounter,
    assert_same_gradients,
    gradients,
    mean_and_error,
    textbook_guide,
    textbook_model,
)

B, T, F, D = 3, 5, 4, 2
IMAGE, VECTOR = (3, 16, 16), (6,)
POSTERIORS = {"LSTM": LSTMPosterior, "Factorised": Factorised}
LIKELIHOODS = {"Normal": NormalLikelihood, "Bernoulli": Bernoulli}
PRIORS = {"LSTM": LSTMPrior, "IID": IID}
MASKS = ["complete", "frame mask", "ragged", "frame mask, ragged", "pixel mask, ragged"]


@pytest.fixture(autouse=True)
def empty_param_store() -> Iterator[None]:
    """Each test starts and ends with an empty global parameter store."""
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    yield
    pyro.clear_param_store()


def example(
    frame_shape: tuple[int, ...] = VECTOR,
    prior: str = "LSTM",
    likelihood: str = "Normal",
    posterior: str = "LSTM",
    views: Any = False,
) -> tuple[DSVAE, Posterior]:
    """A small model and guide with random weights, different everywhere (also where the initial value is zero)."""
    dynamic = LSTMPrior(D, hidden_size=5) if prior == "LSTM" else IID(D)
    model = DSVAE(StandardNormal(F), dynamic, *decoded_by(LIKELIHOODS[likelihood], F, D, frame_shape, width=2))
    guide = POSTERIORS[posterior](frame_shape, F, D, small_encoder, hidden_size=5, feature_size=6, views=views)
    with torch.no_grad():
        for p in [*model.parameters(), *guide.parameters()]:
            p.add_(0.1 * torch.randn_like(p))
    return model, guide


def clips(frame_shape: tuple[int, ...] = VECTOR, size: int = B, length: int = T) -> Tensor:
    return torch.rand(size, length, *frame_shape)


def masks(kind: str, x: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """mask and lengths; one sequence has no observed frame at all, one frame only some of its values."""
    mask = lengths = None
    if "frame" in kind:
        mask = torch.tensor([[1, 0, 1, 1, 0], [0, 0, 0, 0, 0], [0, 1, 0, 1, 1]], dtype=torch.bool)
    if "pixel" in kind:
        mask = torch.rand(x.shape) < 0.6
        mask[0, 2] = False
    if "ragged" in kind:
        lengths = torch.tensor([4, 2, 5])
    return mask, lengths


def noise(*batch: int, length: int = T) -> FrozenNoise:
    return FrozenNoise(torch.randn(*batch, F), torch.randn(*batch, length, D))


def assert_agrees_with_textbook(
    model: DSVAE, guide: Posterior, x: Tensor, kind: str, loss_rtol: float = 1e-5, gradient_rtol: float = 1e-4
) -> None:
    mask, lengths = masks(kind, x)
    eps = noise(B)
    eps.f, eps.z = eps.f.to(x.dtype), eps.z.to(x.dtype)

    actual = SequenceELBO().terms(model, eps(guide), x, mask, lengths).loss
    expected = (
        TraceMeanField_ELBO().differentiable_loss(
            lambda *args: textbook_model(model, *args),
            eps(lambda *args: textbook_guide(guide, *args)),
            x,
            mask,
            lengths,
        )
        / B
    )

    assert actual.item() == pytest.approx(expected.item(), rel=loss_rtol)
    assert_same_gradients(gradients(actual, model, guide), gradients(expected, model, guide), gradient_rtol)


@pytest.mark.parametrize("frame_shape", [VECTOR, IMAGE], ids=["vectors", "images"])
@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("posterior", POSTERIORS)
@pytest.mark.parametrize("kind", MASKS)
def test_equals_the_textbook_model(
    kind: str, posterior: str, likelihood: str, prior: str, frame_shape: tuple[int, ...]
) -> None:
    model, guide = example(frame_shape, prior, likelihood, posterior)
    x = clips(frame_shape).double()
    assert_agrees_with_textbook(model.double(), guide.double(), x, kind, 1e-10, 1e-8)


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("posterior", POSTERIORS)
def test_equals_the_textbook_model_in_evaluation_with_guide_views(posterior: str, kind: str) -> None:
    model, guide = example(IMAGE, posterior=posterior, views=True)
    x = clips(IMAGE).double()
    assert_agrees_with_textbook(model.double().eval(), guide.double().eval(), x, kind, 1e-10, 1e-8)


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_equals_the_textbook_model_in_evaluation_without_views(posterior: str) -> None:
    model, guide = example(posterior=posterior)
    x = clips().double()
    assert_agrees_with_textbook(model.double().eval(), guide.double().eval(), x, "frame mask, ragged", 1e-10, 1e-8)


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_equals_the_textbook_model_in_single_precision(posterior: str) -> None:
    model, guide = example(posterior=posterior)
    assert_agrees_with_textbook(model, guide, clips(), "frame mask, ragged", gradient_rtol=1e-3)


@pytest.mark.parametrize("fault", ["open loop", "shifted path", "KL of missing steps"])
def test_the_textbook_model_notices_a_wrong_prior(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison above can fail: three ways to get the prior term wrong."""
    model, guide = example()
    right = AutoregressivePath.conditionals

    def wrong(self: AutoregressivePath, z: Tensor) -> TorchDistribution:
        if fault == "open loop":
            return right(self, self.rsample().expand_as(z))
        if fault == "shifted path":
            return right(self, z.roll(1, dims=-2))
        # Steps beyond the end keep their KL; the mask of the guide alone would hide it from the closed form.
        return right(self, z)

    monkeypatch.setattr(AutoregressivePath, "conditionals", wrong)
    if fault == "KL of missing steps":
        monkeypatch.setattr("pyro_dsvae.models.steps.Steps.valid", None)
    # An open loop would be refused by the checks of the first step, before it could be compared.
    with pyro.validation_enabled(fault != "open loop"), pytest.raises(AssertionError):
        assert_agrees_with_textbook(model.double(), guide.double(), clips().double(), "ragged")


# --- cost: sites and passes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [8, 128])
@pytest.mark.parametrize("posterior", POSTERIORS)
def test_three_sites_in_the_model_and_two_in_the_guide_for_any_length(posterior: str, length: int) -> None:
    model, guide = example(posterior=posterior)
    in_model, in_guide = SiteCounter(), SiteCounter()
    with pyro.validation_enabled(False):
        terms = SequenceELBO().terms(in_model(model), in_guide(guide), clips(length=length))
        terms.loss.backward()
    assert in_model.names == ["f", "z", "x"]
    assert in_guide.names == ["f", "z"]


def test_the_prior_is_evaluated_once_per_path(monkeypatch: pytest.MonkeyPatch) -> None:
    model, guide = example()
    calls: list[torch.Size] = []
    right = AutoregressivePath.conditionals

    def counted(self: AutoregressivePath, z: Tensor) -> TorchDistribution:
        calls.append(z.shape)
        return right(self, z)

    monkeypatch.setattr(AutoregressivePath, "conditionals", counted)
    monkeypatch.setattr(AutoregressivePath, "rsample", lambda *_: pytest.fail("training never samples the prior"))
    with pyro.validation_enabled(False):
        SequenceELBO().terms(model, guide, clips(), None, torch.tensor([4, 2, 5])).loss.backward()
        assert calls == [(B, T, D)]
        calls.clear()
        SequenceELBO(num_particles=4, vectorize_particles=True, max_plate_nesting=1).terms(model, guide, clips())
        assert calls == [(4, B, T, D)]


# --- the KL terms -----------------------------------------------------------------------------------------------------


def guide_and_prior(
    model: DSVAE, guide: Posterior, x: Tensor, lengths: Tensor | None = None
) -> tuple[Any, Any, Any, Any]:
    """The distributions and values of one pass through the guide."""
    from pyro_dsvae.models.steps import Steps

    trace = poutine.trace(guide).get_trace(x, None, lengths)
    f, z = trace.nodes["f"], trace.nodes["z"]
    return f, z, model.static_prior(), model.dynamic_prior(f["value"], Steps(x.shape[1], lengths))


@pytest.mark.parametrize("kind", ["complete", "ragged"])
def test_closed_form_kl_agrees_with_monte_carlo_along_a_path(kind: str) -> None:
    """KL of f, and of every z_t given one path before it, against 100,000 draws: within four standard errors."""
    draws = 100_000
    model, guide = example()
    x = clips()
    _, lengths = masks(kind, x)
    eps = noise(B)
    with torch.no_grad():
        terms = SequenceELBO().terms(model, eps(guide), x, None, lengths)
        with eps:
            f, z, prior_f, path = guide_and_prior(model, guide, x, lengths)
        conditionals = path.conditionals(z["value"])
        q_f = Normal(f["fn"].mean, f["fn"].variance.sqrt()).to_event(1)
        q_z = Normal(z["fn"].mean, z["fn"].variance.sqrt()).to_event(1)

        log_ratio: list[Tensor] = []
        for i, (q, p) in enumerate([(q_f, prior_f), (q_z, conditionals)]):
            y = q.sample((draws,))
            ratio = q.log_prob(y) - p.log_prob(y)
            if i == 1:
                exists = torch.arange(T) < (torch.full((B,), T) if lengths is None else lengths)[:, None]
                ratio = (ratio * exists).sum(-1)
            log_ratio.append(ratio)

    assert terms.estimators == {"f": CLOSED_FORM, "z": CLOSED_FORM_PER_STEP}
    for site, ratio in zip("fz", log_ratio, strict=True):
        error = ratio.std(0) / math.sqrt(draws)
        assert ((terms.kl[site] - ratio.mean(0)).abs() < 4 * error).all(), site


def test_closed_form_kl_agrees_with_monte_carlo_over_paths() -> None:
    """E_q[sum of the closed KLs along z] is E_q[log q(z) - log p(z)] over whole paths."""
    draws = 20_000
    model, guide = example(posterior="Factorised")
    x = clips()
    elbo = SequenceELBO(num_particles=1000, vectorize_particles=True, max_plate_nesting=1)
    with torch.no_grad():
        closed, closed_error = mean_and_error(lambda: elbo.terms(model, guide, x).kl["z"], draws // 1000)
        _, z, _, path = guide_and_prior(model, guide, x)
        paths = z["fn"].sample((draws,))
        ratio = z["fn"].log_prob(paths) - path.log_prob(paths)
    error = (closed_error**2 + ratio.var(0) / draws).sqrt()
    assert float(error.max()) < 0.05
    assert ((closed - ratio.mean(0)).abs() < 4 * error).all()


def test_elbo_is_the_monte_carlo_elbo_on_average() -> None:
    """The whole bound against stock Trace_ELBO, which knows no closed form (path sampled, scored by log_prob)."""
    model, guide = example()
    x = clips()
    lengths = torch.tensor([4, 2, 5])
    ours = SequenceELBO(num_particles=1000, vectorize_particles=True, max_plate_nesting=1)
    stock = Trace_ELBO(num_particles=1000, vectorize_particles=True, max_plate_nesting=1)
    with torch.no_grad():
        a, a_error = mean_and_error(lambda: ours.terms(model, guide, x, None, lengths).loss * B, 10)
        b, b_error = mean_and_error(lambda: torch.tensor(stock.loss(model, guide, x, None, lengths)), 10)
    assert float((a - b).abs()) < 4 * float((a_error**2 + b_error**2).sqrt())


# --- weights ----------------------------------------------------------------------------------------------------------


class Mixture(StaticPrior):
    """A static prior whose KL from a normal has no closed form."""

    def forward(self) -> TorchDistribution:
        components = Normal(torch.tensor([[-1.0], [2.0]]).expand(2, self.static_size), 1.0).to_event(1)
        return MixtureSameFamily(pyro.distributions.Categorical(logits=torch.zeros(2)), components)


@pytest.mark.parametrize("static_prior", [StandardNormal, Mixture])
def test_weights_scale_the_kl_in_the_loss_and_nothing_else(static_prior: Callable[[int], StaticPrior]) -> None:
    model, guide = example()
    model.static_prior = static_prior(F)
    x, eps = clips(), noise(B)
    weights = {"f": 3.0, "z": 0.2}
    plain = SequenceELBO().terms(model, eps(guide), x)
    weighted = SequenceELBO().terms(*weigh_kl(model, eps(guide), weights), x)

    assert plain.estimators["f"] == (CLOSED_FORM if static_prior is StandardNormal else STICKING_THE_LANDING)
    assert torch.equal(weighted.elbo, plain.elbo)
    assert torch.equal(weighted.reconstruction, plain.reconstruction)
    for site, weight in weights.items():
        assert torch.equal(weighted.kl[site], plain.kl[site])
        assert torch.equal(plain.weighted_kl[site], plain.kl[site])
        torch.testing.assert_close(weighted.weighted_kl[site], weight * plain.kl[site])
    by_hand = (3.0 * plain.kl["f"] + 0.2 * plain.kl["z"] - plain.reconstruction).mean()
    torch.testing.assert_close(weighted.loss, by_hand)
    torch.testing.assert_close(plain.loss, -plain.elbo.mean())
    assert_same_gradients(gradients(weighted.loss, model, guide), gradients(by_hand, model, guide), 1e-4)


def test_weights_reach_the_loss_of_svi() -> None:
    model, guide = example()
    x, eps = clips(), noise(B)
    terms = SequenceELBO().terms(*weigh_kl(model, eps(guide), {"z": 0.5}), x)
    loss = SequenceELBO().loss(*weigh_kl(model, eps(guide), {"z": 0.5}), x)
    assert loss == pytest.approx(terms.loss.item() * B, rel=1e-6)


@pytest.mark.parametrize("side", ["model", "guide"])
def test_a_weight_on_one_side_is_refused(side: str) -> None:
    model, guide = example()
    half: tuple[Any, Any] = (
        (poutine.scale(model, 0.5), guide) if side == "model" else (model, poutine.scale(guide, 0.5))
    )
    with pytest.raises(ValueError, match="weigh_kl"):
        SequenceELBO().terms(*half, clips())
    with pytest.raises(ValueError, match="weigh_kl"):
        SequenceELBO().loss(*half, clips())


@pytest.mark.parametrize("weight", [0.0, -1.0, math.inf, -math.inf, math.nan])
def test_impossible_weights_are_refused(weight: float) -> None:
    model, guide = example()
    with pytest.raises(UsageError, match="positive and finite"):
        weigh_kl(model, guide, {"f": 1.0, "z": weight})


# --- particles --------------------------------------------------------------------------------------------------------


def assert_same_terms(a: ELBOTerms, b: ELBOTerms, *, exactly: bool = False) -> None:
    tolerance: Any = {"rtol": 0.0, "atol": 0.0} if exactly else {"rtol": 1e-5, "atol": 1e-5}
    assert a.estimators == b.estimators
    torch.testing.assert_close(a.reconstruction, b.reconstruction, **tolerance)
    for site in ("f", "z"):
        torch.testing.assert_close(a.kl[site], b.kl[site], **tolerance)
        torch.testing.assert_close(a.weighted_kl[site], b.weighted_kl[site], **tolerance)


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("posterior", POSTERIORS)
def test_vectorised_particles_equal_the_loop(posterior: str, kind: str) -> None:
    particles = 4
    model, guide = example(posterior=posterior)
    x = clips()
    mask, lengths = masks(kind, x)
    together = noise(particles, B)
    apart = iter([FrozenNoise(f, z) for f, z in zip(together.f, together.z, strict=True)])

    def one_after_the_other(*args: Any) -> None:
        with next(apart):
            guide(*args)

    vectorised = SequenceELBO(num_particles=particles, vectorize_particles=True, max_plate_nesting=1)
    with together:  # outside the plate of particles, which widens the guide's distributions first
        a = vectorised.terms(model, guide, x, mask, lengths)
        loss = vectorised.loss(model, guide, x, mask, lengths)
    b = SequenceELBO(num_particles=particles).terms(model, one_after_the_other, x, mask, lengths)
    assert a.reconstruction.shape == a.kl["f"].shape == a.kl["z"].shape == (B,)
    assert_same_terms(a, b)
    assert_same_gradients(gradients(a.loss, model, guide), gradients(b.loss, model, guide), 1e-4)
    assert loss == pytest.approx(a.loss.item() * B, rel=1e-5)


def test_vectorised_particles_draw_their_own_noise() -> None:
    model, guide = example(likelihood="Bernoulli")
    elbo = SequenceELBO(num_particles=3, vectorize_particles=True, max_plate_nesting=1)
    seen: list[Tensor] = []
    elbo.terms(model, lambda *args: seen.extend(guide(*args)), clips())
    f, z = seen
    assert f.shape == (3, B, F)
    assert z.shape == (3, B, T, D)
    assert not torch.equal(f[0], f[1])
    assert not torch.equal(z[0], z[1])


# --- stock Pyro and several models ------------------------------------------------------------------------------------


def snapshot(*modules: torch.nn.Module) -> dict[str, Tensor]:
    return {f"{i}.{n}": p.detach().clone() for i, m in enumerate(modules) for n, p in m.named_parameters()}


def test_stock_svi_trains_model_and_guide() -> None:
    model, guide = example()
    before = snapshot(model, guide)
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 1e-2}), SequenceELBO())
    x = clips()
    losses = [svi.step(x) for _ in range(60)]
    after = snapshot(model, guide)
    untouched = {name for name in before if torch.equal(before[name], after[name])}
    # Nothing is missing in x, so the vector that stands for missing frames has no gradient; all else moves.
    assert untouched == {"1.static_encoder.frames.missing", "1.dynamic_encoder.frames.missing"}
    assert sum(losses[-10:]) < sum(losses[:10])


def test_elbo_module_trains_with_torch_optimisers() -> None:
    model, guide = example()
    objective = SequenceELBO()(model, guide)
    before = snapshot(model, guide)
    optimiser = torch.optim.Adam(objective.parameters(), lr=1e-2)
    objective(clips()).backward()
    optimiser.step()
    after = snapshot(model, guide)
    for name in (
        "0.dynamic_prior.head.loc.weight",
        "0.likelihood.raw_scale",
        "0.decoder.layers.0.weight",
        "1.static_head.loc.weight",
    ):
        assert not torch.equal(before[name], after[name]), name


def train(model: DSVAE, guide: Posterior, x: Tensor, elbo: SequenceELBO) -> Callable[[int], None]:
    """A training step that draws its noise from the step's number."""
    optimiser = torch.optim.Adam([*model.parameters(), *guide.parameters()], lr=1e-2)

    def step(number: int) -> None:
        torch.manual_seed(number)
        optimiser.zero_grad()
        elbo.terms(model, guide, x).loss.backward()
        optimiser.step()

    return step


@pytest.mark.parametrize("plate_nesting", [1, math.inf], ids=["nesting given", "nesting guessed"])
@pytest.mark.parametrize("vectorise", [False, True], ids=["one particle", "vectorised particles"])
def test_two_models_in_one_process_do_not_share_weights(vectorise: bool, plate_nesting: float) -> None:
    def elbo() -> SequenceELBO:
        return SequenceELBO(1 + vectorise, plate_nesting, vectorize_particles=vectorise)

    x = clips()
    pairs = [example(), example()]
    alone = copy.deepcopy(pairs)
    for model, guide in alone:
        step = train(model, guide, x, elbo())
        for number in range(3):
            step(number)
    steps = [train(model, guide, x, elbo()) for model, guide in pairs]
    for number in range(3):
        for step in steps:
            step(number)

    assert len(pyro.get_param_store()) == 0
    for together, apart in zip(pairs, alone, strict=True):
        for (name, a), b in zip(snapshot(*together).items(), snapshot(*apart).values(), strict=True):
            assert torch.equal(a, b), name
    first, second = (snapshot(*pair) for pair in pairs)
    assert not any(torch.equal(first[n], second[n]) for n in first if "missing" not in n)


# --- what is not observed ---------------------------------------------------------------------------------------------


def hidden_places(kind: str, x: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor]:
    """mask, lengths, and where x (B, T, \\*frame) must not matter."""
    mask, lengths = masks(kind, x)
    visible = torch.ones(x.shape, dtype=torch.bool)
    for b in range(B):
        for t in range(T):
            if mask is not None:
                visible[b, t] &= mask[b, t]
            if lengths is not None and t >= lengths[b]:
                visible[b, t] = False
    assert not visible.all()
    return mask, lengths, ~visible


@pytest.mark.parametrize("junk", [1e6, -0.5, math.nan, math.inf])
@pytest.mark.parametrize("kind", MASKS[1:])
@pytest.mark.parametrize(
    ("frame_shape", "posterior", "likelihood", "views"),
    [
        (VECTOR, "LSTM", "Normal", False),
        (VECTOR, "Factorised", "Bernoulli", False),
        (IMAGE, "LSTM", "Bernoulli", True),
        (IMAGE, "Factorised", "Normal", True),
    ],
)
def test_nothing_leaks_through_a_mask(
    frame_shape: tuple[int, ...], posterior: str, likelihood: str, views: bool, kind: str, junk: float
) -> None:
    """Terms and gradients are the same bits whatever stands where nothing was observed (training mode)."""
    model, guide = example(frame_shape, likelihood=likelihood, posterior=posterior, views=views)
    x = clips(frame_shape)
    mask, lengths, hidden = hidden_places(kind, x)
    results = []
    for frames in (x, x.masked_fill(hidden, junk)):
        torch.manual_seed(1)
        terms = SequenceELBO().terms(model, guide, frames, mask, lengths)
        results.append((terms, gradients(terms.loss, model, guide)))
    (clean, clean_gradients), (dirty, dirty_gradients) = results
    assert torch.isfinite(clean.loss)
    assert_same_terms(dirty, clean, exactly=True)
    assert all(torch.equal(dirty_gradients[n], g) for n, g in clean_gradients.items())


def test_visible_values_do_matter() -> None:
    """The counterpart: one observed value changes reconstruction and both KL terms."""
    model, guide = example()
    x = clips()
    mask, lengths = masks("frame mask, ragged", x)
    changed = x.clone()
    changed[0, 2, 1] += 1
    eps = noise(B)
    a, b = (SequenceELBO().terms(model, eps(guide), frames, mask, lengths) for frames in (x, changed))
    for before, after in [(a.reconstruction, b.reconstruction), (a.kl["f"], b.kl["f"]), (a.kl["z"], b.kl["z"])]:
        assert before[0] != after[0]
        assert torch.equal(before[1:], after[1:])


@pytest.mark.parametrize("views", [False, True])
@pytest.mark.parametrize("posterior", POSTERIORS)
@pytest.mark.parametrize("training", [True, False])
def test_a_clip_without_any_observed_frame_has_finite_terms(posterior: str, views: bool, training: bool) -> None:
    model, guide = example(IMAGE, posterior=posterior, views=views)
    guide.train(training)
    x = torch.full((B, T, *IMAGE), math.nan)
    terms = SequenceELBO().terms(model, guide, x, torch.zeros(B, T, dtype=torch.bool))
    assert torch.equal(terms.reconstruction, torch.zeros(B))
    for value in terms.kl.values():
        assert torch.isfinite(value).all()
        assert (value >= 0).all()
    assert all(torch.isfinite(g).all() for g in gradients(terms.loss, model, guide).values())


def test_steps_that_do_not_exist_cost_nothing() -> None:
    """A sequence padded to T has the terms of the sequence alone."""
    model, guide = example()
    x, eps = clips(), noise(B)
    lengths = torch.tensor([4, 2, 5])
    terms = SequenceELBO().terms(model, eps(guide), x, None, lengths)
    for b, length in enumerate(lengths.tolist()):
        alone = FrozenNoise(eps.f[b : b + 1], eps.z[b : b + 1, :length])
        single = SequenceELBO().terms(model, alone(guide), x[b : b + 1, :length])
        torch.testing.assert_close(terms.elbo[b : b + 1], single.elbo)
        torch.testing.assert_close(terms.kl["z"][b : b + 1], single.kl["z"])
