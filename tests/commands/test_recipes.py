"""Recipes: what the best known of them must reduce to, and the files themselves."""

import math
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor

from pyro_dsvae import cli, recipes
from pyro_dsvae.configuration.build import build
from pyro_dsvae.configuration.parts import part_class
from pyro_dsvae.fit import fit
from pyro_dsvae.inference.batch import Batch
from pyro_dsvae.inference.training.objective import KLWeights, Objective
from pyro_dsvae.models.dynamic_priors import RandomWalk
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.static_priors import StandardNormal

B, T, SHAPE = 3, 4, (3, 16, 16)


def objective(name: str) -> Objective:
    """What ``--config NAME`` optimises, in double precision and evaluation mode."""
    arguments = [
        "--config",
        name,
        "--posterior.hidden_size=6",
        "--posterior.feature_size=6",
        "--encoder=Convolutional",
        "--encoder.width=4",
        "--decoder=Regions",
        "--decoder.width=2",
    ]
    parser = cli.parser_for(fit, None)
    options = cli.instantiate(parser, cli.parse(parser, recipes.resolve(arguments)))
    examples = torch.zeros(1, T, *SHAPE)
    parts = (options.static_prior, options.dynamic_prior, options.posterior, options.likelihood, options.decoder)
    made = build(examples, 0, options.static_size, options.latent_size, *parts, encoder=options.encoder)
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return made.eval().double()


@pytest.fixture
def x() -> Tensor:
    torch.manual_seed(0)
    return torch.rand(B, T, *SHAPE, dtype=torch.float64)


@pytest.fixture(autouse=True)
def double_by_default() -> None:
    """`Likelihood.to_model_units` gives frames the default dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def log_normal(value: Tensor, loc: Tensor, scale: Tensor | float) -> Tensor:
    """Summed over all but the first axis."""
    variance = torch.as_tensor(scale) ** 2
    return (-0.5 * ((value - loc) ** 2 / variance + variance.log() + math.log(2 * math.pi))).flatten(1).sum(1)


def test_the_vae_is_that_of_kingma_and_welling(x: Tensor) -> None:
    """Every frame by itself: log p(x | m + s e) - KL(N(m, s^2) || N(0, 1)), with the noise that the objective draws."""
    made = objective("vae")
    guide, likelihood = made.guide, made.model.likelihood
    torch.manual_seed(5)
    out = made(Batch(x), KLWeights())

    frames = x.flatten(0, 1)
    m, s = guide.dynamic_head(guide.layer(guide.dynamic_encoder.frames.encoder(frames)))
    torch.manual_seed(5)
    noise = torch.randn(B, T, m.shape[-1]).flatten(0, 1)
    decoded = made.model.decoder(torch.zeros(B * T, 0), (m + s * noise).unsqueeze(1)).squeeze(1)
    kl = 0.5 * (m**2 + s**2 - 1 - 2 * s.log()).sum(1)
    elbo = log_normal(frames, decoded, likelihood.scale) - kl
    torch.testing.assert_close(out["elbo"], elbo.view(B, T).sum(1).mean())
    torch.testing.assert_close(out["kl_dynamic"], kl.view(B, T).sum(1).mean())
    assert out["kl_static"] == 0


def test_the_autoencoder_is_squared_error_with_a_ridge_on_the_codes(x: Tensor) -> None:
    """|x - d(e(x))|^2 / (2 sigma^2) + |e(x)|^2 / 2 up to the constants of the two normals; nothing is drawn."""
    made = objective("autoencoder")
    guide, likelihood = made.guide, made.model.likelihood
    state = torch.get_rng_state()
    out = made(Batch(x), KLWeights())
    assert torch.equal(torch.get_rng_state(), state)

    codes = guide(x)[1]
    decoded = made.model.decoder(torch.zeros(B, 0), codes)
    constants = 0.5 * math.log(2 * math.pi) * (x[0].numel() + codes[0].numel()) + x[0].numel() * likelihood.scale.log()
    errors = ((x - decoded) ** 2).flatten(1).sum(1) / (2 * likelihood.scale**2) + (codes**2).flatten(1).sum(1) / 2
    torch.testing.assert_close(out["loss"], (errors + constants).mean())
    assert not guide.comparable
    assert made.estimators == {"f": "closed form", "z": "closed form"}


@pytest.mark.parametrize("name", ["dsvae", "dsvae-factorised", "c-dsvae"])
def test_the_published_models_have_the_published_networks_and_no_views(name: str) -> None:
    """At 64 pixels: f of 256, z_t of 32, maps of 512, 256, 128 and 64 channels both ways, N(0, I), an LSTM prior."""
    parser = cli.parser_for(fit, None)
    options = cli.instantiate(parser, cli.parse(parser, recipes.resolve(["--config", name])))
    assert (options.static_size, options.latent_size) == (256, 32)
    assert (options.contrastive is not None) == (name == "c-dsvae")
    likelihood = options.likelihood((3, 64, 64))
    with torch.device("meta"):
        decoder = options.decoder(256, 32, (3, 64, 64))
        guide = options.posterior((3, 64, 64), 256, 32, options.encoder)
    assert decoder.base == (512, 4, 4)
    assert [layer.out_channels for layer in decoder.upsamplings] == [256, 128, 64]
    convolutions = [m.out_channels for m in guide.dynamic_encoder.modules() if isinstance(m, torch.nn.Conv2d)]
    assert convolutions == [64, 128, 256, 512]
    assert not guide.views.random
    assert isinstance(options.static_prior(256), StandardNormal)
    assert type(options.dynamic_prior(32)).__name__ == "LSTM"
    if name == "c-dsvae":
        x, mean = torch.rand(2, 5, 3, 64, 64)
        score = likelihood(mean).log_prob(x).sum() - likelihood(x).log_prob(x).sum()
        torch.testing.assert_close(score, -(x - mean).square().sum(), rtol=1e-4, atol=0)


@pytest.mark.parametrize("name", recipes.names())
def test_a_recipe_says_what_it_is_and_names_parts_and_its_optimiser_only(name: str) -> None:
    text = (recipes.FOLDER / f"{name}.yaml").read_text()
    assert text.startswith("# ")
    assert set(yaml.safe_load(text)) <= {
        "static_size",
        "latent_size",
        "static_prior",
        "dynamic_prior",
        "posterior",
        "likelihood",
        "encoder",
        "decoder",
        "optimisation",
        "contrastive",
    }


def test_names_and_paths(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("static_size: 3\n")
    assert recipes.resolve(["--config", str(own), "--seed", "1"]) == [f"--config={own}", "--seed", "1"]
    assert recipes.resolve(["--config=vae"]) == [f"--config={recipes.FOLDER / 'vae.yaml'}"]
    with pytest.raises(UsageError, match=r"did you mean kalman-vae\?.*recipes are autoencoder"):
        recipes.resolve(["--config", "kalman-va"])


def test_what_is_named_goes_before_a_recipe_wherever_it_stands() -> None:
    parser = cli.parser_for(fit, None)
    for arguments in (
        ["--dynamic_prior", "RandomWalk", "--static_size=3", "--config", "series"],
        ["--config=series", "--dynamic_prior", "RandomWalk", "--static_size=3"],
    ):
        found = cli.values(parser, recipes.resolve(arguments))
        assert (part_class(found["dynamic_prior"]), found["static_size"]) == (RandomWalk, 3)
