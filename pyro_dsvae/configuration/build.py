"""From recipes of parts to a model and a guide that fit the data and each other."""

import functools
import inspect
import math
import warnings
from collections.abc import Callable
from typing import TypeVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyro_dsvae.configuration.catalogue import DYNAMIC_PRIORS
from pyro_dsvae.configuration.networks import decoder_for, encoder_for
from pyro_dsvae.configuration.options import SharedOptions
from pyro_dsvae.configuration.parts import part_class
from pyro_dsvae.data.dataset import SequenceData
from pyro_dsvae.data.tables.columns import ColumnMoments
from pyro_dsvae.inference.batch import Batch
from pyro_dsvae.inference.posteriors.anchored import anchor_clip
from pyro_dsvae.inference.posteriors.delta import Delta
from pyro_dsvae.inference.posteriors.guide_input import GuideInput
from pyro_dsvae.inference.posteriors.posterior import Posterior
from pyro_dsvae.inference.training.contrastive import Contrastive
from pyro_dsvae.inference.training.objective import Objective
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.dynamic_priors.dynamic_prior import DynamicPrior
from pyro_dsvae.models.errors import UsageError, check_count
from pyro_dsvae.models.likelihoods.likelihood import Likelihood
from pyro_dsvae.models.likelihoods.normal import Normal
from pyro_dsvae.models.networks.frames import EncoderRecipe, FrameDecoder, FrameEncoder
from pyro_dsvae.models.standardisation import standardised
from pyro_dsvae.models.static_priors.static_prior import StaticPrior
from pyro_dsvae.models.static_priors.vamp_prior import VampPrior

Part = TypeVar("Part")


def build(
    examples: Tensor | Batch,
    seed: int,
    static_size: int,
    latent_size: int,
    static_prior: Callable[[int], StaticPrior],
    dynamic_prior: Callable[[int], DynamicPrior],
    posterior: Callable[[tuple[int, ...], int, int, EncoderRecipe], Posterior],
    likelihood: Callable[[tuple[int, ...]], Likelihood] | None = None,
    decoder: Callable[[int, int, tuple[int, ...]], FrameDecoder] | None = None,
    contrastive: Contrastive | None = None,
    columns: ColumnMoments | None = None,
    encoder: EncoderRecipe | None = None,
) -> Objective:
    """Build model and guide with initial weights drawn from ``seed``; the global random state is kept.

    Args:
        examples: Stored frames of some training sequences, ``(n, T, *frame)``, with what was observed of them or without. Their
            shape determines the networks' shapes, and `VampPrior` is initialised from them. One is kept beside a guide with
            views (`Anchored`).
        seed: Of the initial weights.
        static_size: The dimension F of f.
        latent_size: The dimension D of z_t.
        static_prior: Recipe for p(f), called with F.
        dynamic_prior: Recipe for p(z_1:T), called with D.
        posterior: Recipe for the guide, called with the frame shape, F, D and the recipe for its encoder.
        likelihood: Recipe for p(x_t | f, z_t), called with the frame shape; None for the default.
        decoder: Recipe for the decoder, called with F, D and the shape of the parameters of a frame; None for the default.
        contrastive: Terms beside the ELBO.
        columns: Of the training split, to standardise series by; None where they are fitted as they are.
        encoder: Recipe for the guide's encoder of frames; None for the default.

    Returns:
        Model and guide as one objective.

    Raises:
        UsageError: Where a part does not take frames of this shape, or two parts do not go together.
    """
    some = examples if isinstance(examples, Batch) else Batch(examples)
    examples, frame_shape = some.x, tuple(some.x.shape[2:])
    if contrastive is not None:
        contrastive.check(frame_shape, static_size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = functools.partial(_made, empty=static_size == 0)
        static = made("static_prior", static_prior, lambda: static_prior(static_size))
        dynamic = made(
            "dynamic_prior", dynamic_prior, lambda: _with_static_size(dynamic_prior, static_size)(latent_size)
        )
        density = Normal if likelihood is None else likelihood
        family = made("likelihood", density, lambda: density(frame_shape))
        network = decoder_for(frame_shape, decoder)
        decode = made("decoder", network, lambda: network(static_size, latent_size, family.parameter_shape))
        model = DSVAE(static, dynamic, decode, family)
        _set_origin(model, some)
        reader = encoder_for(frame_shape, encoder)
        features = functools.partial(_encoder, lambda *sizes: made("encoder", reader, lambda: reader(*sizes)))
        guide = made("posterior", posterior, lambda: posterior(frame_shape, static_size, latent_size, features))
        guide.standardisation = model.standardisation
        if columns is not None and model.standardisation is not None:
            unit = model.likelihood.bytes_per_unit if examples.dtype == torch.uint8 else 1
            model.standardisation.set(columns.mean / unit, columns.sd / unit)
        if isinstance(model.static_prior, VampPrior):
            if isinstance(guide, Delta):
                raise UsageError(
                    "--static_prior VampPrior mixes densities of the posterior and --posterior Delta has none: "
                    "take any other posterior, or GaussianMixture as the prior"
                )
            seen = standardised(model.likelihood.to_model_units(examples), model.standardisation)
            model.static_prior.connect(functools.partial(_encode, guide), seen)
        _decode_once(decode, static_size, latent_size)
        anchor = anchor_clip(model.likelihood, examples) if guide.views.random and static_size > 0 else None
        return Objective(model, guide, contrastive, anchor)


def _set_origin(model: DSVAE, examples: Batch) -> None:
    """Decoding begins at the typical ground that was observed, where decoded numbers are the colours of images."""
    origin = model.decoder.origin
    if (
        origin is None
        or not all(model.likelihood.real_channels)
        or model.likelihood.parameter_shape != examples.x.shape[2:]
    ):
        return
    first = model.likelihood.to_model_units(examples.x[:, 0]).masked_fill(~examples.observed[:, 0], math.nan)
    colours = first.flatten(2).nanmedian(dim=-1).values
    origin.copy_(colours.nanmean(dim=0).nan_to_num().view_as(origin))


@torch.no_grad()
def _encoder(recipe: EncoderRecipe, frame_shape: tuple[int, ...], feature_size: int) -> FrameEncoder:
    """An encoder that was given two frames of zeros: one that gives another shape is refused before the fit starts."""
    encoder = recipe(frame_shape, feature_size).eval()
    encoder(torch.zeros(2, *(encoder.frame_shape if encoder.reads_gaps else frame_shape)))
    return encoder.train()


@torch.no_grad()
def _decode_once(decoder: FrameDecoder, static_size: int, latent_size: int) -> None:
    """Decode two short sequences of zeros: a decoder that gives another shape is refused before the fit starts."""
    decoder.eval()
    decoder(torch.zeros(2, static_size), torch.zeros(2, 3, latent_size))
    decoder.train()


def check_sizes(static_size: int, latent_size: int) -> None:
    """Refuse sizes of latents that make none.

    Raises:
        UsageError: For a negative static size, a latent without a dimension, and what is no whole number.
    """
    if static_size < 0:
        raise UsageError(f"static_size is {static_size}; it is a number of dimensions, 0 for no static part")
    if latent_size < 1:
        raise UsageError(f"latent_size is {latent_size}; a latent needs at least 1 dimension")
    check_count("static_size", static_size, 0)
    check_count("latent_size", latent_size)


def build_from(options: SharedOptions, examples: Tensor | Batch, columns: ColumnMoments | None = None) -> Objective:
    """`build` with the options of a fit or of a comparison."""
    check_sizes(options.static_size, options.latent_size)
    return build(
        examples,
        options.seed,
        options.static_size,
        options.latent_size,
        options.static_prior,
        options.dynamic_prior,
        options.posterior,
        options.likelihood,
        options.decoder,
        options.contrastive,
        columns,
        options.encoder,
    )


def examples(data: SequenceData) -> Batch:
    """At most 256 training sequences, evenly spaced; what was not observed is NaN, or a byte of 0."""
    rows = data.rows("train")
    some = data.sequences("train").stored().rows(rows[:: -(-len(rows) // 256)])
    if some.mask is None and some.lengths is None:
        return some
    return some._replace(x=some.x.masked_fill(~some.observed, math.nan if some.x.is_floating_point() else 0))


def check_times(data: SequenceData, prior: DynamicPrior) -> None:
    """Refuse data in irregular time for a prior that ignores time.

    Raises:
        UsageError: Where frames are not equally spaced and the prior is not in continuous time.
    """
    if data.times is None or prior.continuous_time:
        return
    intervals = data.times.diff(dim=1)
    if not torch.allclose(intervals, intervals[:1, :1].expand_as(intervals), rtol=1e-3):
        able = ", ".join(name for name, kind in DYNAMIC_PRIORS.items() if kind.continuous_time)
        raise UsageError(
            f"the frames of these data are not equally spaced in time, and the dynamic prior {type(prior).__name__} "
            f"cannot tell: use one of {able}"
        )


def _encode(guide: Posterior, x: Tensor) -> TorchDistribution:
    """q(f | x) for whole frames x ``(K, T, *frame)``, as the guide sees them."""
    return guide.static(GuideInput.of(x, gaps=guide.reads_gaps))


def _with_static_size(recipe: Callable[..., DynamicPrior], static_size: int) -> Callable[..., DynamicPrior]:
    """The recipe of a prior that may depend on f, told how large f is; any other as it is."""
    if "static_size" in inspect.signature(part_class(recipe) or recipe).parameters:
        return functools.partial(recipe, static_size=static_size)
    return recipe


def _made(name: str, part: Callable[..., Part], recipe: Callable[[], Part], empty: bool) -> Part:
    """The part. Raises `UsageError` where its options make none, such as a size of 0 unless f itself is ``empty``."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore" if empty else "error", message="Initializing zero-element")
            return recipe()
    except UsageError:
        raise
    except (RuntimeError, ValueError, TypeError, UserWarning) as error:
        wrong = _too_small(part) or " ".join(str(error).split())
        if "allocate memory" in wrong:
            wrong = "they take more memory than this machine has; lower the sizes of the latents or of the part"
        raise UsageError(f"{name} cannot be built with these options: {wrong}", name) from error


def _too_small(part: Callable[..., object]) -> str:
    """The first option of a recipe, a number that is positive by default, that is not; empty where there is none."""
    kind = part_class(part)
    options = part.keywords if isinstance(part, functools.partial) else {}
    defaults = {} if kind is None else {p.name: p.default for p in inspect.signature(kind).parameters.values()}
    small = (
        f"{name} is {value}; it must be at least 1"
        for name, value in options.items()
        if isinstance(value, int) and type(defaults.get(name)) is int and value < 1 <= defaults[name]
    )
    return next(small, "")
