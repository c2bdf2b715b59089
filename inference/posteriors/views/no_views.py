"""Both halves of the guide see the clip."""

from typing import ClassVar

from torch import Tensor

from pyro_dsvae.inference.posteriors.views.guide_views import FrameKind, GuideViews
from pyro_dsvae.inference.posteriors.views.static_encoder import OrderedStaticEncoder, StaticEncoder
from pyro_dsvae.models.networks.frames import EncoderRecipe


class NoViews(GuideViews):
    """Both halves of the guide see the clip as it is: assumes nothing.

    z takes over what belongs to the whole clip where it learns that first. f takes over what moves where the decoder lets it.
    """

    takes: ClassVar[tuple[FrameKind, ...]] = ("images", "vectors")
    z_sees: ClassVar[str] = "the clip"
    f_sees: ClassVar[str] = "the clip in order"
    assumes: ClassVar[str] = "nothing"
    random: ClassVar[bool] = False

    def static_encoder(
        self, frame_shape: tuple[int, ...], feature_size: int, hidden_size: int, encoder: EncoderRecipe
    ) -> StaticEncoder:
        return OrderedStaticEncoder(encoder(frame_shape, feature_size), hidden_size)

    def dynamic_view(self, x: Tensor, observed: Tensor, training: bool) -> Tensor:
        return x
