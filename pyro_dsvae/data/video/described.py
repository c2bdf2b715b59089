"""What is known of each clip: labels, whose it is, and its part of the data, from its folders or from a table."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pyro_dsvae.data.names import listed
from pyro_dsvae.data.video.layouts import SKIPPED, SPLIT, SUBJECT, named, recognised, split_of, takes_of_groups
from pyro_dsvae.data.video.sources import Source
from pyro_dsvae.models.errors import UsageError

FILES = ("file", "path", "clip", "video", "filename", "file_name", "name")
SUBJECTS = (SUBJECT, "identity", "id", "person", "speaker", "actor", "participant")


@dataclass(frozen=True)
class Described:
    """n clips.

    Attributes:
        labels: From the name of a factor to the class of each clip.
        owners: Of each clip, whose it is: clips of one owner belong in one split. None where that is not known.
        owner: What an owner is, such as "subject".
        split: Of each clip, the index into `SPLITS`; None where that is not known.
        understood: How this was understood, a line.
        left_out: What was left out, a line for each matter.
    """

    labels: dict[str, list[str]]
    owners: list[str] | None
    owner: str
    split: list[int] | None
    understood: str
    left_out: tuple[str, ...] = ()


def by_folders(sources: Sequence[Source], given: str | None) -> Described:
    """What the folders above clips say.

    Args:
        sources: The clips.
        given: The names of the levels, where the user gives them.

    Raises:
        UsageError: For names of levels that are not there.
    """
    folders = [source.folders for source in sources]
    levels = recognised(folders) if given is None else named(given, folders)
    columns = {name: [each[i] for each in folders] for i, name in enumerate(levels) if name != SKIPPED}
    split = [split_of(word) for word in columns.pop(SPLIT)] if SPLIT in columns else None
    owners, owner = columns.get(SUBJECT), SUBJECT
    if owners is None:
        owners, owner = takes_of_groups([source.name for source in sources]), "group"
    if owners is None and SKIPPED in levels:
        at = levels.index(SKIPPED)
        owners, owner = ["/".join(each[: at + 1]) for each in folders], "recording"
    counts = [f"{len(set(values))} x {name}" for name, values in columns.items()]
    told = "/".join((*levels, "clip"))
    said = f"folders are taken as {told}" + (f" ({', '.join(counts)})" if counts else "")
    if not any(folders):
        said = "no sub-folders, so no labels"
    return Described(columns, owners, owner, split, said)


def by_table(sources: Sequence[Source], path: Path) -> tuple[list[Source], Described]:
    """What a CSV says, whose rows name clips, and the clips that it names.

    Raises:
        UsageError: For a table that cannot be read, or has no column or no value.
    """
    try:
        header, rows = _read(path)
        at = next((header.index(name) for name in header if name.lower() in FILES), 0)
        keys, known, unknown = _keys(sources), {}, []
        for number, row in rows:
            source = keys.get(row[at].replace("\\", "/").removeprefix("./").strip())
            if source is None:
                unknown.append(row[at])
                continue
            if source.name in known:
                raise UsageError(f"row {number} names {source.name} again; a clip has one row")
            empty = next((name for name, value in zip(header, row, strict=True) if not value.strip()), None)
            if empty is not None:
                raise UsageError(f"row {number}, column {empty!r} is empty; give it a class, or leave the row out")
            known[source.name] = [value.strip() for value in row]
    except UsageError as error:
        raise UsageError(f"{path}: {error}", "data.labels") from None
    kept = [source for source in sources if source.name in known]
    if not kept:
        raise UsageError(f"{path}: column {header[at]!r} names no clip, but {listed(unknown, 3)}", "data.labels")
    columns = {
        name: [known[source.name][i] for source in kept] for i, name in enumerate(header) if i != at and name.strip()
    }
    split = next((columns.pop(name) for name in header if name.lower() == SPLIT and name in columns), None)
    owner = next((name for name in columns if name.lower() in SUBJECTS), "")
    missing = [source.name for source in sources if source.name not in known]
    left_out = [f"left out, since {path.name} does not name them: {listed(missing)}"] if missing else []
    left_out += [f"{path.name} names what is no clip: {listed(unknown)}"] if unknown else []
    said = f"labels from {path.name}: {', '.join(columns) or 'none'}"
    return kept, Described(
        columns,
        columns.get(owner),
        owner,
        None if split is None else [split_of(word) for word in split],
        said,
        tuple(left_out),
    )


def _read(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Names of columns, and rows with their numbers in the file."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            head = file.readline()
            file.seek(0)
            reader = csv.reader(file, delimiter=max(",;\t", key=head.count))
            rows = [(reader.line_num, row) for row in reader if any(row)]
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error):
        raise UsageError("is no table of text; save it as CSV in UTF-8") from None
    if len(rows) < 2:
        raise UsageError("is empty; it has a row of names, and one for each clip")
    header = [name.strip() for name in rows[0][1]]
    if len(set(header)) < len(header):
        raise UsageError("names a column twice; every column needs a name of its own")
    ragged = next((number for number, row in rows if len(row) != len(header)), None)
    if ragged is not None:
        raise UsageError(f"row {ragged} has another number of cells than the row of names, which has {len(header)}")
    return header, rows[1:]


def _keys(sources: Sequence[Source]) -> dict[str, Source]:
    """By what a row may name a clip: its path, with or without its ending, or its name alone where only one has it."""
    found: dict[str, Source] = {}
    twice: set[str] = set()
    for source in sources:
        last = source.name.rpartition("/")[2]
        for key in {source.name, source.name.rpartition(".")[0] or source.name, last, last.rpartition(".")[0] or last}:
            twice |= {key} & set(found)
            found[key] = source
    return {key: source for key, source in found.items() if key not in twice} | {each.name: each for each in sources}
