"""Swaps of images without labels: whether the mean frame goes with f, and the motion field with z."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from pyro_dsvae.data.dataset import SequenceData
from pyro_dsvae.inference.estimation import Work, evaluation, paths_at_once
from pyro_dsvae.inference.latents import Latents
from pyro_dsvae.inference.prediction import decode
from pyro_dsvae.judges.swap_scores import partners
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.steps import Steps

WINDOW = 5  # pixels of a side, in which motion is taken for one displacement
STIFFNESS = 0.01  # of the mean square of the gradients of a clip, below which a place is taken for still


@dataclass(frozen=True)
class Shares:
    """How far something of a swapped clip is that of the clip that gave f, 0 to 1; 1 less that is how far that of z's.

    Attributes:
        swapped: Of clips with f of one and z of another.
        control: Of a third clip in place of the swapped one: a half, but for chance.
    """

    swapped: float
    control: float


@dataclass(frozen=True)
class PixelSwaps:
    r"""What swaps do to pixels.

    s = decode(f_a, z_b), with both latents posterior means. Of the clips a and b the model's own reconstructions are taken,
    which are as sharp as s. For the mean frame, the average over time, and for the motion field, the displacement of every
    pixel from each frame to the next (`motion_field`), with d the squared distance and sums over pairs,

        share of f = sum d(s, b) / (sum d(s, a) + sum d(s, b)).

    It is 1 where s has it from a, the giver of f, and 0 where it has it from b, the giver of z. So a change of f changes the
    mean frame and leaves the motion where the first is near 1 and the second near 0; a change of z then does the reverse. A
    model that ignores f has 0 in both, and one that ignores z 1. Where z says at which place something is, the mean frame shows
    it, and its share is lower.

    Attributes:
        mean_frame: Should be near 1.
        motion: Should be near 0. NaN where nothing moves.
        pairs: How many swaps.
    """

    mean_frame: Shares
    motion: Shares
    pairs: int


def measure_pixel_swaps(
    model: DSVAE,
    latents: Latents,
    data: SequenceData,
    device: torch.device,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> PixelSwaps | None:
    """Swap every clip with the partner that ``seed`` gives it, and compare pixels.

    Of vectors, of a model without f, and of fewer than three clips there is nothing to say: None.

    Args:
        model: p(x | f, z) of images.
        latents: Posterior means of ``data``.
        data: The clips of one split.
        device: Of the model.
        seed: Of the partners.
        progress: Called with the share of the work that is done.
    """
    count = len(data)
    if len(data.frame_shape) != 3 or not model.static_prior.static_size or count < 3:
        return None
    giver = partners(count, seed)
    # One cycle through all clips: the partner's partner is a third clip.
    third = giver[giver]
    sums = torch.zeros(2, 2, 2, dtype=torch.float64)
    work = Work(progress, count)
    f, z = latents.f.to(device), latents.z.to(device)
    ends = None if data.lengths is None else data.lengths.to(device)
    with evaluation(model, torch.nn.Identity(), seed, device):
        for b in torch.arange(count).split(max(1, paths_at_once(data.frames.shape[1:]) // 4)):
            a, c = giver[b], third[b]
            lengths = None if ends is None else ends[torch.stack([a, b, c])].amin(0)
            of_a, of_b, other, swapped = (decode(model, f[i], z[j]) for i, j in ((a, a), (b, b), (c, c), (a, b)))
            sums += torch.stack([distances(clip, of_a, of_b, lengths).cpu() for clip in (swapped, other)])
            work.did(len(b))
    (mean, motion), (mean_control, motion_control) = (_shares(kind) for kind in sums)
    return PixelSwaps(Shares(mean, mean_control), Shares(motion, motion_control), count)


def _shares(sums: Tensor) -> list[float]:
    """Of the mean frame and of the motion field, from their summed distances to a and to b, (2, 2)."""
    return (sums[:, 1] / sums.sum(1)).tolist()


def distances(clip: Tensor, of_a: Tensor, of_b: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Squared distances (2, 2), summed over clips (B, T, C, H, W): of mean frame and motion field, to those of a and of b."""
    valid = Steps(clip.shape[1], lengths).valid
    steps = clip.new_ones(clip.shape[:2]) if valid is None else valid.to(clip)
    frames = [(x * _wide(steps)).sum(1) / steps.sum(1).view(-1, 1, 1, 1) for x in (clip, of_a, of_b)]
    fields = [motion_field(x, steps[:, 1:]) for x in (clip, of_a, of_b)]
    return torch.stack([_squares(frames), _squares(fields)])


def _squares(values: list[Tensor]) -> Tensor:
    of_clip, of_a, of_b = (value.double() for value in values)
    return torch.stack([(of_clip - other).square().sum() for other in (of_a, of_b)])


def _wide(steps: Tensor) -> Tensor:
    return steps[..., None, None, None]


def motion_field(x: Tensor, exists: Tensor | None = None) -> Tensor:
    r"""Displacements (B, T-1, 2, H, W), along x and y in pixels, of what is seen, from each frame to the next.

    In a window around each pixel, v minimises sum (v . grad g + dg/dt)^2 + k |v|^2 for the grey g, the mean of the channels,
    after a mean over 3 x 3 pixels; k is 0.01 of the mean square of the clip's gradients. So v does not change where contrasts
    are scaled or turned over. It is near zero where nothing can be seen to move, and too small for steps of many pixels.

    Source: Lucas & Kanade, "An Iterative Image Registration Technique", IJCAI 1981, without iterations.

    Args:
        x: Images, (B, T, C, H, W).
        exists: (B, T-1), 1 for steps from one frame of a clip to another, 0 for others, which have no motion; None: all exist.

    Example:
        >>> import torch
        >>> from pyro_dsvae.metrics.pixel_swaps import motion_field
        >>> place = torch.arange(32.0)
        >>> waves = [torch.sin(0.4 * (place - 0.5 * t)) for t in range(4)]  # to the right, half a pixel a frame
        >>> film = torch.stack(waves).view(1, 4, 1, 1, 32).expand(-1, -1, -1, 32, -1)
        >>> round(motion_field(film)[0, :, 0, 8:24, 8:24].mean().item(), 1)
        0.5
    """
    grey = avg_pool2d(x.mean(2), 3, 1, 1, count_include_pad=False)
    between, change = (grey[:, 1:] + grey[:, :-1]) / 2, grey[:, 1:] - grey[:, :-1]
    down, along = torch.gradient(between, dim=(-2, -1))

    def near(values: Tensor) -> Tensor:
        return avg_pool2d(values, WINDOW, 1, WINDOW // 2, count_include_pad=False)

    there = torch.ones_like(between[..., :1, :1]) if exists is None else exists[..., None, None]
    gradients = (down.square() + along.square()).mean((2, 3), keepdim=True)
    stiff = STIFFNESS * (there * gradients).sum(1, keepdim=True) / there.sum(1, keepdim=True)
    xx, yy, xy = near(along.square()) + stiff, near(down.square()) + stiff, near(along * down)
    xt, yt = near(along * change), near(down * change)
    # Of a clip without contrasts all are zero.
    det = (xx * yy - xy.square()).clamp(min=torch.finfo(x.dtype).tiny)
    return torch.stack([(xy * yt - yy * xt) / det, (xy * xt - xx * yt) / det], dim=2) * there.unsqueeze(2)
