"""What sources of speech have in common."""

from abc import abstractmethod
from functools import partial

from pyro_dsvae.data.dataset import DataSource, Recommended
from pyro_dsvae.data.speech.segments import Segmenting
from pyro_dsvae.models.decoders import Dense
from pyro_dsvae.models.encoders import Spectral
from pyro_dsvae.models.likelihoods.normal import Normal

SPECTRA = Recommended(
    Dense,
    "vocal_tract",
    "columns are frequencies in order",
    Spectral,
    partial(Normal, scale=0.5, scale_kind="channel"),
)


class SpeechSource(DataSource):
    """Log spectra of recordings, from which there is a way back to sound."""

    @property
    def recommended(self) -> Recommended:
        """Convolutions over frequency, a scale of the noise for each frequency, and views in other voices."""
        return SPECTRA

    @abstractmethod
    def segmenting(self) -> Segmenting:
        """How recordings become frames and windows."""
