"""z sees another voice, f sees some frames without their order: views of spectra of speech."""

from typing import ClassVar

import torch
from torch import Tensor

from pyro_dsvae.inference.posteriors.views.guide_views import FrameKind, GuideViews
from pyro_dsvae.inference.posteriors.views.static_encoder import FramesStaticEncoder, StaticEncoder
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.models.errors import check_amounts, check_count
from pyro_dsvae.models.networks.frames import EncoderRecipe

WAVES = 5


class VocalTract(GuideViews):
    """Spectra of speech: assumes that columns are frequencies, that frames tell the voice, and that a recording has one.

    z is inferred from the spectra of another voice: with frequencies p in 0..1 from the lowest column to the highest,

        y_t(p) = x_t(p^exp(w)) + g + s (2p - 1) + sum_k c_k cos(pi k p),     k = 2 to 6,
        w ~ N(0, warp²), g ~ N(0, gain²), s ~ N(0, tilt²), c_k ~ N(0, shape²),

    one draw for all frames of a sequence, linear between columns. A shorter vocal tract moves resonances up, as w does; g is
    loudness, s is how bright a voice is, and c is what else is always loud or soft in it. So z can hardly encode them.

    f is inferred from a few random frames, each by itself, and from their mean. So f can hardly encode the order of sounds.
    Where the data know recordings, these frames are of another window of the same recording, which says something else. So
    f can hardly encode which sounds there are, either. The voice is what both windows have in common.

    Source: a random warp of frequencies, one for an utterance, is that of Jaitly & Hinton, "Vocal tract length perturbation
    improves speech recognition", ICML workshop on deep learning for audio 2013; a random shape of the spectrum that of
    Choi et al., "Neural analysis and synthesis: reconstructing speech from self-supervised representations", NeurIPS 2021.
    One latent for all segments of an utterance is that of Hsu, Zhang & Glass, "Unsupervised learning of disentangled and
    interpretable representations from sequential data", NeurIPS 2017.

    Args:
        frames: How many frames f sees in training.
        warp: Standard deviation of w; with 0.15 two of three voices have the middle moved by 5 % of all columns or less.
        gain: Standard deviation of g, in standard deviations of a column.
        tilt: Standard deviation of s, likewise.
        shape: Standard deviation of each c_k, likewise.

    Example:
        >>> import torch
        >>> from pyro_dsvae.inference.posteriors.views import VocalTract
        >>> x = torch.zeros(1, 6, 40)
        >>> x[..., 12] = 1.0  # a resonance, the same in six frames
        >>> seen = VocalTract(gain=0.0, tilt=0.0, shape=0.0).dynamic_view(x, torch.ones(1, 6, dtype=torch.bool), training=True)
        >>> bool((seen == seen[:, :1]).all()), bool(torch.equal(seen, x))
        (True, False)
    """

    takes: ClassVar[tuple[FrameKind, ...]] = ("vectors",)
    z_sees: ClassVar[str] = (
        "the speech in another voice, alike in all frames: frequencies warped, gain, tilt and shape changed"
    )
    f_sees: ClassVar[str] = "some frames without their order, of another window of the recording where there is one"
    assumes: ClassVar[str] = "that columns are frequencies, that frames tell the voice, and that a recording has one"

    def __init__(
        self, frames: int = 8, warp: float = 0.15, gain: float = 0.5, tilt: float = 0.5, shape: float = 0.25
    ) -> None:
        check_count("frames", frames)
        check_amounts({"warp": warp, "gain": gain, "tilt": tilt, "shape": shape})
        self.frames = frames
        self.warp = warp
        self.gain = gain
        self.tilt = tilt
        self.shape = shape

    def static_encoder(
        self, frame_shape: tuple[int, ...], feature_size: int, hidden_size: int, encoder: EncoderRecipe
    ) -> StaticEncoder:
        return FramesStaticEncoder(encoder(frame_shape, feature_size), hidden_size, self.frames)

    def dynamic_view(self, x: Tensor, observed: Tensor, training: bool) -> Tensor:
        if not training:
            return x
        w, g, s = torch.randn(3, len(x), 1, dtype=x.dtype, device=x.device)
        places = torch.linspace(0, 1, x.shape[-1], dtype=x.dtype, device=x.device)
        changed = interpolated(x, places ** (self.warp * w).exp())
        waves = torch.cos(torch.pi * torch.arange(2, 2 + WAVES, dtype=x.dtype, device=x.device)[:, None] * places)
        c = torch.randn(len(x), WAVES, dtype=x.dtype, device=x.device)
        changed = changed + (self.gain * g + self.tilt * s * (2 * places - 1) + self.shape * c @ waves).unsqueeze(1)
        # What was not observed stays zero.
        return changed * observed.unsqueeze(-1)

    def recordings(self, train: Sequences) -> Tensor | None:
        return train.shared_recordings()


def interpolated(x: Tensor, places: Tensor) -> Tensor:
    """The values of x (B, T, P) at ``places`` (B, P) in 0..1 from its first column to its last, linear between columns."""
    last = x.shape[-1] - 1
    at = (places * last).clamp(0, last)
    below = at.floor().long().clamp(max=max(0, last - 1))
    share = (at - below).unsqueeze(1)
    low, high = (x.gather(-1, i.unsqueeze(1).expand_as(x)) for i in (below, (below + 1).clamp(max=last)))
    return low + share * (high - low)
