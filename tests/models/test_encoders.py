"""Every encoder that is offered, on vectors and on images of many shapes: features, frames by themselves, gradients, copies."""

import copy
import itertools
import pickle
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from pyro_dsvae.configuration.catalogue import PARTS
from pyro_dsvae.models.encoders import Convolutional, FrameEncoder, Spectral
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.networks import chunks
from pyro_dsvae.models.networks.images import ResidualBlock

SIZE = 5
SMALL: Mapping[str, Mapping[str, Any]] = {"Dense": {"units": 8}}
IMAGES = [(1, 8, 8), (4, 8, 21), (3, 33, 16), (2, 8, 256), (1, 256, 9), (3, 47, 64)]
# Those that read gaps take vectors with what stands beside them: `tests/inference/posteriors/test_gaps.py`.
KINDS: Mapping[str, Any] = {name: kind for name, kind in PARTS["encoder"].items() if not kind.reads_gaps}
OF_IMAGES = [name for name in KINDS if name != "Spectral"]
CASES = [
    *itertools.product(OF_IMAGES, IMAGES),
    *(("Dense", shape) for shape in [(1,), (5,)]),
    *(("Spectral", shape) for shape in [(10,), (39,), (257,)]),
]
every_case = pytest.mark.parametrize(("name", "shape"), CASES, ids=str)
every_kind = pytest.mark.parametrize("name", KINDS)


def made(name: str, shape: tuple[int, ...], **options: Any) -> FrameEncoder:
    torch.manual_seed(0)
    encoder: FrameEncoder = KINDS[name](shape, SIZE, **SMALL.get(name, {"width": 2}), **options)
    return encoder


@every_case
def test_features_have_their_shape_and_every_weight_a_gradient(name: str, shape: tuple[int, ...]) -> None:
    encoder = made(name, shape)
    features = encoder(torch.rand(2, 3, *shape))
    assert features.shape == (2, 3, SIZE)
    assert features.dtype == torch.float32
    features.square().sum().backward()
    for weight, p in encoder.named_parameters():
        assert p.grad is not None, weight
        assert torch.isfinite(p.grad).all(), weight


@every_case
def test_every_frame_is_encoded_by_itself_also_in_chunks(
    name: str, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, x = made(name, shape).double(), torch.rand(3, 2, *shape, dtype=torch.float64)
    together = encoder(x)
    torch.testing.assert_close(encoder(x[1, 1]), together[1, 1])
    monkeypatch.setattr(chunks, "CHUNK_VALUES", 1)
    torch.testing.assert_close(encoder(x), together)


@every_kind
def test_frames_that_differ_have_features_that_differ_and_copies_have_the_same(name: str) -> None:
    shape = (3, 16, 12) if name in OF_IMAGES else (40,)
    encoder, x = made(name, shape).eval(), torch.rand(4, *shape)
    features = encoder(x)
    assert len(features.unique(dim=0)) == 4
    for twin in (copy.deepcopy(encoder), pickle.loads(pickle.dumps(encoder))):
        assert torch.equal(twin(x), features)


@pytest.mark.parametrize("name", OF_IMAGES)
def test_features_do_not_depend_on_the_layout_of_memory(name: str) -> None:
    encoder, x = made(name, (3, 16, 12)), torch.rand(4, 3, 16, 12)
    torch.testing.assert_close(encoder(x.to(memory_format=torch.channels_last)), encoder(x))


@pytest.mark.parametrize("name", [name for name in OF_IMAGES if name != "Dense"])
@pytest.mark.parametrize(("shape", "says"), [((5,), "vectors: take Dense"), ((3, 7, 16), "from 8 to 256")], ids=str)
def test_frames_that_an_encoder_does_not_take_are_refused(name: str, shape: tuple[int, ...], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        made(name, shape)


def test_what_each_encoder_says_that_it_cannot_tell_apart() -> None:
    """A figure moved along its row is the same to patches, anywhere to a pyramid away from the border, and to no other."""
    x = torch.zeros(3, 1, 64, 64)
    x[0, :, 24:32, 16:24] = x[1, :, 24:32, 32:40] = x[2, :, 40:48, 16:24] = torch.rand(1, 8, 8)

    def features(name: str) -> Tensor:
        encoder = made(name, (1, 64, 64))
        with torch.no_grad():  # so that beyond the border it is as black as the ground
            for convolution in getattr(encoder, "convolutions", []):
                if isinstance(convolution, torch.nn.Conv2d):
                    convolution.bias.zero_()
            return encoder(x)

    same = {
        name: [torch.allclose(f[0], f[k], atol=1e-6) for k in (1, 2)]
        for name, f in ((n, features(n)) for n in OF_IMAGES)
    }
    assert same == {
        "Convolutional": [False, False],
        "Patches": [True, False],
        "Pyramid": [True, True],
        "Dense": [False, False],
    }


@pytest.mark.parametrize(
    ("shape", "says"), [((9,), "at least 10 frequencies.*take Dense"), ((3, 16, 16), "take Convolutional")], ids=str
)
def test_what_is_no_spectrum_is_refused(shape: tuple[int, ...], says: str) -> None:
    with pytest.raises(UsageError, match=f"encoder Spectral reads vectors of .*{says}"):
        made("Spectral", shape)


def test_a_resonance_that_moved_is_the_same_shape_elsewhere() -> None:
    """Before the linear layer of places, by as many columns as all strides together."""
    encoder = made("Spectral", (80,))
    assert isinstance(encoder, Spectral)
    x = torch.zeros(2, 1, 80)
    bump = torch.exp(-torch.linspace(-2, 2, 9).square())
    x[0, 0, 30:39], x[1, 0, 38:47] = bump, bump
    maps = encoder.convolutions(x)
    torch.testing.assert_close(maps[0, :, 3:6], maps[1, :, 4:7])
    assert not torch.allclose(maps[0], maps[1])


def test_residual_blocks_follow_each_halving_and_are_the_identity_before_training() -> None:
    plain, residual = made("Convolutional", (3, 64, 64)), made("Convolutional", (3, 64, 64), residual=True)
    blocks = [m for m in residual.modules() if isinstance(m, ResidualBlock)]
    assert len(blocks) == sum(isinstance(m, torch.nn.Conv2d) for m in plain.modules())
    weights = [v for k, v in residual.state_dict().items() if not _inside(k, residual)]
    plain.load_state_dict(dict(zip(plain.state_dict(), weights, strict=True)))
    x = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(residual(x), plain(x))


def _inside(name: str, encoder: FrameEncoder) -> bool:
    """Whether a weight is one of a residual block's."""
    return any(name.startswith(f"{path}.") for path, m in encoder.named_modules() if isinstance(m, ResidualBlock))


class Short(FrameEncoder):
    def encode(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, : self.feature_size - 1]


def test_an_encoder_that_returns_another_shape_is_named_with_what_would_be_right() -> None:
    with pytest.raises(UsageError, match=r"encoder Short returned \(6, 4\), expected \(6, 5\), \(N, feature_size\)"):
        Short((7,), SIZE)(torch.rand(2, 3, 7))
    assert Convolutional((1, 8, 8), SIZE)(torch.rand(1, 8, 8)).shape == (SIZE,)
