"""What the Sprites benchmark measures, each with the target that is set for it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import mean
from typing import Any

from pyro_dsvae.data.lpc_sprites import CLASSES

Found = Mapping[str, Any]  # evaluation.json, or a part of it
Value = Callable[[Found], float]
ATTRIBUTES = tuple(CLASSES)
CERTAIN = " (certain with `Regions`)"
DIRECTION, KIND = "action: front/left/right", "action: walk/spell/slash"

# Score of single codes -> how to find it in evaluation.json's scores, format.
CODES: dict[str, tuple[Value, str]] = {
    "DCI disentanglement": (lambda s: s["dci"]["disentanglement"], ".3f"),
    "completeness": (lambda s: s["dci"]["completeness"], ".3f"),
    "informativeness": (lambda s: mean(s["dci"]["informativeness"].values()), ".1%"),
    "MIG": (lambda s: s["mig"]["mean"], ".3f"),
    "SAP": (lambda s: s["sap"]["mean"], ".3f"),
    "attributes in f": (lambda s: mean(s["in_f"][name] for name in ATTRIBUTES), ".1%"),
    "action in f": (lambda s: s["in_f"]["action"], ".1%"),
}


@dataclass(frozen=True)
class Measure:
    """One line of the table.

    name    what it is
    value   evaluation.json -> number
    target  the bound of the number to reach, None where there is none
    least   whether the target is a lower bound
    form    format of the number
    best    the best published, by other judges
    itself  whether the number is of the guide itself in an evaluation by anchored inference, too
    """

    name: str
    value: Value
    target: float | None = None
    least: bool = True
    form: str = ".2%"
    best: str = ""
    itself: bool = False

    def reached(self, value: float) -> bool:
        """Whether a mean is as good as the target."""
        return self.target is not None and (value >= self.target if self.least else value <= self.target)

    def goal(self) -> str:
        """The target as text."""
        return "" if self.target is None else f"{'≥' if self.least else '≤'} {self.target:{self.form}}"


def measures(reduced: bool, anchored: bool = False) -> list[Measure]:
    """All lines of the guide itself, or of anchored inference; for 32 pixels the target of IS is lower."""
    score, conditional, marginal = (_entropies(what) for what in ("score", "conditional", "marginal"))
    accuracy = _generated("fixed_motion", "action", "accuracy")
    return [
        Measure("fixed motion: action accuracy", accuracy, 0.9999, best="99.99-100 %"),
        Measure("fixed motion: IS", score, 8.8 if reduced else 8.95, form=".3f", best="8.871-8.999"),
        Measure("fixed motion: H(y given x)", conditional, 0.005, least=False, form=".4f", best=".014-1.6e-7"),
        Measure("fixed motion: H(y)", marginal, 2.197, form=".4f", best="2.197"),
        *(Measure(f"fixed content: {n} kept", _generated("fixed_content", n, "accuracy"), 0.99) for n in ATTRIBUTES),
        Measure(f"f replaced: action kept{CERTAIN}", swapped("f_replaced", "action"), 0.999),
        *(Measure(f"f replaced: {n} taken over", swapped("f_replaced", n), 0.99) for n in ATTRIBUTES),
        Measure(f"z replaced: action taken over{CERTAIN}", swapped("z_replaced", "action"), 0.999),
        *(Measure(f"z replaced: {n} kept", swapped("z_replaced", n), 0.99) for n in ATTRIBUTES),
        *(_distance("fixed motion", n) for n in ATTRIBUTES),
        _distance("fixed content", "action"),
        *(_leak(source, "f", "action") for source in ("draws", "means")),
        *(_leak(source, "z", n) for source in ("draws", "means") for n in ATTRIBUTES),
        *(
            [Measure("held-out ELBO, anchored, nats per sequence", lambda e: e["terms"]["elbo"], form=",.1f")]
            * anchored
        ),
        Measure("held-out ELBO under the guide itself, nats per sequence", raw_elbo, form=",.1f", itself=True),
        Measure("KL of f", lambda e: e["terms"]["kl_static"], form=".1f"),
        Measure("KL of z", lambda e: e["terms"]["kl_dynamic"], form=".1f"),
        Measure("squared error per value", lambda e: e["terms"]["squared_error"], form=".6f"),
    ]


def raw_elbo(found: Found) -> float:
    """The ELBO under the guide itself, which an evaluation by anchored inference gives beside its own."""
    value = found["terms"]["unanchored_elbo"]
    return float(found["terms"]["elbo"] if value is None else value)


def swapped(which: str, label: str) -> Value:
    """Share of swaps in which the judge sees what it should."""
    return lambda e: e["judged"]["swaps"][which][label]


def best_probe(source: str, latent: str, label: str) -> Value:
    """Accuracy of the better of the two probes."""
    return lambda e: max(e["probes"][source][latent][label][kind] for kind in ("linear", "nonlinear"))


def _generated(fixed: str, label: str, what: str) -> Value:
    return lambda e: e["judged"][fixed][label][what]


def _entropies(what: str) -> Value:
    return lambda e: e["judged"]["fixed_motion"]["action"]["entropies"][what]


def _distance(fixed: str, label: str) -> Measure:
    value = _generated(fixed.replace(" ", "_"), label, "from_uniform")
    return Measure(f"{fixed}: {label} drawn, distance from uniform", value, 0.05, least=False, form=".3f")


def _leak(source: str, latent: str, label: str) -> Measure:
    """Points above the most frequent class. Means have no target: those of an encoder that is hardly trained tell all."""
    best = best_probe(source, latent, label)

    def value(e: Found) -> float:
        return best(e) - e["probes"][source][latent][label]["chance"]

    target = 0.05 if source == "draws" else None
    return Measure(f"{label} from {latent}, above chance (posterior {source})", value, target, least=False)
