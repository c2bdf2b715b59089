"""JapaneseVowels: nine speakers say two vowels."""

from pyro_dsvae.data.dataset import DataSource, SequenceData
from pyro_dsvae.data.packaged.archive import archived

CHANNELS = tuple(f"cepstrum {i}" for i in range(1, 13))


class JapaneseVowels(DataSource):
    """640 utterances of /ae/ by 9 speakers: 12 LPC cepstrum coefficients in 7 to 29 steps.

    The label is the speaker, who stays the same. The split is the standard one: 270 utterances to train, 30 of each speaker, of
    which a share validates, and 370 to test. They ship in sktime: ``pip install 'pyro-dsvae[series]'``.

    Args:
        validation: Fraction of each speaker's training utterances for the validation split.
        seed: Of the validation split.

    Source: Kudo, Toyama & Shimbo, "Multidimensional curve classification using passing-through regions", Pattern Recognition
    Letters 20, 1999; UEA archive, Bagnall et al. 2018.

    Example:
        >>> from pyro_dsvae import JapaneseVowels
        >>> data = JapaneseVowels().load()
        >>> data.frames.shape, len(data.part("test")), len(data.labels["speaker"].classes)
        (torch.Size([640, 29, 12]), 370, 9)
    """

    def __init__(self, validation: float = 0.1, seed: int = 0) -> None:
        self.validation = validation
        self.seed = seed

    def load(self) -> SequenceData:
        """The utterances. Raises `UsageError` where sktime is missing."""
        return archived("load_japanese_vowels", "speaker", "static", CHANNELS, self.validation, self.seed)
