"""Vectors with columns of several kinds: every column has the density of its own likelihood, in its own units."""

import copy
import pickle
from functools import partial
from typing import Any

import numpy as np
import pyro
import pytest
import torch
from scipy import stats
from scipy.special import log_softmax
from torch import Tensor
from torch.distributions import constraints

from pyro_dsvae.inference.posteriors import LSTM as Posterior
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.dynamic_priors import LSTM
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.likelihoods import Categorical, Product
from pyro_dsvae.models.likelihoods.product import by_number
from pyro_dsvae.models.static_priors import StandardNormal
from tests.decoded import decoded_by
from tests.encoded import small_encoder

B, T, F, D, P = 3, 4, 5, 2, 8
# Two of each, not side by side; classes of 3 and of 5.
GROUPS: dict[str, Any] = {
    "Poisson": [2],
    "Normal": "rest",
    "StudentT": {"columns": [6, 1], "degrees": 4.0},
    "Categorical": {"columns": [7, 3], "classes": [3, 5]},
    "Bernoulli": [5],
}
NORMAL, COUNTS, STUDENT, SWITCH, CLASSES = [0, 4], 2, [6, 1], 5, [7, 3]


@pytest.fixture(autouse=True)
def seed() -> None:
    pyro.set_rng_seed(0)


def frames(*shape: int) -> Tensor:
    """Values of every kind, (*shape, P)."""
    x = torch.randn(*shape, P)
    x[..., COUNTS] = torch.randint(0, 9, shape).float()
    x[..., SWITCH] = torch.randint(0, 2, shape).float()
    for column, classes in zip(CLASSES, (3, 5), strict=True):
        x[..., column] = torch.randint(0, classes, shape).float()
    return x


def model_of(groups: dict[str, Any] | None = None) -> DSVAE:
    decoder, likelihood = decoded_by(partial(Product, groups=groups or GROUPS), F, D, (P,))
    return DSVAE(StandardNormal(F), LSTM(D, hidden_size=4), decoder, likelihood)


def by_scipy(likelihood: Product, decoded: Any, x: Any) -> Any:
    """log p of every value from the numbers of the decoder, which stand group by group."""
    count, real, heavy, classes, switch = np.split(decoded, np.cumsum([1, 2, 2, 8]), axis=-1)
    normal, student = likelihood.parts[1], likelihood.parts[2]
    expected = np.empty_like(x)
    expected[..., COUNTS] = stats.poisson(np.log1p(np.exp(count[..., 0])) + 1e-4).logpmf(x[..., COUNTS])
    expected[..., NORMAL] = stats.norm(real, normal.scale.item()).logpdf(x[..., NORMAL])  # type: ignore[union-attr, operator]
    t = stats.t(student.degrees.item(), heavy, student.scale.item())  # type: ignore[union-attr, operator]
    expected[..., STUDENT] = t.logpdf(x[..., STUDENT])
    for column, logits in zip(CLASSES, (classes[..., :3], classes[..., 3:]), strict=True):
        one = np.eye(logits.shape[-1])[x[..., column].astype(int)]
        expected[..., column] = stats.multinomial.logpmf(one, 1, np.exp(log_softmax(logits, -1)))
    expected[..., SWITCH] = stats.bernoulli(1 / (1 + np.exp(-switch[..., 0]))).logpmf(x[..., SWITCH])
    return expected


def test_every_column_has_the_density_of_its_own_likelihood() -> None:
    likelihood = Product((P,), GROUPS).double()
    assert likelihood.parameter_shape == (14,)
    assert likelihood.real_channels == (True, True, False, False, True, False, True, False)
    decoded, x = torch.randn(B, T, 14).double(), frames(B, T).double()
    p = likelihood(decoded)
    assert p.batch_shape == (B, T, P)
    expected = by_scipy(likelihood, decoded.numpy(), x.numpy())
    for found in (p, p.expand(torch.Size([2, B, T, P])), likelihood(decoded.expand(2, -1, -1, -1))):
        last = found.log_prob(x).reshape(-1, B, T, P)[-1]
        np.testing.assert_allclose(last.detach().numpy(), expected, rtol=1e-6, atol=1e-8)
    discrete = [bool(each.is_discrete) for each in p.support.cseq]
    assert discrete == [not real for real in likelihood.real_channels]
    assert isinstance(p.support, constraints.cat)


def test_draws_have_mean_and_variance_of_every_column_and_lie_in_the_support() -> None:
    likelihood, n = Product((P,), GROUPS).double(), 40_000
    p = likelihood(torch.randn(1, 14).double())
    x = p.sample(torch.Size([n]))
    assert ((x.mean(0) - p.mean).abs() < 4.5 * (p.variance / n).sqrt()).all()
    light = [c for c in range(P) if c not in STUDENT]  # four moments of the others are not finite
    torch.testing.assert_close(x.var(0)[:, light], p.variance[:, light], rtol=0.1, atol=0.01)
    likelihood.check(x.transpose(0, 1))
    assert torch.isfinite(p.log_prob(x)).all()


def test_the_mode_of_classes_is_the_most_probable_one() -> None:
    logits = torch.tensor([[0.0, 2.0, 1.0, 5.0, 0.0, 0.0, 0.0, 1.0]])
    assert Categorical((2,), [3, 5])(logits).mode.tolist() == [[1.0, 0.0]]


def test_copies_pickles_and_checkpoints_have_the_same_density() -> None:
    likelihood = Product((P,), GROUPS)
    decoded, x = torch.randn(B, T, 14), frames(B, T)
    fresh = Product((P,), GROUPS)
    for parameter in likelihood.parameters():
        parameter.data.add_(0.03)
    fresh.load_state_dict(likelihood.state_dict())
    for other in (copy.deepcopy(likelihood), pickle.loads(pickle.dumps(likelihood)), fresh):
        torch.testing.assert_close(other(decoded).log_prob(x), likelihood(decoded).log_prob(x))


def test_only_columns_of_real_numbers_are_standardised() -> None:
    """Counts, switches and classes keep their density; the others have the log Jacobian."""
    model = model_of()
    f, z, x = torch.randn(B, F), torch.randn(B, T, D), frames(B, T)
    real = torch.tensor(model.likelihood.real_channels)
    log_p, predicted = model.frames(f, z).log_prob(x), model.frames(f, z).mean
    mean, sd = 100 * torch.randn(P), 50 * torch.rand(P) + 1
    assert model.standardisation is not None
    model.standardisation.set(mean, sd)
    after = model.frames(f, z)
    there = torch.where(real, mean + sd * x, x)
    expected = log_p - torch.where(real, sd.log(), torch.zeros(()))
    torch.testing.assert_close(after.log_prob(there), expected, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(after.mean, torch.where(real, mean + sd * predicted, predicted))
    assert [bool(each.is_discrete) for each in after.support.cseq] == (~real).tolist()
    assert torch.equal(model.standardisation.spread, sd)


@pytest.mark.parametrize("whole", [False, True], ids=["values", "frames"])
def test_whatever_stands_under_the_mask_touches_no_bit(whole: bool) -> None:
    """1e6, and NaN, against zeros: densities, gradients and latents."""
    model, guide = model_of(), Posterior((P,), F, D, small_encoder, hidden_size=4, feature_size=4)
    x, seen = frames(B, T), torch.rand(B, T, *([] if whole else [P])) < 0.6
    at = seen[..., None].expand_as(x) if whole else seen
    found = []
    for other in (0.0, 1e6, -1e6, torch.nan):
        pyro.set_rng_seed(1)
        shown = torch.where(at, x, other)
        traced = pyro.poutine.trace(guide).get_trace(shown, seen)
        scored = pyro.poutine.trace(pyro.poutine.replay(model, trace=traced)).get_trace(shown, seen)
        loss = scored.log_prob_sum() - traced.log_prob_sum()
        learned = [*model.decoder.parameters(), *model.likelihood.parameters(), *guide.parameters()]
        gradients = torch.autograd.grad(loss, learned, allow_unused=True)
        found.append([loss, *(gradient for gradient in gradients if gradient is not None)])
    for others in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], others, strict=True))
        assert len(others) > 10


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        (None, "name the columns of each likelihood"),
        ({}, "name the columns of each likelihood"),
        ({"Normal": [0, 1, 2]}, "no likelihood has the columns 3, 4, 5, 6, 7"),
        ({"Normal": "rest", "Poisson": [8]}, "the column 8; these run from 0 to 7"),
        ({"Normal": "rest", "Poisson": [-1]}, "the column -1"),
        ({"Normal": "rest", "Poisson": [1, 1]}, "column 1 is in two places"),
        ({"Normal": [0, 1], "Poisson": [1]}, "column 1 is in two places"),
        ({"Normal": "rest", "Laplace": "rest"}, "Normal and Laplace are both for the rest"),
        ({"Normal": "rest", "Poisson": list(range(8))}, "Normal is for the rest, and there is none"),
        ({"Normal": "all"}, 'give a list of numbers, or "rest"'),
        ({"Normal": 3}, 'give a list of numbers, or "rest"'),
        ({"Normal": "rest", "Poisson": []}, 'give a list of numbers, or "rest"'),
        ({"Gauss": "rest"}, "no likelihood 'Gauss'"),
        ({"normal": "rest"}, "did you mean Normal"),
        ({"Normal": {"columns": "rest", "sclae": 1.0}}, "Normal has no option 'sclae' (did you mean scale?)"),
        ({"Normal": {"columns": "rest", "scale": -1.0}}, "min_scale < scale"),
        ({"Categorical": {"columns": "rest", "classes": [2, 3]}}, "2 numbers of classes for 8 channels"),
        ({"Categorical": {"columns": "rest", "classes": 1}}, "at least 2 classes"),
        ({"torch.nn.Linear": "rest"}, "is no likelihood"),
    ],
)
def test_groups_that_are_none_are_told_in_one_line(groups: Any, said: str) -> None:
    with pytest.raises(UsageError) as error:
        Product((P,), groups)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_images_are_refused() -> None:
    with pytest.raises(UsageError, match="Product takes vectors"):
        Product((1, 16, 16), {"Normal": "rest"})


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        (COUNTS, 0.5, "column 2: the Poisson"),
        (SWITCH, 2.0, "column 5: the Bernoulli"),
        (7, 3.0, "columns 7, 3: the Categorical"),
    ],
)
def test_values_that_a_column_cannot_have_are_named(column: int, value: float, said: str) -> None:
    likelihood, x = Product((P,), GROUPS), frames(B, T)
    likelihood.check(x)
    likelihood.check(x.abs().round().byte())
    x[1, 2, column] = value
    with pytest.raises(UsageError, match="needs") as error:
        likelihood.check(x)
    assert said in str(error.value)


def test_bytes_are_the_numbers_that_they_are() -> None:
    stored = torch.tensor([[[0, 7]]], dtype=torch.uint8)
    likelihood = Product((2,), {"Bernoulli": [0], "Poisson": [1]})
    assert likelihood.to_model_units(stored).tolist() == [[[0.0, 7.0]]]
    likelihood.check(stored)
    with pytest.raises(UsageError, match="column 0: the Bernoulli"):
        likelihood.check(stored + 2)


def test_columns_have_names_too() -> None:
    names = ("pulse", "skin", "steps")
    groups = {"Normal": "rest", "Poisson": ["steps"], "StudentT": {"columns": ["skin", 0], "degrees": 4.0}}
    numbered = {"Normal": "rest", "Poisson": [2], "StudentT": {"columns": [1, 0], "degrees": 4.0}}
    assert by_number(groups, names) == numbered
    assert by_number(numbered, ()) == numbered
    with pytest.raises(UsageError, match=r"no column 'step' \(did you mean steps\?\); there are pulse, skin, steps"):
        by_number({"Poisson": ["step"]}, names)
    with pytest.raises(UsageError, match="no column 'steps'; the columns of these data have numbers"):
        by_number({"Poisson": ["steps"]}, ())
