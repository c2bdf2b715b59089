"""The folder of a comparison: what is where, and whether it is still the same comparison."""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from pyro_dsvae.comparison.candidates import Candidate, Fit
from pyro_dsvae.comparison.options import ComparisonOptions
from pyro_dsvae.configuration.options import Role, option_names
from pyro_dsvae.configuration.parts import in_words
from pyro_dsvae.configuration.spellings import modern_label
from pyro_dsvae.lock import LOCK, TakenError
from pyro_dsvae.models.errors import Remark
from pyro_dsvae.runs.directory import RunDirectory, complete
from pyro_dsvae.runs.output_folder import locked, writing


class Folder:
    """Where a comparison is written, and what says whether it is the same as before.

    Attributes:
        begun: Whether there is something of it already.

    Raises:
        TakenError: Where something else is there, or a comparison with other options. More seeds are none: they are added.
    """

    def __init__(self, path: Path, options: ComparisonOptions) -> None:
        self.path, self.config = path, options.config()
        self.files = RunDirectory(path)
        nothing = {LOCK, ".config.yaml.part"}  # what a process leaves that was killed before its first file was whole
        self.begun = path.exists() and not (path.is_dir() and {each.name for each in path.iterdir()} <= nothing)
        if not self.begun:
            return
        before = self.files.config() if (path / "config.yaml").is_file() else {}
        if not {"vary", "runs", "sequences"} <= before.keys():
            raise TakenError(f"{path} exists and is no comparison; name another folder with --out")
        whole = complete(ComparisonOptions, {**before, "vary": None}, self.files.config_file).config()
        before = {**whole, "vary": before["vary"]}
        free, added = option_names(ComparisonOptions, Role.INCIDENTAL), self.config["seeds"] - before["seeds"]
        for name, value in self.config.items():
            if name not in free and before[name] != value and not (name == "seeds" and added > 0):
                raise TakenError(
                    f"{path} was compared with {name} = {_short(before[name])}, not {_short(value)}; go on with the same "
                    "options (--out alone takes them from it, and --seeds can be raised) or name another --out"
                )
        if added > 0:
            fits = "fit is" if added == 1 else "fits are"
            said = f"{path} has {before['seeds']} fits of each candidate; {added} more {fits} added"
            warnings.warn(said, Remark, stacklevel=2)

    def fits(self, candidates: Sequence[Candidate], seeds: Iterable[int]) -> list[Fit]:
        """Every candidate with the first seed, then with the next: what is wrong with one shows early."""
        return [Fit(c.name, s, self.path / "runs" / f"{c.folder}-seed{s}") for s in seeds for c in candidates]

    def evidence(self, fit: Fit) -> Path:
        """The file that keeps what was measured of a fit."""
        name = Candidate(fit.candidate, {}).folder
        return self.path / "evidence" / f"{name}-seed{fit.seed}.pt"

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Make the folder, lock it for the block, and write down the options.

        What an earlier version named after old spellings of options is renamed.

        Raises:
            TakenError: Where another process works on this comparison.
            UsageError: Where that cannot be done.
        """
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        with locked(self.path):
            self.files.write_text(self.path / "config.yaml", yaml.safe_dump(self.config, sort_keys=False))
            with writing(self.path):
                for folder in ("evidence", "figures"):
                    (self.path / folder).mkdir(exist_ok=True)
                for path in [*self.path.glob("runs/*"), *self.path.glob("evidence/*")]:
                    modern = path.with_name(modern_label(path.name))
                    if not modern.exists():
                        path.rename(modern)
            yield


def _short(value: Any) -> str:
    if isinstance(value, Mapping) and "class_path" not in value:
        return ", ".join(f"{name}={_short(v)}" for name, v in value.items())
    return f"[{', '.join(map(_short, value))}]" if isinstance(value, list) else in_words(value)
