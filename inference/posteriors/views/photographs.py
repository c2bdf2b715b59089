"""Changes of photographed clips that are one for all frames of a clip: colour, blur, and which part is seen."""

import math

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, conv2d, grid_sample, pad

WIDEST_BLUR = 3  # pixels to either side


def jitter_colours(x: Tensor, strength: float) -> Tensor:
    r"""Images in other light: brightness, contrast, saturation and hue, one draw of each per sequence.

        y_p = b + c (g g^T + s (I - g g^T) R) (x_p - m),

    with m the mean colour of the sequence, b = m + strength * n / 2 for one standard normal n, c = exp(strength * n') and
    s = exp(2 * strength * n'') likewise, g the grey axis, and R a rotation of hues about it by an angle that is uniform within
    ``strength`` of the whole circle. Of one channel only brightness and contrast change. Of two, or of more than three, R is
    the identity: saturation scales how far each channel is from the mean of all, an alpha channel too, and hues stay.

    Args:
        x: Images, (B, T, C, H, W).
        strength: 0 for none, 1 for any hue.
    """
    batch, channels = x.shape[0], x.shape[2]
    light, contrast, saturation, hue = _drawn(4, batch, x)
    grey = torch.full((channels, channels), 1 / channels, dtype=x.dtype, device=x.device)
    colour = (torch.eye(channels, dtype=x.dtype, device=x.device) - grey).expand(batch, -1, -1)
    if channels == 3:
        angle = math.pi * strength * (torch.special.ndtr(hue) * 2 - 1)
        # The cross product with the grey axis, by which colours turn about it.
        step = torch.eye(3, dtype=x.dtype, device=x.device).roll(1, 0)
        across = (step - step.T) / math.sqrt(3)
        colour = angle.cos() * colour + angle.sin() * across
    matrix = (strength * contrast).exp() * (grey + (2 * strength * saturation).exp() * colour)
    mean = x.mean((1, 3, 4), keepdim=True)
    turned = (matrix @ (x - mean).transpose(1, 2).flatten(2)).view(batch, channels, x.shape[1], *x.shape[3:])
    return turned.transpose(1, 2) + mean + (0.5 * strength * light).view(-1, 1, 1, 1, 1)


def blur(x: Tensor, most: float) -> Tensor:
    """Images under a Gaussian blur, of a standard deviation that is uniform from 0 to ``most`` pixels, one per sequence.

    Args:
        x: Images, (B, T, C, H, W).
        most: At most 3 standard deviations or 3 pixels to either side count.
    """
    batch = x.shape[0]
    reach = min(WIDEST_BLUR, math.ceil(3 * most), *(side - 1 for side in x.shape[-2:]))
    if reach < 1:
        return x
    sd = most * torch.rand(batch, 1, dtype=x.dtype, device=x.device).clamp(min=1e-2)
    weights = (-0.5 * (torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device) / sd).square()).exp()
    weights = weights / weights.sum(1, keepdim=True)
    # A group of the convolution is a sequence.
    flat = x.flatten(1, 2).transpose(0, 1)
    for size, margin in (((batch, 1, -1, 1), (0, 0, reach, reach)), ((batch, 1, 1, -1), (reach, reach, 0, 0))):
        flat = conv2d(pad(flat, margin, mode="replicate"), weights.view(size), groups=batch)
    return flat.transpose(0, 1).reshape(x.shape)


def reframe(x: Tensor, crop: float, flip: float) -> Tensor:
    """Another part of the images, at their size, and of some sequences its mirror image: one draw per sequence.

    Args:
        x: Images, (B, T, C, H, W).
        crop: Up to this share of height and width is cut off, anywhere.
        flip: Share of the sequences that are mirrored, left for right.
    """
    batch = x.shape[0]
    cut = crop * torch.rand(batch, 2, dtype=x.dtype, device=x.device)
    # Places run from -1 to 1, so a part of width 2 (1 - c) can be moved by c.
    shift = cut * (2 * torch.rand(batch, 2, dtype=x.dtype, device=x.device) - 1)
    sign = 1 - 2 * (torch.rand(batch, dtype=x.dtype, device=x.device) < flip).to(x)
    theta = torch.zeros(batch, 2, 3, dtype=x.dtype, device=x.device)
    theta[:, 0, 0], theta[:, 1, 1] = sign * (1 - cut[:, 0]), 1 - cut[:, 1]
    theta[:, :, 2] = shift
    flat = x.flatten(1, 2)
    places = affine_grid(theta, [batch, flat.shape[1], *x.shape[-2:]], align_corners=False)
    return grid_sample(flat, places, mode="bilinear", padding_mode="border", align_corners=False).view_as(x)


def _drawn(count: int, batch: int, x: Tensor) -> list[Tensor]:
    return list(torch.randn(count, batch, 1, 1, dtype=x.dtype, device=x.device).unbind(0))
