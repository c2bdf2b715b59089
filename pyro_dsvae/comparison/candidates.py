"""What is compared: the candidates that result from varying options of `fit`."""

import itertools
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from pyro_dsvae import cli
from pyro_dsvae.configuration.options import FitOptions, Role, option_names
from pyro_dsvae.configuration.parts import describe, in_words
from pyro_dsvae.configuration.spellings import modern_key
from pyro_dsvae.models.errors import UsageError

# Roles of options that are not the candidates' to vary, and what varies in their place.
FIXED = {
    Role.DATA: "all candidates must be held against the same data",
    Role.SEED: "--seeds says how often each is fitted, --seed with which seed first",
    Role.BUDGET: "all candidates have the same budget, --steps or --minutes",
    Role.INCIDENTAL: "it says where and how fast a fit runs, not what is fitted",
    Role.CALL: "each candidate has its own folder below --out of the comparison, and goes on where it was by itself",
}

Config = dict[str, Any]


@dataclass(frozen=True)
class Candidate:
    """One cell of the grid.

    Attributes:
        name: What distinguishes it: "LSTM", "latent_size=4", "LSTM+VampPrior".
        config: All options of `fit` but seed, out and resume, as config.yaml has them.
    """

    name: str
    config: Config

    @property
    def folder(self) -> str:
        """The name, as a folder can have it."""
        return re.sub(r"[^\w.=+]+", "-", self.name).strip("-")

    def options(self) -> FitOptions:
        """The options of its fits, parts built; seed and folder are the caller's to replace."""
        return cli.from_config(FitOptions, self.config)


@dataclass(frozen=True)
class Fit:
    """One fit of a candidate.

    Attributes:
        candidate: Its name.
        seed: Of the fit.
        path: The run directory.
    """

    candidate: str
    seed: int
    path: Path


# --- options that vary ------------------------------------------------------------------------------------------------


def grid(base: Mapping[str, Any], vary: Mapping[str, Sequence[Any]]) -> tuple[list[Candidate], dict[str, list[Any]]]:
    """Every combination of the values, and ``vary`` as it is written down: parts complete, with class path and options.

    Args:
        base: The options that all have in common, as config.yaml has them.
        vary: Option of `fit` -> values: class names, dotted paths, classes, `functools.partial` of them, numbers,
            strings.

    Raises:
        UsageError: For an option or value that `fit` does not take, fewer than two candidates, or two that are the
            same.
    """
    vary = {modern_key(key): values for key, values in vary.items()}
    check_keys(vary)
    # Parts first, so that options of a part reach the part that was picked.
    keys = sorted(vary, key=lambda key: "." in key)
    cells = list(itertools.product(*(range(len(vary[key])) for key in keys)))
    if len(cells) < 2:
        raise UsageError("a comparison needs at least two candidates: --vary dynamic_prior=LSTM,IID")
    configs = [config_with(base, {key: vary[key][i] for key, i in zip(keys, cell, strict=True)}) for cell in cells]
    written = {
        key: [
            # A part as it was picked; what else varies of it is written under its own key.
            _lookup(configs[_first(cells, place, i)] if "." in key else config_with(base, {key: value}), key)
            for i, value in enumerate(vary[key])
        ]
        for place, key in enumerate(keys)
    }
    labels = [labels_of(key, written[key], list(vary)) for key in keys]
    order = [keys.index(key) for key in vary]
    names = ["+".join(labels[place][cell[place]] for place in order) for cell in cells]
    for (one, a), (other, b) in itertools.combinations(zip(names, configs, strict=True), 2):
        if a == b:
            raise UsageError(f"the candidates {one} and {other} are the same; name each once")
    return [Candidate(*pair) for pair in zip(names, configs, strict=True)], {key: written[key] for key in vary}


def check_keys(vary: Mapping[str, Sequence[Any]]) -> None:
    """Refuse what cannot be varied.

    Raises:
        UsageError: For an option that all candidates must share, or one without values.
    """
    for key, values in vary.items():
        option = key.partition(".")[0]
        for role, reason in FIXED.items():
            if option in option_names(FitOptions, role):
                raise UsageError(f"--vary {key}: {option} cannot vary; {reason}")
        if option == "config":
            raise UsageError("--vary config: config cannot vary; give its options one by one")
        if isinstance(values, str):
            raise UsageError(f"vary {key} is the text {values!r}; give a list, {key!r}: {values.split(',')}")
        if not values:
            raise UsageError(f"--vary {key} needs values: --vary {key}=A,B")


def written_values(base: Mapping[str, Any], key: str, values: Sequence[Any], above: Mapping[str, Any]) -> list[Any]:
    """Values of one option as config.yaml has them.

    Args:
        base: The options that all have in common.
        key: The option.
        values: As the user named them.
        above: The part that it is an option of, where that varies, too.

    Raises:
        UsageError: For a value that `fit` does not take.
    """
    return [_lookup(config_with(base, {**above, key: value}), key) for value in values]


def config_with(base: Mapping[str, Any], values: Mapping[str, Any]) -> Config:
    """The complete options of a fit with these values, parts before their options. Raises `UsageError`."""
    parser = cli.parser_for(FitOptions, None)
    # A part that was picked anew starts from its own defaults, not from the options of the one before.
    kept = {name: value for name, value in base.items() if name not in values}
    arguments = ["--config", json.dumps(kept), *(f"--{key}={_text(value)}" for key, value in values.items())]
    try:
        return FitOptions(**cli.values(parser, arguments)).written(base)
    except UsageError as error:
        raise UsageError(f"--vary: {error}", *error.options) from error


def _text(value: Any) -> str:
    """A value as the command line has it."""
    if isinstance(value, str):
        return value
    return json.dumps(value if isinstance(value, int | float | list | dict | None) else describe(value))


def _first(cells: Sequence[tuple[int, ...]], place: int, value: int) -> int:
    return next(n for n, cell in enumerate(cells) if cell[place] == value)


def _lookup(config: Mapping[str, Any], key: str) -> Any:
    value: Any = config
    for name in key.split("."):
        value = value["init_args"][name] if isinstance(value, Mapping) and "init_args" in value else value[name]
    return value


def labels_of(key: str, values: Sequence[Any], keys: Sequence[str]) -> list[str]:
    """What tells the values of one option apart."""
    if not all(isinstance(value, Mapping) and "class_path" in value for value in values):
        last = key.rpartition(".")[2]
        name = last if sum(other.rpartition(".")[2] == last for other in keys) == 1 else key
        return [f"{name}={in_words(value)}" for value in values]
    short = [_label(value, value["class_path"].rpartition(".")[2]) for value in values]
    counts = Counter(short)
    return [s if counts[s] == 1 else _label(v, v["class_path"]) for s, v in zip(short, values, strict=True)]


def _label(part: Mapping[str, Any], name: str) -> str:
    """The name of a part, with the options that are not its defaults."""
    module, _, kind = part["class_path"].rpartition(".")
    defaults = describe(getattr(import_module(module), kind))["init_args"]
    own = [f"{n}={in_words(v)}" for n, v in part["init_args"].items() if n not in defaults or defaults[n] != v]
    return f"{name}({','.join(own)})" if own else name
