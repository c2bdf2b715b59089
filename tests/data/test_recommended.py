"""A data source recommends a decoder and guide views; what the user names goes first."""

from functools import partial
from pathlib import Path

import pytest
import torch

from pyro_dsvae.configuration.networks import for_frames, parts_in_words
from pyro_dsvae.configuration.options import FitOptions
from pyro_dsvae.configuration.parts import part_class
from pyro_dsvae.data import (
    Arrays,
    DataSource,
    LPCSprites,
    MovingDigits,
    Recommended,
    SequenceData,
    SpeechFolder,
    Sprites,
)
from pyro_dsvae.fit import fit
from pyro_dsvae.inference.posteriors import LSTM
from pyro_dsvae.inference.posteriors.views import Turn, VocalTract
from pyro_dsvae.inference.posteriors.views.choice import chosen_views
from pyro_dsvae.inference.training.objective import KLWeights
from pyro_dsvae.inference.training.schedule import Optimisation
from pyro_dsvae.models import encoders
from pyro_dsvae.models.decoders import Dense, FrameDecoder, Joined, Regions, Textures
from pyro_dsvae.models.encoders import Spectral
from pyro_dsvae.models.likelihoods import Laplace, Normal, StudentT
from pyro_dsvae.runs.directory import RunDirectory

FRAME = (3, 32, 32)


class Squares(DataSource):
    """Six clips of one grey square each, and a recommendation."""

    @property
    def recommended(self) -> Recommended:
        return Recommended(Joined, "recolour", "squares are simple")

    def load(self) -> SequenceData:
        frames = torch.linspace(0, 1, 6).view(6, 1, 1, 1, 1).expand(6, 3, 1, 8, 8).clone()
        return SequenceData(frames, torch.arange(6).remainder(3).to(torch.uint8))


def chosen(options: FitOptions) -> tuple[type | None, object]:
    """Decoder and guide views of a fit to the options' data."""
    settled = for_frames(options, FRAME, options.data.recommended)
    assert isinstance(settled.posterior, partial)
    return part_class(settled.decoder), settled.posterior.keywords["views"]


@pytest.mark.parametrize("source", [Sprites(), LPCSprites(), MovingDigits()])
def test_images_of_the_package_take_the_default(source: DataSource) -> None:
    assert source.recommended is None
    assert chosen(FitOptions(source)) == (Textures, "turn")


@pytest.mark.parametrize("decoder", [Regions, Textures])
def test_another_decoder_takes_the_views_of_its_own_default(decoder: type[FrameDecoder]) -> None:
    assert chosen(FitOptions(Squares(), decoder=decoder)) == (decoder, "turn")


def test_the_views_are_those_of_the_decoder_also_where_it_is_named() -> None:
    assert chosen(FitOptions(Squares(), decoder=partial(Joined, width=8))) == (Joined, "recolour")


@pytest.mark.parametrize("views", ["none", "turn"])
def test_views_that_are_named_stay(views: str) -> None:
    assert chosen(FitOptions(Squares(), posterior=partial(LSTM, views=views))) == (Joined, views)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (FitOptions(MovingDigits()), 8.0),
        (FitOptions(Squares()), 0.0),
        (FitOptions(MovingDigits(), posterior=partial(LSTM, views="none")), 0.0),
        (FitOptions(MovingDigits(), optimisation=Optimisation(free_dynamic=3.0)), 3.0),
    ],
    ids=["turn", "recolour", "none", "named"],
)
def test_early_z_may_carry_at_no_cost_what_the_views_say(options: FitOptions, expected: float) -> None:
    settled = for_frames(options, FRAME, options.data.recommended).optimisation
    assert settled.free_dynamic == expected
    assert [settled.weights(progress) for progress in (0.0, 0.39)] == 2 * [KLWeights(1, 1, expected)]
    assert [settled.weights(progress) for progress in (0.4, 1.0)] == 2 * [KLWeights(1, 1, 0)]


def test_spectra_of_speech_have_parts_of_their_own_and_what_is_named_goes_first() -> None:
    """Convolutions over frequency, a scale for each frequency, views in other voices."""
    source = SpeechFolder(Path("voices"))
    settled = for_frames(FitOptions(source), (80,), source.recommended)
    assert isinstance(settled.posterior, partial)
    assert (part_class(settled.encoder), part_class(settled.decoder)) == (Spectral, Dense)
    assert settled.likelihood is not None
    assert settled.likelihood((80,)).scale.shape == (80,)  # type: ignore[union-attr]
    assert isinstance(chosen_views(settled.posterior.keywords["views"], (80,)), VocalTract)
    named = FitOptions(source, encoder=encoders.Dense, likelihood=StudentT, posterior=partial(LSTM, views="none"))
    settled = for_frames(named, (80,), source.recommended)
    assert isinstance(settled.posterior, partial)
    assert (settled.encoder, settled.likelihood, settled.posterior.keywords["views"]) == (
        encoders.Dense,
        StudentT,
        "none",
    )
    assert for_frames(FitOptions(Arrays(Path("a.npz"))), (80,)).likelihood is Normal


def test_a_fit_says_what_it_took_and_why_and_goes_on_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    posterior = partial(LSTM, hidden_size=4, feature_size=4)
    run = fit(data=Squares(), posterior=posterior, steps=1, out=tmp_path / "run").run
    why = "as the data recommend, since squares are simple"
    said = f"model: decoder Joined and guide views recolour, {why}; encoder Convolutional, likelihood Normal\n"
    assert said in capsys.readouterr().err
    options = RunDirectory.open(run).options()
    assert part_class(options.decoder) is Joined
    assert fit(data=Squares(), posterior=posterior, steps=2, out=run, resume=True).finished
    assert "model: " not in capsys.readouterr().err
    fit(data=Squares(), decoder=Joined, posterior=posterior, steps=1, out=tmp_path / "named")
    said = f"model: guide views recolour, {why}; decoder Joined, encoder Convolutional, likelihood Normal\n"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "shape", "said"),
    [
        (
            FitOptions(MovingDigits()),
            FRAME,
            "decoder Textures, encoder Convolutional, likelihood Normal, guide views turn",
        ),
        (FitOptions(MovingDigits()), (3,), "decoder Dense, encoder Dense, likelihood Normal, guide views none"),
        (
            FitOptions(
                Squares(), posterior=partial(LSTM, views=Turn(warp=0.05)), likelihood=partial(Laplace, scale=0.2)
            ),
            FRAME,
            "decoder Joined, as the data recommend, since squares are simple; encoder Convolutional, likelihood Laplace "
            "(scale 0.2), guide views Turn (warp 0.05)",
        ),
        (
            FitOptions(SpeechFolder(Path("voices")), encoder=encoders.Dense),
            (80,),
            "decoder Dense, likelihood Normal (scale 0.5, scale_kind channel) and guide views vocal_tract, as the data "
            "recommend, since columns are frequencies in order; encoder Dense",
        ),
    ],
    ids=["images", "vectors", "named views beside a recommended decoder", "three of four recommended"],
)
def test_what_a_fit_says_is_what_it_took(options: FitOptions, shape: tuple[int, ...], said: str) -> None:
    recommended = options.source.recommended
    assert parts_in_words(options, for_frames(options, shape, recommended), recommended) == f"model: {said}"
