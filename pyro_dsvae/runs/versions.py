"""Which version of a library is installed, and which code of this one runs."""

import hashlib
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def installed(name: str) -> str:
    """The version of an installed distribution; a bare checkout of this package has none."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


@cache
def code_version() -> str:
    """The version of this package and of PyTorch, and a digest of the package's own files: the same where the code is."""
    package = Path(__file__).parents[1]
    files: dict[str, Path] = {}
    for part in ("", "models", "inference"):  # the last two may be links
        for file in (package / part).resolve().rglob("*.py"):
            files[f"{part}/{file.relative_to((package / part).resolve()).as_posix()}".lstrip("/")] = file
    digest = hashlib.sha256()
    for name, file in sorted(files.items()):
        digest.update(name.encode() + b"\0" + file.read_bytes())
    return f"{installed('pyro-dsvae')} ({digest.hexdigest()[:8]}, torch {installed('torch')})"
