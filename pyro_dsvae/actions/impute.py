"""Missing values of clips, given the observed ones."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from pyro_dsvae.actions.damage import Damage
from pyro_dsvae.actions.output import WITH_CSV, Output, check_place, formats_of, output, segmenting_of
from pyro_dsvae.actions.own_times import own_times, say_extrapolated, with_times
from pyro_dsvae.actions.selection import Selection, Source
from pyro_dsvae.actions.series_csv import Keys, imputed_interval, time_in_words, write_series
from pyro_dsvae.data.dataset import Split
from pyro_dsvae.figures.bands import Bands, bands
from pyro_dsvae.figures.clip_pages import Page, Row, heat, named_rows, veiled
from pyro_dsvae.figures.run import GREY, MOTION
from pyro_dsvae.inference.latent_space.imputation import Imputation, Method
from pyro_dsvae.inference.sampling.gap_filling import nearest_frame
from pyro_dsvae.loading import load
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.standardisation import IN_SD, column_sd
from pyro_dsvae.progress import Bar
from pyro_dsvae.runs.run import Run

SHOWN_DRAWS = 2


def impute(
    run: Path,
    clips: str | None = None,
    count: int = 2,
    missing_frames: str | None = None,
    missing_pixels: float = 0.0,
    crop: str | None = None,
    noise: float = 0.0,
    times: str | None = None,
    draws: int = 20,
    method: Method = "refined",
    split: Split = "validation",
    resize: bool = False,
    format: str | None = None,
    out: Path | None = None,
    overwrite: bool = False,
    seed: int = 0,
) -> Path:
    """Fill in the missing values of clips: posterior draws given what is observed, their mean and their spread.

    For clips of the data the gaps are made here, by --missing-frames, --missing-pixels, --crop and --noise (by default half
    of the pixels), so that the result can be held against the truth. A clip of one's own brings its gaps in its .npz, as an
    array mask, True where observed; without it, gaps have to be asked for.

    Args:
        run: the run directory
        clips: positions in the split (3,7 or 0:4) or files; by default clips that differ
        count: how many, where none are named
        missing_frames: frames to hide, counted from 0, such as 2,5
        missing_pixels: share of the values to hide, 0 to 1: in images pixels, in vectors entries
        crop: what to leave of every frame, as x,y,width,height in pixels
        noise: standard deviation of the noise added to what is left, in units of the frames
        times: when values are wanted, beside the times of the data: with commas, or a file with a column of times; in the unit
            of the data, or as dates where these are dates. The CSV then has these times alone
        draws: posterior draws
        method: amortised (the guide as it is), refined (fitted to each clip) or langevin (refined, then moved by chains)
        split: of the data, that positions count in
        resize: bring files of another size or channel count to those of the run
        format: of gif, png, npz, mp4, csv (series: every value with its interval of 90 in 100), and wav for speech, with
            commas; all but mp4 by default
        out: the new folder; by default RUN/latents/impute-NNN
        overwrite: replace what is there
        seed: of what is hidden, and of all draws

    Returns:
        The new folder.

    Example:
        >>> import numpy as np
        >>> from pathlib import Path
        >>> from pyro_dsvae.actions.impute import impute
        >>> folder = impute(
        ...     Path("runs/clips"), "0", missing_frames="2", draws=5, method="amortised", format="npz"
        ... )  # doctest: +IGNORE_OUTPUT
        >>> np.load(folder / "impute.npz")["draws"].shape
        (5, 1, 6, 3, 16, 16)
    """
    damage = Damage(missing_frames, missing_pixels, crop, noise, seed)
    if draws < 1:
        raise UsageError(f"--draws is {draws}; it is at least 1")
    opened = load(run)
    formats = formats_of(opened, format, WITH_CSV)
    check_place(out, overwrite)
    source = Source(opened, split, resize)
    truth = source.named_or_varied(clips, count, "dynamic", seed)
    wanted = None if times is None else own_times(times, opened.model.dynamic_prior, truth.table)
    if damage.nothing and wanted is None and bool(truth.batch.observed.all()):
        damage = _default(damage, truth)
    seen = damage.of(truth, opened)
    kept = None
    if wanted is not None:
        say_extrapolated(source, truth, wanted)
        (truth, kept), (seen, _) = with_times(truth, wanted), with_times(seen, wanted)
    with Bar("imputing") as bar:
        found = opened.impute(*seen.batch, draws=draws, method=method, seed=seed, progress=bar)
    options = {
        "clips": clips,
        "count": count,
        "missing_frames": missing_frames,
        "crop": crop,
        "noise": noise,
        "times": times,
    }
    options |= {"missing_pixels": damage.missing_pixels, "draws": draws, "method": method, "split": split, "seed": seed}
    with output("impute", opened.path, out, formats, options, overwrite, source.rate(truth)) as to:
        to.page(_page(truth, seen, found, bool(noise)))
        filled = {f"{i:02}": mean[: _length(truth, i)] for i, mean in enumerate(restored(found, bool(noise)))}
        to.clips(filled)
        to.sounds(
            {name: (clip, truth.recording(i)) for i, (name, clip) in enumerate(filled.items())},
            segmenting_of(opened),
            # The phase of what was hidden would give away what is imputed.
            {name: _whole(seen, i) for i, name in enumerate(filled)},
        )
        if len(opened.frame_shape) == 1:
            _series(to, opened, truth, seen, found, bool(noise), kept)
        to.arrays(
            {
                "frames": restored(found, bool(noise)),
                "spread": found.model_sd,
                "sd": found.sd,
                "draws": found.means if noise else found.draws,
                "observed": seen.batch.x,
                "mask": seen.batch.observed,
                "truth": truth.batch.x,
                "f": found.f,
                "z": found.z,
                "indices": truth.indices,
                "from_prior": found.from_prior,
            }
        )
    _say(truth, seen, found, bool(noise), column_sd(opened.model.standardisation))
    return to.path


def _default(damage: Damage, clips: Selection) -> Damage:
    """What is hidden where nothing is missing and nothing was asked for.

    Raises:
        UsageError: For a clip from a file, whose owner has gaps in mind.
    """
    own = [name for name, index in zip(clips.names, clips.indices.tolist(), strict=True) if index < 0]
    if own:
        raise UsageError(
            f"nothing is missing in {own[0]}: give its .npz an array mask, True where observed, or make gaps with "
            "--missing-frames, --missing-pixels, --crop or --noise"
        )
    print("nothing is missing and no gaps were asked for, so half of the pixels are hidden (--missing-pixels 0.5)")
    return replace(damage, missing_pixels=0.5)


def restored(found: Imputation, noisy: bool) -> Tensor:
    """``(B, T, *frame)``: of noisy clips every value from the model, of others only those that were not observed."""
    return found.model_mean if noisy else found.mean


def _series(
    to: Output, run: Run, truth: Selection, seen: Selection, found: Imputation, noisy: bool, kept: Tensor | None
) -> None:
    """Every value with the interval of what was not observed: as CSV, of the steps ``kept`` (n, T) where these are asked for,
    and as curves.
    """
    if not {"csv", "png"} & set(to.formats):
        return
    low, high = imputed_interval(run, found, seed=to.about["options"]["seed"])
    lengths, times = seen.batch.lengths, seen.batch.times
    keys = Keys.of(seen.table, seen.names, times, *found.x.shape[1:])
    mean = restored(found, noisy)
    if "csv" in to.formats:
        values = {"value": mean, "low": low, "high": high, "observed": found.observed}
        write_series(to.folder / "impute.csv", keys, values, lengths, kept)
    if "png" in to.formats:
        at = torch.arange(found.x.shape[1]).double().expand(len(seen), -1) if times is None else times
        exists = torch.arange(at.shape[1]) < torch.tensor(seen.frame_counts)[:, None]
        at = torch.where(exists, at, torch.nan)
        shown, hidden = (
            torch.where(there, x, torch.nan)
            for there, x in (
                (seen.batch.observed, seen.batch.x),
                (truth.batch.observed & ~seen.batch.observed, truth.batch.x),
            )
        )
        said = Bands(at, shown, at, mean, low, high, hidden if bool(hidden.isfinite().any()) else None)
        bands(said, keys.entities, keys.channels, time_in_words(seen.table), to.folder / "impute-intervals.png")


def _whole(clips: Selection, row: int) -> Tensor:
    """(T,) bool: which frames were observed whole."""
    observed = clips.batch.observed[row, : _length(clips, row)]
    return observed.flatten(1).all(1)


def _length(clips: Selection, row: int) -> int:
    return clips.batch.x.shape[1] if clips.batch.lengths is None else int(clips.batch.lengths[row])


def _page(truth: Selection, seen: Selection, found: Imputation, noisy: bool) -> Page:
    rows: list[Row] = []
    # The noise of the likelihood is the same everywhere and would hide what is uncertain.
    mean, spread = restored(found, noisy), found.model_sd
    draws = found.means if noisy else found.draws
    known = bool(truth.batch.observed.all())
    for i in range(len(truth)):
        end = _length(truth, i)
        lines = [("observed", veiled(seen.batch.x[i, :end], seen.batch.observed[i, :end]))]
        lines += [("truth", truth.batch.x[i, :end])] if known else []
        lines += [("mean of draws", mean[i, :end])]
        lines += [(f"draw {k + 1}", draw[i, :end]) for k, draw in enumerate(draws[:SHOWN_DRAWS])]
        if mean.ndim == 5:  # of series, impute-intervals.png shows it, on the scale of each column
            lines += [("spread", heat(spread[i, :end], float(spread.max())))]
        rows += named_rows(truth.names[i], lines, apart=i > 0, colour=MOTION)
    title = [("What is there", MOTION), (", and what the model makes of it", GREY)]
    return Page(rows, title, side=64)


def _say(truth: Selection, seen: Selection, found: Imputation, noisy: bool, sd: Tensor | None) -> None:
    """Errors where the truth is known, beside the baseline; and what was guessed from nothing."""
    for i in found.from_prior.nonzero().flatten().tolist():
        print(f"{truth.names[i]}: nothing is observed, so its draws are those of the prior")
    hidden = truth.batch.observed if noisy else truth.batch.observed & ~seen.batch.observed
    if not bool(hidden.any()):
        return
    simple = (
        seen.batch.x if noisy and bool(seen.batch.observed.all()) else nearest_frame(seen.batch.x, seen.batch.observed)
    )
    unit = torch.ones(()) if sd is None else sd.cpu()
    ours, theirs = (
        float(((values - truth.batch.x) / unit).square()[hidden].mean().sqrt())
        for values in (restored(found, noisy).cpu(), simple)
    )
    what = "all values" if noisy else "the values that were hidden"
    name = "the noisy clip itself" if noisy and bool(seen.batch.observed.all()) else "copying the nearest frame"
    units = "" if sd is None else f", {IN_SD}"
    print(f"root mean squared error over {what}{units}: {ours:.4f}; {name} has {theirs:.4f}")
    if ours >= theirs:
        print(f"the model does not restore better than {name} here")
