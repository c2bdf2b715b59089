"""BasicMotions: a watch that stands, walks, runs and plays badminton."""

from pyro_dsvae.data.dataset import DataSource, SequenceData
from pyro_dsvae.data.packaged.archive import archived

CHANNELS = ("ax", "ay", "az", "gx", "gy", "gz")


class BasicMotions(DataSource):
    """80 recordings of a watch's accelerometer and gyroscope, 100 steps at 10 Hz, of 4 motions.

    The label is the motion, which describes how a sequence moves. The split is the standard one: 40 recordings to train, 10 of
    each motion, of which a share validates, and 40 to test. They ship in sktime: ``pip install 'pyro-dsvae[series]'``.

    Args:
        validation: Fraction of the training recordings of each motion for the validation split.
        seed: Of the validation split.

    Source: UEA archive, Bagnall et al., "The UEA multivariate time series classification archive, 2018", arXiv:1811.00075.

    Example:
        >>> from pyro_dsvae import BasicMotions
        >>> data = BasicMotions().load()
        >>> data.frames.shape, [len(data.part(split)) for split in ("train", "validation", "test")]
        (torch.Size([80, 100, 6]), [32, 8, 40])
    """

    def __init__(self, validation: float = 0.2, seed: int = 0) -> None:
        self.validation = validation
        self.seed = seed

    def load(self) -> SequenceData:
        """The recordings. Raises `UsageError` where sktime is missing."""
        return archived("load_basic_motions", "motion", "dynamic", CHANNELS, self.validation, self.seed)
