"""Well-known models as settings of the parts: one YAML file each, whose first line says what it is."""

from collections.abc import Sequence
from pathlib import Path

from pyro_dsvae.models.errors import UsageError, did_you_mean

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """What ``--config NAME`` takes."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml"))


def listing() -> str:
    """One line for each, for a command's manual."""
    width = max(len(name) for name in names())
    said = {name: (FOLDER / f"{name}.yaml").read_text().splitlines()[0].removeprefix("# ") for name in names()}
    return "\n".join(f"  --config {name:{width}}  {line}" for name, line in said.items())


def resolve(arguments: Sequence[str]) -> list[str]:
    """The arguments with the name of a recipe after ``--config`` replaced by its file; a path stays as it is.

    Raises:
        UsageError: Where what follows is neither.
    """
    resolved: list[str] = []
    for argument in arguments:
        if argument.startswith("--config="):
            resolved.append(f"--config={_file(argument.partition('=')[2])}")
        elif resolved and resolved[-1] == "--config":
            resolved.append(_file(argument))
        else:
            resolved.append(argument)
    return resolved


def _file(given: str) -> str:
    if given in names():
        return str(FOLDER / f"{given}.yaml")
    if not Path(given).exists():
        near = did_you_mean(given, names())
        raise UsageError(f"--config {given}: no such file or recipe{near}; recipes are {', '.join(names())}")
    if Path(given).is_dir():
        raise UsageError(f"--config {given} is a folder; for the options of a run give {Path(given) / 'config.yaml'}")
    return given
