"""The parts that come with the package, by option and name. Importing this module makes their short names known."""

from collections.abc import Mapping

from pyro_dsvae.data.arrays import Arrays
from pyro_dsvae.data.lpc_sprites import LPCSprites
from pyro_dsvae.data.sprites import Sprites
from pyro_dsvae.inference.posteriors.autoregressive import Autoregressive
from pyro_dsvae.inference.posteriors.causal_lstm import CausalLSTM
from pyro_dsvae.inference.posteriors.delta import Delta
from pyro_dsvae.inference.posteriors.factorised import Factorised
from pyro_dsvae.inference.posteriors.flow import Flow as FlowPosterior
from pyro_dsvae.inference.posteriors.lstm import LSTM as LSTMPosterior
from pyro_dsvae.inference.posteriors.structured_gaussian import StructuredGaussian
from pyro_dsvae.models.dynamic_priors.dynamic_prior import DynamicPrior
from pyro_dsvae.models.dynamic_priors.flow import Flow as DynamicFlow
from pyro_dsvae.models.dynamic_priors.gaussian_process import GaussianProcess
from pyro_dsvae.models.dynamic_priors.gru import GRU
from pyro_dsvae.models.dynamic_priors.iid import IID
from pyro_dsvae.models.dynamic_priors.linear_gaussian import LinearGaussian
from pyro_dsvae.models.dynamic_priors.lstm import LSTM
from pyro_dsvae.models.dynamic_priors.random_walk import RandomWalk
from pyro_dsvae.models.dynamic_priors.switching_linear import SwitchingLinear
from pyro_dsvae.models.dynamic_priors.transformer import Transformer
from pyro_dsvae.models.likelihoods.bernoulli import Bernoulli
from pyro_dsvae.models.likelihoods.continuous_bernoulli import ContinuousBernoulli
from pyro_dsvae.models.likelihoods.discretized_logistic import DiscretizedLogistic
from pyro_dsvae.models.likelihoods.laplace import Laplace
from pyro_dsvae.models.likelihoods.normal import Normal
from pyro_dsvae.models.likelihoods.poisson import Poisson
from pyro_dsvae.models.likelihoods.student_t import StudentT
from pyro_dsvae.models.static_priors.autoregressive_mixture import AutoregressiveMixture
from pyro_dsvae.models.static_priors.diagonal_normal import DiagonalNormal
from pyro_dsvae.models.static_priors.flow import Flow as StaticFlow
from pyro_dsvae.models.static_priors.gaussian_mixture import GaussianMixture
from pyro_dsvae.models.static_priors.standard_normal import StandardNormal
from pyro_dsvae.models.static_priors.vamp_prior import VampPrior

DYNAMIC_PRIORS: Mapping[str, type[DynamicPrior]] = {
    kind.__name__: kind
    for kind in (
        LSTM,
        GRU,
        Transformer,
        RandomWalk,
        LinearGaussian,
        GaussianProcess,
        SwitchingLinear,
        DynamicFlow,
        IID,
    )
}


def _by_name(*kinds: type) -> Mapping[str, type]:
    return {kind.__name__: kind for kind in kinds}


PARTS: Mapping[str, Mapping[str, type]] = {
    "data": _by_name(Sprites, LPCSprites, Arrays),
    "static_prior": _by_name(
        StandardNormal, DiagonalNormal, GaussianMixture, VampPrior, StaticFlow, AutoregressiveMixture
    ),
    "dynamic_prior": DYNAMIC_PRIORS,
    "posterior": _by_name(
        LSTMPosterior, Factorised, CausalLSTM, Autoregressive, StructuredGaussian, FlowPosterior, Delta
    ),
    "likelihood": _by_name(Normal, Laplace, StudentT, Bernoulli, ContinuousBernoulli, DiscretizedLogistic, Poisson),
}
