"""What a caller from Python gives for options, checked as the command line's parser checks text."""

import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
from torch import nn

from pyro_dsvae.configuration.catalogue import PARTS, names
from pyro_dsvae.configuration.parts import part_class
from pyro_dsvae.data.dataset import DataSource
from pyro_dsvae.data.in_memory import InMemory
from pyro_dsvae.data.memory.conversion import KINDS as KINDS_OF_DATA
from pyro_dsvae.data.memory.conversion import is_data
from pyro_dsvae.data.tables.reading import is_table
from pyro_dsvae.inference.posteriors.posterior import Posterior
from pyro_dsvae.models.dynamic_priors.dynamic_prior import DynamicPrior
from pyro_dsvae.models.errors import UsageError, did_you_mean, with_article
from pyro_dsvae.models.likelihoods.likelihood import Likelihood
from pyro_dsvae.models.networks.frames import FrameDecoder, FrameEncoder
from pyro_dsvae.models.static_priors.static_prior import StaticPrior

KINDS: Mapping[str, type] = {
    "static_prior": StaticPrior,
    "dynamic_prior": DynamicPrior,
    "posterior": Posterior,
    "encoder": FrameEncoder,
    "decoder": FrameDecoder,
    "likelihood": Likelihood,
}


def checked_arguments(kind: type, verb: str, positional: tuple[Any, ...], named: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a verb by their names, fit for the class of its options.

    Parts that are given by name become classes, numbers of NumPy Python's own.

    Args:
        kind: The class of options.
        verb: The name of the function, for messages.
        positional, named: The arguments.

    Raises:
        UsageError: For an argument that the verb has not, and a value of another kind than it takes.
    """
    signature = inspect.signature(kind)
    unknown = next((name for name in named if name not in signature.parameters), None)
    if unknown is not None:
        names = signature.parameters
        raise UsageError(
            f"{verb} has no argument {unknown!r}{did_you_mean(unknown, names)}; it takes {', '.join(names)}"
        )
    try:
        given = signature.bind(*positional, **named).arguments
    except TypeError as error:
        raise UsageError(f"{verb}: {error}; name the arguments") from error
    hints = get_type_hints(kind)
    return {
        name: _source(value)
        if name == "data"
        else _part(name, value)
        if name in KINDS and value is not None
        else _value(name, value, hints[name])
        for name, value in given.items()
    }


def is_named(value: object, option: str) -> bool:
    """Whether the value is the name of one of the package's parts."""
    return isinstance(value, str) and value in PARTS[option]


def no_part(option: str, name: str) -> str:
    """What to say of a name that is none of the parts that an option takes: the nearest one, or what it is."""
    others = [other for other, parts in PARTS.items() if name in parts]
    hint = f" (it is {' and '.join(map(with_article, others))})" if others else did_you_mean(name, names(option))
    return f"unknown {option} {name!r}{hint}; it is one of {', '.join(names(option))}"


def source_of(path: Path) -> str:
    """The data source that reads a file or a folder of this name."""
    return "VideoFolder" if path.is_dir() else "SeriesTable" if is_table(path) else "Arrays"


def _source(value: object) -> DataSource:
    """Of sequences. Raises `UsageError` for a file's name, a class, and what holds no sequences."""
    if isinstance(value, DataSource):
        return value
    if is_data(value):
        return InMemory.of(value)
    if is_named(value, "data"):
        found, right = f"the name {value!r}", f"give the object, {value}{'(PATH)' if value == 'Arrays' else '()'}"
    elif isinstance(value, str | PathLike):
        found, right = f"{str(value)!r}", f"give the object, such as {source_of(Path(value))}({str(value)!r})"
    elif isinstance(value, type):
        found, right = f"the class {value.__name__}", f"give an object, {value.__name__}(…)"
    else:
        found, right = _short(value), f"give an object, such as Arrays('clips.npz') or Sprites(), or {KINDS_OF_DATA}"
    raise UsageError(f"data is {found}; {right}")


def _part(option: str, value: Any) -> Any:
    """A recipe for a part. Raises `UsageError` for a wrong name, a part that was built already, and another kind of part."""
    if isinstance(value, str):
        if value in PARTS[option]:
            return PARTS[option][value]
        module, _, name = value.rpartition(".")
        try:
            value = getattr(import_module(module), name)
        except (ImportError, AttributeError, ValueError):
            raise UsageError(f"{no_part(option, value)}, or a class of your own") from None
    if isinstance(value, nn.Module):
        name = type(value).__name__
        raise UsageError(
            f"{option} is a {name} that was built already, but the model supplies its sizes; give the class, {name}, or "
            f"functools.partial({name}, OPTION=VALUE)"
        )
    made = part_class(value)
    if made is not None and made is not object and not issubclass(made, KINDS[option]):
        others = [other for other, kind in KINDS.items() if issubclass(made, kind)]
        raise UsageError(
            f"{option} is {made.__name__}{f', {with_article(others[0])}' if others else ''}; it is one of "
            f"{', '.join(sorted(PARTS[option]))}, or a class of your own derived from {KINDS[option].__name__}"
        )
    if not callable(value):
        raise UsageError(
            f"{option} is {_short(value)}; it takes a class, such as {next(iter(PARTS[option]))}, or functools.partial of one"
        )
    return value


def _value(name: str, value: Any, hint: Any) -> Any:
    """Any other value. Raises `UsageError` where it is of another kind."""
    if not _fits(value, hint):
        raise UsageError(f"{name} is {_short(value)}; it takes {_words(hint)}")
    # NumPy's numbers cannot be written into config.yaml.
    return value.item() if isinstance(value, np.generic) else value


def _fits(value: object, hint: Any) -> bool:
    origin, inside = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, each) for each in inside)
    if origin is Literal:
        return isinstance(value, str) and value in inside
    if hint in _CHECKS:
        return _CHECKS[hint](value)
    kind = origin or hint
    return not isinstance(kind, type) or (isinstance(value, kind) and not isinstance(value, str))


def _words(hint: Any) -> str:
    origin, inside = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(_words(each) for each in inside)
    if origin is Literal:
        return f"one of {', '.join(map(repr, inside))}"
    known = {int: "a whole number", float: "a number", bool: "True or False", str: "text", Path: "a path"}
    kind = origin or hint
    if hint is NoneType or hint in known:
        return known.get(hint, "None")
    if kind.__module__ == "collections.abc":
        return f"a {kind.__name__.lower()}"
    return f"{kind.__name__}(…), of {kind.__module__}"


def _short(value: object) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"a {type(value).__name__}"


_CHECKS: Mapping[Any, Callable[[object], bool]] = {
    int: lambda value: isinstance(value, Integral) and not isinstance(value, bool),
    float: lambda value: isinstance(value, Real) and not isinstance(value, bool),
    bool: lambda value: isinstance(value, bool | np.bool_),
    str: lambda value: isinstance(value, str),
    Path: lambda value: isinstance(value, str | PathLike),
}
