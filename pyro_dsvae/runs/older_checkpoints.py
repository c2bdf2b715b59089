"""Checkpoints of earlier versions, read as those of this one."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

_log = logging.getLogger(__name__)


def upgraded(file: Path, state: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint holds, under the names of this version; one of this version is returned as it is.

    Earlier fits kept their anchor clip in the guide, and could end by switching to anchored inference. Such a fit is now opened
    with the guide itself, which a line on standard error says. They did not record whether the static prior was frozen, and
    were opened as if it was not.
    """
    objective = dict(state.get("objective", {}))
    if "guide.reference.frames" in objective:
        objective["anchor"] = objective.pop("guide.reference.frames")
        if bool(objective.pop("guide.reference._extra_state", False)):
            _log.warning(
                "%s: this fit ended with anchored inference. Its guide is now used as it is; ask for anchored inference with "
                "anchored=True, or --anchored true",
                file,
            )
    if any(name.startswith("model.") for name in objective):
        objective.setdefault("model.static_prior._extra_state", torch.tensor(False))
    found = {**state, "objective": objective} if "objective" in state else dict(state)
    if "settled" in found:
        found["prior_refitted"] = found.pop("settled")
    return found
