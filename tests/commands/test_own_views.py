"""Guide views of one's own, in a file outside the project, from the command line."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
import yaml

from tests.decoded import SMALL_DECODER

OWN_VIEWS = '''
import torch
from pyro_dsvae.inference.posteriors.views import GuideViews, OrderedStaticEncoder


class Mirrored(GuideViews):
    """Half of the clips as in a mirror: assumes that left and right tell nothing of a pose."""

    takes = ("images",)
    z_sees, f_sees, assumes = "the clip or its mirror image", "the clip", "that left and right tell nothing of a pose"

    def __init__(self, share: float = 0.5) -> None:
        self.share = share

    def static_encoder(self, frame_shape, feature_size, hidden_size, encoder):
        return OrderedStaticEncoder(encoder(frame_shape, feature_size), hidden_size)

    def dynamic_view(self, x, observed, training):
        return x.flip(-1).where(torch.rand(len(x), 1, 1, 1, 1) < self.share, x) if training else x
'''
SMALL = [
    "--static_size=3",
    "--latent_size=2",
    "--posterior=LSTM",
    "--posterior.hidden_size=4",
    "--posterior.feature_size=4",
]
FEW = ["--steps=3", "--optimisation.evaluations=1", "--optimisation.batch_size=4", "--device=cpu", *SMALL_DECODER]
SEEN = (
    "import pyro_dsvae, torch; g = pyro_dsvae.load('run').guide; x = torch.rand(1, 2, 1, 8, 8); "
    "y = g.train().dynamic_encoder.views.dynamic_view(x, None, True); print(type(g.views).__name__, torch.equal(y, x.flip(-1)))"
)


def outside(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False)


def fitted(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    own = ["-m", "pyro_dsvae.fit", "--data=Arrays", *SMALL, *FEW]
    return outside(folder, *own, *arguments)


def test_views_in_a_file_of_ones_own(tmp_path: Path) -> None:
    """Fitted, said with what they assume, written into config.yaml with their options, and opened."""
    (tmp_path / "my_views.py").write_text(OWN_VIEWS)
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "clips.npz", frames=rng.integers(0, 256, (18, 3, 1, 8, 8), dtype=np.uint8))
    np.savez(tmp_path / "series.npz", frames=rng.normal(size=(18, 3, 2)).astype(np.float32))
    own = ["--posterior.views=my_views.Mirrored", "--posterior.views.share=1", "--out=run"]
    done = fitted(tmp_path, "--data.path=clips.npz", *own)
    assert done.returncode == 0, done.stderr
    assert "They assume that left and right tell nothing of a pose." in done.stdout
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["posterior"]["init_args"]["views"] == {"class_path": "my_views.Mirrored", "init_args": {"share": 1.0}}
    state = torch.load(tmp_path / "run" / "best.pt", weights_only=True)["objective"]
    assert "guide.static_encoder.lstm.forwards.weight_ih_l0" in state
    assert "anchor" in state  # as of all random views
    opened = outside(tmp_path, "-c", SEEN)
    assert opened.stdout.split() == ["Mirrored", "True"], opened.stderr
    wrong = fitted(tmp_path, "--data.path=clips.npz", "--posterior.views=my_views.Mirored", "--out=other")
    assert (wrong.returncode, (tmp_path / "other").exists()) == (2, False)
    assert re.match(r"error: unknown posterior.views 'my_views.Mirored': .*; it is one of none, recolour", wrong.stderr)
    series = fitted(tmp_path, "--data.path=series.npz", "--decoder=Dense", *own[:1], "--out=other")
    assert (series.returncode, (tmp_path / "other").exists()) == (2, False)
    assert (
        "views Mirrored are of images, and frames of shape (2,) are vectors: take none (--posterior)" in series.stderr
    )
