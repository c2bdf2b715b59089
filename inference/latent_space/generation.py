"""New latents: drawn from the priors, or with f or z of given clips."""

from typing import Literal

import torch
from torch import Tensor

from pyro_dsvae.inference.latent_space.encoding import Codes
from pyro_dsvae.inference.latents import Latents
from pyro_dsvae.inference.memory import check_memory
from pyro_dsvae.inference.prediction import sample_latents
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.errors import UsageError, check_count
from pyro_dsvae.models.steps import Steps

Keep = Literal["static", "dynamic"]


def generate(
    model: DSVAE,
    count: int,
    length: int,
    keep: Keep | None = None,
    codes: Codes | None = None,
    times: Tensor | None = None,
) -> Latents:
    """Draw f (count, F) and z (count, length, D) from the priors, except for what is kept.

    The noise is that of the global generator.

    Args:
        model: p(f) p(z).
        count: The number of clips.
        length: Steps of each.
        keep: "static": f is the mean in ``codes``, z ~ p(z | f). "dynamic": z is the mean path in ``codes``, f ~ p(f), and
            steps beyond the path are drawn from p(z_{t+1:} | z_1:t, f). None: f ~ p(f), z ~ p(z | f).
        codes: Of n clips; row i uses those of clip i modulo n.
        times: (count, length) of the steps, or None for steps one unit apart.

    Raises:
        UsageError: Where there is nothing to keep, or nothing to draw.
    """
    check_count("number of clips", count)
    check_count("length", length)
    check_memory(f"a sample of {count} clips of {length} frames", count, length, *model.likelihood.frame_shape)
    if keep is None:
        return Latents(*sample_latents(model, count, Steps(length, times=times)))
    if codes is None or len(codes) == 0:
        raise UsageError(f"keep is {keep!r}, so codes of a clip are needed that has what is kept")
    rows = torch.arange(count, device=codes.f.device) % len(codes)
    if keep == "static":
        f = codes.f[rows]
        return Latents(f, model.dynamic_prior(f, Steps(length, times=times)).sample())
    if keep != "dynamic":
        raise UsageError(f"keep is {keep!r}; it is static or dynamic")
    f = model.static_prior().expand([count]).sample()
    known = codes.z.shape[1] if codes.lengths is None else codes.lengths[rows]
    known = torch.as_tensor(known, device=f.device).expand(count)
    z = codes.z.new_zeros(count, length, codes.z.shape[-1])
    for own in known.unique().tolist():
        of = (known == own).nonzero().squeeze(1)
        part = codes.z[rows[of], :own]
        if own < length:
            steps = Steps(own) if times is None else Steps(length, times=times[of])
            later = model.dynamic_prior(f[of], steps).continue_from(part, length - own).sample()
            part = torch.cat([part, later], dim=1)
        z[of] = part[:, :length]
    return Latents(f, z)
