"""How a fit proceeds: batches, learning rates, KL weights, and when it ends."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from pyro_dsvae.inference.training.objective import KLWeights
from pyro_dsvae.inference.training.recombination import StaticView
from pyro_dsvae.models.errors import UsageError, check_count, check_positive

Optimizer = Literal["Muon", "Adam"]

DEFAULT_STEPS = 900
WARM_UP = 40
FREE_UNTIL = 0.4
GOLDEN_RATIO = (1 + math.sqrt(5)) / 2


class Rates(NamedTuple):
    """Learning rates of one step.

    Attributes:
        networks: Of everything but the priors.
        static_prior: Of p(f).
        dynamic_prior: Of p(z_1:T).
    """

    networks: float
    static_prior: float
    dynamic_prior: float


@dataclass(frozen=True)
class Optimisation:
    """How to fit: batches, learning rates, KL weights, evaluations.

    Args:
        batch_size: sequences per optimiser step
        learning_rate: peak rate of the networks: linear warm-up over 40 steps, then half a cosine down to 0
        prior_start: share of the fit, from 0 to below 1, after which the static prior learns and both priors follow a half
            cosine of their own
        static_prior_rate: rate of the static prior after that, as a multiple of learning_rate, falling to 0
        dynamic_prior_rate: rate of the dynamic prior before that, as a multiple of the networks' rate
        prior_refit_steps: optimiser steps that fit the static prior alone to the final posterior, at most one for each step of
            the fit; 0 for none
        static_start: share of the fit, from 0 to below 1, in which z leads, where a guide has views: the networks from a
            clip to f learn in few of the steps at first, and then in ever more; it ends sooner where z carries more than
            what free_dynamic lets it, and f never waits where it is inferred from another window of a recording
        recombination_start: share of the fit, from 0 to 1 for never, after which a guide with views infers f from recombined
            clips, too
        max_grad_norm: gradients are scaled down to this norm, in nats per sequence
        kl_static: weight of KL(f) at the start of the fit; it moves to 1
        kl_dynamic: weight of KL(z) at the start of the fit; it moves to 1
        kl_warmup: share of the fit, from 0 to 1, over which both KL weights move to 1
        evaluations: number of times that the held-out ELBO is estimated during the fit
        checkpoint_seconds: seconds between two checkpoints, at most
        free_dynamic: nats per frame that z may carry at no cost in the first two fifths of a fit. By default what the guide
            views ask for: 8 with turn, 0 with all others
        optimizer: Muon, by which weights of layers learn, and all else by Adam; or Adam for all, which takes more steps
    """

    batch_size: int = 32
    learning_rate: float = 3e-3
    prior_start: float = 0.7
    static_prior_rate: float = 3.0
    dynamic_prior_rate: float = 0.3
    prior_refit_steps: int = 4_000
    static_start: float = 0.4
    recombination_start: float = 0.5
    max_grad_norm: float = 200.0
    kl_static: float = 1.0
    kl_dynamic: float = 1.0
    kl_warmup: float = 0.5
    evaluations: int = 6
    checkpoint_seconds: float = 20.0
    free_dynamic: float | None = None
    optimizer: Optimizer = "Muon"

    def __post_init__(self) -> None:
        for name in (
            "learning_rate",
            "static_prior_rate",
            "dynamic_prior_rate",
            "max_grad_norm",
            "kl_static",
            "kl_dynamic",
        ):
            check_positive(name, getattr(self, name))
        if self.optimizer not in get_args(Optimizer):
            raise UsageError(f"optimizer is {self.optimizer!r}; it is one of {', '.join(get_args(Optimizer))}")
        if not 0 <= (self.free_dynamic or 0) < math.inf:
            raise UsageError(
                f"free_dynamic is {self.free_dynamic}; it is a finite number of nats per frame, at least 0"
            )
        for name in ("batch_size", "evaluations"):
            check_count(name, getattr(self, name))
        if not 0 <= self.checkpoint_seconds < math.inf:
            raise UsageError(
                f"checkpoint_seconds is {self.checkpoint_seconds}; it is a finite number of seconds, at least 0"
            )
        if not 0 <= self.kl_warmup <= 1:
            raise UsageError(f"kl_warmup is {self.kl_warmup}; it is a share of the fit, between 0 and 1")
        if not 0 <= self.prior_start < 1:
            raise UsageError(f"prior_start is {self.prior_start}; it is a share of the fit, at least 0 and less than 1")
        if not 0 <= self.static_start < 1:
            raise UsageError(
                f"static_start is {self.static_start}; it is a share of the fit, at least 0 and less than 1"
            )
        if self.prior_refit_steps < 0:
            raise UsageError(f"prior_refit_steps is {self.prior_refit_steps}; it is a number of steps, 0 for none")
        if not 0 <= self.recombination_start <= 1:
            raise UsageError(
                f"recombination_start is {self.recombination_start}; it is a share of the fit, from 0 to 1 for never"
            )

    def weights(self, progress: float) -> KLWeights:
        """The KL weights when ``progress`` (0 to 1) of the fit is done: start^(1 - progress / kl_warmup), then 1.

        The interpolation is geometric, because a nat of a latent is worth anything from 1 to 10^4 nats of reconstruction.
        """
        left = max(0.0, 1 - progress / self.kl_warmup) if self.kl_warmup else 0.0
        free = (self.free_dynamic or 0.0) if progress < FREE_UNTIL else 0.0
        return KLWeights(self.kl_static**left, self.kl_dynamic**left, free)

    def static_view(self, step: int, progress: float, carried: float, other_windows: bool = False) -> StaticView:
        """What a guide with views infers f from, and whether it learns to.

        The networks from a clip to f start late and slowly. That settles a race: a pose that stays the same within a clip, such
        as which way a figure faces, can be carried by either latent, and the one that learns it first keeps it. They learn in

            max(s², (c / free_dynamic - 1)²)

        of the steps, all at most, spread evenly by multiples of the golden ratio; s is the share of ``static_start`` that has
        passed, and c what z carries. Once z pays for what it carries, it leads; were f to wait longer, z would learn shapes
        of what stays, too. Where f is inferred from other windows it cannot take what moves, so its networks learn from the
        start, or z would take what stays before them.

        Args:
            step: Steps before this one.
            progress: Share of the fit that is done.
            carried: c, nats per frame.
            other_windows: Whether batches have other windows of their recordings, from which f is inferred.
        """
        started = progress / self.static_start if progress < self.static_start else 1.0
        ahead = max(0.0, carried / self.free_dynamic - 1) if self.free_dynamic else 0.0
        learns = other_windows or step * GOLDEN_RATIO % 1 < max(started, ahead) ** 2
        return StaticView(progress >= self.recombination_start, other_windows, learns)

    def rates(self, step: int, progress: float) -> Rates:
        """The learning rates of step ``step``.

        The static prior starts to learn late, at ``prior_start``. A prior that follows the guide from the start removes
        the KL from a fixed prior, which is what makes the model use f early: such fits stall
        (`benchmarks/results/separation.md`). Once it learns, both priors are fitted to a posterior that changes less
        and less. This is the second stage of Dai & Wipf ("Diagnosing and Enhancing VAE Models", ICLR 2019), but within
        one fit and one ELBO. The rate of the static prior is higher than that of the networks, because nothing else
        depends on it: a mixture and a flow both come closer to a stationary posterior in as many steps.

        The dynamic prior learns from the start, but more slowly than the networks. A prior that becomes sharp while the
        posterior still changes draws the posterior along: at the full rate the KL of a flow rises to 10^4 nats in the
        middle of a fit, and reconstructions fail.

        Args:
            step: From 0.
            progress: Share of the fit that is done, 0 to 1.
        """
        networks = self.learning_rate * min(1, (step + 1) / WARM_UP) * half_cosine(progress)
        late = (progress - self.prior_start) / (1 - self.prior_start)
        prior = self.learning_rate * half_cosine(late) if late >= 0 else 0.0
        return Rates(networks, self.static_prior_rate * prior, max(self.dynamic_prior_rate * networks, prior))


@dataclass(frozen=True)
class Budget:
    """A fit ends after ``steps`` optimiser steps or ``minutes`` minutes, whichever comes first."""

    steps: int | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        if self.steps is not None:
            check_count("steps", self.steps)
        if self.minutes is not None:
            check_positive("minutes", self.minutes)

    def progress(self, step: int, seconds: float) -> float:
        """Share of the budget used, 1 or more at the end."""
        by_steps = 0.0 if self.steps is None else step / self.steps
        by_time = 0.0 if self.minutes is None else seconds / (60 * self.minutes)
        return max(by_steps, by_time)

    def kept(self, before: "Budget", step: int, seconds: float) -> "Budget":
        """The budget that repeats a run which was fitted with ``before`` and goes on with this one after ``step`` steps.

        One that is used up already adds nothing to a finished run. It ends a stopped one at the step it has come to.
        """
        if self.progress(step, seconds) < 1:
            return self
        return before if before.progress(step, seconds) >= 1 else Budget(step)

    def __str__(self) -> str:
        """In words: 300 steps; 1 minute; 300 steps or 5 minutes."""
        steps = [] if self.steps is None else [f"{self.steps:,} step{'s' * (self.steps != 1)}"]
        minutes = [] if self.minutes is None else [f"{self.minutes:g} minute{'s' * (self.minutes != 1)}"]
        return " or ".join(steps + minutes)


def half_cosine(done: float, whole: float = 1) -> float:
    """From 1 where nothing is done to 0 where the whole is, and beyond."""
    return 0.5 * (1 + math.cos(math.pi * min(done, whole) / whole))


class Carried:
    """Nats per frame that z carried in the last whole window of steps, at first none.

    What steps go by is that of whole windows, so a fit that was stopped within one goes on to the same bits.

    Args:
        window: Steps of a window.
        frames: Frames of a sequence, on average.

    Attributes:
        nats: Per frame.

    Example:
        >>> from pyro_dsvae.inference.training.schedule import Carried
        >>> carried = Carried(window=2, frames=10)
        >>> carried.add([80.0])
        >>> before = carried.nats
        >>> carried.add([100.0])
        >>> before, carried.nats
        (0.0, 9.0)
    """

    def __init__(self, window: int, frames: float) -> None:
        self.window, self.frames = window, frames
        self.nats, self.total, self.count = 0.0, 0.0, 0

    def add(self, kl: Iterable[float]) -> None:
        """Add the KL of z of the next steps, in nats per sequence."""
        for nats in kl:
            self.total, self.count = self.total + nats, self.count + 1
            if self.count == self.window:
                self.nats, self.total, self.count = self.total / self.window / self.frames, 0.0, 0

    def state(self) -> list[float]:
        """What `restore` takes."""
        return [self.nats, self.total, self.count]

    def restore(self, state: Iterable[float]) -> None:
        """Go on from ``state``."""
        self.nats, self.total, count = state
        self.count = int(count)
