"""The pictures of docs/verbs/latents.md, made anew by the commands above them.

  python benchmarks/latents_pictures.py            # six minutes on one core
  python benchmarks/latents_pictures.py swap encode

What the commands say stands on the page, too, so it is printed.
"""

import argparse
import re
import shlex
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from pyro_dsvae import latents

PAGE = Path(__file__).parents[1] / "docs" / "verbs" / "latents.md"
_PAIR = re.compile(r"^python -m pyro_dsvae\.latents ([^\n]+)\n```\n\n!\[[^\]]*\]\(([^)]+)\)", re.MULTILINE)


def pairs() -> list[tuple[list[str], Path]]:
    """The arguments of each command, and the picture that stands below it."""
    return [(shlex.split(line), PAGE.parent / picture) for line, picture in _PAIR.findall(PAGE.read_text())]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", nargs="*", help="of these alone; by default of all")
    chosen = parser.parse_args().action
    for arguments, picture in pairs():
        if not chosen or arguments[0] in chosen:
            with TemporaryDirectory() as folder:
                out = Path(folder) / "out"
                latents.main([*arguments, "--out", str(out)])
                shutil.copy(out / picture.name, picture)


if __name__ == "__main__":
    main()
