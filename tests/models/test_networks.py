"""Frame networks, recurrent networks and heads: shapes, equivalences, precision."""

from typing import Any

import pytest
import torch
from pyro import poutine
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from pyro_dsvae.configuration.networks import earlier_decoder
from pyro_dsvae.inference.posteriors.factorised import Factorised
from pyro_dsvae.models.decoders import Dense, Regions
from pyro_dsvae.models.decoders.regions import REGIONS
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.encoders.by_shape import frame_encoder
from pyro_dsvae.models.encoders.convolutional import Convolutional
from pyro_dsvae.models.encoders.patches import Patches
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.likelihoods.bernoulli import Bernoulli
from pyro_dsvae.models.likelihoods.normal import Normal
from pyro_dsvae.models.networks import recurrent
from pyro_dsvae.models.networks.gaussian_head import MIN_SCALE, GaussianHead
from pyro_dsvae.models.networks.images import ResidualBlock
from pyro_dsvae.models.networks.recurrent import BidirectionalLSTM, run_lstm
from pyro_dsvae.models.static_priors.standard_normal import StandardNormal
from tests.decoded import decoded_by
from tests.encoded import small_encoder
from tests.oracles import LSTMPosterior, LSTMPrior, bidirectional_loop

F, D = 4, 2


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


# --- frames -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("height", [8, 9, 16, 31, 32, 33, 64, 127, 256])
@pytest.mark.parametrize("width", [8, 15, 33])
def test_images_of_any_size_are_encoded_and_decoded(height: int, width: int, channels: int) -> None:
    shape = (channels, height, width)
    encoder, decoder = frame_encoder(shape, 7, width=1), earlier_decoder(shape, 1)(F, D, shape)
    assert encoder(torch.rand(2, 3, *shape)).shape == (2, 3, 7)
    assert decoder(torch.randn(2, F), torch.randn(2, 3, D)).shape == (2, 3, *shape)


def test_a_residual_encoder_begins_as_the_plain_one() -> None:
    shape = (2, 16, 37)
    residual, plain = Convolutional(shape, 7, 2, residual=True), Convolutional(shape, 7, 2)
    blocks = [module for module in residual.modules() if isinstance(module, ResidualBlock)]
    assert len(blocks) == 2
    convolutions = [[m for m in each.convolutions if isinstance(m, nn.Conv2d)] for each in (plain, residual)]
    for own, other in zip([*convolutions[0], plain.project], [*convolutions[1], residual.project], strict=True):
        own.load_state_dict(other.state_dict())
    x = torch.rand(3, *shape)
    torch.testing.assert_close(residual(x), plain(x))
    nn.init.normal_(blocks[0].second.weight)
    assert not torch.allclose(residual(x), plain(x))


@pytest.mark.parametrize("size", [1, 6])
def test_vectors_are_encoded_and_decoded(size: int) -> None:
    encoder, decoder = frame_encoder((size,), 7, width=1), Dense(F, D, (size,), units=16)
    assert encoder(torch.rand(2, 3, size)).shape == (2, 3, 7)
    assert decoder(torch.randn(2, F), torch.randn(2, 3, D)).shape == (2, 3, size)


@pytest.mark.parametrize(
    "shape", [(3, 7, 7), (3, 7, 16), (3, 32, 3), (3, 257, 257), (3, 64, 400), (2, 2), (), (1, 1, 16, 16)]
)
def test_frames_that_fit_no_network_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="fit no network"):
        frame_encoder(shape, 7, width=1)
    with pytest.raises(UsageError, match="fit no network"):
        earlier_decoder(shape, 1)(F, D, shape)


@pytest.mark.parametrize("shape", [(3, 33, 33), (6,)], ids=["image", "vector"])
def test_every_frame_is_coded_on_its_own_for_any_batch(shape: tuple[int, ...]) -> None:
    encoder, decoder = frame_encoder(shape, 7, width=1).double(), earlier_decoder(shape, 1)(F, D, shape).double()
    x = torch.rand(2, 3, 4, *shape, dtype=torch.float64)
    f, z = torch.randn(2, 3, F, dtype=torch.float64), torch.randn(2, 3, 4, D, dtype=torch.float64)
    features, frames = encoder(x), decoder(f, z)
    for i in range(2):
        for j in range(3):
            for t in range(4):
                torch.testing.assert_close(features[i, j, t], encoder(x[i, j, t].unsqueeze(0))[0])
                torch.testing.assert_close(frames[i, j, t], decoder(f[i, j][None], z[i, j, t][None, None])[0, 0])
    # A batch that only z has, e.g. several paths for one f.
    torch.testing.assert_close(decoder(f[0], z)[1], decoder(f[0], z[1]))


@pytest.mark.parametrize("shape", [(3, 33, 33), (6,)], ids=["image", "vector"])
def test_both_latents_and_every_parameter_reach_the_frame(shape: tuple[int, ...]) -> None:
    decoder = earlier_decoder(shape, 1)(F, D, shape)
    f, z = torch.randn(2, F, requires_grad=True), torch.randn(2, 3, D, requires_grad=True)
    decoder(f, z).square().sum().backward()
    for tensor in (f, z, *decoder.parameters()):
        assert tensor.grad is not None
        assert (tensor.grad.reshape(len(tensor), -1).abs().amax(1) > 0).all()  # every unit, so f enters at every layer
    assert f.grad is not None
    assert (f.grad != 0).all()
    encoder = frame_encoder(shape, 7, width=1)
    x = torch.rand(2, *shape, requires_grad=True)
    encoder(x).square().sum().backward()
    assert x.grad is not None
    assert (x.grad.flatten(1)[:, :6] != 0).all()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in encoder.parameters())


@pytest.mark.parametrize("feature_size", [8, 7])
@pytest.mark.parametrize("side", [16, 33, 128])
def test_patch_features_have_the_size_that_was_asked_for(side: int, feature_size: int) -> None:
    encoder = Patches((3, side, side), feature_size, width=1)
    assert encoder.feature_size == feature_size
    assert encoder(torch.rand(2, 3, 3, side, side)).shape == (2, 3, feature_size)


@pytest.mark.parametrize(("side", "patch"), [(16, 1), (32, 2), (64, 4)])
def test_patch_features_tell_what_there_is_and_how_high_but_not_where_else(side: int, patch: int) -> None:
    """Patches that change places within their row leave the features as they are; rows that change places do not."""
    encoder = Patches((3, side, side), 8, width=1).double()
    frames = torch.rand(2, 3, side, side, dtype=torch.float64)
    features, count = encoder(frames), side // patch
    rows = torch.stack([torch.randperm(count) for _ in range(count)])
    patches = frames.unflatten(3, (count, patch)).unflatten(2, (count, patch))
    # (B, C, patch, columns, patch) per row
    shuffled = torch.stack([patches[:, :, row, :, order] for row, order in enumerate(rows)], dim=2)
    within = shuffled.reshape(frames.shape)
    assert not torch.equal(within, frames)
    torch.testing.assert_close(encoder(within), features)
    assert not torch.allclose(encoder(frames.flip(2)), features)


def test_patch_features_tell_colours_apart_that_hardly_differ() -> None:
    """Frames of one colour each, .03 apart in every channel: a linear map moves them by .03 x 12^(1/2) = .1 of the spread of
    uniform colours, an untrained encoder at least twice as far."""
    encoder = Patches((3, 32, 32), 64, width=16).double()
    colours = torch.rand(200, 3, 1, 1, dtype=torch.float64)
    near, far = (encoder(c.expand(-1, -1, 32, 32)) for c in (colours + 0.03, colours))
    spread = far.std(0).norm()
    assert (near - far).norm(dim=1).mean() > 0.2 * spread


def test_z_lays_out_regions_and_f_paints_them() -> None:
    """For one z all frames are mixtures of REGIONS layouts; for one f all pixels lie between its palest and darkest values."""
    decoder = Regions(F, D, (3, 32, 32), width=2).double()
    z = 3 * torch.randn(40, 2, D, dtype=torch.float64)
    frames = decoder(5 * torch.randn(40, F, dtype=torch.float64), z[:1].expand(40, -1, -1))
    # The layouts of the first frame sum to 1, the channels share them.
    values = torch.linalg.svdvals(frames[:, 0].flatten(2).flatten(0, 1))
    assert values[REGIONS:].max() < 1e-10 * values[0]
    assert values[REGIONS // 2] > 1e-10 * values[0]
    f = torch.randn(1, F, dtype=torch.float64)
    colours = decoder.look(f).view(3, REGIONS)
    for channel, values in zip(colours, decoder(f.expand(40, -1), z).movedim(2, 0), strict=True):
        assert channel.min() <= values.min()
        assert values.max() <= channel.max()


def test_without_f_z_paints_as_well() -> None:
    decoder = Regions(0, D, (3, 32, 32), width=2)
    frames = decoder(torch.zeros(5, 0), torch.randn(5, 2, D))
    assert frames.shape == (5, 2, 3, 32, 32)
    pixels = frames.flatten(0, 1).flatten(2).transpose(1, 2)
    assert (pixels.amax(1) - pixels.amin(1)).std(0).min() > 0
    assert decoder.look[0].in_features == D  # type: ignore[union-attr]


# --- recurrent --------------------------------------------------------------------------------------------------------


def torch_bidirectional(ours: BidirectionalLSTM) -> nn.LSTM:
    """torch's own with the same weights."""
    reference = nn.LSTM(
        ours.forwards.input_size, ours.forwards.hidden_size, batch_first=True, bidirectional=True
    ).double()
    state = dict(ours.forwards.named_parameters())
    state |= {f"{name}_reverse": p for name, p in ours.backwards.named_parameters()}
    reference.load_state_dict(state)
    return reference


@pytest.mark.parametrize("lengths", [[4, 6, 1], [6, 6, 6]])
def test_bidirectional_lstm_equals_packing(lengths: list[int]) -> None:
    ours = BidirectionalLSTM(3, 5).double()
    inputs, n = torch.randn(3, 6, 3, dtype=torch.float64), torch.tensor(lengths)
    packed = pack_padded_sequence(inputs, n, batch_first=True, enforce_sorted=False)
    outputs, (hidden, _) = torch_bidirectional(ours)(packed)
    expected, _ = pad_packed_sequence(outputs, batch_first=True, total_length=6)
    exists = torch.arange(6) < n[:, None]
    torch.testing.assert_close(ours(inputs, n)[exists], expected[exists])
    torch.testing.assert_close(ours.summary(inputs, n), torch.cat([hidden[0], hidden[1]], dim=-1))


def test_bidirectional_lstm_without_lengths_equals_torch_and_the_loop() -> None:
    ours = BidirectionalLSTM(3, 5).double()
    inputs = torch.randn(2, 4, 6, 3, dtype=torch.float64)
    outputs, (hidden, _) = torch_bidirectional(ours)(inputs.flatten(0, 1))
    torch.testing.assert_close(ours(inputs), outputs.unflatten(0, (2, 4)))
    torch.testing.assert_close(ours.summary(inputs), torch.cat([hidden[0], hidden[1]], dim=-1).unflatten(0, (2, 4)))
    steps, summary = bidirectional_loop(ours, list(inputs[1, 2]))
    torch.testing.assert_close(ours(inputs)[1, 2], torch.stack(steps))
    torch.testing.assert_close(ours.summary(inputs)[1, 2], summary)


def test_bidirectional_lstm_with_particles_and_lengths_equals_the_loop() -> None:
    ours = BidirectionalLSTM(3, 5).double()
    inputs, n = torch.randn(4, 3, 6, 3, dtype=torch.float64), torch.tensor([4, 6, 1])
    exists = torch.arange(6) < n[:, None]
    for together, one in zip(ours(inputs, n), inputs, strict=True):
        torch.testing.assert_close(together[exists], ours(one, n)[exists])
    torch.testing.assert_close(ours.summary(inputs, n), torch.stack([ours.summary(one, n) for one in inputs]))


def test_run_lstm_can_be_resumed() -> None:
    lstm = nn.LSTM(3, 5, batch_first=True).double()
    inputs = torch.randn(2, 4, 6, 3, dtype=torch.float64)
    outputs, state = run_lstm(lstm, inputs)
    first, between = run_lstm(lstm, inputs[..., :2, :])
    second, after = run_lstm(lstm, inputs[..., 2:, :], between)
    torch.testing.assert_close(outputs, torch.cat([first, second], dim=-2))
    torch.testing.assert_close(state, after)
    assert state[0].shape == (2, 4, 5)
    torch.testing.assert_close(state[0], outputs[..., -1, :])
    # A state with fewer batch dimensions serves all of the inputs.
    shared, _ = run_lstm(lstm, inputs, (between[0][0], between[1][0]))
    torch.testing.assert_close(shared[1], run_lstm(lstm, inputs[1], (between[0][0], between[1][0]))[0])


def _without_primitive(*_: object) -> None:
    raise RuntimeError("could not create a primitive descriptor for the LSTM forward propagation primitive")


def test_an_lstm_runs_under_autocast_whatever_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """In float32 where there is none in bfloat16, to the bits of no autocast; a probe leaves the generator alone."""
    lstm, inputs = nn.LSTM(3, 5, batch_first=True), torch.randn(2, 6, 3)
    plain, state = run_lstm(lstm, inputs)
    before = torch.get_rng_state()
    probe = recurrent.runs_in_bfloat16.__wrapped__
    with monkeypatch.context() as patch:
        patch.setattr(nn.LSTM, "forward", _without_primitive)
        assert not probe()
    probe()
    assert torch.equal(torch.get_rng_state(), before)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(run_lstm(lstm, inputs)[0].float(), plain, rtol=0.05, atol=0.05)
        monkeypatch.setattr(recurrent, "runs_in_bfloat16", lambda: False)
        found, last = run_lstm(lstm, inputs.bfloat16().float(), None)
        assert found.dtype == last[0].dtype == torch.float32
        halves = run_lstm(lstm, inputs.bfloat16(), (state[0].bfloat16(), state[1].bfloat16()))[0]
        assert halves.dtype == torch.float32
        assert torch.equal(run_lstm(lstm, inputs)[0], plain)


# --- heads and precision ----------------------------------------------------------------------------------------------


def test_gaussian_head() -> None:
    head = GaussianHead(5, 3)
    loc, scale = head(100 * torch.randn(200, 4, 5))
    assert loc.shape == scale.shape == (200, 4, 3)
    assert ((loc < -1).any(0) & (loc > 1).any(0)).all()  # a mean of either sign
    assert (scale >= MIN_SCALE).all()
    assert scale.max() > 10
    # No activation: the location is linear in the features.
    a, b = torch.randn(2, 5, 5)
    torch.testing.assert_close(head(a + b)[0] + head(torch.zeros(5, 5))[0], head(a)[0] + head(b)[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_precision_follows_the_model(dtype: torch.dtype) -> None:
    head = GaussianHead(5, 3).to(dtype)
    assert {v.dtype for v in head(torch.randn(2, 5, dtype=dtype))} == {dtype}
    decoder = Dense(F, D, (3,), units=16).to(dtype)
    assert decoder(torch.randn(2, F, dtype=dtype), torch.randn(2, 3, D, dtype=dtype)).dtype == dtype


def parameters_of(fn: Any) -> dict[str, Tensor]:
    """loc, scale or logits of the distribution under all wrappers."""
    while hasattr(fn, "base_dist"):
        fn = fn.base_dist
    return {name: getattr(fn, name) for name in fn.arg_constraints if name in fn.__dict__}


@pytest.mark.parametrize("frame_shape", [(3, 16, 16), (6,)], ids=["image", "vector"])
@pytest.mark.parametrize("posterior", [LSTMPosterior, Factorised])
@pytest.mark.parametrize("likelihood", [Normal, Bernoulli])
def test_distributions_stay_in_single_precision_under_autocast(
    likelihood: type[Normal | Bernoulli], posterior: Any, frame_shape: tuple[int, ...]
) -> None:
    model = DSVAE(StandardNormal(F), LSTMPrior(D, hidden_size=8), *decoded_by(likelihood, F, D, frame_shape, width=2))
    guide = posterior(frame_shape, F, D, small_encoder, hidden_size=8, feature_size=8)
    x, lengths = torch.rand(2, 3, *frame_shape), torch.tensor([3, 2])
    mask = torch.tensor([[1, 0, 1], [1, 1, 1]], dtype=torch.bool)
    with torch.autocast("cpu", torch.bfloat16):
        assert model.decoder(torch.randn(2, F), torch.randn(2, 3, D)).dtype == torch.float32
        assert nn.Linear(2, 2)(torch.rand(1, 2)).dtype == torch.bfloat16  # autocast is on
        trace = poutine.trace(guide).get_trace(x, mask, lengths)
        model_trace = poutine.trace(poutine.replay(model, trace=trace)).get_trace(x, mask, lengths)
        conditionals: Any = model_trace.nodes["z"]["fn"].conditionals(trace.nodes["z"]["value"])
        drawn = model_trace.nodes["z"]["fn"].sample()
    sites = [trace.nodes["f"]["fn"], trace.nodes["z"]["fn"], conditionals, model_trace.nodes["x"]["fn"]]
    for fn in sites:
        parameters = parameters_of(fn)
        assert parameters
        assert {v.dtype for v in parameters.values()} == {torch.float32}, fn
    assert drawn.dtype == torch.float32
