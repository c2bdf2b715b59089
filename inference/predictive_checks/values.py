"""The values of every discrepancy, for every clip and its replications, chunk by chunk."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pyro_dsvae.inference.estimation import Sampler
from pyro_dsvae.inference.predictive_checks.discrepancy import Discrepancy, Frames
from pyro_dsvae.inference.predictive_checks.replications import LEVELS, Level, Replications, check_levels, replicate
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.standardisation import Standardisation

# Where realised discrepancies are compared. They judge p(x | f, z), which is the same at all levels.
REALISED_AT: tuple[Level, ...] = ("frames", "population")


@dataclass(frozen=True)
class Values:
    """One discrepancy of N sequences at one level, float64; NaN where it is not defined.

    Attributes:
        observed: (1, N), or (K, N) at K draws from the guide for a realised discrepancy.
        replicated: (K, N).
        realised: Whether it is T(x, f, z).
    """

    observed: Tensor
    replicated: Tensor
    realised: bool = False


@dataclass(frozen=True)
class Failure:
    """A discrepancy that was left out, and why."""

    name: str
    reason: str


def discrepancy_values(
    sampler: Sampler,
    sequences: Sequences,
    discrepancies: Sequence[Discrepancy],
    levels: Sequence[Level] = LEVELS,
    draws: int = 20,
    seed: int = 0,
    noise: bool = True,
) -> tuple[dict[Level, dict[str, Values]], tuple[Failure, ...]]:
    """The values of all discrepancies at all levels. No replication outlives its chunk.

    Args:
        sampler: Model and guide.
        sequences: The sequences.
        discrepancies: To be computed.
        levels: As for `replicate`.
        draws: The number of replications, K.
        seed: Of all noise.
        noise: As for `predictive_checks`.

    Returns:
        From level and name to the `Values` of each discrepancy that has any, and the failures of the others.
    """
    if not noise:
        discrepancies = [d for d in discrepancies if not d.realised]
    names = [d.name for d in discrepancies]
    if len(sequences) == 0 or not names:
        raise UsageError("there is nothing to check: predictive checks need a sequence and a discrepancy")
    if len(set(names)) < len(names):
        raise UsageError(
            f"two discrepancies are called {next(n for n in names if names.count(n) > 1)!r}; give each a name of its own"
        )
    made = list(dict.fromkeys(check_levels(levels)))
    if any(d.realised for d in discrepancies) and "frames" not in made:
        # Where the latents of the observed clips stand.
        made = ["frames", *made]
    ndim, units = len(sequences.frames.shape) - 2, sampler.model.standardisation
    table = _Table(discrepancies, len(sequences), draws, ndim, noise, units)
    # What a user's own function draws shall neither depend on the global generators nor move them.
    with sampler.evaluation(seed):
        for replications in replicate(sampler, sequences, made, draws, seed):
            table.read(replications)
    return table.finished(levels)


class _Table:
    """Values of all discrepancies that have not failed, filled chunk by chunk."""

    def __init__(
        self,
        discrepancies: Sequence[Discrepancy],
        count: int,
        draws: int,
        frame_ndim: int,
        noise: bool,
        units: Standardisation | None,
    ) -> None:
        self.units = units
        self.discrepancies = list(discrepancies)
        self.frame_ndim = frame_ndim
        self.noise = noise
        self.failures: dict[str, str] = {}
        self.observed = {
            d.name: torch.full((draws if d.realised else 1, count), torch.nan).double() for d in discrepancies
        }
        self.replicated: dict[Level, dict[str, Tensor]] = {
            level: {d.name: torch.full((draws, count), torch.nan).double() for d in discrepancies} for level in LEVELS
        }
        self.known = torch.zeros(count, dtype=torch.bool)

    def read(self, made: Replications) -> None:
        """Evaluate everything on one chunk."""
        draws = slice(made.first, made.first + len(made.x))
        ndim, times = self.frame_ndim, made.steps.times
        new = Frames(made.x if self.noise else made.observed_mean, ndim, made.observed, times)
        realised = Frames(made.x, ndim, made.observed, times, made.latents, made.distribution)
        for d in self._going():
            if not d.realised or made.level in REALISED_AT:
                self._put(
                    self.replicated[made.level][d.name],
                    draws,
                    made,
                    d,
                    realised if d.realised else self._seen_by(d, new),
                )
        if made.level == "frames":
            data = made.data.expand(made.x.shape)
            seen = Frames(data, ndim, made.observed, times, made.latents, made.distribution)
            for d in self._going():
                if d.realised:
                    self._put(self.observed[d.name], draws, made, d, seen)
        if not self.known[made.positions].all():
            seen = Frames(made.data.unsqueeze(0), ndim, made.observed, times)
            for d in self._going():
                if not d.realised:
                    self._put(self.observed[d.name], slice(0, 1), made, d, self._seen_by(d, seen))
            self.known[made.positions] = True

    def _seen_by(self, d: Discrepancy, frames: Frames) -> Frames:
        """Standard deviations for what pools columns; zero where not observed, as ever."""
        if self.units is None or not d.pooled:
            return frames
        x = self.units(frames.x)
        return replace(frames, x=x if frames.observed is None else x.where(frames.observed, torch.zeros_like(x)))

    def _going(self) -> list[Discrepancy]:
        return [d for d in self.discrepancies if d.name not in self.failures]

    def _put(self, where: Tensor, draws: slice, made: Replications, d: Discrepancy, frames: Frames) -> None:
        expected = frames.x.shape[: frames.time_dim]
        try:
            values = d.function(frames)
        except Exception as error:  # whatever a user's own function raises
            self.failures[d.name] = f"it raised {type(error).__name__}: {' '.join(str(error).split())}"
            return
        if not isinstance(values, Tensor):
            self.failures[d.name] = (
                f"it returned a {type(values).__name__}, not a tensor with one number for every clip"
            )
        elif values.shape != expected:
            self.failures[d.name] = (
                f"it returned the shape {tuple(values.shape)}, not {tuple(expected)}: one number for every clip"
            )
        elif values.is_complex():
            self.failures[d.name] = "it returned complex numbers"
        else:
            where[draws, made.positions] = values.detach().double().cpu()

    def finished(self, levels: Sequence[Level]) -> tuple[dict[Level, dict[str, Values]], tuple[Failure, ...]]:
        """What was found. A sequence may be undefined, but then in the data and in every replication."""
        for d in self._going():
            at = [level for level in levels if not d.realised or level in REALISED_AT]
            found = torch.cat([self.observed[d.name], *(self.replicated[level][d.name] for level in at)])
            undefined = found.isnan()
            if found.isinf().any():
                self.failures[d.name] = f"it is infinite for {int(found.isinf().any(0).sum())} clips"
            elif undefined.all():
                self.failures[d.name] = "it is not a number for any clip"
            elif (undefined.any(0) != undefined.all(0)).any():
                some = int((undefined.any(0) & ~undefined.all(0)).sum())
                self.failures[d.name] = (
                    f"for {some} clips it is a number of some replications, or of the data, but not of all"
                )
        kept: dict[Level, dict[str, Values]] = {
            level: {
                d.name: Values(self.observed[d.name], self.replicated[level][d.name], d.realised)
                for d in self._going()
                if not d.realised or level in REALISED_AT
            }
            for level in dict.fromkeys(levels)
        }
        return kept, tuple(Failure(name, reason) for name, reason in self.failures.items())
