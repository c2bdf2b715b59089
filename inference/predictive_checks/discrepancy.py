"""Discrepancies: what they are, what they are computed from, and how a user's own is found."""

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
    """The input of a discrepancy: clips, real or replicated, and for realised discrepancies their latents.

    Attributes:
        x: ``(*B, T, *frame)`` in model units, zero where not observed. Not to be changed in place.
        frame_ndim: 1 for vectors (P,), 3 for images (C, H, W).
        observed: Bool, broadcastable to ``x``, True where a value counts; None where all do.
        times: Observation times, broadcastable to ``(*B, T)``; None for steps one unit apart.
        given: Latents f ``(*B, F)`` and z ``(*B, T, D)``, only for realised discrepancies.
        expected: p(x | f, z) at these latents, batch ``(*B, T, *frame)``, only for realised discrepancies.
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
        """p(x | f, z).

        Raises:
            UsageError: For discrepancies that were not declared as realised.
        """
        if self.expected is None:
            raise UsageError("it looks at p(x | f, z): declare it as Discrepancy(name, function, realised=True)")
        return self.expected

    @property
    def latents(self) -> Latents:
        """f and z.

        Raises:
            UsageError: As `distribution`.
        """
        if self.given is None:
            raise UsageError("it looks at f and z: declare it as Discrepancy(name, function, realised=True)")
        return self.given

    def average(self, values: Tensor, axes: int | None = None, where: Tensor | None = None) -> Tensor:
        """Mean of ``values`` over the last ``axes`` axes, by default all of a clip: float64, NaN where nothing counts.

        Args:
            values: ``(*B, T, ...)``.
            axes: How many of the last axes; by default all of a clip.
            where: Bool, broadcastable to ``values``: which of them count; by default `observed`.
        """
        where = self.observed if where is None else where
        first, *inner = range(-(1 + self.frame_ndim if axes is None else axes), 0)
        if where is None:
            return (values.mean(inner) if inner else values).mean(-1, dtype=torch.float64)
        total = torch.where(where, values, torch.zeros_like(values))
        total = (total.sum(inner) if inner else total).sum(-1, dtype=torch.float64)
        return total / _count(where, values, (first, *inner))

    def at(self, values: Tensor, start: int, stop: int) -> Tensor:
        """``values`` ``(*B, T, ...)`` at the steps from ``start`` to before ``stop``."""
        return values.narrow(self.time_dim, start, max(0, stop - start))

    def pairs(self, lag: int) -> Tensor | None:
        """Which values were observed both at t and at t + lag, for t up to T - lag; None where all were."""
        if self.observed is None:
            return None
        length = self.x.shape[self.time_dim]
        return self.at(self.observed, 0, length - lag) & self.at(self.observed, min(lag, length), length)

    @cached_property
    def moving(self) -> Tensor:
        """``x`` less each value's mean over time, ``(*B, T, *frame)``, zero where not observed."""
        if self.observed is None:
            return self.x - self.x.mean(self.time_dim, keepdim=True)
        count = _count(self.observed, self.x, (self.time_dim,)).unsqueeze(self.time_dim)
        mean = self.x.sum(self.time_dim, keepdim=True) / count.clamp(min=1)
        return torch.where(self.observed, self.x - mean, torch.zeros_like(self.x))

    @cached_property
    def residuals(self) -> Tensor:
        """(x - E[x | f, z]) / sd[x | f, z], ``(*B, T, *frame)``, zero where not observed; for realised discrepancies.

        Raises:
            UsageError: For likelihoods whose distribution states no variance.
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

    Attributes:
        name: What it measures, in plain words: "motion energy".
        function: From `Frames` with batch ``*B`` to ``(*B,)`` finite numbers. NaN where it is undefined for the pattern of
            observed values; the clip is then left out.
        realised: Whether it depends on f, z and p(x | f, z); then it is compared at draws from the guide.
        images_only: Whether frames must be images (C, H, W).
        pooled: Whether it pools the columns of series. Of a standardised fit it then sees standard deviations from the mean
            of each column: in the data's units the column of the largest numbers would decide it alone.

    Example:
        >>> import torch
        >>> from pyro_dsvae.inference.predictive_checks.discrepancy import Discrepancy, Frames
        >>> brightest = Discrepancy("largest mean of a frame", lambda frames: frames.x.mean(-1).amax(-1))
        >>> x = torch.tensor([[[0.0, 0.0], [1.0, 1.0]], [[0.0, 0.0], [0.0, 1.0]]])  # two sequences of 2 frames of 2 values
        >>> brightest.function(Frames(x, 1))
        tensor([1.0000, 0.5000])
    """

    name: str
    function: Callable[[Frames], Tensor]
    realised: bool = False
    images_only: bool = False
    pooled: bool = False

    def applies(self, frame_shape: tuple[int, ...]) -> bool:
        """Whether it has a meaning for frames of this shape."""
        return len(frame_shape) == 3 or not self.images_only


def _count(where: Tensor, values: Tensor, dims: tuple[int, ...]) -> Tensor:
    """How many of ``values`` count along ``dims``; ``where`` is broadcastable to them."""
    missing = [size for size, own in ((values.shape[d], where.shape[d]) for d in dims) if own == 1]
    return where.sum(dims) * math.prod(missing)


def discrepancy(path: str) -> Discrepancy:
    """The discrepancy at a dotted path, ``module.name``: a `Discrepancy`, or a function of `Frames`, named as the function is.

    Raises:
        UsageError: Where nothing is there, it cannot be imported, or is neither.
    """
    module, _, name = path.rpartition(".")
    if not module or not name.isidentifier():
        raise UsageError(f"a discrepancy is given as module.function, not {path!r}")
    try:
        imported = import_module(module)
    except Exception as error:  # whatever a user's own module raises while it is imported
        raise UsageError(f"the module of the discrepancy {path} cannot be imported: {error!r}") from error
    try:
        found = getattr(imported, name)
    except AttributeError as error:
        raise UsageError(f"{module} has no {name!r}; a discrepancy is given as module.function") from error
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
