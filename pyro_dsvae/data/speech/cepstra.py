"""How far two spectra of speech are apart, as the literature of voice conversion measures it."""

import math

import torch
from torch import Tensor

ORDER = 24


def cepstra(x: Tensor, order: int = ORDER) -> Tensor:
    """c_1 to c_K (T, K) of log mel magnitudes x (T, P), such that x_p is nearly c_0 + sum_k c_k cos(pi k (p + 1/2) / P).

        c_k = 2/P sum_p x_p cos(pi k (p + 1/2) / P)

    c_0, the level, is left out.
    """
    bands = x.shape[-1]
    places = (torch.arange(bands, dtype=x.dtype) + 0.5) / bands
    waves = torch.cos(math.pi * torch.arange(1, min(order, bands - 1) + 1, dtype=x.dtype)[:, None] * places)
    return 2 / bands * x @ waves.T


def mel_cepstral_distortion(x: Tensor, y: Tensor, order: int = ORDER) -> float:
    """The mean over frames of 10 / ln 10 sqrt(2 sum_k (c_k - c'_k)^2), in decibels.

    It is the root mean square difference in decibels of two smoothed spectra, both at one level.

    Source: Kubichek, "Mel-cepstral distance measure for objective speech quality assessment", PACRIM 1993.

    Args:
        x: (T, P) natural logarithms of mel magnitudes.
        y: (T, P), of the same moments.
        order: Of the cepstra, K.

    Example:
        >>> import torch
        >>> from pyro_dsvae.data.speech.cepstra import mel_cepstral_distortion
        >>> x = torch.randn(5, 80)
        >>> round(mel_cepstral_distortion(x, x + 1.0), 6)  # louder, no other sound
        0.0
    """
    apart = (cepstra(x.double(), order) - cepstra(y.double(), order)).square().sum(-1)
    return float(10 / math.log(10) * (2 * apart).sqrt().mean())
