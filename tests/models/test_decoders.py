"""Every decoder that is offered, on vectors and on images of many shapes: shapes, frames by themselves, gradients, copies."""

import copy
import itertools
import pickle
from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from pyro_dsvae.configuration.catalogue import PARTS
from pyro_dsvae.models.decoders import Dense, FiLM, FrameDecoder, Joined, Regions
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.networks import chunks
from pyro_dsvae.models.networks.images import ResidualBlock

F, D = 3, 2
SMALL: Mapping[str, Mapping[str, Any]] = {"Dense": {"units": 8}}
IMAGES = [(1, 8, 8), (4, 8, 21), (3, 33, 16), (2, 8, 256), (1, 256, 9), (3, 47, 64)]
KINDS: Mapping[str, Any] = PARTS["decoder"]
CASES = [
    *((name, shape) for name, shape in itertools.product(KINDS, IMAGES)),
    *(("Dense", shape) for shape in [(1,), (5,)]),
]
every_case = pytest.mark.parametrize(("name", "shape"), CASES, ids=str)
every_kind = pytest.mark.parametrize("name", KINDS)


def made(name: str, shape: tuple[int, ...], static_size: int = F, **options: Any) -> FrameDecoder:
    torch.manual_seed(0)
    decoder: FrameDecoder = KINDS[name](static_size, D, shape, **SMALL.get(name, {"width": 2}), **options)
    return decoder


@every_case
@pytest.mark.parametrize("static_size", [F, 0])
def test_frames_have_their_shape_and_every_weight_a_gradient(
    name: str, shape: tuple[int, ...], static_size: int
) -> None:
    decoder = made(name, shape, static_size)
    f, z = torch.randn(2, static_size, requires_grad=True), torch.randn(2, 2, D, requires_grad=True)
    frames = decoder(f, z)
    assert frames.shape == (2, 2, *shape)
    assert frames.dtype == torch.float32
    frames.square().sum().backward()
    for tensor in (z, *([f] if static_size else []), *decoder.parameters()):
        assert tensor.grad is not None
        assert torch.isfinite(tensor.grad).all()
        assert tensor.grad.abs().sum() > 0


@every_kind
@pytest.mark.parametrize("static_size", [F, 0])
def test_every_frame_is_decoded_by_itself_and_chunks_are_the_whole(
    name: str, static_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames one by one, the left batch one by one, and steps in chunks, with their gradients."""
    decoder = made(name, (2, 11, 16), static_size).double()
    f, z = torch.randn(2, 3, static_size).double(), torch.randn(2, 3, 5, D).double()
    whole = decoder(f, z)
    for i, j, t in itertools.product(range(2), range(3), range(5)):
        alone = decoder(f[i, j], z[i, j, t : t + 1])[0]
        torch.testing.assert_close(whole[i, j, t], alone)
    torch.testing.assert_close(decoder(f[0], z), torch.stack([decoder(f[0], part) for part in z]))
    gradients = torch.autograd.grad(whole.square().sum(), list(decoder.parameters()))
    monkeypatch.setattr(chunks, "CHUNK_VALUES", 2 * 6 * chunks.MIN_VALUES)
    parts = decoder(f, z)
    torch.testing.assert_close(parts, whole)
    for a, b in zip(torch.autograd.grad(parts.square().sum(), list(decoder.parameters())), gradients, strict=True):
        torch.testing.assert_close(a, b)


@every_kind
def test_copies_pickles_and_states_decode_alike(name: str) -> None:
    decoder = made(name, (1, 8, 12))
    f, z = torch.randn(2, F), torch.randn(2, 3, D)
    expected, fresh = decoder(f, z), made(name, (1, 8, 12))
    for p in fresh.parameters():
        nn.init.ones_(p)
    fresh.load_state_dict(decoder.state_dict())
    for twin in (copy.deepcopy(decoder), pickle.loads(pickle.dumps(decoder)), fresh):
        assert torch.equal(twin(f, z), expected)


@pytest.mark.parametrize("kind", [Regions, Joined, FiLM])
def test_a_residual_block_learns_and_begins_as_the_identity(kind: Any) -> None:
    decoder = kind(F, D, (1, 32, 32), width=2, residual=True)
    blocks = [module for module in decoder.modules() if isinstance(module, ResidualBlock)]
    assert len(blocks) == 2  # 4 to 8 to 16 pixels
    plain = kind(F, D, (1, 32, 32), width=2)
    assert not [module for module in plain.modules() if isinstance(module, ResidualBlock)]
    plain.load_state_dict({name: decoder.state_dict()[name] for name in plain.state_dict()})
    f, z = torch.randn(2, F), torch.randn(2, 3, D)
    torch.testing.assert_close(decoder(f, z), plain(f, z))
    nn.init.normal_(blocks[0].second.weight)
    assert not torch.allclose(decoder(f, z), plain(f, z))


@pytest.mark.parametrize("kind", [Regions, Joined, FiLM])
@pytest.mark.parametrize("shape", [(3, 7, 16), (3, 16, 257), (16, 16)])
def test_shapes_that_no_network_takes_are_refused(kind: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"vectors \(P,\) or images \(C, H, W\), H and W from 8 to 256"):
        kind(F, D, shape)


def test_what_each_forbids() -> None:
    """Under `Regions` f moves nothing: frames of one z span no more dimensions than there are regions. The others may."""
    f, z = 9 * torch.randn(100, F).double(), torch.randn(1, D).double().expand(100, 1, D)
    ranks = {}
    for kind in (partial(Regions, width=2), partial(Joined, width=8), partial(FiLM, width=8), partial(Dense, units=64)):
        decoder = kind(F, D, (1, 16, 16)).double()
        frames = decoder(f, z).flatten(1)
        ranks[kind.func] = int(torch.linalg.matrix_rank(frames - frames.mean(0), rtol=1e-10))
    assert ranks.pop(Regions) <= 24
    assert all(rank > 24 for rank in ranks.values())
