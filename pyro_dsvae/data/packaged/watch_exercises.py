"""WatchExercises: ten people with a watch on either wrist do seven exercises."""

from typing import Literal

import numpy as np
import torch

from pyro_dsvae.data.dataset import DataSource, SequenceData
from pyro_dsvae.data.factors import Label
from pyro_dsvae.data.names import Names
from pyro_dsvae.data.tables.reading import needed
from pyro_dsvae.data.tables.splits import check_fractions, drawn_split
from pyro_dsvae.data.tables.windows import Windows
from pyro_dsvae.models.errors import UsageError, check_count

HERTZ = 50
SIDES = ("left", "right")


class WatchExercises(DataSource):
    """Windows of 140 recordings of a watch: 10 people do 7 shoulder exercises with either arm.

    Acceleration and angular velocity, 50 Hz, are averaged over ``every`` samples, and cut into windows. Labels are person and
    side, which stay the same, and exercise, which describes how a sequence moves. The recordings have no split of their own. By
    recording, all windows of one are in one split, drawn by ``seed``: nobody is seen in the same exercise with the same arm
    again. By time, the split is within each recording, the end for the test, and no window crosses a border. For the guide
    views ``other_window`` the windows of one arm belong together, whatever the exercise. They ship in seglearn:
    ``pip install 'pyro-dsvae[series]'``.

    Args:
        window: Steps of each sequence.
        stride: Steps from one window to the next; below ``window`` they overlap.
        every: Samples that are averaged into one step; 5 make 10 Hz.
        by: How windows are split: recording or time.
        validation: Fraction of the recordings, or of the steps of each, for the validation split.
        test: Fraction for the test split.
        seed: Of the split by recording.

    Source: Burns et al., "Shoulder physiotherapy exercise recognition: machine learning the inertial signals from a
    smartwatch", Physiological Measurement 39, 2018.

    Example:
        >>> from pyro_dsvae import WatchExercises
        >>> data = WatchExercises().load()
        >>> data.frames.shape[1:], {name: (label.role, len(label.classes)) for name, label in data.labels.items()}
        (torch.Size([32, 6]), {'person': ('static', 10), 'side': ('static', 2), 'exercise': ('dynamic', 7)})
    """

    def __init__(
        self,
        window: int = 32,
        stride: int = 16,
        every: int = 5,
        by: Literal["recording", "time"] = "recording",
        validation: float = 0.1,
        test: float = 0.2,
        seed: int = 0,
    ) -> None:
        check_count("every", every)
        if by not in ("recording", "time"):
            raise UsageError(f"windows of recordings are split by recording or time, not {by!r}", "data.by")
        check_fractions(validation, test, seed)
        self._windows = Windows(window, stride)
        self.window = window
        self.stride = stride
        self.every = every
        self.by = by
        self.validation = validation
        self.test = test
        self.seed = seed

    def load(self) -> SequenceData:
        """The windows. Raises `UsageError` where seglearn is missing."""
        watch = needed("seglearn.datasets", "series", "--data WatchExercises").load_watch()
        steps = [_averaged(np.asarray(series), self.every) for series in watch["X"]]
        lengths = np.array([len(series) for series in steps])
        shares = [1 - self.validation - self.test, 1 - self.test, 1] if self.by == "time" else [1]
        before = np.cumsum(lengths) - lengths
        ends = (before[:, None] + np.floor(lengths[:, None] * np.array(shares) + 1e-9).astype(np.int64)).reshape(-1)
        starts, _ = self._windows.cut(np.r_[0, ends[:-1]], ends)
        piece = np.searchsorted(ends, starts, side="right")
        recording = piece // len(shares)
        split = drawn_split(len(steps), self.validation, self.test, self.seed)[recording]
        if self.by == "time":
            split = (piece % len(shares)).astype(np.uint8)
        frames = np.concatenate(steps)[starts[:, None] + np.arange(self.window)]
        people, exercises = np.asarray(watch["subject"]), np.asarray(watch["y"])
        sides = np.asarray(watch["side"]).astype(np.int64)
        names = [
            f"person {p}, {SIDES[s]}, {watch['y_labels'][e]}" for p, s, e in zip(people, sides, exercises, strict=True)
        ]
        numbers, person = np.unique(people, return_inverse=True)
        return SequenceData(
            torch.from_numpy(frames.astype(np.float32)),
            torch.from_numpy(split),
            labels={
                "person": Label.occurring(person[recording], tuple(str(n) for n in numbers), "static"),
                "side": Label.occurring(sides[recording], SIDES, "static"),
                "exercise": Label.occurring(exercises[recording], tuple(watch["y_labels"]), "dynamic"),
            },
            names=Names(tuple(watch["X_labels"]), tuple(names[i] for i in recording), "recording", "step"),
            recordings=torch.from_numpy((2 * person + sides)[recording].astype(np.int64)),
        )


def _averaged(series: np.ndarray, every: int) -> np.ndarray:
    """(T // every, P) means of samples (T, P); what is left at the end is dropped."""
    count = len(series) // every
    return series[: count * every].reshape(count, every, -1).mean(1)
