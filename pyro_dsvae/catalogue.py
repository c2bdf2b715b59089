"""The parts that come with the package, by the option that picks them. Importing it makes their short names known."""

from collections.abc import Mapping

from pyro_dsvae.data.arrays import Arrays
from pyro_dsvae.data.lpc_sprites import LPCSprites
from pyro_dsvae.data.sprites import Sprites
from pyro_dsvae.inference.posteriors.factorised import Factorised
from pyro_dsvae.inference.posteriors.lstm import LSTM as LSTMPosterior
from pyro_dsvae.models.dynamic_priors.iid import IID
from pyro_dsvae.models.dynamic_priors.lstm import LSTM
from pyro_dsvae.models.likelihoods.bernoulli import Bernoulli
from pyro_dsvae.models.likelihoods.normal import Normal
from pyro_dsvae.models.static_priors.standard_normal import StandardNormal

PARTS: Mapping[str, Mapping[str, type]] = {
    "data": {"Sprites": Sprites, "LPCSprites": LPCSprites, "Arrays": Arrays},
    "static_prior": {"StandardNormal": StandardNormal},
    "dynamic_prior": {"LSTM": LSTM, "IID": IID},
    "posterior": {"LSTM": LSTMPosterior, "Factorised": Factorised},
    "likelihood": {"Normal": Normal, "Bernoulli": Bernoulli},
}
