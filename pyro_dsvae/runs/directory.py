"""Run directories: what a fit leaves behind, and how it is opened again."""

import csv
import io
import json
import pickle
import shlex
import sys
import warnings
import zipfile
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import torch
import yaml

from pyro_dsvae import cli
from pyro_dsvae.configuration.options import FitOptions, Role, SharedOptions, option_names
from pyro_dsvae.configuration.parts import class_paths, importable
from pyro_dsvae.configuration.spellings import OldConfiguration, lacking, modern_config
from pyro_dsvae.inference.files import DAMAGE, replacing
from pyro_dsvae.inference.training.schedule import Budget
from pyro_dsvae.lock import TakenError
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.runs.older_checkpoints import upgraded
from pyro_dsvae.runs.output_folder import check_parents, new_folder, one_line, writing
from pyro_dsvae.runs.versions import installed

Taken = TypeVar("Taken", bound=SharedOptions)

SCHEMA = 1
# What was done before there was an option for it, where that is not the option's default.
BEFORE = {"standardise": False}
COLUMNS = ("step", "seconds", "split", "elbo", "reconstruction", "kl_static", "kl_dynamic", "learning_rate")


class RunDirectory:
    """The files of one run.

        config.yaml    complete; ``fit --config`` on it repeats the run
        checkpoint.pt  the last state, to resume from; best.pt: the state with the highest held-out ELBO
        metrics.csv    one row per logging interval and evaluation, nats per sequence
        summary.json   the held-out figures
        figures/       pictures

    Args:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config_file = path / "config.yaml"
        self.metrics_file = path / "metrics.csv"
        self.figures = path / "figures"

    @classmethod
    def create(
        cls,
        path: Path,
        config: Mapping[str, Any],
        checkpoint: Mapping[str, Any] | None = None,
        more: Callable[[Path], None] | None = None,
    ) -> "RunDirectory":
        """A new run at ``path``, with its first checkpoint and what ``more`` writes into its folder, where these are given.

        It appears whole or not at all, so that a run killed at any moment can be resumed.

        Raises:
            UsageError: Where something is there already or nothing can be written.
        """
        cls.check_free(path)
        with new_folder(path) as folder:
            part = cls(folder)
            part.figures.mkdir()
            part.write_text(part.config_file, yaml.safe_dump(dict(config), sort_keys=False))
            part.write_text(part.metrics_file, ",".join(COLUMNS) + "\n")
            if checkpoint is not None:
                part.save("checkpoint.pt", checkpoint)
            if more is not None:
                more(folder)
        return cls(path)

    @staticmethod
    def check_free(path: Path) -> None:
        """Check, before the work begins, that ``path`` may be written.

        Raises:
            TakenError: Where something is there already.
        """
        if path.exists() or path.is_symlink():
            hint = (
                f"continue it with --out {shlex.quote(str(path))} --resume, or "
                if (path / "config.yaml").exists()
                else ""
            )
            raise TakenError(f"{path} exists; {hint}name another folder with --out")
        check_parents(path)

    @staticmethod
    def vacant(path: Path) -> bool:
        """Whether nothing is at ``path``, or an empty folder."""
        return not path.is_symlink() and (not path.exists() or (path.is_dir() and not any(path.iterdir())))

    @classmethod
    def open(cls, path: Path) -> "RunDirectory":
        """An existing run.

        Raises:
            UsageError: Where there is none, or a comparison.
        """
        if not (path / "config.yaml").is_file():
            raise UsageError(f"{path} holds no run (no config.yaml); name the folder that fit printed as run: …")
        found = cls(path)
        if not (path / "checkpoint.pt").exists() and {"vary", "runs"} <= found.config().keys():
            runs = sorted(str(run) for run in path.glob("runs/*") if (run / "config.yaml").is_file())
            hint = f"; name one of its runs: {', '.join(runs)}" if runs else " and has no runs of its own; name a run"
            raise UsageError(f"{path} is a comparison, not a run{hint}")
        return found

    def config(self) -> dict[str, Any]:
        """What config.yaml says, in today's spelling.

        Raises:
            UsageError: Where it cannot be read.
        """
        try:
            config = yaml.safe_load(self.config_file.read_text())
        except OSError as error:
            raise UsageError(f"{self.config_file} cannot be read: {one_line(error)}") from error
        except (UnicodeDecodeError, yaml.YAMLError):
            config = None
        if not isinstance(config, dict):
            raise UsageError(f"{self.config_file} is empty, damaged or no YAML")
        self._check_parts(config)
        return {**BEFORE, **modern_config(config, str(self.config_file))}

    def _check_parts(self, config: Mapping[str, Any]) -> None:
        """Raises `UsageError` where config.yaml names parts in a module that cannot be imported here."""
        for path in class_paths({name: value for name, value in config.items() if name != "tracker"}):
            module = path.partition(".")[0]
            if module in sys.modules or find_spec(module) is not None:
                continue
            known = config.get("data_folder")
            found = known is not None and importable(Path(known), module)
            raise UsageError(
                f"{self.config_file} names {path}, which cannot be imported here; put "
                f"{known if found else f'the folder of {module}.py'} on the path: "
                f"PYTHONPATH={known if found else 'FOLDER'} python -m …"
            )

    def write_budget(self, budget: Budget) -> None:
        """Replace the budget in config.yaml, which else stays as it was written."""
        config = yaml.safe_load(self.config_file.read_text())
        config.update(steps=budget.steps, minutes=budget.minutes)
        self.write_text(self.config_file, yaml.safe_dump(config, sort_keys=False))

    def options(self) -> FitOptions:
        """The options that the run was fitted with, but for its tracker, which may be installed elsewhere only.

        An option that config.yaml lacks, since a later version brought it, has its default, with an `OldConfiguration`
        warning that names it.

        Raises:
            UsageError: Where config.yaml cannot be read, or names what does not exist.
        """
        return complete(FitOptions, {**self.config(), "tracker": None}, self.config_file)

    def save(self, name: str, state: Mapping[str, Any]) -> None:
        """Write ``state`` (tensors and plain values) as ``name``, replacing it in one step.

        Raises:
            UsageError: Where it cannot be written; what was there before stays whole.
        """
        buffer = io.BytesIO()
        torch.save({"schema": SCHEMA, **state}, buffer)
        self._replace(self.path / name, buffer.getbuffer())

    def load(self, name: str, device: str | torch.device = "cpu") -> dict[str, Any]:
        """The state in ``name``.

        Raises:
            UsageError: Where it is missing, damaged, of another schema, or not plain data.
        """
        file = self.path / name
        try:
            with file.open("rb") as stream:
                if stream.read(2) != b"PK":
                    raise pickle.UnpicklingError("no archive of tensors")
                # `torch.load` does not look at the archive's checksums: spoilt weights would be taken for good ones.
                with zipfile.ZipFile(stream) as archive:
                    spoilt = archive.testzip()
                if spoilt is not None:
                    raise EOFError(f"{spoilt} differs from its checksum")
                stream.seek(0)
                state = torch.load(stream, map_location=device, weights_only=True)
        except FileNotFoundError as error:
            raise UsageError(f"{file} is missing; {self._why_missing(name)}") from error
        except pickle.UnpicklingError as error:
            raise UsageError(f"{file} is refused: it is damaged or holds pickled code instead of tensors") from error
        except (*DAMAGE, zipfile.BadZipFile) as error:
            raise UsageError(f"{file} is damaged or cut short ({one_line(error)}); restore it or fit again") from error
        if not isinstance(state, dict) or state.get("schema") != SCHEMA:
            found = state.get("schema") if isinstance(state, dict) else None
            raise UsageError(f"{file} has schema {found}, this version reads {SCHEMA}; fit again")
        return upgraded(file, state)

    def _why_missing(self, name: str) -> str:
        """Why there is no file ``name``, and the remedy."""
        begun = (self.path / "checkpoint.pt").exists() and self.metrics_file.exists()
        if name == "best.pt" and begun and all(row["split"] != "validation" for row in self.metrics()):
            return (
                "the fit was stopped before its first evaluation, or has yet to come to it: go on with "
                f"python -m pyro_dsvae.fit --out {shlex.quote(str(self.path))} --resume"
            )
        return "fit the run again or copy the whole folder"

    def append_metrics(self, row: Mapping[str, Any]) -> None:
        """Add one row.

        Raises:
            UsageError: Where it cannot be written.
        """
        with writing(self.metrics_file), self.metrics_file.open("a", newline="") as file:
            csv.DictWriter(file, COLUMNS, lineterminator="\n").writerow(row)

    def metrics(self) -> list[dict[str, Any]]:
        """All complete rows, numbers as numbers.

        Raises:
            UsageError: Where the file is missing or damaged.
        """
        try:
            with self.metrics_file.open(newline="") as file:
                rows = [row for row in csv.DictReader(file) if all(row.get(column) for column in COLUMNS)]
            return [
                {k: row[k] if k == "split" else int(row[k]) if k == "step" else float(row[k]) for k in COLUMNS}
                for row in rows
            ]
        except (OSError, ValueError, csv.Error) as error:
            raise UsageError(f"{self.metrics_file} cannot be read: {one_line(error)}") from error

    def forget_after(self, step: int) -> None:
        """Drop rows of steps that a resumed run will repeat."""
        rows = [row for row in self.metrics() if row["step"] <= step]
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        self.write_text(self.metrics_file, text.getvalue())

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write summary.json."""
        self.write_text(self.path / "summary.json", json.dumps(summary, indent=2) + "\n")

    def summary(self) -> dict[str, Any]:
        """What summary.json says.

        Raises:
            UsageError: Where the fit has not ended.
        """
        try:
            return json.loads((self.path / "summary.json").read_text())
        except (OSError, json.JSONDecodeError) as error:
            raise UsageError(
                f"{self.path} has no readable summary.json; finish it with --out {shlex.quote(str(self.path))} --resume"
            ) from error

    def write_text(self, file: Path, text: str) -> None:
        """Write a text file, replacing it in one step."""
        self._replace(file, text.encode())

    def _replace(self, file: Path, content: bytes | memoryview) -> None:
        with writing(file), replacing(file) as part:
            part.write_bytes(content)


def complete(kind: type[Taken], config: Mapping[str, Any], file: Path) -> Taken:
    """The options of a whole config.yaml; each that it lacks has its default, and a warning says so.

    Args:
        kind: The class of options.
        config: What the file says, in today's spelling.
        file: The file, for messages.

    Raises:
        UsageError: Where it names what does not exist.
    """
    try:
        options = cli.from_config(kind, config)
    except UsageError as error:
        raise UsageError(f"{file}: {error}") from error
    incidental = option_names(kind, Role.INCIDENTAL)  # of them none decides what was fitted
    absent = lacking(config, {name: v for name, v in options.config().items() if name not in incidental})
    if absent:
        said = ", ".join(f"{name}={value}" for name, value in absent.items())
        warnings.warn(
            f"{file} is of an earlier version and lacks options; pyro-dsvae {installed('pyro-dsvae')} takes its defaults "
            f"for them: {said}",
            OldConfiguration,
            stacklevel=2,
        )
    return options
