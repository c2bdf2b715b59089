"""What all verbs share: options from a function's signature, errors in one line, exit codes, the last line."""

import argparse
import contextlib
import inspect
import json
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO, TypeVar

from jsonargparse import ArgumentParser, Namespace

from pyro_dsvae.configuration.checking import no_part
from pyro_dsvae.configuration.parts import describe, is_option
from pyro_dsvae.configuration.spellings import OldConfiguration, modern_arguments
from pyro_dsvae.data.tables.reading import is_table
from pyro_dsvae.models.errors import Remark, UsageError, did_you_mean
from pyro_dsvae.process import stoppable

Taken = TypeVar("Taken")


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
    try:
        return parser.parse_args(modern_arguments(arguments))
    except argparse.ArgumentError as error:
        raise UsageError(_explain(parser, str(error))) from error
    except UnicodeDecodeError as error:
        raise UsageError("--config names a file that is no text; it takes YAML, such as a run's config.yaml") from error
    except Exception as error:  # whatever the module of a user's own part raises while it is imported
        raise UsageError(f"the arguments name a part that cannot be imported: {_where(error)}") from error


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

    What the user got wrong is one line on standard error and status 2; Ctrl-C is status 130, SIGTERM 143, SIGHUP 129.
    """
    try:
        with stoppable(), _remarks_told():
            status = verb(sys.argv[1:] if arguments is None else arguments)
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


def one_sentence(text: str) -> str:
    """Text on one line, of bounded length."""
    return re.sub(r"\s+", " ", text).strip()[:400]


def _explain(parser: ArgumentParser, message: str) -> str:
    """The parser's message in one line, with the nearest valid name where a name was wrong."""
    text = re.sub(r"\s+", " ", message).strip()
    if match := re.search(r"(\w+)\.help: (?:Expected a dot import path string: ?(\S*)|(.*))", text):
        return _unknown_name(match[1], match[2]) if match[3] is None else f"{match[3]}; {_choices(match[1])}"
    keys = list(dict.fromkeys(re.findall(r'Parser key "([\w.]+)"', text)))
    if not keys:
        return _explain_option(parser, text)
    found = re.search(r"class_path[ =]'([\w.]+)'", text)
    for pattern, explain in _EXPLANATIONS.items():
        if match := re.search(pattern, text):
            return explain(".".join(keys), found[1] if found else "", match)
    return _wrong_value(".".join(keys), text)


def _explain_option(parser: ArgumentParser, text: str) -> str:
    """An error that is not about the value of one known option."""
    if match := re.search(r"unrecognized arguments: (\S+)|^Option '([\w.]+)' is not accepted", text):
        name = (match[1] or f"--{match[2]}").partition("=")[0]
        if not name.startswith("-"):
            return f"unexpected argument {name!r}; options are given as --NAME VALUE, and --help lists them"
        return _unknown_option(parser, name)
    if match := re.search(r"^the following arguments are required: (\w+)", text):
        return f"{match[1].upper()} is missing: {parser.prog} {match[1].upper()} …; --help says what it is"
    if match := re.search(r"argument (--[\w.]+): expected one argument", text):
        return f"{match[1]} needs a value"
    if text.startswith("Problems parsing config:"):
        return f"a file that --config names is no YAML: {one_sentence(text.partition(': ')[2])}"
    return one_sentence(text)


def _unknown_option(parser: ArgumentParser, name: str) -> str:
    """An option that there is not: the nearest, or of a group of options all."""
    group = name.rpartition(".")[0]
    others = [each for each in _option_names(parser) if group and each.startswith(f"{group}.")]
    if not others:
        return f"unknown option {name}{did_you_mean(name, _option_names(parser))}; --help lists them all"
    names = [each.removeprefix(f"{group}.") for each in others]
    near = did_you_mean(name.removeprefix(f"{group}."), names)
    return f"unknown option {name}{near}; of {group} there are {', '.join(names)}"


def _wrong_value(option: str, text: str) -> str:
    """A value of the wrong kind."""
    if match := re.search(r"Unable to load config '(.*?)'", text):
        return f"--{option} got {match[1]!r}; its options are given as --{option}.NAME VALUE, and --help lists them"
    given = re.search(r"(?:Got|Given) value: (.*?)(?:\. Got value: .*)?$", text)
    if given is None:
        return one_sentence(re.sub(r'(Parser key "[\w.]+": )+', f"--{option}: ", text, count=1))
    if match := re.search(r"typing\.Literal\[(.*?)\]", text):
        names = [name.strip("'\"") for name in match[1].split(", ")]
        return one_sentence(f"--{option} got {given[1]!r}; it is one of {', '.join(names)}")
    kinds = re.findall(r"Expected a (?:<class '(\w+)'>|(\w+))", text)
    wanted = " or ".join(sorted({a or b for a, b in kinds} - {"NoneType"}))
    if not wanted:
        return one_sentence(f"--{option}: {text}")
    return one_sentence(f"--{option} got {given[1]!r}; it takes {wanted}")


def _option_names(parser: ArgumentParser) -> list[str]:
    return [name for name in parser._option_string_actions if name.startswith("--")]


def _unknown_part(option: str, _: str, match: re.Match[str]) -> str:
    """A part named wrongly."""
    return _unknown_name(option, match[1])


def _unknown_name(option: str, name: str) -> str:
    """A part named wrongly: the nearest of the parts that this option takes."""
    if option == "contrastive":
        return f"--contrastive got {name!r}; it takes none or Contrastive, and weights as in --contrastive.weight_mi 5"
    return f"{no_part(option, name)}, or the dotted path of your own class{_file_hint(option, name)}"


def _no_such_class(option: str, owner: str, match: re.Match[str]) -> str:
    """A dotted path that leads nowhere."""
    found = re.search(r"(?:Got|Given) value: ([\w.]+)", match.string)
    given = owner or (found[1] if found else "this path")
    near = _file_hint(option, given) or did_you_mean(given.rpartition(".")[2], part_names(option))
    return f"unknown {option} {given!r}: {match[0][0].lower()}{match[0][1:]}{near}; {_choices(option)}"


def _no_such_part(option: str, _: str, match: re.Match[str]) -> str:
    """A class of another kind."""
    return f"--{option} {match[1]} is no {_short(match[2])}; {_choices(option)}"


def _no_such_option(option: str, owner: str, match: re.Match[str]) -> str:
    """An option that the part has not: what it takes instead."""
    names = _init_options(owner) if owner else []
    takes = f"it takes {', '.join(names)}" if names else "it takes none"
    own = " (for a file of your own: --data Arrays)" if (option, match[1]) == ("data", "path") else ""
    near = own or did_you_mean(match[1], names)
    return f"unknown option --{option}.{match[1]}: {_short(owner)} has no such option{near}; {takes}"


def _unnamed(option: str, _: str, match: re.Match[str]) -> str:
    """Options of a part that is not named."""
    usual = " (Regions, the default for images, or Dense, for vectors)" if option == "decoder" else ""
    return f"options of a {option} need its name, --{option} NAME{usual}; {_choices(option)}"


def _missing(option: str, owner: str, match: re.Match[str]) -> str:
    """A part without an option that it needs."""
    needed = " and ".join(f"--{option}.{name}" for name in match[1].split(", "))
    return f"--{option} {_short(owner)} needs {needed}"


# What the parser's message says -> what to say instead of option, class path of the part and match.
_EXPLANATIONS: dict[str, Callable[[str, str, re.Match[str]], str]] = {
    r"Expected a dot import path string: ?(\S*)": _unknown_part,
    r"Dict must include a class_path": _unnamed,
    r"Option '([\w.]+)' is not accepted": _no_such_option,
    r"the following arguments are required: ([\w, ]+)": _missing,
    r"Expected '([\w.]+)' to be a subclass of <class '([\w.]+)'>": _no_such_part,
    r"Import path ([\w.]+) does not correspond to a subclass of (\w+)": _no_such_part,
    r"No module named '[\w.]+'|module '[\w.]+' has no attribute '\w+'": _no_such_class,
}


def _file_hint(option: str, given: str) -> str:
    """What to say where data are named by their file."""
    table = is_table(Path(given))
    arrays = option == "data" and (table or Path(given).exists() or Path(given).suffix in (".npz", ".npy"))
    return f" (for a file: --data {'SeriesTable' if table else 'Arrays'} --data.path {given})" if arrays else ""


def _choices(option: str) -> str:
    return f"it is one of {', '.join(part_names(option))}, or the dotted path of your own class"


def part_names(option: str) -> list[str]:
    """Short names of the classes that ``option`` takes."""
    from pyro_dsvae.configuration.catalogue import PARTS

    return sorted(PARTS.get(option, ()))


def _init_options(class_path: str) -> list[str]:
    """What one may set of a part: what its constructor takes, less the sizes that the model supplies."""
    from pyro_dsvae.data.dataset import DataSource

    module, _, name = class_path.rpartition(".")
    kind = getattr(import_module(module), name)
    parameters = inspect.signature(kind).parameters.values()
    free = issubclass(kind, DataSource)
    return [p.name for p in parameters if free or is_option(p)]


def _short(class_path: str) -> str:
    return class_path.rpartition(".")[2] or "the part"
