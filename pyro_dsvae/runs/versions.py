"""Which version of a library is installed."""

from importlib.metadata import PackageNotFoundError, version


def installed(name: str) -> str:
    """The version of an installed distribution; a bare checkout of this package has none."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
