"""Which networks serve which frames, where the user names none."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TypeVar

from pyro_dsvae.configuration.options import SharedOptions
from pyro_dsvae.configuration.parts import part_class
from pyro_dsvae.inference.posteriors.views.choice import default_views
from pyro_dsvae.models.decoders import Dense, FrameDecoder, Regions

Taken = TypeVar("Taken", bound=SharedOptions)
DecoderRecipe = Callable[[int, int, tuple[int, ...]], FrameDecoder]


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
        cls, static_size: int, latent_size: int, frame_shape: tuple[int, ...], width: int = 16
    ) -> FrameDecoder:
        return earlier_decoder(frame_shape, width)(static_size, latent_size, frame_shape)


def earlier_decoder(frame_shape: tuple[int, ...], width: int = 16) -> DecoderRecipe:
    """The recipe that `EarlierDecoder` stands for."""
    return partial(Dense, units=16 * width) if len(frame_shape) == 1 else partial(Regions, width=width)


def decoder_for(frame_shape: tuple[int, ...], recipe: DecoderRecipe | None) -> DecoderRecipe:
    """The recipe of the decoder for such frames: the given one, or the default."""
    if recipe is None:
        return Dense if len(frame_shape) == 1 else Regions
    return earlier_decoder(frame_shape, **recipe.keywords) if _is_earlier(recipe) else recipe  # type: ignore[attr-defined]


def for_frames(options: Taken, frame_shape: tuple[int, ...]) -> Taken:
    """The options with the networks and guide views named that they leave open, so that config.yaml says them.

    Those of a run whose config.yaml names no decoder are of a version that had one kind of guide views, too.
    """
    posterior = options.posterior
    open_ = not isinstance(posterior, partial) or posterior.keywords.get("views") is None
    if open_ and "views" in inspect.signature(part_class(posterior) or posterior).parameters:
        earlier = _is_earlier(options.decoder) and len(frame_shape) == 3
        views = "recolour" if earlier else default_views(frame_shape)
        posterior = partial(posterior, views=views)  # type: ignore[call-arg]
    return replace(options, decoder=decoder_for(frame_shape, options.decoder), posterior=posterior)


def _is_earlier(recipe: DecoderRecipe | None) -> bool:
    return isinstance(recipe, partial) and part_class(recipe) is EarlierDecoder
