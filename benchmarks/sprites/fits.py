"""Fits that benchmarks share: made once, continued where they were cut off."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def fitted(folder: Path, options: Sequence[str]) -> dict[str, Any]:
    """The summary of the run in ``folder``: fitted with these options of `fit` if it is not there, resumed if unfinished."""
    if not (folder / "summary.json").exists():
        command = [sys.executable, "-m", "pyro_dsvae.fit", "--out", str(folder)]
        command += ["--resume"] if (folder / "config.yaml").exists() else options
        subprocess.run(command, check=True)
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return summary
