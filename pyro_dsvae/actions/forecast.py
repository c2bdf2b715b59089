"""The continuation of clips."""

import json
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from pyro_dsvae.actions.output import WITH_CSV, Output, check_place, chosen_formats, output
from pyro_dsvae.actions.own_times import ahead, own_times, say_extrapolated
from pyro_dsvae.actions.selection import Selection, Source
from pyro_dsvae.actions.series_csv import Keys, time_in_words, write_series
from pyro_dsvae.data.dataset import Split
from pyro_dsvae.figures.bands import Bands, bands
from pyro_dsvae.figures.clip_pages import Page, Row, heat, named_rows
from pyro_dsvae.figures.run import APPEARANCE, GREY, MOTION, seen
from pyro_dsvae.inference.forecasting.baselines import baselines
from pyro_dsvae.inference.forecasting.forecast import Forecast
from pyro_dsvae.inference.forecasting.scores import forecast_scores
from pyro_dsvae.loading import load
from pyro_dsvae.models.errors import UsageError, check_seed
from pyro_dsvae.progress import Bar
from pyro_dsvae.runs.evaluations import record
from pyro_dsvae.runs.run import Progress, Run

SHOWN_DRAWS = 3
HORIZON = 8
INTERVAL = 0.9


def forecast(
    run: Path,
    clips: str | None = None,
    count: int = 2,
    given: int | None = None,
    horizon: int | None = None,
    times: str | None = None,
    draws: int = 20,
    score: int = 100,
    split: Split = "validation",
    resize: bool = False,
    format: str | None = None,
    out: Path | None = None,
    overwrite: bool = False,
    seed: int = 0,
) -> Path:
    """Continue clips after their first frames: many futures, their mean and spread, scored where the truth is known.

    Many clips of the split are forecast, too, and scored against the frames that came (mean squared error, CRPS, log
    probability), beside three forecasts that need no model. Where one of these is better, that is said.

    Args:
        run: the run directory
        clips: positions in the split (3,7 or 0:4) or files; by default clips that differ
        count: how many, where none are named
        given: frames to go on from; by default 5 of 8 of a clip of the data, and all of a file
        horizon: frames to forecast; by default 8
        times: when values are wanted, instead of a horizon: with commas, or a file with a column of times; in the unit of the
            data, or as dates where these are dates
        draws: futures of each clip
        score: clips of the split to score on; 0 for none
        split: of the data, that positions count in
        resize: bring files of another size or channel count to those of the run
        format: of gif, png, npz, mp4, csv (series: mean and interval of 90 in 100), with commas; all but mp4 by default
        out: the new folder; by default RUN/latents/forecast-NNN
        overwrite: replace what is there
        seed: of all draws

    Returns:
        The new folder.

    Example:
        >>> import numpy as np
        >>> from pathlib import Path
        >>> from pyro_dsvae.actions.forecast import forecast
        >>> folder = forecast(Path("runs/clips"), "0", given=4, horizon=3, draws=5, score=0, format="npz")
        >>> np.load(folder / "forecast.npz")["draws"].shape
        (5, 1, 3, 3, 16, 16)
    """
    for name, value, least in (("given", given, 1), ("horizon", horizon, 1), ("draws", draws, 2), ("score", score, 0)):
        if value is not None and value < least:
            raise UsageError(f"--{name} is {value}; it is at least {least}")
    check_seed(seed)
    if times is not None and horizon is not None:
        raise UsageError("--times says when values are wanted, and --horizon how many steps on: give one of the two")
    opened = load(run)
    formats = chosen_formats(format, len(opened.frame_shape) == 3, WITH_CSV)
    check_place(out, overwrite)
    source = Source(opened, split, resize)
    chosen = source.named_or_varied(clips, count, "dynamic", seed)
    given = _given(chosen, given)
    wanted = None if times is None else own_times(times, opened.model.dynamic_prior, chosen.table)
    if wanted is None:
        horizon = HORIZON if horizon is None else horizon
        future = _future(chosen, given, horizon)
    else:
        chosen = _on_clock(chosen)
        future, horizon, score = ahead(chosen, wanted, given), len(wanted), 0
        say_extrapolated(source, chosen, wanted)
    options = {"clips": clips, "count": count, "given": given, "horizon": horizon, "draws": draws, "score": score}
    options |= {"times": times, "split": split, "seed": seed}
    with (
        output("forecast", opened.path, out, formats, options, overwrite, source.rate(chosen)) as to,
        Bar("forecasting") as bar,
    ):
        found = _forecast(opened, chosen, given, horizon, future, draws, seed, bar.part(0.0, 0.1))
        low, high = found.interval(INTERVAL)
        # What came at other times is no truth of these.
        to.page(_page(chosen if wanted is None else chosen.until(given), found, given))
        if len(opened.frame_shape) == 1:
            _series(to, chosen, given, future, found.mean, low, high)
        to.clips({f"{i:02}": mean for i, mean in enumerate(found.mean)})
        to.arrays(
            {
                "frames": found.mean,
                "low": low,
                "high": high,
                "draws": found.means,
                "given": chosen.batch.x[:, :given],
                "z": found.z,
                "f": found.f,
                "indices": chosen.indices,
            }
        )
        length = opened.length
        if score and bool((chosen.indices >= 0).any()):
            if given < length:
                sequences = source.data.sequences(source.split).take(source.spread(score))
                scores = forecast_scores(
                    opened.sampler(bar.part(0.1, 1.0, "scores on held-out clips")),
                    sequences,
                    given,
                    max(draws, 25),
                    seed,
                )
                said = scores.sentences()
                table = {
                    name: {"mse": _mean(errors.mse), "crps": _mean(errors.crps)}
                    for name, errors in {"forecast": scores.model, **scores.baselines}.items()
                }
                log_prob = _mean(scores.log_prob.log_prob[scores.log_prob.scored])
                report = {"given": given, "clips": len(sequences), "log_prob": log_prob, "unit": scores.unit}
                report |= {"errors": table, "says": said}
                (to.folder / "scores.json").write_text(json.dumps(report, indent=2) + "\n")
                bar.bar.stop()
                print(f"held-out clips: {said[0]}")
                print(f"log p(later frames | given) {log_prob:,.1f} nats per sequence")
                for sentence in said[1:]:
                    print(sentence)
                if split == "test":
                    print(record(opened.path, "latents forecast", to.path))
            else:
                print(f"nothing to score: all {length} frames of the data are given")
    return to.path


def _given(chosen: Selection, given: int | None) -> int:
    """How many frames to go on from. Raises `UsageError` where a clip is shorter."""
    length = chosen.batch.x.shape[1]
    shortest = length if chosen.batch.lengths is None else int(chosen.batch.lengths.min())
    if given is None:
        return max(1, round(shortest * 5 / 8)) if bool((chosen.indices >= 0).any()) else shortest
    if given > shortest:
        name = chosen.names[0 if chosen.batch.lengths is None else int(chosen.batch.lengths.argmin())]
        raise UsageError(f"{name} is too short to go on from {given} frames: it has {shortest}; take a smaller --given")
    return given


def _forecast(
    run: Run,
    chosen: Selection,
    given: int,
    horizon: int,
    future: Tensor | None,
    draws: int,
    seed: int,
    progress: Progress,
) -> Forecast:
    past = chosen.batch.until(given)._replace(lengths=None)
    return run.forecast(past.x, horizon, *past[1:], future, draws, seed, progress)


def _on_clock(chosen: Selection) -> Selection:
    """The clips with times, which of equally spaced frames are their numbers."""
    if chosen.batch.times is not None:
        return chosen
    numbers = torch.arange(chosen.batch.x.shape[1]).double().expand(len(chosen), -1)
    return replace(chosen, batch=chosen.batch._replace(times=numbers))


def _series(
    to: Output, chosen: Selection, given: int, future: Tensor | None, mean: Tensor, low: Tensor, high: Tensor
) -> None:
    """Mean and interval of what is forecast, as CSV and beside what was given."""
    horizon = mean.shape[1]
    times = torch.arange(given, given + horizon).expand(len(chosen), -1) if future is None else future
    keys = Keys.of(chosen.table, chosen.names, times, *mean.shape[1:])
    if "csv" in to.formats:
        write_series(to.folder / "forecast.csv", keys, {"value": mean, "low": low, "high": high})
    if "png" in to.formats:
        past = _on_clock(chosen).until(given).batch
        assert past.times is not None
        seen = torch.where(past.observed, past.x, torch.nan)
        said = Bands(past.times, seen, times, mean, low, high)
        bands(said, keys.entities, keys.channels, time_in_words(chosen.table), to.folder / "forecast-intervals.png")


def _future(chosen: Selection, given: int, horizon: int) -> Tensor | None:
    """(n, horizon) times of what is forecast: those of the clip, then on at its last interval; None where steps have none."""
    times = chosen.batch.times
    if times is None:
        return None
    # Of shorter clips, times beyond the end go on at their last interval already.
    later = times[:, given : given + horizon]
    ahead = torch.arange(1, horizon - later.shape[1] + 1)
    return torch.cat([later, times[:, -1:] + (times[:, -1:] - times[:, -2:-1]) * ahead], dim=1)


def _mean(values: Tensor) -> float:
    return float(values.nanmean())


def _page(chosen: Selection, found: Forecast, given: int) -> Page:
    horizon = found.z.shape[2]
    rows: list[Row] = []
    spread = found.means.std(0, correction=0)
    simple = baselines(chosen.batch.x[:, :given], chosen.batch.observed[:, :given], horizon)
    for i, name in enumerate(chosen.names):
        past = seen(chosen.batch)[i, :given]
        known = seen(chosen.batch)[i, : given + horizon]
        missing = torch.full((given + horizon - len(known), *known.shape[1:]), 0.89).to(known)
        lines = [("truth", torch.cat([known, missing]) if known.ndim == 4 else known)]
        lines += [("mean of draws", torch.cat([past, found.mean[i]]))]
        lines += [(f"draw {k + 1}", torch.cat([past, draw[i]])) for k, draw in enumerate(found.means[:SHOWN_DRAWS])]
        if past.ndim == 4:  # of series, forecast-intervals.png shows it, on the scale of each column
            lines += [("spread", heat(torch.cat([torch.zeros_like(past), spread[i]]), float(spread.max())))]
        lines += [("loop the clip", torch.cat([past, simple["loop the clip"][i]]))]
        rows += named_rows(name, lines, apart=i > 0)
    title = [(f"{given} frames are given", APPEARANCE), (", then ", GREY), (f"{horizon} are forecast", MOTION)]
    return Page(rows, title, divider=given)
