"""Data that several files of tests fit."""

import numpy as np
import pytest


@pytest.fixture(scope="session")
def walks(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options of 30 random walks of 4 steps."""
    path = tmp_path_factory.mktemp("data") / "walks.npz"
    np.savez(path, frames=np.random.default_rng(0).normal(size=(30, 4, 3)).cumsum(1).astype(np.float32))
    return ["--data=Arrays", f"--data.path={path}"]
