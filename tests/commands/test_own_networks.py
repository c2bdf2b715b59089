"""An encoder and guide views of one's own, in a file outside the project, from the command line."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import pyro_dsvae
from pyro_dsvae import fit
from pyro_dsvae.models.errors import UsageError
from tests.decoded import SMALL_DECODER

OWN = '''
import torch
from torch import nn
from pyro_dsvae.models.encoders import FrameEncoder
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


class Half(GuideViews):
    def static_encoder(self, frame_shape, feature_size, hidden_size, encoder):
        raise NotImplementedError


class Rows(FrameEncoder):
    """The mean of every row."""

    def __init__(self, frame_shape, feature_size, units: int = 8, signed: bool = True) -> None:
        super().__init__(frame_shape, feature_size)
        self.layers = nn.Sequential(nn.Linear(frame_shape[-2], units), nn.SiLU(), nn.Linear(units, feature_size))

    def encode(self, x):
        return self.layers(x.mean((1, 3)))


class Short(Rows):
    def encode(self, x):
        return super().encode(x)[:, 1:]
'''
SMALL = [
    "--static_size=3",
    "--latent_size=2",
    "--posterior=LSTM",
    "--posterior.hidden_size=4",
    "--posterior.feature_size=4",
]
FEW = ["--steps=3", "--optimisation.evaluations=1", "--optimisation.batch_size=4", "--device=cpu", *SMALL_DECODER]


def fitted(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pyro_dsvae.fit", "--data=Arrays", *SMALL, *FEW, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_an_encoder_and_views_in_a_file_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fitted, said with what they assume, written into config.yaml with their options, and opened."""
    (tmp_path / "my_networks.py").write_text(OWN)
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "clips.npz", frames=rng.integers(0, 256, (18, 4, 1, 8, 8), dtype=np.uint8))
    np.savez(tmp_path / "series.npz", frames=rng.normal(size=(18, 3, 2)).astype(np.float32))
    own = ["--posterior.views=my_networks.Mirrored", "--posterior.views.share=1", "--out=run"]
    encoder = ["--encoder=my_networks.Rows", "--encoder.units=5"]
    done = fitted(tmp_path, "--data.path=clips.npz", *own, *encoder)
    assert done.returncode == 0, done.stderr
    assert "They assume that left and right tell nothing of a pose." in done.stdout
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["posterior"]["init_args"]["views"] == {
        "class_path": "my_networks.Mirrored",
        "init_args": {"share": 1.0},
    }
    state = torch.load(tmp_path / "run" / "best.pt", weights_only=True)["objective"]
    assert config["encoder"] == {"class_path": "my_networks.Rows", "init_args": {"units": 5, "signed": True}}
    for half in ("static", "dynamic"):
        assert state[f"guide.{half}_encoder.frames.encoder.layers.0.weight"].shape == (5, 8)
    assert "anchor" in state  # as of all random views
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    guide = pyro_dsvae.load("run").guide.train()
    assert type(guide.views).__name__ == "Mirrored"
    x = torch.rand(1, 2, 1, 8, 8)
    assert torch.equal(guide.dynamic_encoder.views.dynamic_view(x, None, True), x.flip(-1))

    def refused(*arguments: str) -> str:
        """What the command says, in this process."""
        with pytest.raises(UsageError) as error:
            fit.main(["--data=Arrays", *SMALL, *FEW, *arguments, "--out=other"])
        assert not Path("other").exists()
        return str(error.value)

    clips = "--data.path=clips.npz"
    said = refused(clips, "--posterior.views=my_networks.Mirored")
    assert re.match(r"unknown posterior.views 'my_networks.Mirored': .*; it is one of jitter, none, other_window", said)
    said = refused(clips, "--posterior.views=turn", "--posterior.views.warp=.1")
    assert said == "posterior.views 'turn' takes no options; its class does, --posterior.views Turn"
    said = refused("--data.path=series.npz", "--decoder=Dense", own[0])
    assert said.startswith(
        "the guide views Mirrored are of images, and frames of shape (2,) are vectors: leave them out"
    )
    said = refused(clips, "--encoder=my_networks.Row")
    choices = "it is one of Convolutional, Dense, MaskedDense, Patches, Pyramid, Spectral, TCN"
    assert re.match(rf"unknown encoder 'my_networks.Row': .*; {choices}", said)
    assert refused(clips, "--encoder=Patches", "--encoder.units=3").endswith("it takes width")
    said = refused(clips, "--encoder=pyro_dsvae.models.decoders.Regions")
    assert said.startswith("--encoder pyro_dsvae.models.decoders.Regions is no FrameEncoder")
    assert refused(clips, "--encoder=Patch").startswith("unknown encoder 'Patch' (did you mean Patches?)")
    assert refused(clips, "--encoder.width=3").startswith("options of an encoder need its name, --encoder NAME (Convol")
    said = refused(clips, "--encoder=Pyramid", "--encoder.width=0")
    assert said.startswith("encoder cannot be built with these options: width is 0")
    assert refused("--data.path=series.npz", "--encoder=Pyramid").startswith("Pyramid takes images")
    said = refused(clips, "--encoder=my_networks.Short")
    assert said == "encoder Short returned (2, 3), expected (2, 4), (N, feature_size)"
    del sys.modules["my_networks"]


def test_a_class_that_lacks_a_method_is_told_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "half_views.py").write_text(OWN)
    (tmp_path / "half.yaml").write_text(
        "posterior: {class_path: LSTM, init_args: {views: {class_path: half_views.Half}}}"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for named in ("--posterior.views=half_views.Half", "--config=half.yaml"):
        with pytest.raises(UsageError, match=r"half_views\.Half has still to define the method dynamic_view$"):
            fit.main([named, "--out=run"])
    assert not Path("run").exists()
    del sys.modules["half_views"]
