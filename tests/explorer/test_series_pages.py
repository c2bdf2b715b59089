"""Pages of a run of series: lines at the times of the table and in its units, with gaps where nothing was measured."""

from functools import partial

import numpy as np
import pandas as pd
import panel as pn
import pytest
from bokeh.models import Column as Plots
from bokeh.models import ColumnDataSource

from pyro_dsvae import SeriesTable
from pyro_dsvae.actions.selection import Source
from pyro_dsvae.explorer.library import Library
from pyro_dsvae.explorer.page import PAGES
from pyro_dsvae.explorer.player import Player
from pyro_dsvae.explorer.uploads import read_upload
from pyro_dsvae.fit import fit
from pyro_dsvae.inference.posteriors.lstm import LSTM
from pyro_dsvae.loading import load
from pyro_dsvae.models.dynamic_priors.random_walk import RandomWalk
from pyro_dsvae.models.static_priors.standard_normal import StandardNormal
from tests.commands.test_series_outputs import START, sensors

TABLE = sensors()


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Library:
    folder = tmp_path_factory.mktemp("sensors")
    TABLE.to_csv(folder / "sensors.csv", index=False)
    fit(
        data=SeriesTable(folder / "sensors.csv", entity="sensor", time="at", validation=0.4),
        out=folder / "run",
        steps=2,
        static_prior=StandardNormal,
        dynamic_prior=RandomWalk,
        posterior=partial(LSTM, hidden_size=4, feature_size=4),
        static_size=2,
        latent_size=2,
        device="cpu",
    )
    return Library(Source(load(folder / "run")))


@pytest.fixture
def player(series: Library) -> Player:
    return Player(series.run.length)


def plots(view: pn.viewable.Viewable) -> list[Plots]:
    """Those of each clip of a page, in order."""
    return [pane.object for pane in view.select(pn.pane.Bokeh) if isinstance(pane.object, Plots)]


def lines(view: pn.viewable.Viewable) -> list[ColumnDataSource]:
    return [each.children[0].renderers[0].data_source for each in plots(view)]


def rows_of(title: str) -> pd.DataFrame:
    """What the table says of a clip: its title is "3: s05"."""
    return TABLE[TABLE.sensor == title.partition(": ")[2]]


def test_clips_are_lines_at_their_times_with_gaps(series: Library, player: Player) -> None:
    view = PAGES["Swap"](series, player)
    titles = [select.value for select in view.select(pn.widgets.Select)]
    channels = [plot.title.text for plot in plots(view)[0].children]
    assert "temperature" in channels
    first, second, swapped, _ = (source.data for source in lines(view))
    for shown, title in ((first, titles[0]), (second, titles[1])):
        rows = rows_of(title)
        for i, channel in enumerate(channels):
            np.testing.assert_allclose(shown[f"y{i}"], rows[channel], rtol=1e-6)
        np.testing.assert_allclose(np.diff(shown["x"]), np.diff(rows["at"]) / np.timedelta64(1, "h"))
    assert np.isnan(first[f"y{channels.index('temperature')}"]).any(), "a gap that can be seen"
    assert swapped["x"] == second["x"], "z, and so the times, are of the second"
    axis = plots(view)[0].children[-1].xaxis[0].axis_label
    assert axis == f"at, in hours from {(START + (TABLE['at'] - START).min()).isoformat()}"
    assert not player.layout.visible, "lines are not played"


def test_every_page_opens_and_its_plots_reach_what_they_show(series: Library, player: Player) -> None:
    for make in PAGES.values():
        view = make(series, player)
        assert plots(view)
        for each in plots(view):
            for i, plot in enumerate(each.children):
                data = plot.renderers[0].data_source.data
                values = np.array([data[f"low{i}"], data[f"high{i}"]])
                values = values[np.isfinite(values)]
                assert ((plot.y_range.start < values) & (values < plot.y_range.end)).all()


def test_what_is_erased_or_forecast_has_an_interval(series: Library, player: Player) -> None:
    view = PAGES["Fill in"](series, player)
    left, mean = (source.data for source in lines(view)[:2])
    view.select(pn.widgets.CheckButtonGroup)[0].value = ["2"]
    left, mean = (source.data for source in lines(view)[:2])
    assert np.isnan(left["y0"][2])
    assert mean["low0"][2] < mean["y0"][2] < mean["high0"][2]
    assert mean["low0"][1] == mean["y0"][1] == mean["high0"][1], "which was measured"
    whole, mean = (source.data for source in lines(PAGES["Forecast"](series, player))[:2])
    given = (5 * series.run.length + 4) // 8
    assert mean["x"][:given] == whole["x"][:given]
    assert (np.diff(mean["x"]) > 0).all()
    assert (np.array(mean["low0"]) < np.array(mean["high0"]))[given:].all()


def test_a_table_is_uploaded(series: Library) -> None:
    others = TABLE[TABLE.sensor.isin(["s03", "s04"])]
    found = read_upload("mine.csv", others.to_csv(index=False).encode(), series.source)
    assert found.names == ("mine.csv: the first of 2 clips",)
    np.testing.assert_allclose(found.batch.x[0, :, 0], TABLE[TABLE.sensor == "s03"].pressure)
