"""Data as a fit reads them for the first time, and as its run reads them again."""

import sys
import warnings

from pyro_dsvae.data.dataset import DataSource, SequenceData
from pyro_dsvae.data.intensities import TAKEN_AS_BYTES, as_fitted, with_bytes
from pyro_dsvae.data.observed import missing_share
from pyro_dsvae.inference.training.distributed import is_rank_zero
from pyro_dsvae.models.errors import Remark, UsageError


class UnaskedChannelsError(UsageError):
    """Images of other than 1, 3 or 4 channels, which are likelier something else unless they are asked for.

    Args:
        message: The line.
        letters: The layout that asks for them.
        asked: The same source, asked for them; None where there is none.
    """

    def __init__(self, message: str, letters: str, asked: DataSource | None = None) -> None:
        super().__init__(message, "data.layout")
        self.letters = letters
        self.asked = asked


def read_first(source: DataSource) -> SequenceData:
    """The data of a new fit, with lines on standard error that say how they were understood."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", Remark)
        read = source.load()
    data = with_bytes(read)
    if is_rank_zero():  # of several processes one speaks
        print("\n".join(f"data: {line}" for line in _understood(data)), file=sys.stderr)
        if data is not read:
            print(TAKEN_AS_BYTES, file=sys.stderr)
        for name, label in data.labels.items():
            kinds = ", ".join(label.classes[:12]) + (", …" if len(label.classes) > 12 else "")
            count = f"{len(label.classes)} class{'es' if len(label.classes) > 1 else ''}"
            print(f"label {name}, {label.role}: {count} ({kinds})", file=sys.stderr)
    for each in told:  # after the line that says what the data are
        warnings.warn(each.message, each.category, stacklevel=2)
    return data


def _understood(data: SequenceData) -> tuple[str, ...]:
    """How they were understood, a line for each matter."""
    if data.names is not None and data.names.understood:
        return data.names.understood
    share = missing_share(data.frames, data.mask, data.lengths)
    return (data.in_words() + (f"; {share:.1%} of the values are missing" if share else ""),)


def read_again(source: DataSource, known: str | None = None) -> SequenceData:
    """The data of a run that exists. How they are understood was settled when it was fitted, so that nothing is said.

    Args:
        source: Where they come from.
        known: The fingerprint that the run kept, if there is one.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Remark)
        try:
            return as_fitted(source.load(), known)
        except UnaskedChannelsError as error:
            if error.asked is None:
                raise
            return as_fitted(error.asked.load(), known)
