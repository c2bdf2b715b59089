"""The order in which a fit takes the training sequences, and which other window of a recording goes with each."""

import itertools
from bisect import bisect_left
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from pyro_dsvae.inference.training.seeding import derive_seed


class Order:
    """Batches out of an endless row of permutations, one for each epoch: a function of (seed, epoch).

    Every epoch has every sequence once. A batch may begin in one epoch and end in the next, so that all have one size, which
    several processes can share evenly, and nothing is left out.

    Args:
        count: Of training sequences.
        batch_size: Sequences of a batch; of fewer sequences, all.
        seed: Of the fit.
        recordings: (count,) int64, which recording each sequence is a window of, where a step needs another window of each.

    Attributes:
        shared: How many recordings have several sequences; 0 where no step needs other windows.

    Example:
        >>> from pyro_dsvae.inference.training.order import Order
        >>> order = Order(5, batch_size=2, seed=0)
        >>> taken = [i for step in range(5) for i in order.batch(step).tolist()]  # two epochs
        >>> sorted(taken[:5]), sorted(taken[5:])
        ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4])
    """

    def __init__(self, count: int, batch_size: int, seed: int, recordings: Tensor | None = None) -> None:
        self.count, self.size, self.seed = count, min(batch_size, count), seed
        self._recording = [] if recordings is None else recordings.tolist()
        self._windows: dict[int, list[int]] = {}
        for i, recording in enumerate(self._recording):
            self._windows.setdefault(recording, []).append(i)
        self.shared = sum(len(windows) > 1 for windows in self._windows.values())
        self._known: tuple[int, Tensor] = (-1, torch.empty(0, dtype=torch.int64))

    def batch(self, step: int) -> Tensor:
        """(size,) int64, the positions of the sequences of a step."""
        epoch, start = divmod(step * self.size, self.count)
        here = self._epoch(epoch)[start : start + self.size]
        missing = self.size - len(here)
        return torch.cat([here, self._epoch(epoch + 1)[:missing]]) if missing else here

    def windows(self, step: int) -> Tensor:
        """(size,) int64, for each sequence of a step another window of its recording, or itself where there is none.

        Each is drawn from the half of the windows that is farthest from it, since near ones overlap.
        """
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "windows", step))
        draws = torch.rand(self.size, generator=generator).tolist()
        found = []
        for i, draw in zip(self.batch(step).tolist(), draws, strict=True):
            windows = self._windows[self._recording[i]]  # ascending, so that the nearest stand in a row
            far = (len(windows) + 1) // 2
            near = len(windows) - far
            first = bisect_left(range(far), True, key=lambda k: windows[k + near] - i > i - windows[k])
            place = int(draw * far)
            found.append(windows[place if place < first else place + near])
        return torch.tensor(found)

    def batches(self, first: int, part: Callable[[Tensor], Tensor]) -> Iterator[Tensor]:
        """A process's part of each batch from step ``first`` on, without end; then other windows, where there are any."""
        for step in itertools.count(first):
            own = part(self.batch(step))
            yield torch.cat([own, part(self.windows(step))]) if self.shared else own

    def _epoch(self, epoch: int) -> Tensor:
        if self._known[0] != epoch:
            generator = torch.Generator().manual_seed(derive_seed(self.seed, "order", epoch))
            self._known = epoch, torch.randperm(self.count, generator=generator)
        return self._known[1]
