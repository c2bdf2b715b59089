"""One class out of several: a state, a kind, a zone."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints
from torch.nn.functional import pad

from pyro_dsvae.models.distributions.point import point
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.likelihoods.likelihood import Likelihood


class Categorical(Likelihood):
    """log P(x | f, z) = sum over values of log softmax(d)_x, with x in {0, …, K - 1} and d the K numbers that the decoder says.

    Classes are numbers without order. Bytes are not divided by 255.

    Args:
        frame_shape: (C, H, W) or (P,), supplied by the model.
        classes: K, one for all values, or a list with one for each channel of an image or each value of a vector.

    Example:
        >>> import torch
        >>> from pyro_dsvae.models.likelihoods import Categorical
        >>> likelihood = Categorical(frame_shape=(2,), classes=[3, 5])
        >>> likelihood.parameter_shape
        (8,)
        >>> likelihood(torch.zeros(4, 8)).mode.shape
        torch.Size([4, 2])
    """

    bytes_per_unit: ClassVar[int] = 1
    nominal = True

    def __init__(self, frame_shape: tuple[int, ...], classes: int | list[int] = 2) -> None:
        super().__init__(frame_shape)
        each = (classes,) * frame_shape[0] if isinstance(classes, int) else tuple(classes)
        if len(each) != frame_shape[0]:
            raise UsageError(
                f"Categorical has {len(each)} numbers of classes for {frame_shape[0]} channels; give one for each, or one",
                "likelihood",
            )
        if min(each) < 2:
            raise UsageError(f"Categorical needs at least 2 classes, not {min(each)}", "likelihood")
        self.parameters_per_value = each

    def forward(self, decoded: Tensor) -> TorchDistribution:
        return CategoricalDistribution(_padded(decoded, self.channel_parameters, dim=-len(self.frame_shape)))

    def check(self, frames: Tensor) -> None:
        # 256 classes have no number of their own among bytes.
        whole = frames if frames.is_floating_point() else frames.long()
        for values, classes in zip(whole.unbind(2), self.channel_parameters, strict=True):
            wrong = values[(values < 0) | (values >= classes) | (values % 1 != 0)]
            if len(wrong):
                raise UsageError(
                    f"the Categorical likelihood with {classes} classes needs numbers from 0 to {classes - 1}, but the frames "
                    f"hold {wrong[0].item():.4g}; number the classes from 0, or say how many there are",
                    "likelihood",
                )


class CategoricalDistribution(TorchDistribution):
    """P(x = k) = softmax(logits)_k for k in {0, …, K - 1}, with x a floating number as all values of frames are.

    Args:
        logits: ``(*B, K)``; minus infinity for a class that does not exist.

    Attributes:
        log_p: ``(*B, K)``, normalised.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "log_p": constraints.independent(constraints.real, 1)
    }

    def __init__(self, logits: Tensor) -> None:
        self.log_p = logits.log_softmax(-1)
        super().__init__(logits.shape[:-1], torch.Size(), validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        """{0, …, K - 1}."""
        return constraints.integer_interval(0, self.log_p.shape[-1] - 1)

    def expand(self, batch_shape: torch.Size, _instance: object = None) -> "CategoricalDistribution":
        return CategoricalDistribution(self.log_p.expand(*batch_shape, -1))

    @property
    def mode(self) -> Tensor:
        """The most probable class."""
        return self.log_p.argmax(-1).to(self.log_p.dtype)

    @property
    def mean(self) -> Tensor:
        """The mean of the classes' numbers. It says something of two classes, and of classes with an order."""
        return (self.log_p.exp() * self._numbers).sum(-1)

    @property
    def variance(self) -> Tensor:
        """That of the classes' numbers."""
        return (self.log_p.exp() * (self._numbers - self.mean.unsqueeze(-1)).square()).sum(-1)

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        return torch.distributions.Categorical(logits=self.log_p).sample(torch.Size(sample_shape)).to(self.log_p.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        number = value.long().unsqueeze(-1)
        batch = torch.broadcast_shapes(number.shape[:-1], self.log_p.shape[:-1])
        return self.log_p.expand(*batch, -1).gather(-1, number.expand(*batch, 1)).squeeze(-1)

    @property
    def _numbers(self) -> Tensor:
        return torch.arange(self.log_p.shape[-1], dtype=self.log_p.dtype, device=self.log_p.device)


@point.register
def _(p: CategoricalDistribution) -> Tensor:
    return p.mode


def _padded(decoded: Tensor, classes: Sequence[int], dim: int) -> Tensor:
    """Logits with the classes of every channel on a last axis; classes that a channel has not are minus infinity."""
    most = max(classes)
    each = [part.movedim(dim, -1) for part in decoded.split(list(classes), dim)]
    whole = [pad(part, (0, most - part.shape[-1]), value=-torch.inf) for part in each]
    return torch.stack(whole, dim - 1)
