"""z sees other colours, f sees patches: views of images on black."""

from typing import ClassVar

from torch import Tensor, nn

from pyro_dsvae.inference.posteriors.views.guide_views import FrameKind, GuideViews
from pyro_dsvae.inference.posteriors.views.images import recolour, warp
from pyro_dsvae.inference.posteriors.views.static_encoder import StaticEncoder, mean_over, some_frames
from pyro_dsvae.models.encoders.patches import Patches
from pyro_dsvae.models.errors import check_amounts, check_count
from pyro_dsvae.models.networks.frames import EncoderRecipe


class Recolour(GuideViews):
    """Colours apart from shapes: assumes a black ground, and that colours say all of what stays.

    z is inferred from the clip after a random smooth map of its colours that keeps black (`recolour`), and a random warp
    (`warp`). So z can hardly encode colours. f is inferred from small patches of a few random frames, without the order of
    the frames and without the place of a patch in its row. So f can hardly encode motion, pose or direction, nor the shape
    of anything.

    Args:
        width: Half of the channels of the network of patches.
        frames: How many frames f sees in training.
        warp: Standard deviation of the warp, as a share of height and width.
    """

    takes: ClassVar[tuple[FrameKind, ...]] = ("images",)
    z_sees: ClassVar[str] = "other colours on black"
    f_sees: ClassVar[str] = "patches of two pixels of three frames"
    assumes: ClassVar[str] = "a black ground, and that colours say all of what stays"

    def __init__(self, width: int = 32, frames: int = 3, warp: float = 0.02) -> None:
        check_count("width", width)
        check_count("frames", frames)
        check_amounts({"warp": warp})
        self.width = width
        self.frames = frames
        self.warp = warp

    def static_encoder(
        self, frame_shape: tuple[int, ...], feature_size: int, hidden_size: int, encoder: EncoderRecipe
    ) -> StaticEncoder:
        return UnorderedStaticEncoder(frame_shape, feature_size, hidden_size, self.width, self.frames)

    def dynamic_view(self, x: Tensor, observed: Tensor, training: bool) -> Tensor:
        return warp(recolour(x), self.warp) if training else x


class UnorderedStaticEncoder(StaticEncoder):
    """The patches of ``count`` random frames in training, and of all frames in evaluation.

    Features are pooled over frames, and over places within a frame (`Patches`). So f encodes what there is, not when or
    where.
    """

    def __init__(
        self, frame_shape: tuple[int, ...], feature_size: int, hidden_size: int, width: int, count: int
    ) -> None:
        super().__init__()
        self.count = count
        self.encoder = Patches(frame_shape, 2 * feature_size, width)
        self.layers = nn.Sequential(
            # Features of patches are small where most of the frame is background.
            nn.LayerNorm(2 * feature_size, elementwise_affine=False),
            nn.Linear(2 * feature_size, 2 * hidden_size),
            nn.SiLU(),
            nn.Linear(2 * hidden_size, 2 * hidden_size),
            nn.SiLU(),
        )

    def forward(self, x: Tensor, observed: Tensor, lengths: Tensor | None) -> Tensor:
        if self.training:
            x, observed = some_frames(x, observed, self.count)
        return self.layers(mean_over(observed, self.encoder(x)))
