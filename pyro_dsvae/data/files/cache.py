"""Where data that had to be made or fetched are kept between runs."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """The project's folder below the user's cache directory: ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG specification says that a relative path there is to be ignored.
    return (base if base.is_absolute() else Path.home() / ".cache") / "pyro_dsvae"
