"""Vectors whose columns are of several kinds: measurements beside counts, switches and states."""

import inspect
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import import_module
from itertools import accumulate, pairwise
from typing import Any, ClassVar, Final, TypeVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from pyro_dsvae.models.distributions.point import point
from pyro_dsvae.models.errors import UsageError, did_you_mean
from pyro_dsvae.models.likelihoods.bernoulli import Bernoulli
from pyro_dsvae.models.likelihoods.categorical import Categorical
from pyro_dsvae.models.likelihoods.continuous_bernoulli import ContinuousBernoulli
from pyro_dsvae.models.likelihoods.laplace import Laplace
from pyro_dsvae.models.likelihoods.likelihood import Likelihood
from pyro_dsvae.models.likelihoods.normal import Normal
from pyro_dsvae.models.likelihoods.poisson import Poisson
from pyro_dsvae.models.likelihoods.student_t import StudentT

KINDS: Final = {
    kind.__name__: kind for kind in (Normal, Laplace, StudentT, Bernoulli, ContinuousBernoulli, Poisson, Categorical)
}
Item = TypeVar("Item")
REST: Final = "rest"
EXAMPLE: Final = """{"Normal": [0, 1], "Poisson": [2]}"""


class Product(Likelihood):
    """p(x | f, z) = prod over groups g of p_g(x_g | f, z), x_g the columns of group g, under a likelihood of their own.

    Real-valued columns can be standardised; counts, binary values and classes stay as they are.

    Args:
        frame_shape: (P,), supplied by the model.
        groups: From the name of a likelihood to its columns, numbered from 0, or "rest" for those that no other group has.
            Options of a likelihood stand beside its columns, as in the example. One of your own is named by its dotted path.
            Every column belongs to one group. A fit to a table takes its columns by their names, too.

    Example:
        >>> import torch
        >>> from pyro_dsvae.models.likelihoods import Product
        >>> groups = {"Normal": "rest", "Poisson": [2], "Categorical": {"columns": [3], "classes": 4}}
        >>> likelihood = Product(frame_shape=(5,), groups=groups)
        >>> likelihood.parameter_shape  # one number for each value, four for the classes
        (8,)
        >>> likelihood(torch.zeros(6, 8)).sample().shape
        torch.Size([6, 5])
    """

    bytes_per_unit: ClassVar[int] = 1

    def __init__(self, frame_shape: tuple[int, ...], groups: dict[str, Any] | None = None) -> None:
        super().__init__(frame_shape)
        if len(frame_shape) != 1:
            raise UsageError(
                f"Product takes vectors, and these frames are images {frame_shape}: take one likelihood", "likelihood"
            )
        if not groups:
            raise _wrong(f"name the columns of each likelihood, such as {EXAMPLE}")
        self.columns = _columns(groups, frame_shape[0])
        self.parts = nn.ModuleList(
            _part(name, len(columns), _options(group))
            for (name, group), columns in zip(groups.items(), self.columns, strict=True)
        )
        self.real_valued = tuple(in_order([part.real_channels for part in self._parts], self.columns))
        self.nominal = tuple(in_order([part.nominal_channels for part in self._parts], self.columns))
        self.parameters_per_value = tuple(in_order([part.channel_parameters for part in self._parts], self.columns))

    def forward(self, decoded: Tensor) -> TorchDistribution:
        each = decoded.split([sum(part.channel_parameters) for part in self._parts], dim=-1)
        return ProductDistribution([part(of) for part, of in zip(self._parts, each, strict=True)], self.columns)

    def check(self, frames: Tensor) -> None:
        for part, columns in zip(self._parts, self.columns, strict=True):
            # Bytes are the numbers that they are, for every group.
            values = picked(frames, columns)
            try:
                part.check(values.float() if values.dtype == torch.uint8 else values)
            except UsageError as error:
                named = "column" if len(columns) == 1 else "columns"
                raise UsageError(f"{named} {', '.join(map(str, columns))}: {error}", "likelihood.groups") from None

    @property
    def _parts(self) -> list[Likelihood]:
        return list(self.parts)  # type: ignore[arg-type]


class ProductDistribution(TorchDistribution):
    """Independent values, of which groups of columns have distributions of their own.

    Args:
        parts: Of each group, batch ``(*B, G)`` and event ().
        columns: Of each group, the G columns of the whole.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, parts: Sequence[TorchDistribution], columns: Sequence[Sequence[int]]) -> None:
        self.parts, self.columns = parts, columns
        size = sum(map(len, columns))
        super().__init__(torch.Size((*parts[0].batch_shape[:-1], size)), torch.Size(), validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        """Those of the columns, in their order."""
        each = in_order(
            [[part.support] * len(of) for part, of in zip(self.parts, self.columns, strict=True)], self.columns
        )
        return constraints.cat(each, dim=-1, lengths=[1] * len(each))

    def expand(self, batch_shape: torch.Size, _instance: object = None) -> "ProductDistribution":
        ahead = tuple(batch_shape)[:-1]
        parts = [part.expand(torch.Size((*ahead, part.batch_shape[-1]))) for part in self.parts]
        return ProductDistribution(parts, self.columns)

    @property
    def mean(self) -> Tensor:
        """Of every value, by its group."""
        return self.joined([part.mean for part in self.parts])

    @property
    def mode(self) -> Tensor:
        """Of every value, by its group."""
        return self.joined([part.mode for part in self.parts])

    @property
    def variance(self) -> Tensor:
        """Of every value, by its group."""
        return self.joined([part.variance for part in self.parts])

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        return self.joined([part.sample(torch.Size(sample_shape)) for part in self.parts])

    def log_prob(self, value: Tensor) -> Tensor:
        pairs = zip(self.parts, self.columns, strict=True)
        return self.joined([part.log_prob(picked(value, columns)) for part, columns in pairs])

    def joined(self, values: Sequence[Tensor]) -> Tensor:
        """What every group has, (…, G) each, in the order of the columns: (…, P)."""
        order = in_order([range(a, b) for a, b in pairwise((0, *accumulate(map(len, self.columns))))], self.columns)
        return picked(torch.cat(list(values), dim=-1), order)


@point.register
def _(p: ProductDistribution) -> Tensor:
    return p.joined([point(part) for part in p.parts])


def picked(values: Tensor, columns: Sequence[int]) -> Tensor:
    """Columns of values (…, P). A list as an index would make a GPU wait for it."""
    return torch.cat([values[..., column : column + 1] for column in columns], dim=-1)


def in_order(values: Sequence[Sequence[Item]], columns: Sequence[Sequence[int]]) -> list[Item]:
    """What groups of columns hold, one item for each of theirs, in the order of all columns."""
    placed = {column: item for of, at in zip(values, columns, strict=True) for column, item in zip(at, of, strict=True)}
    return [placed[column] for column in sorted(placed)]


def _columns(groups: Mapping[str, Any], size: int) -> list[list[int]]:
    """The columns of each group. Raises `UsageError` where one of ``size`` columns has no group, or two."""
    said: dict[str, Any] = {
        n: group.get("columns") if isinstance(group, Mapping) else group for n, group in groups.items()
    }
    for name, columns in said.items():
        if columns == REST:
            continue
        if not isinstance(columns, Sequence) or isinstance(columns, str) or not columns:
            raise _wrong(f'{name} has the columns {columns}; give a list of numbers, or "rest"')
        for column in columns:
            if not isinstance(column, int) or isinstance(column, bool) or not 0 <= column < size:
                raise _wrong(f"{name} has the column {column!r}; these run from 0 to {size - 1}")
    count = Counter(column for columns in said.values() if columns != REST for column in columns)
    twice = [column for column, n in count.items() if n > 1]
    if twice:
        raise _wrong(f"column {twice[0]} is in two places; give it one likelihood")
    rest, takers = [c for c in range(size) if c not in count], [n for n, columns in said.items() if columns == REST]
    if len(takers) > 1:
        raise _wrong(f"{' and '.join(takers)} are both for the rest; name the columns of one")
    if rest and not takers:
        raise _wrong(f'no likelihood has the columns {", ".join(map(str, rest))}; give one the "rest"')
    if takers and not rest:
        raise _wrong(f"{takers[0]} is for the rest, and there is none; leave it out")
    return [rest if columns == REST else list(columns) for columns in said.values()]


def by_number(groups: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The same groups with the columns that are named by their numbers.

    Args:
        groups: As in `Product`.
        names: Of the columns of the data, in their order.

    Raises:
        UsageError: For a name that no column has.
    """

    def numbers(columns: Any) -> Any:
        if columns == REST or not isinstance(columns, list | tuple):
            return columns
        for column in columns:
            if isinstance(column, str) and column not in names:
                known = f"; there are {', '.join(names)}" if names else "; the columns of these data have numbers"
                raise _wrong(f"the data have no column {column!r}{did_you_mean(column, names)}{known}")
        return [names.index(column) if isinstance(column, str) else column for column in columns]

    return {
        kind: {**group, "columns": numbers(group.get("columns"))} if isinstance(group, Mapping) else numbers(group)
        for kind, group in groups.items()
    }


def _options(group: Any) -> dict[str, Any]:
    return {name: value for name, value in group.items() if name != "columns"} if isinstance(group, Mapping) else {}


def _part(name: str, columns: int, options: Mapping[str, Any]) -> Likelihood:
    """The likelihood of a group. Raises `UsageError` for a name or an option that there is not."""
    kind: Any = KINDS.get(name)
    if kind is None:
        module, _, last = name.rpartition(".")
        try:
            kind = getattr(import_module(module), last)
        except (ImportError, AttributeError, ValueError):
            names = f"{', '.join(KINDS)}, or a class of your own"
            raise _wrong(f"there is no likelihood {name!r}{did_you_mean(name, KINDS)}; take {names}") from None
    if not (isinstance(kind, type) and issubclass(kind, Likelihood)):
        raise _wrong(f"{name} is no likelihood")
    known = [n for n, p in inspect.signature(kind).parameters.items() if p.default is not inspect.Parameter.empty]
    for option in options:
        if option not in known:
            listed = ", ".join(known) or "none"
            raise _wrong(f"{name} has no option {option!r}{did_you_mean(option, known)}; it has {listed}")
    return kind((columns,), **options)


def _wrong(said: str) -> UsageError:
    return UsageError(f"the groups of a Product: {said}", "likelihood.groups")
