"""Label-based scores of single dimensions of the latents: DCI, MIG and SAP."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyro_dsvae.data.dataset import Label
from pyro_dsvae.models.errors import UsageError

Array = NDArray[np.float64]

# What the scores were computed with, for evaluation.json: figures of other predictors do not compare.
PREDICTORS = "gradient boosting; linear support vector machines"
BINS = 20
# Boosted trees take a minute for as many clips; more would hardly change what they find important.
CLIPS = 3_000


@dataclass(frozen=True)
class DCI:
    """Disentanglement, completeness and informativeness, all between 0 and 1, higher is better.

    Attributes:
        disentanglement: 1 where every code is important for one factor only.
        completeness: 1 where every factor is predicted by one code only.
        informativeness: From each factor to the accuracy on the evaluated clips, from all codes.
        importance: (codes, factors) float64; columns sum to 1, or are 0 where nothing predicts the factor.
    """

    disentanglement: float
    completeness: float
    informativeness: dict[str, float]
    importance: Tensor


@dataclass(frozen=True)
class Gaps:
    """One score per factor, and their mean. The higher, the more a single code determines the factor."""

    mean: float
    factors: dict[str, float]


def scikit_learn(module: str) -> ModuleType:
    """A module of scikit-learn, which is an optional dependency.

    Raises:
        UsageError: Where it is not installed.
    """
    try:
        return import_module(f"sklearn.{module}")
    except ModuleNotFoundError as error:
        raise UsageError(
            "DCI, MIG and SAP need scikit-learn; install it with: pip install 'pyro-dsvae[evaluate]'"
        ) from error


def dci(
    codes: Tensor,
    labels: Mapping[str, Label],
    test_codes: Tensor,
    test_labels: Mapping[str, Label],
    seed: int = 0,
) -> DCI:
    """Disentanglement, completeness and informativeness of codes (N, C) of training clips and (M, C) of others.

    For every factor gradient boosted trees predict its class from all codes; R_ij is how much code i lowers the impurity
    of the trees for factor j. With P_i. = R_i. / sum_k R_ik over K factors and P_.j = R_.j / sum_i R_ij over C codes,

        disentanglement = sum_i rho_i (1 - H_K(P_i.)),     rho_i = sum_j R_ij / sum_ij R_ij
        completeness    = sum_j sigma_j (1 - H_C(P_.j)),   sigma_j = sum_i R_ij / sum_ij R_ij

    with entropies to base K and C. Informativeness is the accuracy on the other clips. The trees are those of
    scikit-learn's `GradientBoostingClassifier` as it comes, fitted to at most 3,000 clips, evenly spaced.

    Sources: Eastwood & Williams, "A Framework for the Quantitative Evaluation of Disentangled Representations", ICLR 2018;
    predictor and weights as in Locatello et al., "Challenging Common Assumptions in the Unsupervised Learning of
    Disentangled Representations", ICML 2019, and its disentanglement_lib.

    Args:
        codes: Of training clips, (N, C).
        labels: Of training clips.
        test_codes: Of the evaluated clips, (M, C).
        test_labels: Of the evaluated clips.
        seed: Of the trees.
    """
    ensemble = scikit_learn("ensemble")
    some = torch.arange(len(codes))[:: -(-len(codes) // CLIPS)]
    importance, informativeness = [], {}
    for name, label in labels.items():
        values = label.values[some].numpy()
        if len(np.unique(values)) < 2:  # nothing to tell, and the trees refuse
            importance.append(np.zeros(codes.shape[1]))
            informativeness[name] = float(np.mean(test_labels[name].values.numpy() == values[0]))
            continue
        trees = ensemble.GradientBoostingClassifier(random_state=seed % 2**32)  # scikit-learn takes 32 bits
        trees.fit(_array(codes[some]), values)
        importance.append(trees.feature_importances_)
        informativeness[name] = float(trees.score(_array(test_codes), test_labels[name].values.numpy()))
    matrix = np.stack(importance, axis=1)
    return DCI(disentanglement(matrix), completeness(matrix), informativeness, torch.from_numpy(matrix))


def disentanglement(importance: Array) -> float:
    """That of `dci`, from the importance (C, K) of codes for factors."""
    total = importance.sum()
    if total == 0:
        return 0.0
    return float((importance.sum(1) / total) @ (1 - _entropies(importance, importance.shape[1])))


def completeness(importance: Array) -> float:
    """That of `dci`, from the importance (C, K) of codes for factors: disentanglement with codes and factors exchanged."""
    return disentanglement(importance.T)


def _entropies(weights: Array, base: int) -> Array:
    """Entropy of every row, normalised, to ``base``; 0 where there is only one choice."""
    if base < 2:
        return np.zeros(len(weights))
    p = weights / np.maximum(weights.sum(1, keepdims=True), 1e-300)
    return -(p * np.log(np.where(p > 0, p, 1))).sum(1) / np.log(base)


def mig(codes: Tensor, labels: Mapping[str, Label]) -> Gaps:
    """The mutual information gap of codes (N, C): (I(c_1; v) - I(c_2; v)) / H(v) for every factor v.

    c_1 and c_2 are the two codes with the largest mutual information with v. Codes are cut into 20 equal bins between their
    extremes, as is usual; the estimate of each I is too high by about (bins - 1) (classes - 1) / (2 N) nats.

    Source: Chen et al., "Isolating Sources of Disentanglement in Variational Autoencoders", NeurIPS 2018.

    Args:
        codes: (N, C).
        labels: From the name of each factor to its classes.
    """
    information = scikit_learn("metrics").mutual_info_score
    binned = [np.digitize(code, np.histogram_bin_edges(code, BINS)[1:-1]) for code in _array(codes).T]
    gaps = {}
    for name, label in labels.items():
        values = label.values.numpy()
        shared = np.sort([information(values, code) for code in binned])[::-1]
        entropy = information(values, values)
        gaps[name] = float((shared[0] - (shared[1] if len(shared) > 1 else 0)) / entropy) if entropy > 0 else 0.0
    return _gaps(gaps)


def sap(codes: Tensor, labels: Mapping[str, Label], test_codes: Tensor, test_labels: Mapping[str, Label]) -> Gaps:
    """The separated attribute predictability of codes: difference of the two best single codes, for every factor.

    How well one code predicts a factor is the accuracy, on the other clips, of a linear support vector machine (C = 0.01,
    classes weighted to balance) that is fitted to the training clips. With one number to go by, it tells few of many
    classes apart, so SAP of factors with many classes is low even where one code is the factor.

    Source: Kumar et al., "Variational Inference of Disentangled Latent Concepts from Unlabeled Observations", ICLR 2018;
    the machine's settings as in disentanglement_lib.

    Args:
        codes: Of training clips, (N, C).
        labels: Of training clips.
        test_codes: Of the evaluated clips, (M, C).
        test_labels: Of the evaluated clips.
    """
    svm = scikit_learn("svm")
    x, x_test = _array(codes), _array(test_codes)
    gaps = {}
    for name, label in labels.items():
        values, true = label.values.numpy(), test_labels[name].values.numpy()
        if len(np.unique(values)) < 2:  # every code tells all there is
            gaps[name] = 0.0
            continue
        scores = []
        for i in range(x.shape[1]):
            machine = svm.LinearSVC(C=0.01, class_weight="balanced")
            machine.fit(x[:, i : i + 1], values)
            scores.append(float(np.mean(machine.predict(x_test[:, i : i + 1]) == true)))
        scores.sort(reverse=True)
        gaps[name] = scores[0] - (scores[1] if len(scores) > 1 else 0.0)
    return _gaps(gaps)


def _gaps(factors: dict[str, float]) -> Gaps:
    return Gaps(sum(factors.values()) / len(factors), factors)


def _array(codes: Tensor) -> Array:
    array: Array = codes.double().numpy()
    return array
