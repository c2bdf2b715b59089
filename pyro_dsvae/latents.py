"""Use the latents of a run: change what stays, change what moves, generate, repair, forecast.

python -m pyro_dsvae.latents ACTION RUN …
python -m pyro_dsvae.latents ACTION --help      the options of an action

"""

if __name__ == "__main__":
    # Before the imports, which take seconds: a request to stop is answered at any moment.
    from pyro_dsvae.process import run_verb

    run_verb("latents")

import inspect
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path

from pyro_dsvae import cli
from pyro_dsvae.models.errors import UsageError, did_you_mean

# Action -> what it does, and an example.
ACTIONS: Mapping[str, tuple[str, str]] = {
    "swap": ("every appearance with every motion", "swap RUN --appearances 3,7 --motions 1,2"),
    "sample": ("new clips; or a kept appearance or motion; or a data set of them", "sample RUN --keep static --clip 3"),
    "interpolate": (
        "from one clip to another, in f, in z, or in both",
        "interpolate RUN --between 3,40 --latent static",
    ),
    "traverse": ("one latent dimension at a time, the most informative first", "traverse RUN --clip 3"),
    "impute": ("fill what is missing", "impute RUN --missing-frames 2,5 --missing-pixels .5"),
    "forecast": ("go on after the first frames, beside simple baselines", "forecast RUN --given 5 --horizon 8"),
    "encode": ("f and z of a data set, and what each knows of the labels", "encode RUN --format npz,csv"),
}


NOTES = """RUN is the folder that fit printed, or sprites: a run that comes with the package, whose results go to
./sprites-results. Clips are positions in the validation split (or --split), such as 3, 3,7 or 0:4, or files: an .npz with
an array frames, a video, a GIF, a PNG strip (square frames side by side), a folder of frames.
Videos and --format mp4 need pip install 'pyro-dsvae[video]'. Of a run on speech, swap takes recordings of any length and
writes WAV. Each action writes a new folder, RUN/latents/ACTION-NNN or --out, and prints it as the last line: wrote: PATH.

From Python: run = pyro_dsvae.load(RUN), then run.swap, run.sample, run.interpolate, run.traverse, run.impute,
run.forecast, run.encode: tensors in, tensors out."""


def manual() -> str:
    """The verb's manual: the actions with examples."""
    actions = "\n".join(f"  {name:13}{what}" for name, (what, _) in ACTIONS.items())
    examples = "\n".join(f"  python -m pyro_dsvae.latents {example}" for _, example in ACTIONS.values())
    return f"{__doc__.strip()}\n\nActions:\n\n{actions}\n\nExamples:\n\n{examples}\n\n{NOTES}"


def action(name: str) -> Callable[..., Path]:
    """The function of an action.

    Raises:
        UsageError: For any other name.
    """
    if name not in ACTIONS:
        near = did_you_mean(name, ACTIONS)
        raise UsageError(f"unknown action {name!r}{near}; it is one of {', '.join(ACTIONS)}")
    found: Callable[..., Path] = getattr(import_module(f"pyro_dsvae.actions.{name}"), name)
    return found


def main(arguments: Sequence[str]) -> int:
    """The command: 0."""
    if not arguments:
        raise UsageError(
            f"ACTION is missing: python -m pyro_dsvae.latents ACTION RUN …; it is one of {', '.join(ACTIONS)}"
        )
    name, *rest = arguments
    if name in ("-h", "--help"):
        print(f"usage: python -m pyro_dsvae.latents ACTION RUN …\n\n{manual()}")
        return 0
    if name.startswith("-"):
        raise UsageError(
            f"unknown option {name.partition('=')[0]}; the first argument is an action: {', '.join(ACTIONS)}"
        )
    function = action(name)
    parser = cli.parser_for(function, None)
    parser.prog = f"python -m pyro_dsvae.latents {name}"
    # The arguments follow as options, and the example is Python.
    parser.description = (inspect.getdoc(function) or "").partition("\n\nArgs:")[0]
    path = function(**cli.values(parser, [_dashed(argument) for argument in rest]))
    print(f"wrote: {path}")
    return 0


def _dashed(argument: str) -> str:
    """``--missing-frames`` is ``--missing_frames``."""
    name, equals, value = argument.partition("=")
    return name.replace("-", "_").replace("__", "--", 1) + equals + value if name.startswith("--") else argument
