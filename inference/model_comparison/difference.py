"""The difference of two candidates, its errors, and its verdict in words."""

import math
from dataclasses import dataclass, replace
from typing import Literal

Verdict = Literal["better", "worse", "cannot tell"]
Interval = tuple[float, float]

NATS = "nats per sequence"

# Above this share of sequences with k-hat above .7 the mean evidence is a loose bound, not an estimate.
LOOSE = 0.1


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The mean log evidence of ``first`` minus that of ``second``, in nats per sequence, with its errors and its verdict.

    It may be the difference of another value of which more is better, in its ``unit``.

    Attributes:
        first: Name of a candidate.
        second: Name of the other.
        mean: The difference.
        data_error: Standard error over sequences, paired, for these fits.
        seed_error: Standard error by the seeds of both; None where one of them has one seed.
        monte_carlo_error: Standard error by finite draws. It is part of ``data_error``, which is never taken to be smaller.
        bias: By how much the mean would grow if the bias of finite draws were removed from each candidate.
        standard_error: Of everything that ``interval`` covers.
        degrees: Degrees of freedom of ``standard_error``.
        interval: For the candidates, whatever the seeds; for these fits where there is no ``seed_error``.
        fits_interval: For these fits: other sequences, the same seeds.
        confidence: With which all intervals of the comparison hold at once.
        pairs: The number of intervals.
        unreliable: Shares of sequences with k-hat above .7, of ``first`` and ``second``; None where not known.
        unit: Of the values, in words.
    """

    first: str
    second: str
    mean: float
    data_error: float
    seed_error: float | None
    monte_carlo_error: float
    bias: float
    standard_error: float
    degrees: float
    interval: Interval
    fits_interval: Interval
    confidence: float
    pairs: int
    unreliable: tuple[float | None, float | None] = (None, None)
    unit: str = NATS

    @property
    def verdict(self) -> Verdict:
        """Whether ``first`` is better or worse than ``second``, where the whole interval says so."""
        return _verdict(self.interval)

    @property
    def of_fits(self) -> bool:
        """Whether the verdict is about two fits only: with one seed, the result of another seed is unknown."""
        return self.seed_error is None

    @property
    def loose(self) -> bool:
        """Whether the evidence of one of the two is a loose bound, k-hat being above .7 for many sequences."""
        return any(share is not None and share > LOOSE for share in self.unreliable)

    @property
    def sentence(self) -> str:
        """The verdict in plain language, with its interval."""
        better = self if self.mean >= 0 else self.reversed()
        mean, low, high = _numbers(better.mean, better.interval)
        joint = "joint " if self.pairs > 1 else ""
        interval = f"{joint}{100 * self.confidence:g} % interval {low} to {high}"
        conditions = ["by this bound"] * self.loose + ["for these two fits"] * self.of_fits
        start = "".join(f"{condition}, " for condition in conditions)
        if better.verdict == "better":
            return f"{start}{better.first} is better than {better.second} by {mean} {self.unit} ({interval})"
        text = f"{start}cannot tell {better.first} from {better.second}: difference {mean} {self.unit}, {interval}"
        if _verdict(self.fits_interval) != "cannot tell":
            _, low, high = _numbers(better.mean, better.fits_interval)
            text += f"; these very fits do differ ({low} to {high}), so more seeds may tell"
        return text

    def reversed(self) -> "Difference":
        """``second`` minus ``first``."""
        return replace(
            self,
            first=self.second,
            second=self.first,
            mean=0.0 - self.mean,
            bias=0.0 - self.bias,
            interval=_negated(self.interval),
            fits_interval=_negated(self.fits_interval),
            unreliable=self.unreliable[::-1],
        )


def _numbers(mean: float, interval: Interval) -> list[str]:
    """Mean and interval with two digits of what is uncertain; more where an end would be shown as zero."""
    half = (interval[1] - interval[0]) / 2
    smallest = min(half / 10, *(abs(end) for end in interval))
    decimals = min(max(-math.floor(math.log10(smallest)), 0), 6) if smallest > 0 else 1
    return [f"{round(value, decimals) + 0.0:,.{decimals}f}" for value in (mean, *interval)]


def _verdict(interval: Interval) -> Verdict:
    return "better" if interval[0] > 0 else "worse" if interval[1] < 0 else "cannot tell"


def _negated(interval: Interval) -> Interval:
    return 0.0 - interval[1], 0.0 - interval[0]
