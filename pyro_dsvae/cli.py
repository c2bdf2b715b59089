"""What all verbs share: options from a function's signature, errors in one line, exit codes, the last line."""

import argparse
import contextlib
import inspect
import json
import re
import shlex
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TextIO, TypeVar

from jsonargparse import ArgumentParser, Namespace

from pyro_dsvae.configuration.explaining import explained, one_sentence
from pyro_dsvae.configuration.parts import describe, is_option
from pyro_dsvae.configuration.spellings import OldConfiguration, modern_arguments
from pyro_dsvae.models.errors import Remark, UsageError
from pyro_dsvae.process import stoppable

Taken = TypeVar("Taken")
BOOLEANS = ("true", "false", "yes", "no")  # what may follow a flag as its value


def parser_for(function: Callable[..., Any], manual: str | None) -> ArgumentParser:
    """A parser whose options are the arguments of ``function``, or of a class; ``manual`` is the verb's docstring.

    Arguments without a default are positional: ``python -m pyro_dsvae.ppc RUN``.
    """
    from pyro_dsvae.configuration.catalogue import PARTS  # its import makes the parts known by their short names

    parser = ArgumentParser(
        prog=f"python -m {function.__module__}",
        description=manual,
        exit_on_error=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config", action="config", help="read options from a YAML file, such as a run's config.yaml")
    if isinstance(function, type):
        parser.add_class_arguments(function, sub_configs=False)
    else:
        parser.add_function_arguments(function, as_positional=True, sub_configs=False)
    for name, parameter in inspect.signature(function).parameters.items():
        if name in PARTS and is_option(parameter) and not isinstance(parameter.default, type | None):
            # A default that is an object; config.yaml and --help show how it is made.
            parser.set_defaults({name: describe(parameter.default)})
    return parser


def parse(parser: ArgumentParser, arguments: Sequence[str]) -> Namespace:
    """Parsed options, old spellings too.

    Raises:
        UsageError: In one line that names the nearest valid option or part.
    """
    modern = modern_arguments(arguments)
    names = {argument.partition("=")[0] for argument in modern}
    # Decoders and encoders depend on the frames; of likelihoods there is one default, so that its options say which.
    if any(name.startswith("--likelihood.") for name in names) and not names & {
        "--likelihood",
        "--config",
        "--likelihood.help",
    }:
        modern.insert(0, "--likelihood=Normal")
    try:
        _forget_options_of_defaults(parser, modern)
        return parser.parse_args(modern)
    except argparse.ArgumentError as error:
        raise UsageError(explained(parser, str(error))) from error
    except UnicodeDecodeError as error:
        raise UsageError("--config names a file that is no text; it takes YAML, such as a run's config.yaml") from error
    except Exception as error:  # whatever the module of a user's own part raises while it is imported
        raise UsageError(f"the arguments name a part that cannot be imported: {_where(error)}") from error


def _forget_options_of_defaults(parser: ArgumentParser, arguments: Sequence[str]) -> None:
    """Let a part that is named begin with its own defaults.

    Else it would take over options of the same name from the part that is the default: `DiscretizedLogistic` the smallest scale
    of `Normal`, `CartoonFaces` the ground of `Sprites`.
    """
    from pyro_dsvae.configuration.catalogue import PARTS

    defaults = parser.get_defaults()
    for name, chosen in peek(arguments, *PARTS).items():
        if chosen is not None and name in defaults and (chosen in PARTS[name] or re.fullmatch(r"\w+(\.\w+)+", chosen)):
            with contextlib.suppress(
                Exception
            ):  # what is wrong with a class of the user's own is said when all are parsed
                parser.set_defaults({name: {"class_path": chosen}})


def _where(error: Exception) -> str:
    """Kind, place and message of an exception in a user's own module, on one line."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    file, line = (error.filename, error.lineno) if isinstance(error, SyntaxError) else (place.filename, place.lineno)
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    return one_sentence(f"{type(error).__name__} in {file}, line {line}: {message}")


def peek(arguments: Sequence[str], *names: str) -> dict[str, str | None]:
    """The values of some options before all are parsed, as they were written; None for what is not named."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for name in names:
        parser.add_argument(f"--{name}")
    with contextlib.suppress(argparse.ArgumentError):  # what is wrong with them is said when all are parsed
        return vars(parser.parse_known_args(list(arguments))[0])
    return dict.fromkeys(names)


def bare_flags(arguments: Sequence[str], *flags: str) -> list[str]:
    """The arguments, in which each of these flags that has no value, such as ``--resume``, means ``--resume=true``."""
    following = [*arguments, ""][1:]
    return [
        f"{a}=true" if a in flags and n.lower() not in BOOLEANS else a
        for a, n in zip(arguments, following, strict=True)
    ]


def instantiate(parser: ArgumentParser, options: Namespace) -> Namespace:
    """Options with their objects built. Raises `UsageError`."""
    try:
        return parser.instantiate(options)
    except (TypeError, ValueError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(_first_cause(str(error))) from error


def _first_cause(text: str) -> str:
    """The message, or of a value that fits none of several types, what the first of them said."""
    found = re.search(r"Errors:\s+- (.*?)\s+- Expected a", text, re.DOTALL)
    return one_sentence(found[1] if found else text)


def values(parser: ArgumentParser, arguments: Sequence[str]) -> dict[str, Any]:
    """The options by name, parsed and with their objects built. Raises `UsageError`."""
    return {
        name: value for name, value in vars(instantiate(parser, parse(parser, arguments))).items() if name != "config"
    }


def from_config(kind: Callable[..., Taken], config: Mapping[str, Any]) -> Taken:
    """An object of options from what a config.yaml says; what it lacks has its default. Raises `UsageError`."""
    return kind(**values(parser_for(kind, None), ["--config", json.dumps(config)]))


def main(verb: Callable[[Sequence[str]], int], arguments: Sequence[str] | None = None) -> None:
    """Run a verb on its arguments, by default those of the command line, and exit with its status.

    What the user got wrong is one line on standard error and status 2; Ctrl-C is status 130, SIGTERM and SIGUSR1 143, SIGHUP
    129, with the command that starts again.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        with stoppable(f"python -m {verb.__module__} {shlex.join(arguments)}".rstrip()), _remarks_told():
            status = verb(arguments)
        sys.exit(status)
    except UsageError as error:
        print(f"error: {_with_flags(error)}", file=sys.stderr)
        sys.exit(2)


def _with_flags(said: UsageError | Remark) -> str:
    """The message on one line, with the flags of the options that it names."""
    flags = ", ".join(f"--{name}" for name in said.options)
    return f"{' '.join(str(said).split())}{f' ({flags})' if flags else ''}"


@contextlib.contextmanager
def _remarks_told() -> Iterator[None]:
    """Within it each `OldConfiguration` and `Remark` is one line on standard error, once; other warnings are shown as ever."""
    with warnings.catch_warnings():
        for kind in (OldConfiguration, Remark):
            warnings.simplefilter("default", kind)
        others, told = warnings.showwarning, set[str]()

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if not issubclass(category, OldConfiguration | Remark):
                others(message, category, filename, lineno, file, line)
                return
            said = _with_flags(message) if isinstance(message, Remark) else str(message)
            if said not in told:
                told.add(said)
                print(f"warning: {said}", file=sys.stderr)

        warnings.showwarning = show
        yield
