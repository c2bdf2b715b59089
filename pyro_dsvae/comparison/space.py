"""What is searched over: values that are named, and ranges."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyro_dsvae.comparison.candidates import Candidate, check_keys, config_with, labels_of, written_values
from pyro_dsvae.configuration.spellings import modern_key
from pyro_dsvae.models.errors import UsageError

LOGARITHMIC = 10  # ranges of positive numbers whose ends are this far apart, as a ratio, are even on a log scale
DIGITS = 3  # that count of a number from a range


@dataclass(frozen=True)
class Range:
    """All numbers from one to another, both included; whole ones where both are.

    Written LOW..HIGH, such as 4..64 or 1e-4..1e-2. Positive ones that are a factor of 10 or more apart are searched on a log
    scale.
    """

    low: float
    high: float
    whole: bool

    @property
    def logarithmic(self) -> bool:
        return self.low > 0 and self.high >= LOGARITHMIC * self.low

    def value(self, drawn: float) -> float:
        """What a fit gets: a whole number, or one of three digits, so that it can be read and typed."""
        return int(drawn) if self.whole else min(max(float(f"{drawn:.{DIGITS}g}"), self.low), self.high)


def range_of(key: str, values: Sequence[Any]) -> Range | None:
    """The range that stands in place of the values of an option: ``["4..64"]``. None where there is none.

    Raises:
        UsageError: For one that is empty, is not of numbers, or has values beside it.
    """
    number = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?"
    # Two points are part of a path, too.
    text = next((v for v in values if isinstance(v, str) and ".." in v and not {"/", "\\"} & set(v)), None)
    if text is None:
        return None
    found = re.fullmatch(rf"({number}?)\.\.({number})", text, re.IGNORECASE)
    if found is None or len(values) > 1:
        wrong = "is no range" if found is None else f"stands beside {', '.join(str(v) for v in values if v != text)}"
        raise UsageError(
            f"--vary {key}: {text} {wrong}; a range is two numbers LOW..HIGH and stands alone, such as latent_size=4..64, and "
            "values have commas between them, A,B,C"
        )
    low, high = float(found[1]), float(found[2])
    if not low < high:
        raise UsageError(f"{values[0]} holds no number; a range is written LOW..HIGH")
    return Range(low, high, all(re.fullmatch(r"[+-]?\d+", end) for end in found.groups()))


class Space:
    """The options that are searched over, and what each may be.

    Args:
        base: The options that all have in common, as config.yaml has them.
        vary: Option of `fit` -> values, or one text LOW..HIGH.

    Attributes:
        written: ``vary`` as config.yaml has it: parts complete.

    Raises:
        UsageError: For an option or value that `fit` does not take.
    """

    def __init__(self, base: Mapping[str, Any], vary: Mapping[str, Sequence[Any]]) -> None:
        self.base = base
        self.vary = {modern_key(key): list(values) for key, values in vary.items()}
        check_keys(self.vary)
        self.ranges = {key: each for key, values in self.vary.items() if (each := range_of(key, values)) is not None}
        self.named: dict[str, dict[str, Any]] = {}
        self.written: dict[str, list[Any]] = {}
        for key, values in self.vary.items():
            self.written[key] = values
            if key not in self.ranges:
                part = key.partition(".")[0]
                above = {part: self.vary[part][0]} if part != key and part in self.vary else {}
                self.written[key] = written_values(base, key, values, above)
                labels = labels_of(key, self.written[key], list(self.vary))
                self.named[key] = dict(zip(labels, values, strict=True))
                if len(self.named[key]) < len(values):
                    raise UsageError(f"--vary {key} names a value twice; name each once")

    def corners(self) -> list[Candidate]:
        """Candidates that hold each named value and each end of a range once, to be built before the first is fitted."""
        ends: dict[str, list[Any]] = {
            key: list(self.named[key]) if key in self.named else [self.ranges[key].low, self.ranges[key].high]
            for key in self.vary
        }
        longest = max(map(len, ends.values()))
        drawn = [{key: values[min(n, len(values) - 1)] for key, values in ends.items()} for n in range(longest)]
        return list({each.name: each for each in map(self.candidate, drawn)}.values())

    def candidate(self, drawn: Mapping[str, Any]) -> Candidate:
        """What is fitted for what was drawn: of each option the label of a value, or a number of its range."""
        values, names = {}, []
        for key in self.vary:
            if key in self.named:
                values[key] = self.named[key][drawn[key]]
                names.append(drawn[key])
            else:
                values[key] = self.ranges[key].value(drawn[key])
                names += labels_of(key, [values[key]], list(self.vary))
        # Parts first, so that options of a part reach the part that was picked.
        config = config_with(self.base, {key: values[key] for key in sorted(values, key=lambda key: "." in key)})
        return Candidate("+".join(names), config)
