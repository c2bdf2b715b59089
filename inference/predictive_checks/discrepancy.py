"""What a discrepancy is, what it looks at, and how one's own is found."""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyro_dsvae.inference.latents import Latents
from pyro_dsvae.models.errors import UsageError


@dataclass(frozen=True)
class Frames:
    """What a discrepancy looks at: clips, real or replicated, and for realised discrepancies the latents they are judged by.

    x           (\\*B, T, \\*frame) values as the density is over them, zero where not observed. Not to be changed in place
    frame_ndim  1 for vectors (P,), 3 for images (C, H, W)
    observed    bool, broadcastable to ``x``: which values count; None where all do
    times       broadcastable to (\\*B, T) observation times; None for steps one unit apart
    given       latents f (\\*B, F) and z (\\*B, T, D), for realised discrepancies alone
    expected    p(x | f, z) at these latents, batch (\\*B, T, \\*frame), for realised discrepancies alone
    """

    x: Tensor
    frame_ndim: int
    observed: Tensor | None = None
    times: Tensor | None = None
    given: Latents | None = None
    expected: TorchDistribution | None = None

    @property
    def time_dim(self) -> int:
        """The axis of time, from the right."""
        return -1 - self.frame_ndim

    @property
    def distribution(self) -> TorchDistribution:
        """p(x | f, z). Raises `UsageError` for discrepancies that were not declared as realised."""
        if self.expected is None:
            raise UsageError("it looks at p(x | f, z): declare it as Discrepancy(name, function, realised=True)")
        return self.expected

    @property
    def latents(self) -> Latents:
        """f and z. Raises `UsageError` as `distribution`."""
        if self.given is None:
            raise UsageError("it looks at f and z: declare it as Discrepancy(name, function, realised=True)")
        return self.given

    def average(self, values: Tensor, axes: int | None = None, where: Tensor | None = None) -> Tensor:
        """Mean of ``values`` over the last ``axes`` axes, by default all of a clip: float64, NaN where nothing counts.

        where  bool, broadcastable to ``values``: which of them count; by default `observed`
        """
        where = self.observed if where is None else where
        first, *inner = range(-(1 + self.frame_ndim if axes is None else axes), 0)
        if where is None:
            return (values.mean(inner) if inner else values).mean(-1, dtype=torch.float64)
        total = torch.where(where, values, torch.zeros_like(values))
        total = (total.sum(inner) if inner else total).sum(-1, dtype=torch.float64)
        return total / _count(where, values, (first, *inner))

    def at(self, values: Tensor, start: int, stop: int) -> Tensor:
        """``values`` (\\*B, T, ...) at the steps from ``start`` to before ``stop``."""
        return values.narrow(self.time_dim, start, max(0, stop - start))

    def pairs(self, lag: int) -> Tensor | None:
        """Which values were observed at t and at t + lag, for t to T - lag; None where all were."""
        if self.observed is None:
            return None
        length = self.x.shape[self.time_dim]
        return self.at(self.observed, 0, length - lag) & self.at(self.observed, min(lag, length), length)

    @cached_property
    def moving(self) -> Tensor:
        """``x`` less each value's mean over time, (\\*B, T, \\*frame), zero where not observed."""
        if self.observed is None:
            return self.x - self.x.mean(self.time_dim, keepdim=True)
        count = _count(self.observed, self.x, (self.time_dim,)).unsqueeze(self.time_dim)
        mean = self.x.sum(self.time_dim, keepdim=True) / count.clamp(min=1)
        return torch.where(self.observed, self.x - mean, torch.zeros_like(self.x))

    @cached_property
    def residuals(self) -> Tensor:
        """(x - E[x | f, z]) / sd[x | f, z], (\\*B, T, \\*frame), zero where not observed; for realised discrepancies.

        Raises `UsageError` for likelihoods whose distribution states no variance.
        """
        p = self.distribution
        try:
            scale = p.variance.sqrt()
        except NotImplementedError as error:
            raise UsageError(f"{type(p).__name__} states no variance; its surprise asks the same") from error
        # A binary value that is certain has no variance; where it is right there is no residual.
        standardised = (self.x - p.mean) / scale.clamp(min=torch.finfo(scale.dtype).eps)
        return standardised if self.observed is None else standardised.where(self.observed, torch.zeros_like(self.x))


@dataclass(frozen=True)
class Discrepancy:
    """T(x), or T(x, f, z): one number for every clip.

    name         what it measures, in plain words: "motion energy"
    function     `Frames` with batch \\*B -> (\\*B,) finite numbers; NaN where the pattern of what was observed leaves it
                 undefined, in which case the clip is left out
    realised     whether it looks at f, z and p(x | f, z); then it is compared at draws from the guide
    images_only  whether frames must be images (C, H, W)
    """

    name: str
    function: Callable[[Frames], Tensor]
    realised: bool = False
    images_only: bool = False

    def applies(self, frame_shape: tuple[int, ...]) -> bool:
        """Whether it has a meaning for frames of this shape."""
        return len(frame_shape) == 3 or not self.images_only


def _count(where: Tensor, values: Tensor, dims: tuple[int, ...]) -> Tensor:
    """How many of ``values`` count along ``dims``; ``where`` is broadcastable to them."""
    missing = [size for size, own in ((values.shape[d], where.shape[d]) for d in dims) if own == 1]
    return where.sum(dims) * math.prod(missing)


def discrepancy(path: str) -> Discrepancy:
    """The discrepancy at a dotted path, ``module.name``: a `Discrepancy`, or a function of `Frames`, named as the function is.

    Raises `UsageError` where nothing is there, it cannot be imported, or is neither.
    """
    module, _, name = path.rpartition(".")
    if not module or not name.isidentifier():
        raise UsageError(f"a discrepancy is given as module.function, not {path!r}")
    try:
        found = getattr(import_module(module), name)
    except AttributeError as error:
        raise UsageError(f"{module} has no {name!r}; a discrepancy is given as module.function") from error
    except Exception as error:  # whatever a user's own module raises while it is imported
        raise UsageError(f"the module of the discrepancy {path} cannot be imported: {error!r}") from error
    if isinstance(found, Discrepancy):
        return found
    if isinstance(found, type) or not callable(found):
        raise UsageError(
            f"{path} is of type {type(found).__name__}; a discrepancy is a function of Frames or a Discrepancy"
        )
    try:
        inspect.signature(found).bind(None)
    except TypeError as error:
        raise UsageError(f"{path} must take one argument, the Frames, but {error}") from error
    return Discrepancy(name.replace("_", " "), found)
