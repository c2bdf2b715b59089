"""Words spoken by synthetic voices, made on this machine."""

import warnings
from dataclasses import dataclass
from pathlib import Path

from pyro_dsvae.data.dataset import SequenceData
from pyro_dsvae.data.files.cache import cache_folder
from pyro_dsvae.data.speech import synthetic_voices
from pyro_dsvae.data.speech.segments import Segmenting
from pyro_dsvae.data.speech.source import SpeechSource
from pyro_dsvae.data.speech.speech_folder import SpeechFolder
from pyro_dsvae.models.errors import Remark, UsageError
from pyro_dsvae.progress import Bar


@dataclass
class SpokenWords(SpeechSource):
    """Windows of log spectra of words that synthetic voices speak, labelled by speaker and by word.

    Four voices are of flite, each made from recordings of a person. 96 are of espeak-ng, a formant synthesiser: they differ in
    resonances, pitch and roughness. Each split has voices of its own. Nothing is downloaded: the programs speak the words once,
    in some minutes, and what they said is kept. They are installed by ``apt-get install flite espeak-ng``. For the frames see
    `SpeechFolder`; reading needs ``pip install 'pyro-dsvae[speech]'``.

    Args:
        root: The folder for the recordings, 540 MB; by default ``spoken_words`` in the cache of this project.
        voices: How many, 5 to 100: up to 44 of each split its share; the others are all for training.
        words: How many, 2 to 60.
        speeds: At how many speeds each word is spoken, 1 or 2.
        held_words: So many words are spoken in the test split alone, and no others there.
        window: Frames of each sequence, of 8 ms each.
        stride: Frames from one window to the next.
        rate: Samples a second that recordings are brought to.
        bands: Mel bands of a frame; 0 for the log magnitude of every frequency.

    Example:
        >>> from pyro_dsvae import SpokenWords
        >>> SpokenWords(voices=12, words=20, held_words=5).segmenting().window
        32
    """

    root: Path | None = None
    voices: int = synthetic_voices.MOST
    words: int = len(synthetic_voices.WORDS)
    speeds: int = len(synthetic_voices.SPEEDS)
    held_words: int = 0
    window: int = 32
    stride: int = 16
    rate: int = 16_000
    bands: int = 80

    def __post_init__(self) -> None:
        self.root = None if self.root is None else Path(self.root).expanduser()
        for name, least, most in (
            ("voices", 5, synthetic_voices.MOST),
            ("words", 2, len(synthetic_voices.WORDS)),
            ("speeds", 1, len(synthetic_voices.SPEEDS)),
            ("held_words", 0, self.words - 1),
        ):
            if not least <= getattr(self, name) <= most:
                raise UsageError(f"{name} is {getattr(self, name)}; it is from {least} to {most}", f"data.{name}")
        self._folder()

    def segmenting(self) -> Segmenting:
        """How recordings become frames and windows."""
        return self._folder().segmenting()

    def load(self) -> SequenceData:
        """Speak what is not there, and read it.

        Raises:
            UsageError: Where the programs are needed and not installed.
        """
        chosen = self.voices, self.words, self.speeds, self.held_words
        with Bar("speaking words") as bar:
            synthetic_voices.make(self._root / "recordings", *chosen, progress=bar)
        synthetic_voices.write_table(self._table, *chosen)
        with warnings.catch_warnings():
            # Of other choices of words and voices.
            warnings.filterwarnings("ignore", "left out, since", Remark)
            return self._folder().load()

    @property
    def _root(self) -> Path:
        return self.root or cache_folder() / "spoken_words"

    @property
    def _table(self) -> Path:
        return self._root / f"labels-{self.voices}-{self.words}-{self.speeds}-{self.held_words}.csv"

    def _folder(self) -> SpeechFolder:
        return SpeechFolder(
            self._root / "recordings", self.window, self.stride, self.rate, self.bands, labels=self._table
        )
