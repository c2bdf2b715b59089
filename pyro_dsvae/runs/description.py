"""A run in a few lines: what `print(run)` shows."""

import inspect
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from pydoc import locate
from typing import Any

from pyro_dsvae.configuration.parts import in_words
from pyro_dsvae.data.dataset import DataSource
from pyro_dsvae.data.words import in_words as sequences_in_words
from pyro_dsvae.inference.posteriors.posterior import Posterior
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.pretrained import FOLDER
from pyro_dsvae.runs.directory import RunDirectory

# Of a line; options that go beyond it are left to config.yaml.
WIDTH = 110


def described(
    path: Path, config: Mapping[str, Any], data: DataSource, model: DSVAE, guide: Posterior, state: Mapping[str, Any]
) -> str:
    """Where the run is, its data and parts, its held-out ELBO, and what can be done with it. Only summary.json is read.

    Args:
        path, config, data, model, guide, state: As `pyro_dsvae.load` gives them.

    Example:
        >>> import pyro_dsvae
        >>> print(str(pyro_dsvae.load("runs/clips")).splitlines()[0])
        Run runs/clips
    """
    size = f": {_size(int(state['length']), model)}" if "length" in state else ""
    # Data that were given when the run was opened are not those that config.yaml names.
    kind = type(data).__name__
    source = _named(config, "data") if config["data"]["class_path"].endswith(f".{kind}") else kind
    weights = [p for module in (model, guide) for p in module.parameters()]
    step = f", as of step {state['step']:,}" if "step" in state else ""
    lines = [
        ("data", f"{source}{size}"),
        ("static prior", f"{_named(config, 'static_prior')}, f of {model.static_prior.static_size} numbers a sequence"),
        ("dynamic prior", f"{_named(config, 'dynamic_prior')}, z of {model.dynamic_prior.latent_size} numbers a step"),
        *((part, _named(config, part)) for part in ("likelihood", "decoder", "encoder", "posterior")),
        ("weights", f"{sum(p.numel() for p in weights):,}, on {weights[0].device}{step}"),
        *_figures(path),
        (
            "Python",
            "run.sequences(), encode, decode, reconstruct, swap, sample, interpolate, traverse, impute, forecast",
        ),
    ]
    if (path / "config.yaml").is_file():
        name = path.name if path.parent == FOLDER else shlex.quote(str(path))
        lines.append(
            ("commands", f"python -m pyro_dsvae.latents swap {name}; likewise ppc, evaluate, compare, explore")
        )
    return "\n".join([f"Run {path}", *(f"  {name:<14}{text}" for name, text in lines)])


def _size(length: int, model: DSVAE) -> str:
    """How long and large sequences are: "clips of up to 6 frames of 16 x 16, 3 channels"."""
    return sequences_in_words(2, f"up to {length}", tuple(model.likelihood.frame_shape)).removeprefix("2 ")


def _figures(path: Path) -> Iterator[tuple[str, str]]:
    """What the fit printed at its end; nothing where it has not ended, or its summary cannot be read."""
    try:
        summary = RunDirectory(path).summary()
    except UsageError:
        return
    terms = summary.get("validation", {})
    if {"elbo", "reconstruction", "kl_static", "kl_dynamic", "step"} <= terms.keys():
        last = summary.get("steps", terms["step"])
        yield "ELBO", f"{terms['elbo']:,.1f} nats per sequence, validation split, step {terms['step']:,} of {last:,}"
        yield (
            "",
            "reconstruction {reconstruction:,.1f}, KL of f {kl_static:.1f}, KL of z {kl_dynamic:.1f}".format(**terms),
        )
    for name, latent in (("kept", "z"), ("taken_over", "f")):
        if shares := (summary.get("judge") or {}).get(name):
            said = ", ".join(f"{factor} {share:.1%}" for factor, share in shares.items())
            yield "swaps", f"go with {latent}: {said}"


def _named(config: Mapping[str, Any], part: str) -> str:
    """A part as config.yaml has it, with the options that are not its defaults."""
    entry = config[part]
    path, given = entry["class_path"], entry["init_args"]
    kind = locate(path)
    known = inspect.signature(kind).parameters if isinstance(kind, type) else {}
    changed = [f"{n}={in_words(v)}" for n, v in given.items() if n not in known or v != known[n].default]
    name, options = path.rpartition(".")[2], ", ".join(changed)
    if len(options) > WIDTH:
        options = f"{options[: options.rfind(',', 0, WIDTH)]}, …"
    return f"{name}({options})" if options else name
