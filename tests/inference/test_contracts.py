"""Every pair of parts that is offered: one list of cases, every contract.

Dynamic priors x posteriors and static priors x posteriors, on vectors, with one likelihood; likelihoods on their own.
"""

import copy
import functools
import itertools
import math
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyro
import pytest
import torch
from pyro import poutine
from torch import Tensor

from pyro_dsvae.configuration.build import build
from pyro_dsvae.configuration.catalogue import PARTS
from pyro_dsvae.inference.batch import Batch
from pyro_dsvae.inference.elbo import ELBOTerms, SequenceELBO
from pyro_dsvae.inference.prediction import decode, posterior_means, sample_latents
from pyro_dsvae.inference.training.objective import KLWeights, Objective
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.steps import Steps

B, T, F, D, P = 3, 5, 3, 2, 4
PARTS_PAGE = Path(__file__).parents[2] / "docs" / "parts.md"

# Small networks; whatever has no such option is as it comes.
SMALL: Mapping[str, Mapping[str, Any]] = {
    "posterior": {"hidden_size": 6, "feature_size": 6},
    "decoder": {"units": 16},
}
OPTIONS: Mapping[tuple[str, str], Mapping[str, Any]] = {
    ("dynamic_prior", "LSTM"): {"hidden_size": 6, "condition_on_static": True},
    ("dynamic_prior", "GRU"): {"hidden_size": 6, "condition_on_static": True},
    ("dynamic_prior", "Transformer"): {"width": 8, "heads": 2, "layers": 1, "condition_on_static": True},
    ("dynamic_prior", "SwitchingLinear"): {"states": 3},
    ("dynamic_prior", "Flow"): {"hidden_size": 6},
    ("static_prior", "GaussianMixture"): {"components": 3},
    ("static_prior", "VampPrior"): {"components": 3},
    ("static_prior", "AutoregressiveMixture"): {"modes": 3, "units": 6},
    ("likelihood", "Categorical"): {"classes": 5},
    ("likelihood", "Product"): {
        "groups": {"Normal": "rest", "Poisson": [1, 3], "Categorical": {"columns": [2], "classes": 5}}
    },
}


# A mixture of points has no density.
REFUSED = ("VampPrior", "Delta")


class Case(NamedTuple):
    """The names of the parts of one model."""

    static_prior: str = "StandardNormal"
    dynamic_prior: str = "LSTM"
    posterior: str = "LSTM"
    likelihood: str = "Normal"

    def __str__(self) -> str:
        return "-".join(self)


PAIRS = [
    *(Case(dynamic_prior=d, posterior=q) for d, q in itertools.product(PARTS["dynamic_prior"], PARTS["posterior"])),
    *(
        Case(static_prior=s, posterior=q)
        for s, q in itertools.product(PARTS["static_prior"], PARTS["posterior"])
        if s != "StandardNormal" and (s, q) != REFUSED
    ),
]
CASES = [*PAIRS, *(Case(likelihood=name) for name in PARTS["likelihood"] if name != "Normal")]
every_pair = pytest.mark.parametrize("case", PAIRS, ids=str)
every_case = pytest.mark.parametrize("case", CASES, ids=str)


def recipe(option: str, name: str) -> Callable[..., Any]:
    options = SMALL.get(option, OPTIONS.get((option, name), {}))
    return functools.partial(PARTS[option][name], **options)


def frames_for(likelihood: str, count: int = B) -> Tensor:
    """Stored frames (B, T, P) that the likelihood takes."""
    generator = torch.Generator().manual_seed(1)
    if likelihood == "DiscretizedLogistic":
        return torch.randint(0, 256, (count, T, P), generator=generator, dtype=torch.uint8)
    values = torch.rand(count, T, P, generator=generator)
    counts = (values * 5).floor()
    if likelihood == "Product":
        return torch.cat([values[..., :1], counts[..., 1:]], dim=-1)
    return counts if likelihood in ("Poisson", "Categorical") else values


def objective(case: Case, *, spread: float = 0.3) -> Objective:
    """A model and a guide whose weights are not those of the start, where many things vanish."""
    made = build(
        frames_for(case.likelihood, 4),
        0,
        F,
        D,
        *(recipe(option, name) for option, name in case._asdict().items()),
        recipe("decoder", "Dense"),
    )
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in made.parameters():
            p.add_(spread * torch.randn(p.shape, generator=generator))
    return made


def terms_of(made: Objective, x: Tensor, *args: Any, particles: int = 1) -> ELBOTerms:
    elbo = SequenceELBO(particles, vectorize_particles=particles > 1, max_plate_nesting=1)
    return elbo.terms(made.model, made.guide, x, *args)


@pytest.fixture(autouse=True)
def seed() -> None:
    pyro.set_rng_seed(0)


@every_case
def test_a_step_of_learning(case: Case) -> None:
    """Finite terms in nats per sequence, shapes, and a finite gradient in every parameter that the objective uses."""
    made = objective(case)
    batch = Batch(made.model.likelihood.to_model_units(frames_for(case.likelihood)), lengths=torch.tensor([T, 2, 3]))
    out = made(batch, KLWeights(0.5, 2.0))
    assert all(value.ndim == 0 and torch.isfinite(value) for value in out.values())
    torch.testing.assert_close(out["elbo"], out["reconstruction"] - out["kl_static"] - out["kl_dynamic"])
    out["loss"].backward()
    gradients = {name: p.grad for name, p in made.named_parameters()}
    assert all(g is None or torch.isfinite(g).all() for g in gradients.values())
    reached = {name.split(".")[1] for name, g in gradients.items() if g is not None and g.abs().sum() > 0}
    assert "decoder" in reached
    for half in ("static_prior", "dynamic_prior"):
        if any(name.startswith(f"model.{half}.") for name in gradients):
            assert half in reached


@every_pair
def test_a_left_batch_equals_the_loop_over_its_particles(case: Case) -> None:
    """Three draws of every sequence at once, scored; and each by itself, given the same latents."""
    made = objective(case).double().eval()
    x, lengths = frames_for(case.likelihood).double(), torch.tensor([T, 2, 3])
    with torch.no_grad():
        guide, model = traces(made, x, lengths, 3)
        latents = {site: guide.nodes[site]["value"] for site in ("f", "z")}
        together = {name: scored(trace, sites) for name, trace, sites in (("q", guide, "fz"), ("p", model, "fzx"))}
        for k in range(3):
            given = {site: value[k] for site, value in latents.items()}
            alone = poutine.trace(poutine.condition(made.guide, data=given)).get_trace(x, None, lengths)
            under = poutine.trace(poutine.condition(made.model, data=given)).get_trace(x, None, lengths)
            for name, trace, sites in (("q", alone, "fz"), ("p", under, "fzx")):
                if (case.posterior, name) == ("Delta", "q"):
                    continue  # at a point the density is infinite, next to it none: rounding decides
                for site, value in scored(trace, sites).items():
                    torch.testing.assert_close(together[name][site][k], value, rtol=1e-6, atol=1e-6)


def traces(made: Objective, x: Tensor, lengths: Tensor, draws: int) -> tuple[Any, Any]:
    """Traces of the guide and of the model along its draws, the draws in a plate on the left."""
    with pyro.plate("draws", draws, dim=-2):
        guide = poutine.trace(made.guide).get_trace(x, None, lengths)
        return guide, poutine.trace(poutine.replay(made.model, trace=guide)).get_trace(x, None, lengths)


def scored(trace: Any, sites: str) -> dict[str, Tensor]:
    """Log densities of whole sites, one per sequence."""
    return {site: trace.nodes[site]["fn"].log_prob(trace.nodes[site]["value"]) for site in sites}


@every_pair
def test_the_kl_is_the_mean_log_ratio(case: Case) -> None:
    """KL of f and of z against E_q[log q - log p], 4,000 draws, ragged lengths: within four and a half standard errors."""
    if case.posterior == "Delta":
        pytest.skip("a point has no log ratio: its KL is -log p by convention")
    draws = 4_000
    made = objective(case).double().eval()
    x, lengths = frames_for(case.likelihood).double(), torch.tensor([T, 2, 3])
    with torch.no_grad():
        terms = terms_of(made, x, None, lengths, None, particles=draws // 4)
        kinds = (dict(terms.estimators), terms.kl)
        ratio = log_ratio(made, x, lengths, draws)
    for site in ("f", "z"):
        spread = ratio[site].std(0) / math.sqrt(draws)
        noise = spread * (1 if "closed" in kinds[0][site] else math.sqrt(5))
        assert ((kinds[1][site] - ratio[site].mean(0)).abs() < 4.5 * noise * math.sqrt(5) + 1e-9).all(), site


def log_ratio(made: Objective, x: Tensor, lengths: Tensor, draws: int) -> dict[str, Tensor]:
    """log q - log p of whole latents along draws from the guide, each (draws, B)."""
    guide, model = traces(made, x, lengths, draws)
    value = scored(guide, "fz")
    return {site: value[site] - p for site, p in scored(model, "fz").items()}


@every_case
def test_generation_reconstruction_and_continuation(case: Case) -> None:
    made = objective(case).eval()
    likelihood = made.model.likelihood
    x = likelihood.to_model_units(frames_for(case.likelihood))
    f, z = posterior_means(made.guide, x)
    assert f.shape == (B, F)
    assert z.shape == (B, T, D)
    assert decode(made.model, f, z).shape == (B, T, P)
    f, z = sample_latents(made.model, 4, Steps(T))
    path = made.model.dynamic_prior(f, Steps(T))
    ahead = path.continue_from(z[:, :2], 6).sample()
    assert ahead.shape == (4, 6, D)
    frames = made.model.frames(f, ahead).sample()
    assert frames.shape == (4, 6, P)
    assert torch.isfinite(frames).all()
    likelihood.check(frames)


@every_case
def test_pickling_copies_and_states(case: Case) -> None:
    """A pickled copy, a deep copy and another model with the same state say what the model says."""
    made = objective(case).eval()
    batch = Batch(made.model.likelihood.to_model_units(frames_for(case.likelihood)))
    other = objective(case, spread=0.1).eval()
    other.load_state_dict(made.state_dict())

    def said(by: Objective) -> Tensor:
        pyro.set_rng_seed(3)
        with torch.no_grad():
            return by(batch, KLWeights())["elbo"]

    expected = said(made)
    for twin in (pickle.loads(pickle.dumps(made)), copy.deepcopy(made), other):
        assert torch.equal(said(twin), expected)


@every_case
def test_extreme_frames_leave_gradients_finite(case: Case) -> None:
    made = objective(case)
    frames = made.model.likelihood.to_model_units(frames_for(case.likelihood))
    if case.likelihood in ("Normal", "Laplace", "StudentT"):
        frames = frames * 1e4
    elif case.likelihood == "Poisson":
        frames = frames * 1e3
    made(Batch(frames), KLWeights())["loss"].backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in made.parameters())


@every_case
def test_single_and_double_precision_agree(case: Case) -> None:
    """The same latents scored in both; and no part makes single-precision numbers of double ones."""
    single = objective(case).eval()
    double = copy.deepcopy(single).double()
    x = single.model.likelihood.to_model_units(frames_for(case.likelihood))
    with torch.no_grad():
        f, z = torch.randn(B, F), torch.randn(B, T, D)
        scores = []
        for made, kind in ((single, torch.float32), (double, torch.float64)):
            latents = {"f": f.to(kind), "z": z.to(kind)}
            trace = poutine.trace(poutine.condition(made.model, data=latents)).get_trace(x.to(kind))
            scores.append([trace.nodes[site]["fn"].log_prob(trace.nodes[site]["value"]) for site in "fzx"])
            assert all(score.dtype == kind for score in scores[-1])
            assert terms_of(made, x.to(kind)).elbo.dtype == kind
    for a, b in zip(*scores, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-3)


def test_the_one_pair_that_cannot_work_is_refused() -> None:
    with pytest.raises(UsageError, match=r"VampPrior .* Delta .* take any other posterior"):
        objective(Case(static_prior=REFUSED[0], posterior=REFUSED[1]))


def test_the_page_of_parts_says_which_estimator_every_pair_gets() -> None:
    """The table "prior | posterior ..." in docs/parts.md, cell by cell, against what a fit reports."""
    for option, site in (("static_prior", "f"), ("dynamic_prior", "z")):
        said = table_of(option)
        found = {}
        for prior, posterior in itertools.product(PARTS[option], PARTS["posterior"]):
            if (prior, posterior) == REFUSED:
                found[prior, posterior] = "refused"
                continue
            case = Case(posterior=posterior)._replace(**{option: prior})
            terms = terms_of(objective(case), frames_for(case.likelihood))
            found[prior, posterior] = terms.estimators[site]
        assert said == found


def table_of(option: str) -> dict[tuple[str, str], str]:
    """(prior, posterior) -> estimator, from the table whose first head is the option."""
    lines = PARTS_PAGE.read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| KL, `--{option}`"))
    rows = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines[start:]]
    rows = rows[: next(i for i, row in enumerate(rows) if len(row) < 2)]
    posteriors = rows[0][1:]
    return {(row[0], q): cell for row in rows[2:] for q, cell in zip(posteriors, row[1:], strict=True)}
