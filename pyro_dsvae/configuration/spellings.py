"""Options that were renamed, and where their old spellings are understood for one release: arguments and config.yaml.

Each use of an old spelling is told by one `OldConfiguration` warning. A command prints it as one line on standard error.
"""

import copy
import json
import re
import warnings
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

# Old spelling -> today's. Only the last part may differ.
RENAMED: Mapping[str, str] = {
    "optimisation.priors": "optimisation.prior_start",
    "optimisation.static_prior": "optimisation.static_prior_rate",
    "optimisation.dynamic_prior": "optimisation.dynamic_prior_rate",
    "optimisation.settling": "optimisation.prior_refit_steps",
    "optimisation.recombination": "optimisation.recombination_start",
    "optimisation.clip": "optimisation.max_grad_norm",
}
# Parts that had networks, and took their width: the option, where these parts are, what has the width now, and the stand-in.
EARLIER_WIDTHS: Mapping[str, tuple[str, str, str]] = {
    "likelihood": ("pyro_dsvae.models.likelihoods.", "decoder", "pyro_dsvae.configuration.networks.EarlierDecoder"),
    "posterior": ("pyro_dsvae.inference.posteriors.", "encoder", "pyro_dsvae.configuration.networks.EarlierEncoder"),
}
# With those that no config.yaml holds: of ``latents swap``.
RENAMED_ARGUMENTS: Mapping[str, str] = {**RENAMED, "looks": "appearances"}


class OldConfiguration(FutureWarning):
    """A configuration that was written for another version and is read as this version has it."""


def modern_key(key: str) -> str:
    """Today's spelling of a dotted option, such as ``--vary`` and ``vary=`` name it."""
    if key not in RENAMED:
        return key
    warnings.warn(f"{key} is now {RENAMED[key]}", OldConfiguration, stacklevel=1)
    return RENAMED[key]


def modern_arguments(arguments: Sequence[str]) -> list[str]:
    """The arguments of a command in today's spelling, those in its ``--config`` files too."""
    modern: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        name, equals, value = argument.partition("=")
        if name.removeprefix("--") in RENAMED_ARGUMENTS and name.startswith("--"):
            new = f"--{RENAMED_ARGUMENTS[name.removeprefix('--')]}"
            warnings.warn(f"{name} is now {new}", OldConfiguration, stacklevel=1)
            modern.append(f"{new}{equals}{value}")
        elif (option := _had_width(name)) and not _own_part(option, arguments):
            network = EARLIER_WIDTHS[option][1]
            warnings.warn(f"{name} is now --{network}.width", OldConfiguration, stacklevel=1)
            modern.append(f"--{network}={json.dumps(_earlier(option, value if equals else next(rest, '')))}")
        elif name == "--config" and equals:
            modern.append(f"--config={_modern_source(value)}")
        elif modern and modern[-1] == "--config":
            modern.append(_modern_source(argument))
        else:
            modern.append(argument)
    return modern


def modern_config(config: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The configuration in today's spelling.

    Args:
        config: what a config.yaml says, of a fit or of a comparison
        source: the name of the file, for the warning
    """
    modern, found = copy.deepcopy(dict(config)), []
    for old, new in RENAMED.items():
        *path, last = old.split(".")
        holders = [(_descend(modern, path), last, new.rpartition(".")[2]), (modern.get("vary"), old, new)]
        for holder, before, after in holders:
            if isinstance(holder, dict) and before in holder:
                renamed = {after if key == before else key: value for key, value in holder.items()}
                holder.clear()
                holder.update(renamed)
                found.append(f"{old} is now {new}")
    found += _networks_apart(modern)
    optimisation = modern.get("optimisation")
    # A whole section without it is of the time when every fit took Adam.
    if isinstance(optimisation, dict) and optimisation.keys() >= {"batch_size", "evaluations", "max_grad_norm"}:
        optimisation.setdefault("optimizer", "Adam")
    if found:
        said = "; ".join(dict.fromkeys(found))
        warnings.warn(f"{source} is of an earlier version: {said}", OldConfiguration, stacklevel=1)
    return modern


def _networks_apart(config: dict[str, Any]) -> list[str]:
    """Give networks the width that the parts had which held them, in the configuration itself; what is to be said of it."""
    found = []
    for option, (_, network, _) in EARLIER_WIDTHS.items():
        vary = config.get("vary")
        varied = (vary.get(option) or []) if isinstance(vary, dict) else []
        parts = [p for p in (config.get(option), *varied) if isinstance(p, dict)]
        held = [p.get("init_args") or {} for p in parts if _packaged(option, str(p.get("class_path")))]
        widths = {each["width"] for each in held if "width" in each}
        if len(widths) != 1:  # of several, candidates would need networks of their own
            continue
        for each in held:
            each.pop("width", None)
        if config.get(network) is None:
            config[network] = _earlier(option, widths.pop())
            found.append(f"{option}.width is now {network}.width")
            # A whole configuration of that time was of a fit that did not standardise.
            if option == "likelihood" and "optimisation" in config:
                config.setdefault("standardise", False)
    return found


def modern_label(label: str) -> str:
    """A candidate's name, such as ``IID+settling=0``, in today's spelling."""
    for old, new in RENAMED.items():
        for before, after in ((old, new), (old.rpartition(".")[2], new.rpartition(".")[2])):
            label = re.sub(rf"(?<![\w.]){re.escape(before)}=", f"{after}=", label)
    return label


def lacking(config: Mapping[str, Any], complete: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Options by their dotted names, with their values, that a configuration lacks and the complete one has."""
    found: dict[str, Any] = {}
    for name, value in complete.items():
        if name not in config:
            found[prefix + name] = value.get("class_path", value) if isinstance(value, Mapping) else value
        elif isinstance(value, Mapping) and isinstance(config[name], Mapping):
            inner, whole = (
                each.get("init_args", each if "class_path" not in each else {}) for each in (config[name], value)
            )
            found |= lacking(inner, whole, f"{prefix}{name}.")
    return found


def _descend(config: Mapping[str, Any], path: Sequence[str]) -> object:
    """What stands at a path of keys, through the arguments of parts."""
    found: object = config
    for key in path:
        found = found.get("init_args", found) if isinstance(found, Mapping) else None
        found = found.get(key) if isinstance(found, Mapping) else None
    return found.get("init_args", found) if isinstance(found, Mapping) else None


def _earlier(option: str, width: int | str) -> dict[str, Any]:
    """The network of such a width, which was a part of this option, as config.yaml has it."""
    return {"class_path": EARLIER_WIDTHS[option][2], "init_args": {"width": width}}


def _had_width(name: str) -> str:
    """The option that had a width of its own, of an argument such as ``--likelihood.width``; empty for any other."""
    option, _, last = name.removeprefix("--").rpartition(".")
    return option if name.startswith("--") and last == "width" and option in EARLIER_WIDTHS else ""


def _packaged(option: str, name: str) -> bool:
    """Whether a short name or a class path is of one of the package's parts; one's own may have a width."""
    return "." not in name or name.startswith(EARLIER_WIDTHS[option][0])


def _own_part(option: str, arguments: Sequence[str]) -> bool:
    """Whether the arguments name a part that is not the package's."""
    named = [a.partition("=")[2] or b for a, b in pairwise([*arguments, ""]) if a.partition("=")[0] == f"--{option}"]
    return any(not _packaged(option, name) for name in named)


def _modern_source(source: str) -> str:
    """What ``--config`` names, a file or the text of one; itself where there is nothing to rename, or nothing to be read."""
    try:
        config = yaml.safe_load(source if source.lstrip().startswith("{") else Path(source).read_text())
    except (OSError, ValueError, yaml.YAMLError):
        return source
    if not isinstance(config, dict):
        return source
    modern = modern_config(config, "--config" if source.lstrip().startswith("{") else source)
    return source if modern == config else json.dumps(modern)
