"""f and z_t joined, then transposed convolutions: the decoder of the literature."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import group_norm, leaky_relu

from pyro_dsvae.models.networks.frames import FrameDecoder
from pyro_dsvae.models.networks.images import ResidualBlock, check_image, cropped, smallest_map, widths
from pyro_dsvae.models.ops.precision import full_precision

SLOPE = 0.2


class Joined(FrameDecoder):
    """x_t = g(f, z_t): one network of both latents. It forbids nothing: f can move things, and z_t can have colours.

    A linear layer of (f, z_t) gives a map whose shorter side has 4 to 7 pixels, and transposed 4x4 convolutions double it up
    to the frame, with leaky ReLU of slope .2. At 64 pixels it has 8, 4, 2 and 1 times ``width`` channels, as in the
    published code of S3VAE and C-DSVAE. Each map is normalised by itself, where they normalise over the batch: a frame
    must not depend on what else is decoded. What is returned has no bounds; a likelihood brings them.

    Sources: Radford et al., "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial
    Networks", ICLR 2016; Li & Mandt, "Disentangled Sequential Autoencoder", ICML 2018; Zhu et al., "S3VAE", CVPR 2020;
    Bai et al., "Contrastively Disentangled Sequential Variational Autoencoder", NeurIPS 2021.

    Args:
        static_size: F, supplied by the model.
        latent_size: D, supplied by the model.
        frame_shape: (C, H, W) of the parameters of a frame, supplied by the model.
        width: Channels of the map of half the frame.
        residual: Whether a residual block follows each doubling but the last; worth it at 64 pixels and more.

    Example:
        >>> import torch
        >>> from pyro_dsvae.models.decoders import Joined
        >>> Joined(4, 2, (3, 24, 32), width=4)(torch.zeros(8, 4), torch.zeros(8, 5, 2)).shape  # f, z
        torch.Size([8, 5, 3, 24, 32])
    """

    def __init__(
        self,
        static_size: int,
        latent_size: int,
        frame_shape: tuple[int, ...],
        width: int = 64,
        residual: bool = False,
    ) -> None:
        super().__init__(frame_shape)
        check_image(frame_shape, type(self).__name__, "decoder")
        sizes = widths(frame_shape, width)
        self.base = (sizes[0], *smallest_map(frame_shape))
        self.first = nn.Linear(static_size + latent_size, self.base[0] * self.base[1] * self.base[2])
        self.upsamplings = nn.ModuleList(nn.ConvTranspose2d(i, o, 4, stride=2, padding=1) for i, o in pairwise(sizes))
        self.blocks = nn.ModuleList(ResidualBlock(size) if residual else nn.Identity() for size in sizes[1:])
        self.last = nn.ConvTranspose2d(sizes[-1], frame_shape[0], 4, stride=2, padding=1)

    def decode(self, f: Tensor, z: Tensor) -> Tensor:
        joined = torch.cat([f.unsqueeze(-2).expand(*z.shape[:-1], -1), z], dim=-1)
        maps = leaky_relu(group_norm(self.first(joined).reshape(-1, *self.base), 1), SLOPE)
        for upsample, block in zip(self.upsamplings, self.blocks, strict=True):
            maps = block(leaky_relu(group_norm(upsample(maps), 1), SLOPE))
        frames = cropped(full_precision(self.last(maps)), self.frame_shape)
        return frames.reshape(*z.shape[:-1], *self.frame_shape)
