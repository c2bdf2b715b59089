"""Checkpoints of earlier versions, read as those of this one."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_log = logging.getLogger(__name__)


def upgraded(file: Path, state: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint holds, under the names of this version; one of this version is returned as it is.

    Earlier fits kept their anchor clip in the guide, and could end by switching to anchored inference. Such a fit is now opened
    with the guide itself, which a line on standard error says.
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
    return {**state, "objective": objective} if "objective" in state else dict(state)
