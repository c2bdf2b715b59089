"""The order in which a fit takes the training sequences."""

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

    Example:
        >>> from pyro_dsvae.inference.training.order import Order
        >>> order = Order(5, batch_size=2, seed=0)
        >>> taken = [i for step in range(5) for i in order.batch(step).tolist()]  # two epochs
        >>> sorted(taken[:5]), sorted(taken[5:])
        ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4])
    """

    def __init__(self, count: int, batch_size: int, seed: int) -> None:
        self.count, self.size, self.seed = count, min(batch_size, count), seed
        self._known: tuple[int, Tensor] = (-1, torch.empty(0, dtype=torch.int64))

    def batch(self, step: int) -> Tensor:
        """(size,) int64, the positions of the sequences of a step."""
        epoch, start = divmod(step * self.size, self.count)
        here = self._epoch(epoch)[start : start + self.size]
        missing = self.size - len(here)
        return torch.cat([here, self._epoch(epoch + 1)[:missing]]) if missing else here

    def _epoch(self, epoch: int) -> Tensor:
        if self._known[0] != epoch:
            generator = torch.Generator().manual_seed(derive_seed(self.seed, "order", epoch))
            self._known = epoch, torch.randperm(self.count, generator=generator)
        return self._known[1]
