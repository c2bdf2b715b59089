"""The result of a predictive check, in words."""

from collections.abc import Mapping
from typing import Any

from pyro_dsvae.inference.finding import p_equals
from pyro_dsvae.inference.predictive_checks.replications import Level

# Beyond this a sentence gives both numbers alone.
MOST_PERCENT = 1_000

# Whom a sentence speaks of.
SUBJECT: Mapping[Level, str] = {
    "frames": "clips with new frames (same f and z)",
    "dynamic": "clips with new motion (same f, new z)",
    "static": "clips with new appearances (new f, same z)",
    "population": "generated clips",
}


def sentence_of(row: Mapping[str, Any], finding: bool) -> str:
    """One line: what, of which clips, how much, and p. ``row`` has the fields of a `Check` known before all are adjusted."""
    name, subject, realised = row["name"], SUBJECT[row["level"]], row["values"].realised
    p = p_equals(row["p"])
    more = row["replicated"] > row["observed"]
    numbers = f"{row['replicated']:.3g} against {row['observed']:.3g} in the data"
    if row["statistic"] == "spread":
        if not finding:
            return f"{name} varies between {subject} as it does in the data: {numbers} ({p})"
        return f"{name} varies {_amount(row)}too {'much' if more else 'little'} between {subject}: {numbers} ({p})"
    if not finding:
        return f"{name} of {subject} agrees with the data: {numbers} ({p})"
    if realised:
        # What is wrong is how the model explains the data, so the data are what the sentence is about.
        where = "new frames" if row["level"] == "frames" else "generated clips"
        return (
            f"{name} of the data is {'lower' if more else 'higher'} than the model expects: {row['observed']:.3g} "
            f"against {row['replicated']:.3g} for {where} ({p})"
        )
    return f"{name} of {subject} is {_amount(row)}too {'high' if more else 'low'}: {numbers} ({p})"


def _amount(row: Mapping[str, Any]) -> str:
    """How much, where a percentage says it well: not of next to nothing."""
    percent = row["percent"]
    if percent is None or abs(percent) > MOST_PERCENT:
        return ""
    return f"{abs(percent):.0f} % " if abs(percent) >= 10 else f"{abs(percent):.2g} % "
