"""Series in, tables out: every value keyed by entity, time and channel, in the units of the table."""

import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import pyro_dsvae
from pyro_dsvae import SeriesTable
from pyro_dsvae.actions.encode import encode
from pyro_dsvae.actions.forecast import forecast
from pyro_dsvae.actions.impute import impute
from pyro_dsvae.actions.own_times import own_times, with_times
from pyro_dsvae.actions.selection import Selection
from pyro_dsvae.actions.series_csv import imputed_interval
from pyro_dsvae.data.names import Names
from pyro_dsvae.data.tables.splits import drawn_split
from pyro_dsvae.fit import fit
from pyro_dsvae.inference.batch import Batch
from pyro_dsvae.inference.posteriors.lstm import LSTM as Posterior
from pyro_dsvae.models.dynamic_priors.lstm import LSTM
from pyro_dsvae.models.dynamic_priors.random_walk import RandomWalk
from pyro_dsvae.models.errors import Remark, UsageError
from pyro_dsvae.models.static_priors.standard_normal import StandardNormal
from tests.pictures import pictures

SENSORS, ROWS = 12, 10
START = pd.Timestamp("2024-02-28T22:00")


def sensors(entities: int = SENSORS, seed: int = 0) -> pd.DataFrame:
    """Pressures in pascals and temperatures at irregular times, with gaps; one column is constant, one empty in training."""
    rng = np.random.default_rng(seed)
    parts, held_out = [], int((drawn_split(SENSORS, 0.1, 0.2, 0) == 1).argmax())
    for who in range(entities):
        hours = np.cumsum(rng.integers(4, 12, ROWS)) / 4
        values = {"pressure": 101_325 + rng.normal(0, 200, ROWS), "temperature": rng.normal(20, 5, ROWS)}
        frame = pd.DataFrame({"sensor": f"s{who:02}", "at": START + pd.to_timedelta(hours, unit="h"), **values})
        parts.append(frame.assign(version=3.0, spare=1.0 if who == held_out else np.nan))
    table = pd.concat(parts, ignore_index=True)
    table.loc[rng.random(len(table)) < 0.3, "temperature"] = np.nan
    return table


KEYS = ["sensor", "at", "channel"]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A short fit, and what it said."""
    import contextlib
    import io

    folder = tmp_path_factory.mktemp("sensors")
    sensors().to_csv(folder / "sensors.csv", index=False)
    err = io.StringIO()
    with contextlib.redirect_stderr(err), pictures():
        fit(
            data=SeriesTable(folder / "sensors.csv", entity="sensor", time="at"),
            out=folder / "run",
            steps=3,
            static_prior=StandardNormal,
            dynamic_prior=RandomWalk,
            posterior=partial(Posterior, hidden_size=4, feature_size=4),
            static_size=2,
            latent_size=2,
            device="cpu",
        )
    return folder / "run", err.getvalue()


def test_a_fit_of_irregular_rows_with_gaps_is_drawn(fitted: tuple[Path, str]) -> None:
    drawn = {path.stem: path.stat().st_size for path in (fitted[0] / "figures").iterdir()}
    assert set(drawn) == {"training", "reconstruction", "swap", "sample"}
    assert min(drawn.values()) > 5_000


def test_a_fit_names_the_columns_of_the_table(fitted: tuple[Path, str]) -> None:
    lines = fitted[1].splitlines()
    assert lines[0].startswith(
        "data: 12 entities (sensor), 120 rows, 4 channels (pressure, temperature, version, spare), at"
    )
    assert "column version is constant in the training split, so only centred" in lines
    assert "column spare is never observed in the training split, so not standardised" in lines


def test_a_column_without_any_value_is_refused(tmp_path: Path) -> None:
    table = sensors().assign(spare=np.nan)
    said = "column spare holds no value; fit the others, pressure, temperature, version"
    data = SeriesTable(entity="sensor", time="at").read(table)
    with pytest.raises(UsageError, match=said):
        fit(data=data, dynamic_prior=RandomWalk, out=tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def long(table: pd.DataFrame) -> pd.DataFrame:
    return table.melt(["sensor", "at"], var_name="channel").set_index(KEYS)


def read(file: Path) -> pd.DataFrame:
    return pd.read_csv(file, parse_dates=["at"]).set_index(KEYS)


def test_imputed_values_stand_beside_those_of_the_table(fitted: tuple[Path, str], tmp_path: Path) -> None:
    run, _ = fitted
    folder = impute(run, "0:2", draws=8, method="amortised", split="test", format="csv", out=tmp_path / "out")
    found = read(folder / "impute.csv")
    truth = long(sensors())["value"].reindex(found.index)
    data = pyro_dsvae.load(run).sequences().part("test")
    assert data.names is not None
    assert set(found.index.get_level_values("sensor")) == set(data.names.entities[:2])
    assert len(found) == 2 * ROWS * 4
    seen = truth.notna()
    assert (found.observed == seen).all()
    for column in ("value", "low", "high"):
        np.testing.assert_allclose(found[column][seen], truth[seen], rtol=1e-6)
    written = pd.read_csv(folder / "impute.csv", dtype=str)["value"].to_numpy()[seen.to_numpy()]
    assert written.tolist() == [str(np.float32(value)) for value in truth[seen]]  # 21.3 stays 21.3
    gaps = found[~seen]
    assert len(gaps) > 2 * ROWS
    assert (gaps.low < gaps.high).all()
    temperature = gaps.xs("temperature", level="channel")
    assert temperature.value.between(-20, 60).all()


def test_intervals_of_imputed_values_are_those_of_the_mixture(fitted: tuple[Path, str]) -> None:
    """Quantiles of draws of values against the distribution function of the mixture of normal densities."""
    run = pyro_dsvae.load(fitted[0])
    part = run.sequences().part("test").take(torch.tensor([0]))
    found = run.impute(part.frames, part.mask, part.lengths, part.times, draws=40, method="amortised")
    low, high = imputed_interval(run, found, level=0.8)
    with torch.no_grad():
        density = run.model.frames(found.f[:, 0], found.z[:, 0])
        for bound, share in ((low, 0.1), (high, 0.9)):
            below = density.cdf(bound[0].expand(40, -1, -1)).mean(0)[~found.observed[0]]
            torch.testing.assert_close(below, torch.full_like(below, share), atol=0.035, rtol=0)


def test_forecasts_go_on_in_time(fitted: tuple[Path, str], tmp_path: Path) -> None:
    run, _ = fitted
    folder = forecast(run, "1", given=7, horizon=5, draws=4, score=0, split="test", format="csv", out=tmp_path / "out")
    found = read(folder / "forecast.csv").reset_index()
    data = pyro_dsvae.load(run).sequences().part("test")
    assert data.names is not None
    own = sensors()
    own = own[own.sensor == data.names.entities[1]]
    times = found["at"].unique()
    assert list(times[:3]) == list(own["at"].iloc[7:])
    assert set(np.diff(times[2:])) == {np.diff(own["at"])[-1]}
    assert (found.low <= found.high).all()
    assert list(found.channel[:4]) == ["pressure", "temperature", "version", "spare"]


def test_codes_are_keyed_by_entity_and_time(fitted: tuple[Path, str], tmp_path: Path) -> None:
    run, _ = fitted
    folder = encode(run, format="csv,npz", out=tmp_path / "codes")
    static, dynamic = (pd.read_csv(folder / f"{name}.csv", parse_dates=["at"]) for name in ("static", "dynamic"))
    table = sensors()
    assert sorted(static.sensor) == sorted(table.sensor.unique())
    assert set(zip(dynamic.sensor, dynamic["at"], strict=True)) == set(zip(table.sensor, table["at"], strict=True))
    with np.load(folder / "encode.npz") as arrays:
        assert list(arrays["entities"]) == list(static.sensor)
        np.testing.assert_allclose(static.f_0, arrays["f"][:, 0], rtol=1e-5)


def test_a_table_of_other_entities_is_encoded_and_completed(fitted: tuple[Path, str], tmp_path: Path) -> None:
    """Its times are in the unit of the run; entities of the run in it have the codes that they have there."""
    run, _ = fitted
    data = pyro_dsvae.load(run).sequences()
    assert data.names is not None
    table = sensors()
    some = table[table.sensor.isin(["s03", "s07"])].drop(columns="version").assign(version=3, note="a word")
    some.to_csv(tmp_path / "some.csv", index=False)
    folder = encode(run, str(tmp_path / "some.csv"), format="csv", out=tmp_path / "some")
    found, whole = (pd.read_csv(f / "static.csv", index_col="sensor") for f in (folder, encode(run, format="csv")))
    np.testing.assert_allclose(found.f_0, whole.f_0.loc[found.index], rtol=1e-5)
    hourly = sensors(2, seed=5)
    hourly.melt(["sensor", "at"]).to_csv(tmp_path / "long.csv", index=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Remark)
        folder = impute(
            run, str(tmp_path / "long.csv"), draws=3, method="amortised", format="csv", out=tmp_path / "more"
        )
    assert len(read(folder / "impute.csv")) == 2 * ROWS * 4


BAD: dict[str, tuple[pd.DataFrame, str]] = {
    "a column": (sensors(2).drop(columns="spare"), "there is no column 'spare'"),
    "times": (
        sensors(2).assign(at=range(2 * ROWS)),
        "times are numbers, and those that the run was fitted to are dates",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_other_tables_are_refused(fitted: tuple[Path, str], tmp_path: Path, name: str) -> None:
    table, said = BAD[name]
    table.to_csv(tmp_path / "other.csv", index=False)
    with pytest.raises(UsageError, match=f"other.csv: {said}"):
        encode(fitted[0], str(tmp_path / "other.csv"), out=tmp_path / "out")


def test_csv_is_for_series(tmp_path: Path) -> None:
    from pyro_dsvae.actions.output import WITH_CSV, chosen_formats

    assert chosen_formats(None, image=True, known=WITH_CSV) == ["gif", "png", "npz"]
    assert chosen_formats(None, image=False, known=WITH_CSV) == ["png", "npz", "csv"]
    with pytest.raises(UsageError, match="--format csv is for series"):
        chosen_formats("csv", image=True, known=WITH_CSV)


# --- times of one's own -----------------------------------------------------------------------------------------------


def test_values_are_imputed_at_times_of_ones_own(fitted: tuple[Path, str], tmp_path: Path) -> None:
    """Dates in a file, one of them the table's. The rest of each series is what it is without them."""
    run, _ = fitted
    data = pyro_dsvae.load(run).sequences().part("test")
    assert data.names is not None
    own = sensors()
    own = own[own.sensor == data.names.entities[0]]
    at = own["at"].iloc[2]
    wanted = pd.DataFrame({"at": [at + pd.Timedelta("40min"), at, own["at"].iloc[-1] + pd.Timedelta("3h")]})
    wanted.to_csv(tmp_path / "times.csv", index=False)
    options = {"draws": 8, "method": "amortised", "split": "test", "format": "csv,npz,png"}
    folder = impute(run, "0", times=str(tmp_path / "times.csv"), out=tmp_path / "out", **options)  # type: ignore[arg-type]
    found = read(folder / "impute.csv")
    assert list(found.index.get_level_values("at").unique()) == sorted(wanted["at"])
    there = found.xs((own.sensor.iloc[0], at, "pressure"))
    assert there.observed == 1
    np.testing.assert_allclose(there.value, own.pressure.iloc[2], rtol=1e-6)
    new = found.drop(at, level="at")
    assert (new.observed == 0).all()
    assert (new.low < new.high).all()
    assert (folder / "impute-intervals.png").stat().st_size > 5_000
    with np.load(folder / "impute.npz") as arrays:
        whole = np.isin(np.arange(ROWS + 2), [3, ROWS + 1], invert=True)
        assert arrays["mask"][0, ~whole].sum() == 0
        np.testing.assert_array_equal(arrays["observed"][0, whole], data.frames[0].numpy())


def test_clips_of_several_lengths_get_the_times_that_they_lack() -> None:
    """A step for each, in order, and none beyond the end of a shorter clip that was not asked for."""
    batch = Batch(
        torch.arange(8.0).view(2, 4, 1),
        None,
        torch.tensor([4, 2]),
        torch.tensor([[0.0, 0.1, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]),
    )
    chosen = Selection(batch, ("a", "b"), torch.tensor([0, 1]))
    found, kept = with_times(chosen, np.array([0.1, 5.5]))  # the first is in single precision in the data
    assert found.frame_counts == [5, 4]
    assert found.batch.times is not None
    np.testing.assert_allclose(found.batch.times[0], [0, 0.1, 3, 4, 5.5], rtol=1e-6)
    np.testing.assert_allclose(found.batch.times[1, :4], [0.1, 5, 5.5, 6], rtol=1e-6)
    assert kept.tolist() == [[False, True, False, False, True], [True, False, True, False, False]]
    assert found.batch.observed[..., 0].tolist() == [[True] * 4 + [False], [False, True, False, True, False]]
    assert found.batch.visible[..., 0].tolist() == [[0, 1, 2, 3, 0], [0, 4, 0, 5, 0]]


def test_forecasts_at_times_of_ones_own_are_those_of_the_model(fitted: tuple[Path, str], tmp_path: Path) -> None:
    run, _ = fitted
    opened = pyro_dsvae.load(run)
    part = opened.sequences().part("test").take(torch.tensor([1]))
    assert part.times is not None
    assert part.mask is not None
    assert part.names is not None
    last = sensors().set_index("sensor")["at"].loc[part.names.entities[0]].iloc[6]
    wanted = [last + pd.Timedelta(hours=hours) for hours in (0.5, 9, 2)]
    text = ",".join(time.isoformat() for time in wanted)
    options = {"given": 7, "draws": 5, "split": "test", "format": "csv,png", "out": tmp_path / "out"}
    found = read(forecast(run, "1", times=text, **options) / "forecast.csv")  # type: ignore[arg-type]
    assert list(found.index.get_level_values("at").unique()) == sorted(wanted)
    hours = part.times[:, 6:7] + torch.tensor([[0.5, 2.0, 9.0]])
    past = part.frames[:, :7], 3, part.mask[:, :7], None, part.times[:, :7]
    expected = opened.forecast(*past, hours, draws=5)
    np.testing.assert_allclose(found.value, expected.mean.flatten(), rtol=1e-6)
    np.testing.assert_allclose(found.low, expected.interval(0.9)[0].flatten(), rtol=1e-6)
    assert (tmp_path / "out/forecast-intervals.png").stat().st_size > 5_000


WRONG_TIMES = {
    "1.5,2": "is neither a number nor|those of the data are in",
    "2024-03-01T00:00Z": "times of the data are in .*; give times like these",
    "soon": "neither a number nor a date",
    ",": "no time is named",
}


@pytest.mark.parametrize("text", WRONG_TIMES)
def test_what_is_no_time_of_the_data_is_refused(fitted: tuple[Path, str], tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match=WRONG_TIMES[text]):
        impute(fitted[0], "0", times=text, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_forecasts_of_what_was_given_and_priors_that_count_steps_are_refused(fitted: tuple[Path, str]) -> None:
    run, _ = fitted
    with pytest.raises(
        UsageError, match=r"--times begins at 2024-02-28T00:00:00, and clip 0 is given until .*: forecasts come after"
    ):
        forecast(run, "0", times="2024-02-28")
    with pytest.raises(
        UsageError, match=r"--times needs a dynamic prior in continuous time, and LSTM counts steps: fit with"
    ):
        own_times("1", LSTM(2), None)
    assert list(own_times("2, 1,2", RandomWalk(2), None)) == [1, 2]


def test_times_beyond_what_the_fit_has_seen_are_said_to_be_extrapolated(
    fitted: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = fitted
    data = pyro_dsvae.load(run).sequences()
    assert data.times is not None
    train = data.times[data.rows("train")]
    longest = float((train[:, -1] - train[:, 0]).max())
    begin = sensors().set_index("sensor")["at"].loc[data.part("test").names.entities[0]].iloc[0]  # type: ignore[union-attr]
    for hours, says in ((longest - 0.01, False), (10_000, True)):
        time = (begin + pd.Timedelta(hours=hours)).isoformat()
        forecast(run, "0", given=2, times=time, draws=2, split="test", format="csv", out=tmp_path / f"to{hours}")
        said = capsys.readouterr().out
        assert ("extrapolated" in said) is says
    assert f"with --times clip 0 lasts 10,000 hours, and the longest sequence of the fit {longest:.4g}: what is" in said
    time = (begin - pd.Timedelta(hours=10_000)).isoformat()
    impute(run, "0", times=time, draws=2, method="amortised", split="test", format="csv", out=tmp_path / "before")
    assert "is extrapolated" in capsys.readouterr().out
    with pytest.raises(UsageError, match=r"--times says when values are wanted, and --horizon how many .*: give one"):
        forecast(run, "0", times=time, horizon=3)


def test_a_file_of_times_names_its_column(tmp_path: Path) -> None:
    names = Names((), (), time="hour")
    (tmp_path / "one.csv").write_text("whatever\n3\n1.5\n")
    (tmp_path / "two.csv").write_text("hour,note\n3,a\n1.5,b\n")
    (tmp_path / "none.csv").write_text("minute,note\n3,a\n")
    for name in ("one", "two"):
        assert list(own_times(str(tmp_path / f"{name}.csv"), RandomWalk(2), names)) == [1.5, 3]
    with pytest.raises(UsageError, match="has the columns minute, note; that of times is called 'hour'"):
        own_times(str(tmp_path / "none.csv"), RandomWalk(2), names)
