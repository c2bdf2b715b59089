"""Likelihoods p(x_t | f, z_t) of a frame. `Likelihood` is what each of them is, and what one of your own is."""

from pyro_dsvae.models.likelihoods.bernoulli import Bernoulli
from pyro_dsvae.models.likelihoods.categorical import Categorical
from pyro_dsvae.models.likelihoods.continuous_bernoulli import ContinuousBernoulli
from pyro_dsvae.models.likelihoods.discretized_logistic import DiscretizedLogistic
from pyro_dsvae.models.likelihoods.laplace import Laplace
from pyro_dsvae.models.likelihoods.likelihood import Likelihood
from pyro_dsvae.models.likelihoods.normal import Normal
from pyro_dsvae.models.likelihoods.poisson import Poisson
from pyro_dsvae.models.likelihoods.product import Product
from pyro_dsvae.models.likelihoods.student_t import StudentT

__all__ = [
    "Bernoulli",
    "Categorical",
    "ContinuousBernoulli",
    "DiscretizedLogistic",
    "Laplace",
    "Likelihood",
    "Normal",
    "Poisson",
    "Product",
    "StudentT",
]
