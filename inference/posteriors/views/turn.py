"""z sees other colours on the clip's own ground, f sees the clip at three scales: views of images on any ground."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from pyro_dsvae.inference.posteriors.views.guide_views import FrameKind, GuideViews
from pyro_dsvae.inference.posteriors.views.images import above_ground, centred, ground_colours, turn_colours, warp
from pyro_dsvae.inference.posteriors.views.static_encoder import (
    OrderedStaticEncoder,
    StaticEncoder,
    mean_over,
    some_frames,
)
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.models.encoders.patches import Patches
from pyro_dsvae.models.encoders.pyramid import Pyramid
from pyro_dsvae.models.errors import check_amounts, check_count
from pyro_dsvae.models.networks.frames import EncoderRecipe


class Turn(GuideViews):
    """On any ground: assumes that one colour covers most of a frame, that colours stay, and that places move.

    z is inferred from frames less the colour of their ground, after all colours were turned (`turn_colours`) and the frames
    warped a little (`warp`). So z can hardly encode colours, or small shapes. f is inferred from patches and parts of a few
    random frames, from the whole clip in order with the figure in the middle of every frame (`centred`), and from the colour
    of the ground. Where the data know recordings, f sees another window of the same recording. So it can hardly encode what
    happens in one of them alone, such as an expression that is there from the first frame to the last.

    Args:
        width: Half of the channels of the network of patches, and the channels of the first convolution of that of parts.
        frames: How many frames patches and parts are of in training.
        warp: Standard deviation of the warp, as a share of height and width.
    """

    takes: ClassVar[tuple[FrameKind, ...]] = ("images",)
    z_sees: ClassVar[str] = "other colours above the clip's own ground"
    f_sees: ClassVar[str] = (
        "patches, parts, the whole clip with the figure in the middle, and the ground, of another window of the recording "
        "where there is one"
    )
    # Where figures are hardly brighter or darker than the ground, z has little to gain before f says which colours there are,
    # and under its whole KL it falls asleep; f then takes the pose (benchmarks/results/generality.md).
    free_dynamic: ClassVar[float] = 8.0
    assumes: ClassVar[str] = "that one colour covers most of a frame, that colours stay, and that places move"

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
        return MultiscaleStaticEncoder(frame_shape, feature_size, hidden_size, encoder, self.width, self.frames)

    def dynamic_view(self, x: Tensor, observed: Tensor, training: bool) -> Tensor:
        x = above_ground(x)
        return warp(turn_colours(x), self.warp) if training else x

    def recordings(self, train: Sequences) -> Tensor | None:
        return train.shared_recordings()


class MultiscaleStaticEncoder(StaticEncoder):
    """Three readings of a clip side by side: colours, parts, and the whole in order; and the colour of its ground.

    Colours: the patches of `Patches`, which see two pixels and no place. Parts: the maps of `Pyramid`, which see
    up to half the frame, pooled over places. Both are means over ``count`` random frames in training, and over all frames in
    evaluation. The whole: `OrderedStaticEncoder`, of frames that were `centred`. The two latter read frames less the colour
    of their ground, so that a figure is the same on any. Small details of colour are learnt early from patches, and shapes
    early from maps without place, where a network over whole frames would have to see every shape in every place.
    """

    def __init__(
        self,
        frame_shape: tuple[int, ...],
        feature_size: int,
        hidden_size: int,
        encoder: EncoderRecipe,
        width: int,
        count: int,
    ) -> None:
        super().__init__()
        self.count = count
        self.patches = Patches(frame_shape, 2 * feature_size, width)
        self.parts = Pyramid(frame_shape, 2 * feature_size, width)
        self.whole = OrderedStaticEncoder(encoder(frame_shape, feature_size), hidden_size)
        self.ground = nn.Sequential(nn.Linear(frame_shape[0], hidden_size // 2), nn.SiLU())
        size = 4 * feature_size + 2 * hidden_size + hidden_size // 2
        self.layers = nn.Sequential(
            nn.LayerNorm(size, elementwise_affine=False),
            nn.Linear(size, 2 * hidden_size),
            nn.SiLU(),
            nn.Linear(2 * hidden_size, 2 * hidden_size),
            nn.SiLU(),
        )

    def forward(self, x: Tensor, observed: Tensor, lengths: Tensor | None) -> Tensor:
        colours = ground_colours(x)
        above = x - colours[..., None, None]
        ground = mean_over(observed, colours)
        whole = self.whole(centred(above), observed, lengths)
        seen = torch.cat([x, above], dim=2)
        if self.training:
            seen, observed = some_frames(seen, observed, self.count)
        x, above = seen.chunk(2, dim=2)
        unordered = mean_over(observed, torch.cat([self.patches(x), self.parts(above)], dim=-1))
        # Grounds differ little in a network's eyes: four times their values are about as large as other features.
        return self.layers(torch.cat([unordered, whole, self.ground(4 * ground)], dim=-1))
