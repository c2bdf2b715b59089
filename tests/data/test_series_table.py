"""Tables of series: read as their owner means them, or refused in one line with row and column."""

import re
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray

from pyro_dsvae.data.arrays import Arrays
from pyro_dsvae.data.names import Clock
from pyro_dsvae.data.reading import read_first
from pyro_dsvae.data.series_table import SeriesTable
from pyro_dsvae.data.tables.cells import times
from pyro_dsvae.fit import main
from pyro_dsvae.models.errors import Remark, UsageError
from tests.commands.refusal import the_error

PATIENTS, ROWS = 12, 20
START = pd.Timestamp("2024-02-28T22:00")


def fever(dates: bool = True) -> pd.DataFrame:
    """Twelve patients, measured at irregular times, on two wards, awake or asleep; some temperatures are missing."""
    rng = np.random.default_rng(0)
    parts = []
    for who in range(PATIENTS):
        hours = np.cumsum(rng.integers(2, 12, ROWS)) / 4
        heart, heat = rng.normal(80, 5, ROWS), rng.normal(37, 0.5, ROWS)
        heat[rng.random(ROWS) < 0.3] = np.nan
        parts.append(
            pd.DataFrame(
                {
                    "patient": f"p{who}",
                    "time": START + pd.to_timedelta(hours, unit="h") if dates else hours,
                    "heart": heart,
                    "heat": heat,
                    "ward": "north" if who % 2 else "south",
                    "state": np.where(np.arange(ROWS) < 8, "awake", "asleep"),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def saved(folder: Path, table: pd.DataFrame, name: str = "fever.csv") -> str:
    table.to_csv(folder / name, index=False)
    return str(folder / name)


LABELS = {"static": "ward", "channels": "heart,heat"}


# --- what is read -----------------------------------------------------------------------------------------------------


def test_each_entity_is_a_sequence_in_its_own_times(tmp_path: Path) -> None:
    table = fever()
    data = SeriesTable(saved(tmp_path, table), **LABELS).load()
    assert data.names is not None
    assert data.mask is not None
    assert data.times is not None
    assert data.names.columns == ("heart", "heat")
    assert sorted(data.names.entities) == sorted(table.patient.unique())
    for i, who in enumerate(data.names.entities):
        own = table[table.patient == who]
        values = own[["heart", "heat"]].to_numpy()
        assert np.array_equal(data.mask[i], np.isfinite(values))
        np.testing.assert_array_equal(data.frames[i], np.nan_to_num(values).astype(np.float32))
        hours = (own.time - table.time.min()).dt.total_seconds() / 3600
        np.testing.assert_allclose(data.times[i], hours, rtol=1e-12)
        assert [pd.Timestamp(text) for text in data.names.clock.written(data.times[i].numpy())] == list(own.time)
        assert data.labels["ward"].classes[data.labels["ward"].values[i]] == own.ward.iloc[0]


def test_the_order_of_rows_and_columns_and_the_format_change_nothing(tmp_path: Path) -> None:
    """To the bit: CSV with commas or semicolons, long or wide, Parquet, NetCDF, compressed, a frame."""
    table = fever(dates=False)
    expected = SeriesTable(saved(tmp_path, table), **LABELS).load().fingerprint()
    mixed = table.sample(frac=1, random_state=3)[["state", "heat", "time", "ward", "patient", "heart"]]
    ways: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Remark)
        ways["other order"] = SeriesTable(saved(tmp_path, mixed, "mixed.csv"), **LABELS).load()
        ways["frame"] = SeriesTable(**LABELS).read(mixed)
    mixed.to_csv(tmp_path / "semicolons.csv.gz", index=True, sep=";")
    long = table.melt(["patient", "time", "ward"], ["heat", "heart"]).dropna().sample(frac=1, random_state=4)
    ways["long"] = SeriesTable(saved(tmp_path, long, "long.csv"), static="ward").load()
    names = {"variable": "what", "value": "number"}
    long = long.rename(columns=names)
    ways["long, named"] = SeriesTable(saved(tmp_path, long, "named.csv"), **LABELS, **names).load()
    table.set_index(["patient", "time"]).to_parquet(tmp_path / "fever.parquet")
    ways["parquet"] = SeriesTable(tmp_path / "fever.parquet", **LABELS).load()
    assert {name: data.fingerprint() == expected for name, data in ways.items()} == dict.fromkeys(ways, True)


def test_a_grid_with_room_to_spare_is_the_table_without_it(tmp_path: Path) -> None:
    """NetCDF has every entity at every time; the ends at which nothing was measured are no steps."""
    table = fever(dates=False)
    wide = table[["patient", "time", "heart", "heat"]]
    grid = wide.set_index(["patient", "time"]).to_xarray()
    grid["ward"] = ("patient", table.groupby("patient").ward.first().loc[grid.patient.values].to_numpy())
    grid.to_netcdf(tmp_path / "fever.nc", engine="h5netcdf")
    plain, found = SeriesTable().read(wide), SeriesTable(tmp_path / "fever.nc", static="ward").load()
    assert found.names is not None
    assert plain.times is not None
    assert found.times is not None
    assert found.mask is not None
    assert found.lengths is not None
    assert "ward" in found.labels
    for i in range(PATIENTS):
        measured = found.mask[i].any(1)
        torch.testing.assert_close(found.frames[i][measured], plain.frames[i], rtol=0, atol=0)
        assert torch.equal(found.times[i][measured], plain.times[i])
        assert bool(measured[0]) and bool(measured[found.lengths[i] - 1])  # noqa: PT018
    cube = xarray.DataArray(grid[["heart", "heat"]].to_array("channel").transpose("patient", "time", "channel"))
    stacked = SeriesTable().read(cube.to_dataset(name="measured"))
    assert stacked.names is not None
    assert stacked.names.columns == ("heart", "heat")
    assert torch.equal(stacked.frames, found.frames)


def test_the_first_lines_say_how_the_table_was_understood(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = fever()
    missing = table.heat.isna().mean() / 2
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        read_first(SeriesTable(saved(tmp_path, table.iloc[::-1]), **LABELS, window=6, stride=3))
    first, split, left, label = capsys.readouterr().err.splitlines()
    assert first == (
        f"data: 12 entities (patient), 240 rows, 2 channels (heart, heat), time in hours from {table.time.min().isoformat()}, "
        f"60 windows of 6 steps, 3 apart, {missing:.1%} of the values missing"
    )
    assert split == "data: split by entity, seed 0: 45 train, 5 validation, 10 test"
    assert left == "data: 24 rows (10%) fill no sequence between the borders of entities, splits and labels"
    assert label == "label ward, static: 2 classes (north, south)"
    assert ["not in the order of column 'time'; they are sorted by it" in str(each.message) for each in told] == [True]


# --- windows, labels and splits ---------------------------------------------------------------------------------------


def rows_of(data: Any, i: int) -> tuple[str, list[float]]:
    """Entity and values of the first channel of a sequence."""
    length = data.length if data.lengths is None else int(data.lengths[i])
    return data.names.entities[i], data.frames[i, :length, 0].tolist()


def numbered(entities: int, rows: int) -> pd.DataFrame:
    """Each row has its own number."""
    n = entities * rows
    return pd.DataFrame(
        {"id": np.repeat(np.arange(entities), rows), "t": np.tile(np.arange(rows), entities), "x": np.arange(n)}
    )


@pytest.mark.parametrize(("window", "stride"), [(4, None), (4, 2), (5, 1), (7, 10)])
def test_windows_are_those_of_a_loop(window: int, stride: int | None) -> None:
    data = SeriesTable(window=window, stride=stride).read(numbered(10, 17))
    expected = [
        (str(who), [float(17 * who + start + i) for i in range(window)])
        for who in range(10)
        for start in range(0, 17 - window + 1, stride or window)
    ]
    assert [rows_of(data, i) for i in range(len(data))] == expected


def test_no_sequence_crosses_a_border_of_entity_split_or_label() -> None:
    """By a column that changes within entities, and by time: the latest rows are for the test."""
    table = numbered(10, 17)
    table["split"] = np.where(table.t < 9, "train", np.where(table.t < 13, "Validation", "test"))
    table["state"] = np.where(table.t % 17 < 4, "a", "b")
    data = SeriesTable(dynamic="state").read(table)
    assert data.labels["state"].role == "dynamic"
    assert [rows_of(data, i)[1] for i in range(4)] == [[0, 1, 2, 3], [4, 5, 6, 7, 8], [9, 10, 11, 12], [13, 14, 15, 16]]
    assert data.split[:4].tolist() == [0, 0, 1, 2]
    assert data.labels["state"].values[:4].tolist() == [0, 1, 1, 1]
    late = SeriesTable(by="time", validation=0.2, test=0.3, window=2).read(table.drop(columns=["split", "state"]))
    latest = [late.times[late.split == i].max() for i in range(3)]  # type: ignore[index]
    earliest = [late.times[late.split == i].min() for i in range(3)]  # type: ignore[index]
    assert latest[0] < earliest[1]
    assert latest[1] < earliest[2]


def test_entities_are_in_one_split_each_and_drawn_by_the_seed() -> None:
    first, same, other = (SeriesTable(window=5, seed=seed).read(numbered(30, 17)) for seed in (1, 1, 2))
    assert first.names is not None
    of = {who: {int(s) for w, s in zip(first.names.entities, first.split, strict=True) if w == who} for who in "123"}
    assert all(len(splits) == 1 for splits in of.values())
    assert torch.equal(first.split, same.split)
    assert not torch.equal(first.split, other.split)
    assert [int((first.split == i).sum()) // 3 for i in range(3)] == [21, 3, 6]


def test_one_long_recording_is_split_by_time() -> None:
    data = SeriesTable(window=10).read(numbered(1, 200).drop(columns="id"))
    assert data.split.tolist() == [0] * 14 + [1] * 2 + [2] * 4


def test_times_that_are_numbers_stay_as_they_are() -> None:
    table = numbered(10, 5)
    table["t"] = table.t**2 + 1e9
    data = SeriesTable().read(table)
    assert data.times is not None
    assert data.times[3].tolist() == [1e9, 1e9 + 1, 1e9 + 4, 1e9 + 9, 1e9 + 16]


def test_rows_without_a_measurement_are_steps_and_sequences_without_one_are_left_out() -> None:
    table = numbered(11, 6).astype({"x": float})
    table.loc[(table.id == 3) | ((table.id == 4) & (table.t < 2)), "x"] = np.nan
    with pytest.warns(Remark, match="left out, since nothing was measured: id 3"):
        data = SeriesTable().read(table)
    assert data.mask is not None
    assert len(data) == 10
    assert data.mask[3, :, 0].tolist() == [False, False, True, True, True, True]
    with pytest.warns(Remark) as told:
        SeriesTable(window=2).read(table)
    assert [str(each.message) for each in told][1:] == [
        "left out, since nothing was measured: 1 of 30 sequences id 4 at t 0"
    ]


# --- bad input --------------------------------------------------------------------------------------------------------


def changed(row: int, column: str, value: Any) -> pd.DataFrame:
    """One cell is other, counted from 1 below the header."""
    table = fever().astype({"time": str, "heart": object})
    table.loc[row - 1, column] = value
    return table


def short() -> pd.DataFrame:
    return fever().drop(index=range(21, 40))


ONCE_MORE = pd.concat([fever(), fever().iloc[[24]]])
BAD: dict[str, tuple[pd.DataFrame, dict[str, Any], str]] = {
    "a row twice": (
        ONCE_MORE,
        LABELS,
        r"rows 25 and 241, columns patient, time: both are of patient p1 at time 20.*; keep",
    ),
    "text": (changed(7, "heart", "high"), LABELS, "row 7, column 'heart': 'high' is no number; leave the cell empty"),
    "a comma": (
        changed(7, "heart", "80,5"),
        LABELS,
        "row 7, column 'heart': '80,5' has a comma; numbers have a point: pan",
    ),
    "a comma in a time": (
        changed(7, "time", "12,5"),
        LABELS,
        "row 7, column 'time': '12,5' has a comma; numbers have a point",
    ),
    "infinite": (
        changed(9, "heart", "-inf"),
        LABELS,
        "row 9, column 'heart': -inf is not finite; leave the cell empty",
    ),
    "a column of words": (
        fever(),
        {"channels": "heart,ward"},
        "row 1, column 'ward': 'south' is no number; .*is a label",
    ),
    "no zone": (
        fever().assign(time=[*(fever().time[:-1].astype(str) + "Z"), "2024-03-09T00:00"]),
        LABELS,
        "row 240, column 'time': 2024-03-09T00:00 has no time zone, and others have one; write it for all",
    ),
    "day or month": (
        changed(4, "time", "03/02/2024"),
        LABELS,
        "row 4, column 'time': '03/02/2024' is neither a number nor",
    ),
    "no time": (changed(4, "time", ""), LABELS, "row 4, column 'time' is empty; every row needs a time"),
    "no entity": (changed(4, "patient", "NaN"), LABELS, "row 4, column 'patient' is empty; every row needs a name"),
    "one row": (
        short(),
        LABELS,
        r"row 21, column 'patient': too short is 'p1' \(1 row\), and a sequence has at least 2",
    ),
    "a window": (
        fever(),
        LABELS | {"window": 21},
        r"row 1, column 'patient': too short is 'p0' .*a window has 21 steps; leave out short ones, or drop them$",
    ),
    "an unknown split": (
        fever().assign(split=["train"] * 100 + ["tset"] * 140),
        LABELS,
        r"row 101, column 'split': there is no split 'tset' \(did you mean test\?\); it is one of train, validation, test",
    ),
    "a label that changes": (
        changed(5, "ward", "north"),
        LABELS,
        "row 5, column 'ward': 'north', where the same patient has 'south' before;",
    ),
    "no such column": (
        fever(),
        {"static": "wrd"},
        r"there is no column 'wrd' \(did you mean ward\?\); the columns are pat",
    ),
    "no entities": (
        fever().rename(columns={"patient": "who"}),
        LABELS,
        "none of the columns who, time, .* is called entity",
    ),
    "no times": (
        fever().rename(columns={"time": "when"}),
        LABELS,
        "none of the columns patient, when, .* is called time",
    ),
    "two times": (fever().assign(date=1), LABELS, "the columns time, date may each hold times; name the one that does"),
    "empty split": (
        fever()[fever().patient.isin(["p1", "p2"])],
        LABELS,
        "validation = 0.1 and test = 0.2 of 2 entities leave an empty split; give 3 entities or more, split by time, or",
    ),
    "long, twice": (
        pd.concat([fever().melt(["patient", "time"], ["heart"])] * 2),
        {},
        "rows 1 and 241, column 'variable': both are 'heart' of patient p0 at time 2024",
    ),
    "half of a long one": (
        fever(),
        {"variable": "state"},
        "a long table has a column of names and one of values; name both",
    ),
    "few entities": (
        fever()[fever().patient.isin(["p1", "p2", "p3"])],
        LABELS,
        "of 3 entities leave an empty split; validation = 0.34 and test = 0.34 give each split an entity, split by time",
    ),
    "an empty channel": (
        fever().assign(heart=np.nan),
        LABELS | {"channels": "heart"},
        "nothing was measured in column heart; name channels that have values",
    ),
    "a step in each column": (
        pd.DataFrame({"id": range(9), "time": 0, **{f"x{i}": range(9) for i in range(5)}}),
        {},
        "too short is '0' .* a table with a row for each entity and a column for each step is melted first: pandas.melt",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_told_with_row_and_column(tmp_path: Path, name: str) -> None:
    """Also in another order of rows the line names a row that is wrong."""
    table, options, said = BAD[name]
    path = saved(tmp_path, table)
    with pytest.raises(UsageError, match=re.escape(f"{path}: ") + f".*{said}") as caught:
        SeriesTable(path, **options).load()
    assert "\n" not in str(caught.value)


FILES: dict[str, tuple[str, bytes, str]] = {
    "empty": ("a.csv", b"", "is empty; a table has a header and rows"),
    "only a header": ("a.csv", b"id,time,x\n", r"has a header \(id, time, x\) and no row"),
    "too many cells": (
        "a.csv",
        b"id,time,x\n1,2,3\n1,3,4,5\n",
        "row 2 has 4 cells, and the header names 3 columns; a cell that holds ',' stands in quotes, and numbers have",
    ),
    "too few cells": (
        "a.csv",
        b"id,time,x\n1,2,3\n1,3\n1,4,\n",
        "row 2, column 'x': the row ends before it; write ',' bet",
    ),
    "a column twice": ("a.csv", b"id,time,x,x\n1,2,3,4\n", "has two columns 'x'; give each a name of its own"),
    "no name": ("a.csv", b"id,time,,x\n1,2,3,4\n", "column 3 has no name; give it one in the header"),
    "latin": ("a.csv", b"id,time,x\nJos\xe9,2,3\n", "is no text in UTF-8"),
    "no parquet": ("a.parquet", b"id,time,x\n", "cannot be read as parquet"),
    "no netcdf": ("a.nc", b"id,time,x\n", "cannot be read as nc"),
    "arrays": ("a.npz", b"", "holds arrays, not a table: --data Arrays --data.path"),
    "a sheet": ("a.xlsx", b"PK", r"is no table by its name; a table is CSV \(.csv"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_that_hold_no_table_are_told_in_one_line(tmp_path: Path, name: str) -> None:
    file, content, said = FILES[name]
    (tmp_path / file).write_bytes(content)
    with pytest.raises(UsageError, match=said) as caught:
        SeriesTable(tmp_path / file).load()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("code", [-999.0, 9999.0])
def test_numbers_that_may_mean_missing_are_said_and_others_are_not(tmp_path: Path, code: float) -> None:
    table = fever()
    rows = table.index % 9 == 0
    with pytest.warns(
        Remark, match=rf"fever.csv: column 'heart' holds {code:g} in 27 rows, and else values from 6.* to 9"
    ):
        SeriesTable(saved(tmp_path, table.assign(heart=table.heart.where(~rows, code))), **LABELS).load()
    longer = 10 * code + np.sign(code) * 9  # as many nines and one more
    both = table.heart.where(~rows, code).where(table.index % 9 != 1, longer)
    with pytest.warns(Remark) as told:
        SeriesTable(saved(tmp_path, table.assign(heart=both)), **LABELS).load()
    assert all(f"holds {each:g} in 27 rows" in str([w.message for w in told]) for each in (code, longer))
    for usual in (table.assign(heart=np.where(rows, 99.0, 80.0 + table.index % 7)), table.assign(heart=code)):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            SeriesTable(saved(tmp_path, usual), **LABELS).load()


def test_other_mistakes_are_told(tmp_path: Path) -> None:
    path = saved(tmp_path, fever())
    with pytest.raises(UsageError, match="is a folder, and a table is one file; name the file"):
        SeriesTable(tmp_path).load()
    with pytest.raises(UsageError, match=r"no such file \(did you mean fever.csv\?\)"):
        SeriesTable(tmp_path / "fevr.csv").load()
    with pytest.raises(UsageError, match=r"is a table, which Arrays does not read: --data SeriesTable --data.path "):
        Arrays(path).load()
    with pytest.raises(UsageError, match="stride = 3 is the distance of windows; give their steps"):
        SeriesTable(path, stride=3)
    with pytest.raises(UsageError, match="window = 1; it has at least 2 steps"):
        SeriesTable(path, window=1)
    with pytest.raises(UsageError, match="validation = 0; it is a fraction between 0 and 1"):
        SeriesTable(path, validation=0)
    with pytest.raises(UsageError, match="SeriesTable needs the file of a table"):
        SeriesTable().load()
    with pytest.raises(UsageError, match="which leaves a split without a sequence"):
        SeriesTable(by="time", window=5).read(numbered(4, 5))


def test_short_entities_are_dropped_on_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = read_first(SeriesTable(saved(tmp_path, short()), **LABELS, short="drop"))
    assert data.names is not None
    assert "p1" not in data.names.entities
    assert len(data) == PATIENTS - 1
    assert "data: dropped, since a sequence has at least 2: patient 'p1' (1 row)" in capsys.readouterr().err


def test_a_missing_package_is_named_with_its_install_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fever().to_parquet(tmp_path / "fever.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"needs pyarrow, which is not installed: pip install 'pyro-dsvae\[series\]'"):
        SeriesTable(tmp_path / "fever.parquet").load()


def test_the_command_says_it_in_one_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pyro_dsvae import cli

    monkeypatch.chdir(tmp_path)
    saved(tmp_path, changed(7, "heart", "high"))
    arguments = ["--data", "SeriesTable", "--data.path", "fever.csv", "--data.static", "ward,state", "--steps", "1"]
    with pytest.raises(SystemExit) as stopped:
        cli.main(main, arguments)
    assert stopped.value.code == 2
    assert the_error(capsys.readouterr().err).startswith("fever.csv: row 7, column 'heart': 'high' is no number; ")
    assert not (tmp_path / "runs").exists()
    with pytest.raises(SystemExit):
        cli.main(main, ["--data", "fever.csv"])
    assert "--data SeriesTable --data.path fever.csv" in the_error(capsys.readouterr().err)


def test_times_with_an_offset_are_the_moments_that_they_name() -> None:
    """In winter and in summer time, as texts and as a column of pandas."""
    moments = pd.Series(pd.to_datetime(["2024-03-31T00:30Z", "2024-03-31T01:30Z", "2024-03-31T02:30Z"]))
    texts = ["2024-03-31T01:30+01:00", "2024-03-31 03:30:00+0200", "2024-03-31T02:30Z"]
    expected = moments.dt.tz_localize(None).to_numpy().astype("datetime64[ns]").astype(np.int64)
    for column in (pd.Series(texts), moments.dt.tz_convert("Europe/Paris"), moments):
        found, utc = times(pd.DataFrame({"at": column}), "at")
        assert utc
        np.testing.assert_array_equal(found, expected)


def test_midnights_in_utc_are_written_as_they_were_read() -> None:
    """As a day alone they would be times in no zone, which a run on times in UTC refuses."""
    days = np.array([24.0, 48.0])
    assert Clock("hours", 0, utc=True).written(days) == ["1970-01-02T00:00:00Z", "1970-01-03T00:00:00Z"]
    assert Clock("hours", 0).written(days) == ["1970-01-02", "1970-01-03"]
