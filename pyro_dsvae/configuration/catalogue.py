"""The parts that come with the package, by option and name. Importing this module makes their short names known."""

from collections.abc import Mapping
from typing import TypeVar

from pyro_dsvae.data import (
    Arrays,
    BasicMotions,
    CartoonFaces,
    JapaneseVowels,
    LPCSprites,
    MovingDigits,
    SeriesTable,
    Shards,
    SpeechFolder,
    SpokenWords,
    Sprites,
    VideoFolder,
    WatchExercises,
)
from pyro_dsvae.inference import posteriors
from pyro_dsvae.inference.posteriors.views import choice
from pyro_dsvae.models import decoders, dynamic_priors, encoders, likelihoods, static_priors
from pyro_dsvae.models.dynamic_priors import DynamicPrior
from pyro_dsvae.trackers import MLflow, TensorBoard

Kind = TypeVar("Kind", bound=type)


def _by_name(*kinds: Kind) -> Mapping[str, Kind]:
    return {kind.__name__: kind for kind in kinds}


DYNAMIC_PRIORS: Mapping[str, type[DynamicPrior]] = _by_name(
    dynamic_priors.LSTM,
    dynamic_priors.GRU,
    dynamic_priors.Transformer,
    dynamic_priors.RandomWalk,
    dynamic_priors.LinearGaussian,
    dynamic_priors.GaussianProcess,
    dynamic_priors.SwitchingLinear,
    dynamic_priors.Flow,
    dynamic_priors.IID,
)

PARTS: Mapping[str, Mapping[str, type]] = {
    "data": _by_name(
        Sprites,
        MovingDigits,
        CartoonFaces,
        LPCSprites,
        Arrays,
        SeriesTable,
        Shards,
        VideoFolder,
        SpeechFolder,
        SpokenWords,
        WatchExercises,
        JapaneseVowels,
        BasicMotions,
    ),
    "static_prior": _by_name(
        static_priors.StandardNormal,
        static_priors.DiagonalNormal,
        static_priors.GaussianMixture,
        static_priors.VampPrior,
        static_priors.Flow,
        static_priors.AutoregressiveMixture,
    ),
    "dynamic_prior": DYNAMIC_PRIORS,
    "posterior": _by_name(
        posteriors.LSTM,
        posteriors.Factorised,
        posteriors.CausalLSTM,
        posteriors.Autoregressive,
        posteriors.StructuredGaussian,
        posteriors.Flow,
        posteriors.Delta,
    ),
    "encoder": _by_name(
        encoders.Convolutional,
        encoders.Patches,
        encoders.Pyramid,
        encoders.Spectral,
        encoders.Dense,
        encoders.MaskedDense,
        encoders.TCN,
    ),
    "decoder": _by_name(decoders.Textures, decoders.Regions, decoders.Joined, decoders.FiLM, decoders.Dense),
    "likelihood": _by_name(
        likelihoods.Normal,
        likelihoods.Laplace,
        likelihoods.StudentT,
        likelihoods.Bernoulli,
        likelihoods.ContinuousBernoulli,
        likelihoods.DiscretizedLogistic,
        likelihoods.Poisson,
        likelihoods.Categorical,
        likelihoods.Product,
    ),
    "tracker": _by_name(TensorBoard, MLflow),
}


def names(option: str) -> list[str]:
    """What an option takes by name: a part, or what a part is told by name, such as ``posterior.views``."""
    return sorted({**PARTS, "views": choice.BY_NAME}.get(option.rpartition(".")[2], ()))
