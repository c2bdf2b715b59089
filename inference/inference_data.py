"""What ArviZ does for this project. No other file knows ArviZ.

It is imported where it is used: that takes two seconds, which no command should spend on its manual.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyro_dsvae.inference.files import replacing
from pyro_dsvae.models.errors import UsageError

if TYPE_CHECKING:
    import xarray

# The fewest draws whose upper fifth is a tail that ArviZ fits.
MIN_DRAWS = 25
# Of k-hat: the weights' variance is finite below the first, their mean cannot be relied on above the second.
USABLE, UNRELIABLE = 0.5, 0.7
# Weights that are as equal as this, in nats, have no tail: what is left to fit is rounding.
FLAT = 0.01

POINTWISE = ("candidate", "seed", "sequence")


def pareto_k_hat(log_weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The shape k-hat (N,) of the upper tail of each sequence's weights, for log weights (N, K) up to a constant.

    Below .5 the weights have a finite variance. Up to .7 a practicable number of draws suffices to estimate their mean. Above
    it does not, and the estimate is a loose lower bound. Draws are assumed to be independent. The value is 0 where the
    whole tail lies within 1 % (for example where the proposal is the posterior), and infinite where the tail spans more than
    a floating-point number can hold.

    Source: Vehtari, Simpson, Gelman, Yao & Gabry, "Pareto smoothed importance sampling", JMLR 25, 2024.
    """
    return np.array([_k_hat(row) for row in np.asarray(log_weights, dtype=np.float64)])


def _k_hat(log_weights: NDArray[np.float64]) -> float:
    from arviz_stats.base import array_stats

    tail = np.sort(log_weights)[-_tail_size(len(log_weights)) :]
    if tail[-1] - tail[0] < FLAT:
        return 0.0
    # Not as logarithms: with log_weights=True, arviz-stats 0.8 fits the tail of the logarithms themselves.
    weights = np.exp(log_weights - tail[-1])
    if np.exp(tail[0] - tail[-1]) == 0:
        # Weights that underflow tie at zero, and the fit would take the tail for a harmless one.
        return np.inf
    with np.errstate(all="ignore"):
        k_hat = float(array_stats.pareto_khat(weights[None], r_eff=1.0, tail="right"))
    return k_hat if np.isfinite(k_hat) else np.inf


def _tail_size(draws: int) -> int:
    """How many weights ArviZ takes for the tail."""
    return int(3 * draws**0.5) if draws > 225 else draws // 5


# --- trees ------------------------------------------------------------------------------------------------------------


def comparison_tree(
    log_evidence: Mapping[str, Tensor],
    monte_carlo_error: Mapping[str, Tensor],
    effective_sample_size: Mapping[str, Tensor] | None = None,
    k_hat: Mapping[str, Tensor] | None = None,
    kl_f: Mapping[str, Tensor] | None = None,
    kl_z: Mapping[str, Tensor] | None = None,
    distortion: Mapping[str, Tensor] | None = None,
    forecast: Mapping[str, Tensor] | None = None,
    crps: Mapping[str, Tensor] | None = None,
    seeds: Mapping[str, Sequence[int]] | None = None,
    sequences: Tensor | None = None,
    attributes: Mapping[str, str | float | int] | None = None,
) -> "xarray.DataTree":
    """All values per sequence from which a comparison can be computed again, for `save_tree`.

    Groups and variables, all with the dimensions candidate, seed, sequence:

        evidence         log_evidence, monte_carlo_error, effective_sample_size, k_hat
        rate_distortion  kl_f, kl_z, distortion
        forecast         log_probability, crps

    Each of these arguments maps a candidate's name to its values (S, N), in nats per sequence, in the order of ``sequences``;
    the CRPS is in units of the frames. The group is not called log_likelihood, because this is marginal evidence of held-out
    sequences: the PSIS-LOO of ArviZ, which is for conditional likelihoods, must not be applied to it.

    Args:
        log_evidence: log p(x).
        monte_carlo_error: Its standard error.
        effective_sample_size: Of the importance weights.
        k_hat: Of the importance weights.
        kl_f: KL of f.
        kl_z: KL of z.
        distortion: E_q[-log p(x | f, z)].
        forecast: Log probability of the last frames.
        crps: Of forecasts of the last frames.
        seeds: From each name to the seeds of its S fits, 0 to S - 1 by default. Values are NaN for seeds that only other
            candidates have.
        sequences: (N,) rows of the data set, 0 to N - 1 by default.
        attributes: Of the whole tree: what was compared, on which part of which data, with how many draws.
    """
    import arviz_base

    if seeds is None:
        seeds = {name: range(len(values)) for name, values in log_evidence.items()}
    for name, values in log_evidence.items():
        if len(set(seeds[name])) != len(values):
            raise UsageError(
                f"{name} has {len(values)} fits, which need as many different seeds, not {list(seeds[name])}"
            )
    N = next(iter(log_evidence.values())).shape[1]
    numbers = sorted({seed for name in log_evidence for seed in seeds[name]})
    groups = {
        "evidence": {
            "log_evidence": log_evidence,
            "monte_carlo_error": monte_carlo_error,
            "effective_sample_size": effective_sample_size,
            "k_hat": k_hat,
        },
        "rate_distortion": {"kl_f": kl_f, "kl_z": kl_z, "distortion": distortion},
        "forecast": {"log_probability": forecast, "crps": crps},
    }

    def padded(variable: str, values: Mapping[str, Tensor]) -> NDArray[np.float64]:
        array = np.full((len(log_evidence), len(numbers), N), np.nan)
        for c, (name, reference) in enumerate(log_evidence.items()):
            if name not in values or values[name].shape != reference.shape:
                raise UsageError(f"{variable} must be given for {name} as {tuple(reference.shape)}, as its evidence is")
            array[c, [numbers.index(seed) for seed in seeds[name]]] = values[name].detach().double().cpu().numpy()
        return array

    data = {
        group: {name: padded(name, values) for name, values in variables.items() if values is not None}
        for group, variables in groups.items()
    }
    data = {group: variables for group, variables in data.items() if variables}
    return arviz_base.from_dict(
        data,
        sample_dims=[],
        dims={name: list(POINTWISE) for variables in data.values() for name in variables},
        coords={
            "candidate": list(log_evidence),
            "seed": numbers,
            "sequence": np.arange(N) if sequences is None else sequences.cpu().numpy(),
        },
        attrs={"/": {"units": "nats per sequence"} | dict(attributes or {})},
    )


def pointwise(tree: "xarray.DataTree", variable: str = "log_evidence", group: str = "evidence") -> dict[str, Tensor]:
    """name -> (S, N) float64 of a variable of `comparison_tree`, as `compare_evidence` takes it."""
    if group not in tree.children or variable not in tree[group].data_vars:
        raise UsageError(f"the tree has no variable {group}/{variable}")
    array = tree[f"{group}/{variable}"].transpose(*POINTWISE)
    fitted = tree["evidence/log_evidence"].transpose(*POINTWISE).notnull().all("sequence")
    names = [str(name) for name in array["candidate"].values]
    return {name: torch.from_numpy(array.values[c][fitted.values[c]].copy()) for c, name in enumerate(names)}


def save_tree(tree: "xarray.DataTree", path: Path) -> None:
    """Write netCDF that `open_tree`, ArviZ and xarray read. An existing file is replaced in one step, or not at all."""
    with replacing(path) as part:
        tree.to_netcdf(part, engine="h5netcdf")


def open_tree(path: Path) -> "xarray.DataTree":
    """What `save_tree` wrote, in memory.

    Raises:
        UsageError: Where there is no such file or it is none.
    """
    import xarray

    try:
        with xarray.open_datatree(path, engine="h5netcdf") as tree:
            return tree.load()
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read as netCDF: {str(error).splitlines()[0]}") from error


# --- plots ------------------------------------------------------------------------------------------------------------
