"""The result of a check, in words."""

import math
from dataclasses import dataclass
from typing import Literal

Severity = Literal["good", "note", "warning", "serious"]

# From what nobody has to read to what must not be missed.
SEVERITIES: tuple[Severity, ...] = ("good", "note", "warning", "serious")


@dataclass(frozen=True)
class Finding:
    """One statement of a check.

    Attributes:
        severity: "good": as it should be; "note": worth knowing; "warning": the model or the guide is wrong in this
            respect; "serious": what rests on it is not to be trusted.
        subject: What was checked, in a few words.
        sentence: What was found, with its numbers.
        explained_by: The subject of the finding that explains this one and that it is shown under; empty for none.
        small: Whether it is sure but so small that a reader need not see it.
    """

    severity: Severity
    subject: str
    sentence: str
    explained_by: str = ""
    small: bool = False

    @property
    def rank(self) -> int:
        """0 for "good" up to 3 for "serious", to sort by."""
        return SEVERITIES.index(self.severity)


def p_value(p: float, least: float = 0.0) -> str:
    """A p-value as all texts and tables write it: ".012", "< .001"; a dash for NaN.

    Args:
        p: The p-value.
        least: The smallest that the test can give; one that reaches it is only known to lie below.

    Example:
        >>> from pyro_dsvae.inference.finding import p_value
        >>> p_value(0.0119), p_value(0.0004), p_value(2 / 10_001, least=2 / 10_001), p_value(1.0)
        ('.012', '< .001', '< .0002', '1')
    """
    if math.isnan(p):
        return "–"
    if p <= least:
        digit = 10.0 ** math.floor(math.log10(p))
        # Rounded up to one digit, but 2.0000001 not to 3.
        bound = math.ceil(p / digit - 1e-9) * digit
        return "< " + _without_zero(f"{bound:.{max(0, -math.floor(math.log10(bound) + 1e-9))}f}")
    return "< .001" if p < 0.001 else _without_zero(f"{p:.3f}") if p < 0.9995 else "1"


def p_equals(p: float) -> str:
    """In a sentence: "p = .012", "p < .001"."""
    words = p_value(p)
    return f"p {words}" if words.startswith("<") else f"p = {words}"


def _without_zero(number: str) -> str:
    return number.removeprefix("0") if number.startswith("0.") else number
