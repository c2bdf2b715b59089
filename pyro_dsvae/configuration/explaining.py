"""What the parser of a command line says of wrong options, in one line that names what would be right."""

import inspect
import re
import shlex
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from jsonargparse import ArgumentParser

from pyro_dsvae.configuration.catalogue import names
from pyro_dsvae.configuration.checking import no_part, source_of
from pyro_dsvae.configuration.parts import is_option
from pyro_dsvae.data.tables.reading import is_table
from pyro_dsvae.inference.posteriors.views.choice import BY_NAME
from pyro_dsvae.models.errors import did_you_mean, with_article


def one_sentence(text: str) -> str:
    """Text on one line, of bounded length."""
    return re.sub(r"\s+", " ", text).strip()[:400]


def explained(parser: ArgumentParser, message: str) -> str:
    """The parser's message in one line, with the nearest valid name where a name was wrong."""
    text = re.sub(r"\s+", " ", message).strip()
    if match := re.search(r"(\w+)\.help: (?:Expected a dot import path string: ?(\S*)|(.*))", text):
        return (
            _unknown_name(match[1], match[2].rstrip(".")) if match[3] is None else f"{match[3]}; {_choices(match[1])}"
        )
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
    known = [each.removeprefix(f"{group}.") for each in others]
    near = did_you_mean(name.removeprefix(f"{group}."), known)
    return f"unknown option {name}{near}; of {group} there are {', '.join(known)}"


def _wrong_value(option: str, text: str) -> str:
    """A value of the wrong kind."""
    if match := re.search(r"Unable to load config '(.*?)'", text):
        return f"--{option} got {match[1]!r}; its options are given as --{option}.NAME VALUE, and --help lists them"
    if match := re.search(r"Expected a <class '(\w+)'>\. Got value: (.*?) - Expected a ", text):  # of a part of a part
        return one_sentence(f"--{option} got {match[2]!r}; it takes {_KINDS.get(match[1], match[1])}")
    given = re.search(r"(?:Got|Given) value: (.*?)(?:\. Got value: .*)?$", text)
    if given is None:
        return one_sentence(re.sub(r'(Parser key "[\w.]+": )+', f"--{option}: ", text, count=1))
    if match := re.search(r"typing\.Literal\[(.*?)\]", text):
        literals = [name.strip("'\"") for name in match[1].split(", ")]
        return one_sentence(f"--{option} got {given[1]!r}; it is one of {', '.join(literals)}")
    kinds = re.findall(r"Expected a (?:<class '(\w+)'>|(\w+))", text)
    wanted = " or ".join(_KINDS.get(kind, kind) for kind in sorted({a or b for a, b in kinds} - {"NoneType"}))
    if not wanted:
        return one_sentence(f"--{option}: {text}")
    return one_sentence(f"--{option} got {'null' if given[1] == 'None' else repr(given[1])}; it takes {wanted}")


# As `configuration/checking.py` calls them.
_KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false"}


def _option_names(parser: ArgumentParser) -> list[str]:
    return [name for name in parser._option_string_actions if name.startswith("--")]


def _unknown_part(option: str, _: str, match: re.Match[str]) -> str:
    """A part named wrongly."""
    return _unknown_name(option, match[1])


def _unknown_name(option: str, name: str) -> str:
    """A part named wrongly: the nearest of the parts that this option takes."""
    if option == "contrastive":
        return f"--contrastive got {name!r}; it takes none or Contrastive, and weights as in --contrastive.weight_mi 5"
    if option.endswith(".views") and name in BY_NAME:  # a name that is right by itself
        return f"{option} {name!r} takes no options; its class does, --{option} {BY_NAME[name].__name__}"
    return f"{no_part(option, name)}, or the dotted path of your own class{_file_hint(option, name)}"


def _no_such_class(option: str, owner: str, match: re.Match[str]) -> str:
    """A dotted path that leads nowhere."""
    found = re.search(r"(?:Got|Given) value: ([\w.]+)", match.string)
    given = owner or (found[1] if found else "this path")
    near = _file_hint(option, given) or did_you_mean(given.rpartition(".")[2], names(option))
    return f"unknown {option} {given!r}: {match[0][0].lower()}{match[0][1:]}{near}; {_choices(option)}"


def _no_such_part(option: str, _: str, match: re.Match[str]) -> str:
    """A class of another kind."""
    return f"--{option} {match[1]} is no {_short(match[2])}; {_choices(option)}"


def _no_such_option(option: str, owner: str, match: re.Match[str]) -> str:
    """An option that the part has not: what it takes instead."""
    has = _init_options(owner) if owner else []
    takes = f"it takes {', '.join(has)}" if has else "it takes none"
    own = " (for a file of your own: --data Arrays)" if (option, match[1]) == ("data", "path") else ""
    near = own or did_you_mean(match[1], has)
    return f"unknown option --{option}.{match[1]}: {_short(owner)} has no such option{near}; {takes}"


def _unnamed(option: str, _: str, match: re.Match[str]) -> str:
    """Options of a part that is not named."""
    usual = {
        "decoder": " (Textures, the default for images, or Dense, for vectors)",
        "encoder": " (Convolutional, the default for images, or Dense, for vectors)",
        "likelihood": " (Normal, the default)",
    }.get(option, "")
    what = option if "." in option else with_article(option)
    return f"options of {what} need its name, --{option} NAME{usual}; {_choices(option)}"


def _wrong_class(option: str, owner: str, match: re.Match[str]) -> str:
    """A dotted path that leads to something else than a class of the kind that is wanted."""
    found = re.search(r"(?:Got|Given) value: ([\w.]+)", match.string)
    return f"--{option} {found[1].rstrip('.') if found else 'what is given'} is no {match[1]}; {_choices(option)}"


def _abstract(option: str, _: str, match: re.Match[str]) -> str:
    """A class of one's own that is not finished."""
    class_path = match[1].rstrip(".")
    module, _, name = class_path.rpartition(".")
    lacks = sorted(getattr(import_module(module), name).__abstractmethods__)
    return (
        f"--{option} {class_path} has still to define the method{'s' if len(lacks) > 1 else ''} {' and '.join(lacks)}"
    )


def _missing(option: str, owner: str, match: re.Match[str]) -> str:
    """A part without an option that it needs."""
    needed = " and ".join(f"--{option}.{name}" for name in match[1].split(", "))
    return f"--{option} {_short(owner)} needs {needed}"


# What the parser's message says -> what to say instead of option, class path of the part and match.
_EXPLANATIONS: dict[str, Callable[[str, str, re.Match[str]], str]] = {
    r"Expected a dot import path string: ?(\S*)": _unknown_part,
    r"Dict must include a class_path|is abstract.*NestedArg": _unnamed,
    r"is abstract.*?Given value: (?:\{'class_path': '|Namespace\(class_path=')?(\w+\.[\w.]+)": _abstract,
    r"Option '([\w.]+)' is not accepted": _no_such_option,
    r"the following arguments are required: ([\w, ]+)": _missing,
    r"Expected '([\w.]+)' to be a subclass of <class '([\w.]+)'>": _no_such_part,
    r"Import path ([\w.]+) does not correspond to a subclass of (\w+)": _no_such_part,
    r"Import path does not correspond to a subclass of (\w+)": _wrong_class,
    r"No module named '[\w.]+'|module '[\w.]+' has no attribute '\w+'": _no_such_class,
}


def _file_hint(option: str, given: str) -> str:
    """What to say where data are named by their file."""
    path = Path(given)
    if option != "data" or not (is_table(path) or path.exists() or path.suffix in (".npz", ".npy")):
        return ""
    return (
        f" (for a {'folder' if path.is_dir() else 'file'}: --data {source_of(path)} --data.path {shlex.quote(given)})"
    )


def _choices(option: str) -> str:
    return f"it is one of {', '.join(names(option))}, or the dotted path of your own class"


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
