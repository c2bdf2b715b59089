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
    """The arguments with each ``--config`` first, so that all other options go before what it says.

    The name of a recipe is replaced by its file; a path stays as it is.

    Raises:
        UsageError: Where what follows is neither.
    """
    configs: list[str] = []
    others: list[str] = []
    for argument in arguments:
        if others and others[-1] == "--config":
            configs.append(f"--config={_file(argument)}")
            others.pop()
        elif argument.startswith("--config="):
            configs.append(f"--config={_file(argument.partition('=')[2])}")
        else:
            others.append(argument)
    return configs + others


def _file(given: str) -> str:
    if given in names():
        return str(FOLDER / f"{given}.yaml")
    if not Path(given).exists():
        near = did_you_mean(given, names())
        raise UsageError(f"--config {given}: no such file or recipe{near}; recipes are {', '.join(names())}")
    if Path(given).is_dir():
        raise UsageError(f"--config {given} is a folder; for the options of a run give {Path(given) / 'config.yaml'}")
    return given
