"""The ArviZ tree of predictive checks: all draws, and what they are compared with."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray
from numpy.typing import NDArray
from torch import Tensor

from pyro_dsvae.inference.evidence import Evidence
from pyro_dsvae.inference.predictive_checks.draws import Drawn, PredictiveDraws
from pyro_dsvae.inference.variable_names import variable_names

FRAME_DIMS = {1: ("value",), 3: ("channel", "height", "width")}

Array = NDArray[Any]


def predictive_tree(
    draws: PredictiveDraws,
    sequences: Tensor,
    evidence: Evidence | None = None,
    mask: Tensor | None = None,
    lengths: Tensor | None = None,
    times: Tensor | None = None,
    labels: Mapping[str, tuple[Tensor, tuple[str, ...]]] | None = None,
    attributes: Mapping[str, str | float | int] | None = None,
) -> xarray.DataTree:
    """Everything drawn for N sequences of T frames, for `pyro_dsvae.inference.inference_data.save_tree`.

        posterior             f (chain, draw, sequence, static_dim), z (chain, draw, sequence, time, dynamic_dim)
        prior                 the same from the prior, as many draws per sequence, with its steps
        posterior_predictive  x and mean (chain, draw, sequence, time, *frame): with observation noise, and E[x | f, z]
        prior_predictive      x
        log_likelihood        x, monte_carlo_error, effective_sample_size, k_hat (sequence): marginal log p(x_i), in nats
        observed_data         x (sequence, time, *frame), NaN where not observed
        constant_data         mask, lengths, times and labels, where the data have them; the attribute "label" has a label's
                              own name (`variable_names`)

    *frame is (channel, height, width) or (value). Frames are of the first M sequences only: ``observed_data`` and the
    predictive groups have their own, shorter, coordinate "sequence". NaN stands at steps that do not exist.

    The group log_likelihood has no draws, because the model's parameters have one value: log p(x_i) is its mean over f and
    z, by importance weights. ArviZ's PSIS-LOO, which wants draws of parameters, must not be applied to it.

    Args:
        draws: Of the checks.
        sequences: (N,) rows of the data set.
        evidence: log p(x), or None.
        mask: Of the sequences, or None.
        lengths: Of the sequences, or None.
        times: Of the sequences, or None.
        labels: From each name to values (N,) and the names of their classes.
        attributes: Of the whole tree: run, split, seed, versions.
    """
    frame_ndim = draws.data.ndim - 2
    frame = FRAME_DIMS.get(frame_ndim, tuple(f"frame_{i}" for i in range(frame_ndim)))
    few = sequences[: len(draws.data)]
    latent_attrs = {"parameters": "one value each, from the checkpoint; draws are of the latents"}
    groups = {
        "posterior": _dataset(_latents(draws.posterior), sequences, latent_attrs),
        "prior": _dataset(_latents(draws.prior), sequences, latent_attrs),
        "posterior_predictive": _dataset(_frames(draws.posterior, frame), few),
        "prior_predictive": _dataset({"x": _frames(draws.prior, frame)["x"]}, few),
        "observed_data": _dataset({"x": (("sequence", "time", *frame), draws.data)}, few),
        "constant_data": _dataset(_constants(mask, lengths, times, frame), sequences),
    }
    if evidence is not None:
        values = {
            "x": evidence.log_evidence,
            "monte_carlo_error": evidence.standard_error,
            "effective_sample_size": evidence.effective_sample_size,
            "k_hat": evidence.k_hat,
        }
        attrs = {
            "what": "marginal log p(x) of each sequence by importance weights, not for PSIS-LOO",
            "units": "nats per sequence",
            "importance_draws": evidence.draws,
        }
        groups["log_likelihood"] = _dataset({n: (("sequence",), v) for n, v in values.items()}, sequences, attrs)
    labels = labels or {}
    variables = variable_names(
        labels, [*map(str, groups["constant_data"].variables), "mask", "lengths", "times", "time"]
    )
    for name, (value, classes) in labels.items():
        about = {"label": name, "classes": list(classes)}
        groups["constant_data"][variables[name]] = ("sequence", _numpy(value), about)
    tree = xarray.DataTree.from_dict(groups)
    tree.attrs = {"inference_library": "pyro"} | dict(attributes or {})
    return tree


def _latents(drawn: Drawn) -> dict[str, tuple[tuple[str, ...], Tensor]]:
    f, z = (v.unsqueeze(0) for v in drawn.latents)
    start = ("chain", "draw", "sequence")
    return {"f": ((*start, "static_dim"), f), "z": ((*start, "time", "dynamic_dim"), z)}


def _frames(drawn: Drawn, frame: tuple[str, ...]) -> dict[str, tuple[tuple[str, ...], Tensor]]:
    dims = ("chain", "draw", "sequence", "time", *frame)
    return {"x": (dims, drawn.x.unsqueeze(0)), "mean": (dims, drawn.mean.unsqueeze(0))}


def _constants(
    mask: Tensor | None, lengths: Tensor | None, times: Tensor | None, frame: tuple[str, ...]
) -> dict[str, tuple[tuple[str, ...], Tensor]]:
    found = {}
    if mask is not None:
        found["mask"] = (("sequence", "time", *frame)[: mask.ndim], mask)
    if lengths is not None:
        found["lengths"] = (("sequence",), lengths)
    if times is not None:
        found["times"] = (("sequence", "time"), times)
    return found


def _dataset(
    variables: Mapping[str, tuple[tuple[str, ...], Tensor]], sequences: Tensor, attrs: Mapping[str, Any] | None = None
) -> xarray.Dataset:
    """With coordinates 0, 1, … for every dimension but "sequence"."""
    data = {name: (dims, _numpy(value)) for name, (dims, value) in variables.items()}
    sizes = {dim: size for dims, value in data.values() for dim, size in zip(dims, value.shape, strict=True)}
    coords = {dim: np.arange(size) for dim, size in sizes.items()} | {"sequence": _numpy(sequences)}
    return xarray.Dataset(data, coords, dict(attrs or {}))


def _numpy(values: Tensor) -> Array:
    return np.asarray(values.detach().cpu().numpy())
