"""The parts that come with the package, by the option that picks them. Importing it makes their short names known."""

from collections.abc import Mapping

from pyro_dsvae.data.arrays import Arrays
from pyro_dsvae.data.lpc_sprites import LPCSprites
from pyro_dsvae.data.sprites import Sprites
from pyro_dsvae.inference.posteriors import autoregressive, causal_lstm, delta, factorised, structured_gaussian
from pyro_dsvae.inference.posteriors import flow as flow_posterior
from pyro_dsvae.inference.posteriors import lstm as lstm_posterior
from pyro_dsvae.models.dynamic_priors import flow as flow_dynamics
from pyro_dsvae.models.dynamic_priors import (
    gaussian_process,
    gru,
    iid,
    linear_gaussian,
    lstm,
    random_walk,
    switching_linear,
    transformer,
)
from pyro_dsvae.models.likelihoods import (
    bernoulli,
    continuous_bernoulli,
    discretized_logistic,
    laplace,
    normal,
    poisson,
    student_t,
)
from pyro_dsvae.models.static_priors import diagonal_normal, gaussian_mixture, standard_normal, vamp_prior
from pyro_dsvae.models.static_priors import flow as static_flow


def _by_name(*kinds: type) -> Mapping[str, type]:
    return {kind.__name__: kind for kind in kinds}


PARTS: Mapping[str, Mapping[str, type]] = {
    "data": _by_name(Sprites, LPCSprites, Arrays),
    "static_prior": _by_name(
        standard_normal.StandardNormal,
        diagonal_normal.DiagonalNormal,
        gaussian_mixture.GaussianMixture,
        vamp_prior.VampPrior,
        static_flow.Flow,
    ),
    "dynamic_prior": _by_name(
        lstm.LSTM,
        gru.GRU,
        transformer.Transformer,
        random_walk.RandomWalk,
        linear_gaussian.LinearGaussian,
        gaussian_process.GaussianProcess,
        switching_linear.SwitchingLinear,
        flow_dynamics.Flow,
        iid.IID,
    ),
    "posterior": _by_name(
        lstm_posterior.LSTM,
        factorised.Factorised,
        causal_lstm.CausalLSTM,
        autoregressive.Autoregressive,
        structured_gaussian.StructuredGaussian,
        flow_posterior.Flow,
        delta.Delta,
    ),
    "likelihood": _by_name(
        normal.Normal,
        laplace.Laplace,
        student_t.StudentT,
        bernoulli.Bernoulli,
        continuous_bernoulli.ContinuousBernoulli,
        discretized_logistic.DiscretizedLogistic,
        poisson.Poisson,
    ),
}
