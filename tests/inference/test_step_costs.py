"""Why a training step is fast: causes that can be counted, so that no test depends on how busy the machine is."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyro
import pytest
import torch
from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import Message
from torch import nn
from torch.nn.functional import mse_loss

from pyro_dsvae.configuration.build import build
from pyro_dsvae.inference.posteriors.lstm import LSTM as LSTMPosterior
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.inference.svi import SVI
from pyro_dsvae.inference.training.hardware import Compilation, Hardware
from pyro_dsvae.inference.training.objective import Objective
from pyro_dsvae.inference.training.schedule import Budget, Optimisation
from pyro_dsvae.models.distributions.shared_scale_normal import SharedScaleNormal
from pyro_dsvae.models.dynamic_priors.lstm import LSTM
from pyro_dsvae.models.likelihoods.normal import Normal
from pyro_dsvae.models.networks.frames import FrameDecoder, FrameEncoder
from pyro_dsvae.models.static_priors.standard_normal import StandardNormal
from tests.counting import calls

IMAGE, VECTOR = (3, 32, 32), (6,)


def loop(frame: tuple[int, ...] = IMAGE, length: int = 8, **hardware: Any) -> SVI:
    """The default parts, on uint8 frames, after one step: the first has checks of its own."""
    torch.manual_seed(0)
    frames = torch.randint(0, 256, (4, length, *frame), dtype=torch.uint8)
    made = build(frames[:1], 0, 64, 8, StandardNormal, LSTM, LSTMPosterior, Normal)
    rows = Sequences(frames, None, None, torch.arange(4))
    options = Optimisation(
        batch_size=4, optimizer="Adam", static_start=0.0
    )  # f learns in all steps, as in the loops by hand
    svi = SVI(made, rows, rows, options, Budget(100), hardware=Hardware("cpu", **hardware))
    svi._step(0.25)
    return svi


@contextmanager
def messages() -> Iterator[Counter[str]]:
    """Counts what is sent through Pyro but for plates, by type. A handler would not see what others further in have stopped."""
    counts: Counter[str] = Counter()
    original = pyro.poutine.runtime.apply_stack

    def counting(message: Any) -> None:
        counts[message["type"]] += 1
        original(message)

    with pytest.MonkeyPatch.context() as patch:
        for module in (pyro.poutine.runtime, pyro.primitives):
            patch.setattr(module, "apply_stack", counting)
        yield counts


@pytest.mark.parametrize("length", [4, 64])
def test_a_step_visits_three_sample_sites_whatever_t_is(length: int) -> None:
    """f, z and x in the model, f and z in the guide. No parameter is sent through Pyro."""
    svi = loop(VECTOR, length)
    with messages() as counts:
        svi._step(0.5)
    assert counts == {"sample": 5}


@pytest.mark.parametrize("frame", [IMAGE, VECTOR], ids=["images", "vectors"])
def test_nothing_in_a_step_is_read_back(frame: tuple[int, ...]) -> None:
    """Each read makes a GPU wait for all that it was given before."""
    svi = loop(frame)
    assert calls(lambda: svi._step(0.5)).reads == {}


@contextmanager
def counted(owner: Any, name: str) -> Iterator[list[object]]:
    """Every call of a method, by the object it was called on."""
    original, met = getattr(owner, name), []

    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        met.append(self)
        return original(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, wrapped)
        yield met


def test_every_network_runs_once_and_every_density_is_evaluated_once() -> None:
    svi = loop()
    with (
        counted(nn.LSTM, "forward") as lstms,
        counted(FrameEncoder, "forward") as encoders,
        counted(FrameDecoder, "forward") as decoders,
        counted(SharedScaleNormal, "log_prob") as densities,
        counted(torch.distributions.Normal, "log_prob") as others,
    ):
        svi._step(0.25)
    assert len(lstms) == len(set(map(id, lstms))) == 6  # f twice, context twice, posterior, prior
    assert len(encoders) == len(set(map(id, encoders))) == 4  # patches, parts, the whole clip; z
    assert len(decoders) == 1
    assert len(densities) == 1  # that of the frames
    assert not others  # both KL terms are closed


def test_recombined_clips_cost_half_of_what_they_need_more() -> None:
    """Half of the clips through all networks, the looks of the other half, and no gradient."""
    svi = loop()
    sizes: list[tuple[int, bool]] = []
    forward = FrameEncoder.forward

    def sized(self: FrameEncoder, x: torch.Tensor) -> torch.Tensor:
        sizes.append((x.shape[0], torch.is_grad_enabled()))
        return forward(self, x)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FrameEncoder, "forward", sized)
        svi._step(0.75)
    batch = sizes[-1][0]
    # Patches, parts and the whole of both halves, and z of one; then all four of all clips.
    assert sizes == [(batch // 2, False)] * 7 + [(batch, True)] * 4


def test_checks_are_made_in_the_first_step_only() -> None:
    svi = loop(VECTOR)
    seen: list[bool] = []

    class Watch(Messenger):
        def _pyro_sample(self, msg: Message) -> None:
            seen.append(pyro.infer.util.is_validation_enabled())

    with Watch():
        svi._step(0.5)
    assert seen
    assert not any(seen)


def by_hand(made: Objective, frames: torch.Tensor) -> None:
    """The negative ELBO of the default parts on vectors in plain PyTorch, and one step of Adam."""
    model, guide = made.model, made.guide
    x = frames / 255
    seen = torch.ones(x.shape[:2], dtype=torch.bool)

    def draw(loc: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        return loc + scale * torch.randn_like(loc)

    def kl(q: Any, p: Any) -> torch.Tensor:
        return ((q[1] / p[1]) ** 2 + ((q[0] - p[0]) / p[1]) ** 2 - 1 - 2 * (q[1] / p[1]).log()).sum() / 2

    q_f = guide.static_head(guide.static_encoder(x, seen, None))
    f = draw(*q_f)
    features = guide.dynamic_encoder(x, seen)
    joined = torch.cat([features, f.unsqueeze(1).expand(-1, x.shape[1], -1)], -1)
    q_z = guide.dynamic_head(guide.lstm(guide.context(joined, None))[0] + guide.direct(features))
    z = draw(*q_z)
    before = torch.cat([model.dynamic_prior.start.expand(len(z), 1, -1), z[:, :-1]], 1)
    p_z = model.dynamic_prior.head(model.dynamic_prior.lstm(before)[0])
    scale = model.likelihood.scale
    fit = mse_loss(model.decoder(f, z), x, reduction="sum") / (2 * scale**2) + x.numel() * scale.log()
    loss = (fit + kl(q_f, (torch.zeros_like(f), torch.ones_like(f))) + kl(q_z, p_z)) / len(x)
    optimizer = torch.optim.Adam(made.parameters(), fused=True)
    loss.backward()
    nn.utils.clip_grad_norm_(made.parameters(), 200.0)
    optimizer.step()


def test_a_step_calls_hardly_more_operators_than_one_by_hand() -> None:
    """What is more: clipping over devices, seeds, masks, four terms to report."""
    svi = loop(VECTOR)
    ours = calls(lambda: svi._step(0.5)).total
    theirs = calls(lambda: by_hand(svi.objective, svi.train.frames)).total
    assert theirs > 300
    assert ours < 1.35 * theirs


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # torch's own, from inside its compiler
@pytest.mark.parametrize("frame", [IMAGE, (3, 64, 64), VECTOR], ids=["32 pixels", "64 pixels", "vectors"])
def test_compiled_networks_are_one_graph_each(frame: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``fullgraph`` a break is an error. The graphs run as they are: what a compiler makes of them is its own affair."""
    graphs = []

    def backend(graph: Any, _: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    compiled = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda self, mode, **options: compiled(self, backend=backend, **options))
    torch._dynamo.reset()
    plain, fast = loop(frame), loop(frame, compile="default")
    # Two dense encoders are one graph with different weights.
    kinds = {type(m) for m in fast.objective.modules() if isinstance(m, FrameEncoder | FrameDecoder)}
    assert len(graphs) == len(kinds)
    torch.testing.assert_close(fast._step(0.25), plain._step(0.25))
    assert set(fast.objective.state_dict()) == set(plain.objective.state_dict())
    assert len(graphs) == len(kinds)  # the second step meets the same graphs


@pytest.mark.slow
def test_compiled_networks_give_the_same_loss() -> None:
    mode: Compilation = "default"
    torch._dynamo.reset()
    plain, fast = loop(), loop(compile=mode)
    torch.testing.assert_close(fast._step(0.25), plain._step(0.25), rtol=1e-5, atol=1e-3)


def test_data_that_several_parts_share_is_moved_once(monkeypatch: pytest.MonkeyPatch) -> None:
    frames, mask = torch.zeros(6, 2, 3, dtype=torch.uint8), torch.ones(6, 2, dtype=torch.bool)
    parts = {n: Sequences(frames, mask, None, torch.arange(r, r + 3)) for n, r in (("train", 0), ("validation", 3))}
    meta = torch.device("meta")
    placed = Hardware(data="device").place(parts, meta)
    assert placed["train"].frames is placed["validation"].frames
    assert placed["train"].frames.dtype == torch.uint8  # cast on the device, a batch at a time
    assert placed["train"].frames.device == placed["validation"].mask.device == meta  # type: ignore[union-attr]
    assert placed["validation"].rows.tolist() == [3, 4, 5]
    assert Hardware(data="host").place(parts, meta)["train"].frames is frames
    assert Hardware(data="auto").place(parts, torch.device("cpu"))["train"].frames is frames
    free = frames.nbytes + mask.nbytes
    for room, resident in ((2 * free, True), (2 * free - 1, False)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, room=room: (room, 10 * room))
        assert Hardware()._resident(free, torch.device("cuda")) is resident
