"""Parts as configuration: an object that was built, or a recipe for one, as its class path and arguments."""

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from pyro_dsvae.models.errors import UsageError

# Arguments with a default that are the model's to give, not the user's.
SUPPLIED = ("static_size",)


def describe(part: object) -> dict[str, Any]:
    """A part as ``{"class_path": …, "init_args": {…}}``, complete: options left at their defaults are included.

    Args:
        part: A class or a `functools.partial` of one (a recipe, to be called with the sizes that the model supplies), or an
            object that keeps its constructor's arguments under their names.

    Raises:
        UsageError: For anything else, such as a lambda: a run must be repeatable from its config.yaml.

    Example:
        >>> from functools import partial
        >>> from pyro_dsvae.configuration.parts import describe
        >>> from pyro_dsvae.models.dynamic_priors import GRU
        >>> describe(partial(GRU, hidden_size=64))["init_args"]
        {'hidden_size': 64, 'condition_on_static': False}
    """
    if isinstance(part, type):
        return _entry(part, _options(part))
    if isinstance(part, functools.partial):
        kind = part_class(part)
        if kind is not None and not (kind is part.func and part.args):
            given = {n: v for n, v in part.keywords.items() if n not in SUPPLIED}
            return _entry(kind, _options(kind) | given)
    elif not inspect.isroutine(part):
        kind = type(part)
        names = _signature(kind)
        if all(name in vars(part) for name in names):
            return _entry(kind, {name: getattr(part, name) for name in names})
    raise UsageError(
        f"cannot write {part!r} into config.yaml; give a class, functools.partial(Class, option=value), "
        "or an object that keeps its constructor's arguments under their names"
    )


def part_class(part: object) -> type | None:
    """The class that a part or a recipe for one makes; None where it is another callable."""
    if isinstance(part, functools.partial):
        # The command-line parser's recipes carry the class as the last positional argument of a partial of its own.
        return next((c for c in (part.func, *part.args) if isinstance(c, type)), None)
    return part if isinstance(part, type) else None


def in_words(value: object) -> str:
    """A part that `describe` wrote as ``Name(option=value)``; any other value as it is."""
    if isinstance(value, Mapping) and "class_path" in value:
        options = ", ".join(f"{name}={in_words(v)}" for name, v in value.get("init_args", {}).items())
        return f"{str(value['class_path']).rpartition('.')[2]}({options})"
    return str(value)


def class_paths(config: object) -> Iterator[str]:
    """The class path of every part in a configuration."""
    if isinstance(config, Mapping):
        if isinstance(path := config.get("class_path"), str):
            yield path
        for value in config.values():
            yield from class_paths(value)


def importable(folder: Path, module: str) -> bool:
    """Whether a module of this name lies in the folder."""
    return (folder / f"{module}.py").is_file() or (folder / module).is_dir()


def plain(value: object) -> object:
    """The value as YAML has it: dataclasses as dictionaries, paths as strings, tuples as lists, objects described."""
    if isinstance(value, str | int | float | None):
        return value
    if isinstance(value, Path):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return describe(value)


def _entry(kind: type, options: dict[str, Any]) -> dict[str, Any]:
    if "<locals>" in kind.__qualname__:
        raise UsageError(f"cannot write {kind.__name__} into config.yaml: move the class out of its function")
    return {
        "class_path": f"{kind.__module__}.{kind.__qualname__}",
        "init_args": {name: plain(value) for name, value in options.items()},
    }


def _signature(kind: Callable[..., object]) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(kind).parameters)


def _options(kind: type) -> dict[str, Any]:
    """The constructor's options with their defaults, without what the model supplies."""
    return {n: p.default for n, p in _signature(kind).items() if is_option(p)}


def is_option(parameter: inspect.Parameter) -> bool:
    """Whether a constructor's argument is for the user to set. Sizes, and what has no default, are supplied by the model."""
    return parameter.default is not inspect.Parameter.empty and parameter.name not in SUPPLIED
