"""Which guide views a name or the kind of frames stands for."""

from collections.abc import Mapping
from typing import Literal

from pyro_dsvae.inference.posteriors.views.guide_views import GuideViews
from pyro_dsvae.inference.posteriors.views.jitter import Jitter
from pyro_dsvae.inference.posteriors.views.no_views import NoViews
from pyro_dsvae.inference.posteriors.views.other_window import OtherWindow
from pyro_dsvae.inference.posteriors.views.recolour import Recolour
from pyro_dsvae.inference.posteriors.views.rescale import Rescale
from pyro_dsvae.inference.posteriors.views.turn import Turn
from pyro_dsvae.inference.posteriors.views.vocal_tract import VocalTract
from pyro_dsvae.models.errors import UsageError

Name = Literal["none", "recolour", "turn", "jitter", "rescale", "other_window", "vocal_tract"]
Views = GuideViews | Name | bool | None
BY_NAME: Mapping[str, type[GuideViews]] = {
    "none": NoViews,
    "recolour": Recolour,
    "turn": Turn,
    "jitter": Jitter,
    "rescale": Rescale,
    "other_window": OtherWindow,
    "vocal_tract": VocalTract,
}


def default_views(frame_shape: tuple[int, ...]) -> Name:
    """The guide views of a fit that names none, and so what config.yaml says of it."""
    return "turn" if len(frame_shape) == 3 else "none"


def chosen_views(views: Views, frame_shape: tuple[int, ...]) -> GuideViews:
    """The guide views for such frames.

    Args:
        views: An object, the name of one of the package's with its defaults, or None. Until version 0.2 there was one kind,
            recolour, which was on (True) or off (False).
        frame_shape: (C, H, W) or (P,).

    Raises:
        UsageError: For another name, or for views of other frames.
    """
    if views is None:
        views = default_views(frame_shape)
    if isinstance(views, bool):
        views = "recolour" if views else "none"
    if isinstance(views, str) and views in BY_NAME:
        views = BY_NAME[views]()
    if not isinstance(views, GuideViews):
        raise UsageError(
            f"guide views are one of {', '.join(BY_NAME)} or an object of your own GuideViews, not {views}", "posterior"
        )
    views.check(frame_shape)
    return views
