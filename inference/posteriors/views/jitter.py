"""z sees the clip in other light and from elsewhere, f sees some frames without their order: views of natural video."""

from typing import ClassVar

from torch import Tensor

from pyro_dsvae.inference.posteriors.views.guide_views import FrameKind, GuideViews
from pyro_dsvae.inference.posteriors.views.photographs import blur, jitter_colours, reframe
from pyro_dsvae.inference.posteriors.views.static_encoder import FramesStaticEncoder, StaticEncoder
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.models.errors import check_amounts, check_count
from pyro_dsvae.models.networks.frames import EncoderRecipe


class Jitter(GuideViews):
    """Natural video: assumes that light and framing say nothing of motion, and single frames all of what stays.

    z is inferred from the clip after one random change of its colours, sharpness and framing, the same for all frames of the
    clip (`jitter_colours`, `blur`, `reframe`). So z can hardly encode complexion, clothes or light. Motion is as it was. f is
    inferred from a few random frames, each whole and by itself, and from their mean: so f can hardly encode the order of the
    frames. Where the data know recordings, the frames are of another window of the same recording, so f can hardly encode what
    happens in one of them alone. It needs no ground of one colour, unlike `Turn`.

    Source: colour jitter, blur and crops are those of Chen et al., "A Simple Framework for Contrastive Learning of Visual
    Representations", ICML 2020; one draw for all frames of a clip is that of Qian et al., "Spatiotemporal Contrastive Video
    Representation Learning", CVPR 2021. There they make pairs for a contrastive loss; here they are what z sees.

    Args:
        frames: How many frames f sees in training.
        colour: Strength of the change of colours: 0 none, 1 any hue.
        blur: Standard deviation of the blur at most, in pixels.
        crop: Share of height and width that is cut off at most.
        flip: Share of clips that z sees mirrored. Above 0, z cannot say what goes left and what goes right: take it where that
            does not matter.

    Example:
        >>> import torch
        >>> from pyro_dsvae.inference.posteriors.views import Jitter
        >>> film = torch.rand(1, 1, 3, 16, 16).expand(1, 5, -1, -1, -1)  # nothing moves
        >>> seen = Jitter().dynamic_view(film, torch.ones(1, 5, dtype=torch.bool), training=True)
        >>> bool(torch.allclose(seen, seen[:, :1].expand_as(seen), atol=1e-5)), bool(torch.allclose(seen, film))
        (True, False)
    """

    takes: ClassVar[tuple[FrameKind, ...]] = ("images",)
    z_sees: ClassVar[str] = "the clip in other light, blurred and cropped, alike in all frames"
    f_sees: ClassVar[str] = "some frames without their order, of another window of the recording where there is one"
    assumes: ClassVar[str] = "that light and framing say nothing of motion, and single frames all of what stays"

    def __init__(
        self, frames: int = 3, colour: float = 0.5, blur: float = 1.0, crop: float = 0.1, flip: float = 0.0
    ) -> None:
        check_count("frames", frames)
        check_amounts({"colour": colour, "blur": blur})
        check_amounts({"crop": crop, "flip": flip}, most=1)
        self.frames = frames
        self.colour = colour
        self.blur = blur
        self.crop = crop
        self.flip = flip

    def static_encoder(
        self, frame_shape: tuple[int, ...], feature_size: int, hidden_size: int, encoder: EncoderRecipe
    ) -> StaticEncoder:
        return FramesStaticEncoder(encoder(frame_shape, feature_size), hidden_size, self.frames)

    def dynamic_view(self, x: Tensor, observed: Tensor, training: bool) -> Tensor:
        if not training:
            return x
        changed = reframe(blur(jitter_colours(x, self.colour), self.blur), self.crop, self.flip)
        # What was not observed stays zero.
        return changed * observed.view(*observed.shape, 1, 1, 1)

    def recordings(self, train: Sequences) -> Tensor | None:
        return train.shared_recordings()
