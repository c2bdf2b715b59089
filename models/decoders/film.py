"""z_t lays out maps, f scales and shifts their channels."""

from itertools import pairwise

from torch import Tensor, nn
from torch.nn.functional import group_norm, silu

from pyro_dsvae.models.networks.frames import FrameDecoder
from pyro_dsvae.models.networks.images import ResidualBlock, check_image, cropped, smallest_map, widths
from pyro_dsvae.models.ops.precision import full_precision


class FiLM(FrameDecoder):
    """x_t = g(z_t; f): maps h_1 … h_L from z_t, and in each of them f scales and shifts every channel c as a whole:

        h_l[c] = silu((1 + a_lc(f)) norm(up_l(h_{l-1}))[c] + b_lc(f)).

    f has no places: what it does to a channel of a map it does all over it. It still chooses which channels speak, so it can
    exchange shapes, and it is not forbidden to move them. z_t is not forbidden to have colours. Without f (F = 0) the maps
    are those of z_t alone.

    A linear layer gives a map whose shorter side has 4 to 7 pixels, and transposed 4x4 convolutions double it up to the
    frame. a and b are linear in f, and zero before training up to small random weights; they are computed once for a
    sequence.

    Source: Perez et al., "FiLM: Visual Reasoning with a General Conditioning Layer", AAAI 2018.

    Args:
        static_size: F, supplied by the model.
        latent_size: D, supplied by the model.
        frame_shape: (C, H, W) of the parameters of a frame, supplied by the model.
        width: Channels of the map of half the frame.
        residual: Whether a residual block follows each doubling but the last; worth it at 64 pixels and more.

    Example:
        >>> import torch
        >>> from pyro_dsvae.models.decoders import FiLM
        >>> FiLM(4, 2, (1, 16, 16), width=4)(torch.zeros(8, 4), torch.zeros(8, 5, 2)).shape  # f, z
        torch.Size([8, 5, 1, 16, 16])
    """

    def __init__(
        self,
        static_size: int,
        latent_size: int,
        frame_shape: tuple[int, ...],
        width: int = 32,
        residual: bool = False,
    ) -> None:
        super().__init__(frame_shape)
        check_image(frame_shape, type(self).__name__, "decoder")
        self.sizes = widths(frame_shape, width)
        self.base = (self.sizes[0], *smallest_map(frame_shape))
        self.first = nn.Linear(latent_size, self.base[0] * self.base[1] * self.base[2])
        steps = list(pairwise(self.sizes))
        self.upsamplings = nn.ModuleList(nn.ConvTranspose2d(i, o, 4, stride=2, padding=1) for i, o in steps)
        self.blocks = nn.ModuleList(ResidualBlock(size) if residual else nn.Identity() for size in self.sizes[1:])
        self.last = nn.ConvTranspose2d(self.sizes[-1], frame_shape[0], 4, stride=2, padding=1)
        self.modulation = nn.Linear(static_size, 2 * sum(self.sizes)) if static_size else None

    def decode(self, f: Tensor, z: Tensor) -> Tensor:
        frames = z.shape[:-1]
        scales, shifts = self._modulations(f, frames)
        maps = self.first(z).reshape(-1, *self.base)
        maps = silu(scales[0] * group_norm(maps, 1) + shifts[0])
        for level, (upsample, block) in enumerate(zip(self.upsamplings, self.blocks, strict=True), 1):
            maps = block(silu(scales[level] * group_norm(upsample(maps), 1) + shifts[level]))
        return cropped(full_precision(self.last(maps)), self.frame_shape).reshape(*frames, *self.frame_shape)

    def _modulations(self, f: Tensor, frames: tuple[int, ...]) -> tuple[list[Tensor], list[Tensor]]:
        """1 + a_l and b_l of every map, each (N, C_l, 1, 1) for the N frames, or numbers without f."""
        if self.modulation is None:
            ones, zeros = f.new_ones(()), f.new_zeros(())
            return [ones] * len(self.sizes), [zeros] * len(self.sizes)
        both = self.modulation(f).unsqueeze(-2).expand(*frames, -1).reshape(-1, 2 * sum(self.sizes), 1, 1)
        a, b = both.chunk(2, dim=1)
        return [1 + part for part in a.split(self.sizes, dim=1)], list(b.split(self.sizes, dim=1))
