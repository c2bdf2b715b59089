"""Figures that ArviZ draws."""

import warnings
from collections.abc import Mapping
from inspect import signature
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from torch import Tensor

from pyro_dsvae.figures.run import DPI, INK, any_script
from pyro_dsvae.inference.inference_data import UNRELIABLE, USABLE
from pyro_dsvae.inference.model_comparison.comparison import Comparison
from pyro_dsvae.inference.variable_names import variable_names


def plot_comparison(comparison: Comparison, path: Path) -> Any:
    """ArviZ's comparison plot: how far each candidate lies below the best.

    Bars are the intervals of the differences to the candidate with the largest mean, paired by sequence and jointly at the
    stated confidence. So a bar that reaches the line means the verdict "cannot tell". (ArviZ's own bars are the standard
    errors of each candidate alone, which do not compare candidates.) Bars are drawn symmetric about the mean; their upper
    ends are exact.

    Returns:
        ArviZ's PlotCollection.
    """
    import arviz_plots
    import xarray

    best = comparison.candidates[0]
    others = [comparison.between(other.name, best.name) for other in comparison.candidates[1:]]
    # "mlpd" is ArviZ's name of a mean log predictive density.
    table = xarray.Dataset(
        {
            "mlpd": ("candidate", [0.0, *(d.mean for d in others)]),
            "se": ("candidate", [0.0, *(d.interval[1] - d.mean for d in others)]),
        },
        coords={"candidate": [c.name for c in comparison.candidates]},
    )
    plot = arviz_plots.plot_compare(
        table.to_dataframe(),
        relative_scale=False,
        backend="matplotlib",
        figure_kwargs=_size(8, 1.6 + 0.4 * len(comparison.candidates)),
        visuals={"title": False},
    )
    axes = plot.viz["plot"].item()
    joint = "joint " if len(comparison.differences) > 1 else ""
    axes.set_xlabel(
        f"log evidence below that of {best.name}, nats per sequence\n"
        f"bars: {joint}{100 * comparison.confidence:g} % intervals of the paired differences",
        fontsize=10,
    )
    axes.tick_params(labelsize=10)
    return _saved(plot, path)


def plot_k_hats(k_hat: Mapping[str, Tensor], path: Path) -> Any:
    """ArviZ's k-hat plot, one panel per candidate.

    Lines are drawn at .5 and .7; the title gives the share above .7. Infinite values are drawn at the top.

    Args:
        k_hat: From each candidate to k-hat (S, N) of its S fits.
        path: The PNG to write.

    Returns:
        ArviZ's PlotCollection.
    """
    import arviz_plots
    import xarray

    flat = {name: values.detach().double().cpu().flatten().numpy() for name, values in k_hat.items()}
    top = 1.1 * max(values[np.isfinite(values)].max(initial=1.0) for values in flat.values())
    array = np.full((len(flat), max(map(len, flat.values()))), np.nan)
    for row, values in zip(array, flat.values(), strict=True):
        row[: len(values)] = np.minimum(values, top)
    titles = [f"{name}: {(values > UNRELIABLE).mean():.1%} above .7" for name, values in flat.items()]
    columns = min(len(flat), 3)
    plot = arviz_plots.plot_khat(
        SimpleNamespace(pareto_k=xarray.DataArray(array, dims=["candidate", "point"], coords={"candidate": titles})),
        hline_values=[USABLE, UNRELIABLE],
        backend="matplotlib",
        cols=["candidate"],
        col_wrap=columns,
        figure_kwargs=_size(4 * columns, 3 * -(-len(flat) // columns)),
        visuals={
            "khat": {"size": 4, "width": 0, "alpha": 0.5},
            "hlines": {"zorder": 3, "color": "black"},
            "title": {"size": 11},
            "xlabel": {"text": "sequence, fit after fit", "size": 10},
            "ylabel": {"text": "k-hat", "size": 10},
        },
    )
    return _saved(plot, path)


def plot_statistics(
    observed: Mapping[str, Tensor], replicated: Mapping[str, Tensor], path: Path, columns: int = 2
) -> Any:
    """ArviZ's plot of test statistics: the mean over sequences of the data, and of every replicated set.

    Args:
        path: The PNG to write.
        columns: Plots beside each other.
        observed: Name -> T (N,) of the data.
        replicated: Name -> T (K, N) of K replicated sets; where a sequence is NaN it is left out.
    """
    import arviz_plots
    import xarray

    posterior, data = {}, {}
    for name, variable in variable_names(replicated).items():
        posterior[variable] = (("chain", "draw", "sequence"), _array(replicated[name].nanmean(1, keepdim=True))[None])
        data[variable] = (("sequence",), _array(observed[name].nanmean(0, keepdim=True)))
    tree = xarray.DataTree.from_dict(
        {"posterior_predictive": xarray.Dataset(posterior), "observed_data": xarray.Dataset(data)}
    )
    with warnings.catch_warnings():
        # A mean that is exactly 0 or 1, such as that of the smallest value, is not a binary outcome.
        warnings.filterwarnings("ignore", message=".*binary")
        plot = arviz_plots.plot_ppc_tstat(
            tree,
            t_stat="mean",
            kind="dot",
            col_wrap=columns,
            backend="matplotlib",
            figure_kwargs=_size(3.3 * min(columns, len(data)), 2.0 * -(-len(data) // columns)),
            visuals={"title": {"size": 10}, "observed_tstat": {"color": "#c2410c", "size": 60}},
        )
    return _saved(plot, path)


def plot_pit(values: Tensor, title: str, path: Path) -> Any:
    """ArviZ's plot of the ECDF of independent PIT values (n,) less that of the uniform, with what is usual in 95 %."""
    import arviz_plots
    import xarray

    data = xarray.Dataset({"PIT": (("value",), _array(values[~values.isnan()]))})
    # ArviZ 1 marks the points that speak against uniformity in place of a band, and calls the probability by another name.
    named = signature(arviz_plots.plot_ecdf_pit).parameters
    band = {"ci_prob": 0.95} if "ci_prob" in named else {"envelope_prob": 0.95}
    plot = arviz_plots.plot_ecdf_pit(
        xarray.DataTree.from_dict({"pit": data}),
        group="pit",
        sample_dims=["value"],
        **band,
        backend="matplotlib",
        figure_kwargs=_size(3.4, 2.5),
        visuals={"title": False, "xlabel": {"size": 9}, "ylabel": {"text": "ECDF - uniform", "size": 9}},
    )
    for axes in plot.viz["figure"].item().axes:
        axes.set_title(title, fontsize=10, color=INK)
        axes.axhline(0, color="#6a737d", linewidth=0.8, zorder=0)
        axes.tick_params(labelsize=8)
    return _saved(plot, path)


def _array(values: Tensor) -> np.ndarray[Any, np.dtype[Any]]:
    return values.detach().cpu().numpy()


def _size(width: float, height: float) -> dict[str, Any]:
    return {"figsize": (width, height), "figsize_units": "inches", "layout": "constrained"}


def _saved(plot: Any, path: Path) -> Any:
    from matplotlib import pyplot

    with any_script():
        plot.savefig(path, dpi=DPI)
    # Or pyplot would keep it for ever.
    pyplot.close(plot.viz["figure"].item())
    return plot
