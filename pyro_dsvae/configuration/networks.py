"""Which networks, likelihood and guide views serve which frames, where the user names none."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from pyro_dsvae.configuration.options import FitOptions, SharedOptions
from pyro_dsvae.configuration.parts import describe, in_words, part_class, plain
from pyro_dsvae.data.dataset import Recommended
from pyro_dsvae.inference.posteriors.posterior import Posterior
from pyro_dsvae.inference.posteriors.views.choice import Views, chosen_views, default_views
from pyro_dsvae.inference.posteriors.views.recolour import Recolour
from pyro_dsvae.inference.posteriors.views.turn import Turn
from pyro_dsvae.models import decoders, encoders
from pyro_dsvae.models.decoders import FrameDecoder, Regions, Textures
from pyro_dsvae.models.encoders import Convolutional, FrameEncoder
from pyro_dsvae.models.likelihoods.normal import Normal
from pyro_dsvae.models.networks.frames import EncoderRecipe

Taken = TypeVar("Taken", bound=SharedOptions)
DecoderRecipe = Callable[[int, int, tuple[int, ...]], FrameDecoder]
WIDTH = 16


class EarlierDecoder(FrameDecoder):
    """The decoder of a run whose config.yaml does not say which: `Regions` for images, `Dense` for vectors.

    It stands in the configuration until the frames are known.

    Args:
        static_size: F, supplied by the model.
        latent_size: D, supplied by the model.
        frame_shape: Of the parameters of a frame, supplied by the model.
        width: Channels of the finest layer (images) or units / 16 (vectors).
    """

    def __new__(  # type: ignore[misc]
        cls, static_size: int, latent_size: int, frame_shape: tuple[int, ...], width: int = WIDTH
    ) -> FrameDecoder:
        return earlier_decoder(frame_shape, width)(static_size, latent_size, frame_shape)


class EarlierEncoder(FrameEncoder):
    """The encoder of a run whose config.yaml does not say which: `Convolutional` for images, `Dense` for vectors.

    It stands in the configuration until the frames are known. Its width was that of the networks of guide views, too.

    Args:
        frame_shape: Of a frame, supplied by the guide.
        feature_size: The number of features, supplied by the guide.
        width: Channels of the first convolution (images) or units / 16 (vectors).
    """

    def __new__(cls, frame_shape: tuple[int, ...], feature_size: int, width: int = WIDTH) -> FrameEncoder:  # type: ignore[misc]
        return earlier_encoder(frame_shape, width)(frame_shape, feature_size)


def earlier_decoder(frame_shape: tuple[int, ...], width: int = WIDTH) -> DecoderRecipe:
    """The recipe that `EarlierDecoder` stands for."""
    return partial(decoders.Dense, units=16 * width) if len(frame_shape) == 1 else partial(Regions, width=width)


def earlier_encoder(frame_shape: tuple[int, ...], width: int = WIDTH) -> EncoderRecipe:
    """The recipe that `EarlierEncoder` stands for."""
    return partial(encoders.Dense, units=16 * width) if len(frame_shape) == 1 else partial(Convolutional, width=width)


def decoder_for(frame_shape: tuple[int, ...], recipe: DecoderRecipe | None) -> DecoderRecipe:
    """The recipe of the decoder for such frames: the given one, or the default."""
    if recipe is None:
        return decoders.Dense if len(frame_shape) == 1 else Textures
    earlier = _earlier(recipe, EarlierDecoder)
    return recipe if earlier is None else earlier_decoder(frame_shape, **earlier)


def encoder_for(frame_shape: tuple[int, ...], recipe: EncoderRecipe | None) -> EncoderRecipe:
    """The recipe of the encoder for such frames: the given one, or the default."""
    if recipe is None:
        return encoders.Dense if len(frame_shape) == 1 else Convolutional
    earlier = _earlier(recipe, EarlierEncoder)
    return recipe if earlier is None else earlier_encoder(frame_shape, **earlier)


def for_frames(options: Taken, frame_shape: tuple[int, ...], recommended: Recommended | None = None) -> Taken:
    """The options with all parts named that they leave open, so that config.yaml says them.

    They are networks, the likelihood and guide views. What the data source recommends goes before the defaults.
    """
    if recommended is not None:
        options = replace(
            options,
            decoder=options.decoder or recommended.decoder,
            encoder=options.encoder or recommended.encoder,
            likelihood=options.likelihood or recommended.likelihood,
        )
    views: Views = default_views(frame_shape)
    if recommended is not None and part_class(options.decoder) is recommended.decoder:
        views = recommended.views
    posterior = _with_views(options, frame_shape, views)
    optimisation = options.optimisation
    if optimisation.free_dynamic is None:
        taken: Views = posterior.keywords.get("views", "none") if isinstance(posterior, partial) else "none"
        optimisation = replace(optimisation, free_dynamic=chosen_views(taken, frame_shape).free_dynamic)
    return replace(
        options,
        decoder=decoder_for(frame_shape, options.decoder),
        encoder=encoder_for(frame_shape, options.encoder),
        likelihood=options.likelihood or Normal,
        posterior=posterior,
        optimisation=optimisation,
    )


def parts_in_words(asked: SharedOptions, taken: SharedOptions, recommended: Recommended | None) -> str:
    """The line that says which parts read and write the frames, which guide views there are, and which of them are advised.

    Args:
        asked: The options of the fit before `for_frames`.
        taken: The options after it.
        recommended: What the data source recommends, if anything.
    """
    parts = ("decoder", "encoder", "likelihood")
    said = {part: f"{part} {_named(getattr(taken, part))}" for part in parts}
    views, own = (
        o.posterior.keywords.get("views") if isinstance(o.posterior, partial) else None for o in (taken, asked)
    )
    if views is None or isinstance(views, bool):
        views = "recolour" if views else "none"
    said["views"] = f"guide views {views if isinstance(views, str) else _named(views)}"
    advised = []
    if recommended is not None:
        advised = [p for p in parts if getattr(asked, p) is None and getattr(recommended, p) is not None]
        ours = (
            part_class(taken.decoder) is recommended.decoder
            and own is None
            and plain(views) == plain(recommended.views)
        )
        advised += ["views"] if ours else []
    others = ", ".join(text for part, text in said.items() if part not in advised)
    if recommended is None or not advised:
        return f"model: {others}"
    *first, last = (said[part] for part in advised)
    listed = f"{', '.join(first)} and {last}" if first else last
    return f"model: {listed}, as the data recommend, since {recommended.why}" + (f"; {others}" if others else "")


def _named(part: object) -> str:
    """The name of a part, with its options that are not the defaults: "Normal (scale 0.5)"."""
    path, given = describe(part).values()
    kind = part_class(part) or type(part)
    defaults = {name: each.default for name, each in inspect.signature(kind).parameters.items()}
    changed = [f"{name} {in_words(value)}" for name, value in given.items() if value != defaults.get(name)]
    name = str(path).rpartition(".")[2]
    return f"{name} ({', '.join(changed)})" if changed else name


def as_begun(options: FitOptions, first: FitOptions) -> FitOptions:
    """The options of a resumed fit: what they leave open was chosen when the run began."""
    free = options.optimisation.free_dynamic
    free = first.optimisation.free_dynamic if free is None else free
    return replace(
        options,
        decoder=options.decoder or first.decoder,
        encoder=options.encoder or first.encoder,
        likelihood=options.likelihood or first.likelihood,
        optimisation=replace(options.optimisation, free_dynamic=free),
        keep_data=first.keep_data,
    )


def _with_views(options: SharedOptions, frame_shape: tuple[int, ...], default: Views) -> Callable[..., Posterior]:
    """The posterior with its guide views named, the default where it names none.

    Where networks are of an earlier version, so are the views of images: recolour, and as wide as the encoder.
    """
    recipe: Callable[..., Posterior] = options.posterior
    if "views" not in inspect.signature(part_class(recipe) or recipe).parameters:
        return recipe
    views: Views = recipe.keywords.get("views") if isinstance(recipe, partial) else None
    encoder = _earlier(options.encoder, EarlierEncoder)
    earlier = encoder is not None or _earlier(options.decoder, EarlierDecoder) is not None
    if views is None:
        views = "recolour" if earlier and len(frame_shape) == 3 else default
    width = (encoder or {}).get("width", WIDTH)
    if width != WIDTH and isinstance(views, str | bool):
        chosen = chosen_views(views, frame_shape)
        views = type(chosen)(width=2 * width) if isinstance(chosen, Recolour | Turn) else views
    return partial(recipe, views=views)


def _earlier(recipe: object, kind: type) -> dict[str, Any] | None:
    """The options of a recipe for this stand-in, or None where it is of something else."""
    if part_class(recipe) is not kind:
        return None
    return dict(recipe.keywords) if isinstance(recipe, partial) else {}
