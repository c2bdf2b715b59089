"""A .npy file of 12 GB is fitted, evaluated and encoded in a part of that: it is mapped, and read piece by piece.

python -m pytest -n0 -m slow tests/commands/test_larger_than_memory.py
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SEQUENCES, STEPS, COLUMNS = 30_000, 100, 1_000
MOST = 3 * 2**30

# In a process of its own, which notes the memory that is its own. Pages of the mapped file are not: the system keeps them
# while nobody else needs the room.
FIT = """
import threading, time
from functools import partial
from pathlib import Path

from pyro_dsvae import Arrays
from pyro_dsvae.actions.encode import encode
from pyro_dsvae.evaluate import evaluate
from pyro_dsvae.fit import fit
from pyro_dsvae.inference.posteriors import LSTM as Posterior
from pyro_dsvae.inference.training.schedule import Optimisation
from pyro_dsvae.models import decoders, encoders
from pyro_dsvae.models.dynamic_priors import LSTM
from pyro_dsvae.models.static_priors import StandardNormal

if __name__ == "__main__":
    peak = 0

    def watch():
        global peak
        while True:
            status = Path("/proc/self/status").read_text()
            peak = max(peak, int(status.partition("RssAnon:")[2].split()[0]) * 1024)
            time.sleep(0.05)

    threading.Thread(target=watch, daemon=True).start()
    fit(
        data=Arrays("large.npy", validation=0.001, test=0.005),
        out=Path("run"),
        steps=5,
        static_size=4,
        latent_size=2,
        static_prior=StandardNormal,
        dynamic_prior=partial(LSTM, hidden_size=4),
        posterior=partial(Posterior, hidden_size=4, feature_size=4),
        encoder=partial(encoders.Dense, units=8),
        decoder=partial(decoders.Dense, units=8),
        optimisation=Optimisation(evaluations=1),
        device="cpu",
    )
    evaluate(Path("run"), device="cpu")
    encode(Path("run"), split="test", probes=False)
    print("peak", peak)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_twelve_gigabytes_are_fitted_evaluated_and_encoded_in_three(tmp_path: Path) -> None:
    """The file is sparse: it takes room for its first sequences only. The others are zeros."""
    frames = np.lib.format.open_memmap(
        tmp_path / "large.npy", mode="w+", dtype=np.float32, shape=(SEQUENCES, STEPS, COLUMNS)
    )
    frames[:64] = np.random.default_rng(0).normal(size=(64, STEPS, COLUMNS))
    del frames
    assert (tmp_path / "large.npy").stat().st_size >= 12e9
    (tmp_path / "large.py").write_text(FIT)
    done = subprocess.run([sys.executable, "large.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert int(done.stdout.rpartition("peak")[2]) <= MOST
