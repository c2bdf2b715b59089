"""What is known of each clip or recording: labels, whose it is, and its part of the data; and how a table says it."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pyro_dsvae.data.folders.levels import SPLIT, SUBJECT, split_of
from pyro_dsvae.data.folders.tree import Source
from pyro_dsvae.data.names import listed
from pyro_dsvae.models.errors import UsageError

FILES = ("file", "path", "clip", "video", "recording", "filename", "file_name", "name")
SUBJECTS = (SUBJECT, "identity", "id", "person", "speaker", "actor", "participant")


@dataclass(frozen=True)
class Described:
    """n clips or recordings.

    Attributes:
        labels: From the name of a factor to the class of each.
        owners: Of each, whose it is: what is of one owner belongs in one split. None where that is not known.
        owner: What an owner is, such as "subject".
        split: Of each, the index into `SPLITS`; None where that is not known.
        understood: How this was understood, a line.
        left_out: What was left out, a line for each matter.
    """

    labels: dict[str, list[str]]
    owners: list[str] | None
    owner: str
    split: list[int] | None
    understood: str
    left_out: tuple[str, ...] = ()


def by_table(sources: Sequence[Source], path: Path, thing: str) -> tuple[list[Source], Described]:
    """What a CSV says, whose rows name sources, and the sources that it names.

    Args:
        sources: What was found.
        path: The CSV.
        thing: What a source is, as "clip".

    Raises:
        UsageError: For a table that cannot be read, or has no column or no value.
    """
    try:
        header, rows = _read(path, thing)
        at = next((header.index(name) for name in header if name.lower() in FILES), 0)
        keys, known, unknown = _keys(sources), {}, []
        for number, row in rows:
            source = keys.get(row[at].replace("\\", "/").removeprefix("./").strip())
            if source is None:
                unknown.append(row[at])
                continue
            if source.name in known:
                raise UsageError(f"row {number} names {source.name} again; a {thing} has one row")
            empty = next((name for name, value in zip(header, row, strict=True) if not value.strip()), None)
            if empty is not None:
                raise UsageError(f"row {number}, column {empty!r} is empty; give it a class, or leave the row out")
            known[source.name] = [value.strip() for value in row]
    except UsageError as error:
        raise UsageError(f"{path}: {error}", "data.labels") from None
    kept = [source for source in sources if source.name in known]
    if not kept:
        raise UsageError(
            f"{path}: column {header[at]!r} names no {thing}, but {listed(unknown, 3)}; a column {FILES[0]!r} has the path of "
            f"each {thing} below the folder",
            "data.labels",
        )
    columns = {
        name: [known[source.name][i] for source in kept] for i, name in enumerate(header) if i != at and name.strip()
    }
    split = next((columns.pop(name) for name in header if name.lower() == SPLIT and name in columns), None)
    owner = next((name for name in columns if name.lower() in SUBJECTS), "")
    missing = [source.name for source in sources if source.name not in known]
    left_out = [f"left out, since {path.name} does not name them: {listed(missing)}"] if missing else []
    left_out += [f"{path.name} names what is no {thing}: {listed(unknown)}"] if unknown else []
    said = f"labels from {path.name}: {', '.join(columns) or 'none'}"
    return kept, Described(
        columns,
        columns.get(owner),
        owner,
        None if split is None else [split_of(word) for word in split],
        said,
        tuple(left_out),
    )


def _read(path: Path, thing: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
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
        raise UsageError(f"is empty; it has a row of names, and one for each {thing}")
    header = [name.strip() for name in rows[0][1]]
    if len(set(header)) < len(header):
        raise UsageError("names a column twice; every column needs a name of its own")
    ragged = next((number for number, row in rows if len(row) != len(header)), None)
    if ragged is not None:
        raise UsageError(f"row {ragged} has another number of cells than the row of names, which has {len(header)}")
    return header, rows[1:]


def _keys(sources: Sequence[Source]) -> dict[str, Source]:
    """By what a row may name a source: its path, with or without its ending, or its name alone where only one has it."""
    found: dict[str, Source] = {}
    twice: set[str] = set()
    for source in sources:
        last = source.name.rpartition("/")[2]
        for key in {source.name, source.name.rpartition(".")[0] or source.name, last, last.rpartition(".")[0] or last}:
            twice |= {key} & set(found)
            found[key] = source
    return {key: source for key, source in found.items() if key not in twice} | {each.name: each for each in sources}
