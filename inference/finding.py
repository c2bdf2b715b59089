"""The result of a check, in words."""

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
    """

    severity: Severity
    subject: str
    sentence: str

    @property
    def rank(self) -> int:
        """0 for "good" up to 3 for "serious", to sort by."""
        return SEVERITIES.index(self.severity)
