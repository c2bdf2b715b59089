"""`DSVAETransformer` does what scikit-learn asks of its own, and fits and decodes as `fit` and `Run` do."""

import pickle
import sys
from functools import partial
from importlib import reload
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator

import pyro_dsvae
from pyro_dsvae import SequenceData, estimator
from pyro_dsvae.estimator import DSVAETransformer
from pyro_dsvae.fit import fit
from pyro_dsvae.inference.evidence import estimate_evidence
from pyro_dsvae.inference.posteriors import LSTM
from pyro_dsvae.inference.training.schedule import Optimisation
from pyro_dsvae.models import decoders, dynamic_priors, encoders, static_priors
from pyro_dsvae.models.errors import UsageError

N, T, P = 24, 5, 3
X = np.random.default_rng(0).normal(size=(N, T, P))
Y = np.arange(N) % 2
IMAGES = np.linspace(0, 1, 6 * 3 * 16 * 16).reshape(6, 3, 16, 16)
PARTS: dict[str, Any] = {
    "static_size": 2,
    "latent_size": 2,
    "static_prior": static_priors.StandardNormal,
    "dynamic_prior": dynamic_priors.IID,
    "posterior": partial(LSTM, hidden_size=4, feature_size=4),
    "steps": 2,
    "optimisation": Optimisation(evaluations=1),
    "device": "cpu",
}
SMALL = partial(
    DSVAETransformer,
    **PARTS,
    encoder=partial(encoders.Dense, units=8),
    decoder=partial(decoders.Dense, units=8),
    random_state=0,
)
# What scikit-learn asks of an estimator and this one does not do, with the reason: nothing.
EXCEPTIONS: dict[str, str] = {}


@pytest.fixture(scope="module")
def both() -> DSVAETransformer:
    return SMALL(output="both").fit(X)


# --- as scikit-learn's own --------------------------------------------------------------------------------------------


def test_it_passes_the_checks_of_scikit_learn() -> None:
    """Of rows (N, T), series of one value."""
    found = check_estimator(SMALL(), on_fail=None, on_skip=None, expected_failed_checks=EXCEPTIONS)
    assert {r["check_name"]: r["exception"] for r in found if r["status"] == "failed"} == {}
    assert {r["check_name"] for r in found if r["status"] == "xfail"} == set(EXCEPTIONS)
    assert sum(r["status"] == "passed" for r in found) > 40


def test_a_search_over_a_pipeline_tunes_it() -> None:
    pipeline = make_pipeline(SMALL(), LogisticRegression())
    search = GridSearchCV(pipeline, {"dsvaetransformer__latent_size": [1, 2]}, cv=2, error_score="raise").fit(X, Y)
    assert search.predict(X).shape == (N,)
    assert search.best_estimator_[0].run_.model.dynamic_prior.latent_size in (1, 2)
    alone = GridSearchCV(SMALL(), {"output": ["static", "both"]}, cv=2, error_score="raise").fit(X)
    assert np.isfinite(alone.cv_results_["mean_test_score"]).all()


def test_a_clone_fits_the_same_and_a_pickle_is_the_same(both: DSVAETransformer) -> None:
    codes = both.transform(X)
    assert np.array_equal(clone(both).fit(X).transform(X), codes)
    again = pickle.loads(pickle.dumps(both))
    assert np.array_equal(again.transform(X), codes)
    assert len(pickle.dumps(both)) < 10 * sum(v.nbytes for v in both.run_.model.state_dict().values()) + 100_000


def test_the_callers_random_numbers_are_left_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    SMALL().fit(X)
    assert torch.equal(torch.rand(2), expected)


def test_columns_have_names() -> None:
    found = SMALL(output="both").set_output(transform="pandas").fit_transform(X)
    dynamic = [f"z{t}_{i}" for t in range(T) for i in range(2)]
    assert list(found.columns) == ["f0", "f1", *dynamic]
    assert found.shape == (N, 2 + T * 2)


# --- as the package's -------------------------------------------------------------------------------------------------


def test_it_is_the_fit_of_the_command(both: DSVAETransformer, tmp_path: Path) -> None:
    """With the same split and the seed that scikit-learn draws from ``random_state``."""
    seed = int(np.random.RandomState(0).randint(2**31))
    held_out = np.random.default_rng(seed).permutation(N) < 2
    data = SequenceData(torch.from_numpy(X).float(), torch.from_numpy(held_out).to(torch.uint8))
    small = {"encoder": partial(encoders.Dense, units=8), "decoder": partial(decoders.Dense, units=8)}
    fit(data, seed=seed, out=tmp_path / "run", **PARTS, **small)
    run = pyro_dsvae.load(tmp_path / "run")
    codes = run.encode(X)
    assert np.array_equal(both.transform(X), torch.cat([codes.f, codes.z.flatten(1)], 1).numpy())
    assert np.allclose(both.static_mean_, codes.f[~held_out].mean(0), atol=1e-6)


def test_rows_are_decoded_to_sequences_as_they_were_given(both: DSVAETransformer) -> None:
    rows = both.transform(X[:3])
    expected = both.run_.reconstruct(X[:3]).detach().numpy()
    assert np.array_equal(both.inverse_transform(rows), expected)
    one = SMALL().fit(X)
    mean = one.run_.decode(one.transform(X[:3]), torch.from_numpy(one.dynamic_mean_).expand(3, T, 2))
    assert np.array_equal(one.inverse_transform(one.transform(X[:3])), mean.detach().numpy())
    flat = SMALL(output="dynamic").fit(X[:, :, 0])
    assert flat.inverse_transform(flat.transform(X[:3, :, 0])).shape == (3, T)


def test_bytes_come_back_as_bytes_are_counted() -> None:
    images = np.random.default_rng(0).integers(256, size=(8, 3, 16, 16), dtype=np.uint8)
    fitted = DSVAETransformer("both", **PARTS, random_state=0).fit(images)
    decoded = fitted.inverse_transform(fitted.transform(images))
    assert decoded.shape == images.shape
    expected = fitted.run_.reconstruct(images[:, :, None])[:, :, 0].detach().numpy() * 255
    assert np.allclose(decoded, expected, atol=1e-3)


def test_the_score_bounds_the_evidence(both: DSVAETransformer) -> None:
    sequences = SequenceData(torch.from_numpy(X).float(), torch.zeros(N, dtype=torch.uint8)).sequences("train")
    evidence = estimate_evidence(both.run_.sampler(), sequences, draws=50).log_evidence.mean()
    assert 1.05 * float(evidence) < both.score(X) < float(evidence) < 0  # two steps leave a gap


def test_what_is_nan_was_not_observed(both: DSVAETransformer) -> None:
    gaps = np.where(np.random.default_rng(1).random(X.shape) < 0.3, np.nan, X)
    codes = both.run_.encode(np.nan_to_num(gaps, nan=9.0), mask=~np.isnan(gaps))
    assert np.allclose(both.transform(gaps), torch.cat([codes.f, codes.z.flatten(1)], 1), atol=1e-6)
    assert np.isfinite(SMALL().fit_transform(gaps)).all()


@pytest.mark.parametrize(
    ("options", "given", "said"),
    [
        ({"output": "f"}, X, "output is 'f'; it is one of static, dynamic, both"),
        ({"static_size": 0}, X, "take output='dynamic'"),
        ({"validation_fraction": 0}, X, "it lies between 0 and 1"),
        ({"validation_fraction": 0.99}, X[:2], "none of 2 sequences is left"),
        ({"steps": 0}, X, "steps is 0; it must be a whole number of at least 1"),
        ({"steps": 2.5}, X, "steps is 2.5; it must be a whole number"),
        ({"latent_size": 2.5}, X, "latent_size is 2.5; it must be a whole number"),
        ({"static_size": 1.5}, X, "static_size is 1.5; it must be a whole number"),
        ({}, X[:, :1], "at least 2"),
        ({}, IMAGES * 254.5, r"these run from 0 to 254\.5: give X / 255$"),
        ({}, np.zeros((4, 3, 16, 16, 3)), "X.transpose"),
        ({}, np.zeros((4, 3, 1, 2, 2, 2)), r"\(N, T, C, H, W\)"),
    ],
)
def test_what_makes_no_fit_is_said(options: dict[str, Any], given: np.ndarray, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        SMALL(**options).fit(given)


def test_images_in_another_range_than_was_fitted_are_refused() -> None:
    fitted = DSVAETransformer("both", **PARTS, random_state=0).fit(IMAGES)
    assert np.isfinite(fitted.transform(fitted.inverse_transform(fitted.transform(IMAGES)))).all()
    for ask in (fitted.transform, fitted.score):
        with pytest.raises(UsageError, match=r"these run from 0 to 254\.5: give X / 255$"):
            ask(IMAGES * 254.5)


def test_other_sequences_than_were_fitted_are_refused(both: DSVAETransformer) -> None:
    with pytest.raises(ValueError, match="expecting 5 features"):
        both.transform(X[:, :4])
    with pytest.raises(ValueError, match=r"those that were fitted have \(5, 3\)"):
        both.transform(X[..., :2])
    with pytest.raises(ValueError, match="those of output='both' are 12"):
        both.inverse_transform(np.zeros((2, 3)))


def test_without_scikit_learn_its_name_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "sklearn.base", None)
        with pytest.raises(ImportError, match=r"pyro-dsvae\[evaluate\]"):
            reload(estimator)
    reload(estimator)
