"""A user's own sequences from one ``.npz`` or ``.npy`` file."""

from os import PathLike
from pathlib import Path

from pyro_dsvae.data.dataset import DataSource, SequenceData
from pyro_dsvae.data.files.layout import Layout
from pyro_dsvae.data.files.npz import read_arrays
from pyro_dsvae.data.files.sequences import ArrayReader
from pyro_dsvae.data.reading import UnaskedChannelsError
from pyro_dsvae.data.tables.splits import By, Splits
from pyro_dsvae.data.tables.windows import Short, Windows
from pyro_dsvae.models.errors import UsageError


class Arrays(DataSource):
    """Sequences from a file made with ``numpy.savez`` or ``numpy.save``; pickled objects are never read.

    A ``.npy`` file holds the frames. A ``.npz`` file holds ``frames`` and, where known, ``lengths`` (N,) integers, ``mask``
    (N, T) or of the frames' shape, ``times`` (N, T), ``split`` (N,) integers 0..2 or strings "train", "validation", "test", and
    for each labelled factor ``labels_<name>`` (N,) strings, numbers or booleans with, if wanted, ``role_<name>`` ("static", the
    default, or "dynamic"). The values that occur are the classes. Of integers from 0, ``classes_<name>`` may give the names.
    ``quantities_<name>`` (N, T) or (N, T, K) are numbers of every frame, such as a position, with, if wanted,
    ``components_<name>`` (K names) and ``unit_<name>`` (a string).

    Frames are, by rank: (N, T) numbers, made (N, T, 1); (N, T, P) vectors; (N, T, H, W) grey images, made
    (N, T, 1, H, W); (N, T, C, H, W) images. Images (N, T, H, W, C) are made channel-first where the last axis has
    1, 3 or 4 elements and the third has not. Any other order of axes is named by ``layout``; where one is likelier than what is
    read, a `Remark` says so. uint8 stays; all other types become float32. Images of uint16 that reach 2^15 become intensities,
    x / 65535. Without a ``mask`` NaN means that nothing was measured. A ``.npy`` file of uint8 or float32 is mapped into memory
    and read piece by piece.

    Args:
        path: The .npz or .npy file.
        validation: Fraction of the sequences for the validation split, where the file holds no split.
        test: Fraction of the sequences for the test split, where the file holds no split.
        seed: Seed of the random split, where the file holds no split.
        layout: The axes of frames, one letter each: N sequences, T steps, and P numbers or C channels, H rows, W columns; such
            as NCTHW or TNP. Without N the array is one long sequence, such as TP. In arrays beside frames, too, N and T have
            this order.
        window: Steps of the windows into which sequences, or one long one, are cut from their beginning.
        stride: Steps from one window to the next; by default ``window``, so that windows do not overlap.
        by: How windows are split: by entity, each as its sequence, or by time, the earliest for training and the latest for the
            test; no window crosses a border. By default by time for one long sequence.
        short: What becomes of sequences that are shorter than a window, or than 2 steps: refuse, or drop.

    Example:
        >>> import numpy as np
        >>> from pyro_dsvae import Arrays
        >>> np.savez("walks.npz", frames=np.random.rand(20, 30, 3), labels_gait=np.arange(20) % 2)
        >>> data = Arrays("walks.npz").load()  # 20 sequences of 30 vectors
        >>> data.frames.shape, data.labels["gait"].role
        (torch.Size([20, 30, 3]), 'static')
    """

    def __init__(
        self,
        path: str,
        validation: float = 0.1,
        test: float = 0.2,
        seed: int = 0,
        layout: str | None = None,
        window: int | None = None,
        stride: int | None = None,
        by: By | None = None,
        short: Short = "refuse",
    ) -> None:
        if not isinstance(path, str | PathLike):
            raise UsageError(
                f"the path of Arrays is a {type(path).__name__}; data in memory are given as they are: fit(data=array)"
            )
        self.path = Path(path).expanduser()
        self.validation = validation
        self.test = test
        self.seed = seed
        self.layout = layout
        self.window = window
        self.stride = stride
        self.by = by
        self.short = short
        self._reader(layout)  # told before a file is read

    def load(self) -> SequenceData:
        """The file's sequences; images channel-first.

        Raises:
            UsageError: Where they cannot be read.
            UnaskedChannelsError: For images of other than 1, 3 or 4 channels without ``layout``.
        """
        reader = self._reader(self.layout)
        try:
            return reader.sequences(read_arrays(self.path))
        except UnaskedChannelsError as error:
            asked = Arrays(str(self.path), self.validation, self.test, self.seed, error.letters)
            raise UnaskedChannelsError(str(error), error.letters, asked) from None
        except UsageError as error:
            raise UsageError(f"{self.path}: {error}", *error.options) from None

    def _reader(self, layout: str | None) -> ArrayReader:
        splits = Splits(self.by, self.validation, self.test, self.seed)
        return ArrayReader(str(self.path), layout, splits, Windows(self.window, self.stride, self.short))


def named_layout(source: DataSource) -> Layout | None:
    """The order of axes that was named for the data, if one was."""
    return Layout.parse(source.layout) if isinstance(source, Arrays) and source.layout is not None else None
