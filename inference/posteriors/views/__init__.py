"""Guide views: what each half of the guide sees of a clip. `GuideViews` is what each is, and what one of your own is."""

from pyro_dsvae.inference.posteriors.views.guide_views import GuideViews
from pyro_dsvae.inference.posteriors.views.jitter import Jitter
from pyro_dsvae.inference.posteriors.views.no_views import NoViews
from pyro_dsvae.inference.posteriors.views.other_window import OtherWindow
from pyro_dsvae.inference.posteriors.views.recolour import Recolour
from pyro_dsvae.inference.posteriors.views.rescale import Rescale
from pyro_dsvae.inference.posteriors.views.static_encoder import OrderedStaticEncoder, StaticEncoder
from pyro_dsvae.inference.posteriors.views.turn import Turn
from pyro_dsvae.inference.posteriors.views.vocal_tract import VocalTract

__all__ = [
    "GuideViews",
    "Jitter",
    "NoViews",
    "OrderedStaticEncoder",
    "OtherWindow",
    "Recolour",
    "Rescale",
    "StaticEncoder",
    "Turn",
    "VocalTract",
]
