"""Checkpoints of earlier versions, read as those of this one."""

import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pyro_dsvae.configuration.spellings import OldConfiguration


def upgraded(file: Path, state: Mapping[str, Any]) -> dict[str, Any]:
    """The checkpoint ``state`` under the names of this version. One of this version is returned as it is.

    Earlier fits kept their anchor clip in the guide, and could end by switching to anchored inference. Such a fit is now
    opened with the guide itself, which a warning says. Its best ELBO was that of anchored inference, so a fit that goes on
    looks for a new best. Earlier fits did not record whether the static prior was frozen, and were opened as if it was not.
    Their decoder was a part of the likelihood. They had one optimiser.
    """
    if "objective" not in state:
        return dict(state)
    found, objective = dict(state), dict(state["objective"])
    if "optimizer" in found:
        found["optimizers"] = [found.pop("optimizer")]
    if "settled" in found:
        found["prior_refitted"] = found.pop("settled")
    if "guide.reference.frames" in objective:
        objective["anchor"] = objective.pop("guide.reference.frames")
        if objective.pop("guide.reference._extra_state"):
            warnings.warn(
                f"{file}: this fit ended with anchored inference. Its guide is now used as it is; ask for anchored inference "
                "with anchored=True, or --anchored true",
                OldConfiguration,
                stacklevel=2,
            )
            if "optimizers" in found:
                found["best"] = -math.inf
    inside, before = "model.decoder.", "model.likelihood.decoder."
    objective = {inside + k.removeprefix(before) if k.startswith(before) else k: v for k, v in objective.items()}
    if any(name.startswith("model.") for name in objective):
        objective.setdefault("model.static_prior._extra_state", torch.tensor(False))
    return {**found, "objective": objective}
