"""The measurements as tables, for the terminal and for the page."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rich.markup import escape
from rich.table import Table as RichTable

from pyro_dsvae.data.dataset import Label
from pyro_dsvae.judges.caveats import caveats
from pyro_dsvae.judges.quantity_errors import QuantityErrors
from pyro_dsvae.metrics.generation import KEPT, Entropies, Fixed, HeadScores
from pyro_dsvae.metrics.labelled import Scores
from pyro_dsvae.metrics.pixel_swaps import PixelSwaps
from pyro_dsvae.metrics.probes import Probe
from pyro_dsvae.metrics.series import SeriesScores
from pyro_dsvae.metrics.speech import SpeechScores
from pyro_dsvae.metrics.swaps import Swaps
from pyro_dsvae.metrics.unlabelled import EvidenceSummary, Terms
from pyro_dsvae.models.standardisation import IN_SD


class Table(NamedTuple):
    """Rows of text under a title; the first column is to the left, the others to the right."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""

    def markdown(self) -> str:
        """As Markdown."""
        lines = [f"## {self.title}", ""]
        rows = ["| " + " | ".join(c.replace("|", "\\|") for c in row) + " |" for row in (self.columns, *self.rows)]
        lines += [rows[0], "|---|" + "---:|" * (len(self.columns) - 1), *rows[1:]]
        return "\n".join([*lines, *(["", self.note] if self.note else []), ""])

    def rich(self) -> RichTable:
        """For the terminal."""
        table = RichTable(title=self.title, title_justify="left", caption=self.note or None, caption_justify="left")
        for i, column in enumerate(self.columns):
            table.add_column(column, justify="right" if i else "left", overflow="fold")
        for row in self.rows:
            table.add_row(*(escape(cell) for cell in row))
        return table


def judge_table(
    kind: str, accuracy: Mapping[str, float], certainty: Mapping[str, Entropies], split: str, clips: int
) -> Table:
    """How often the judge is right on true clips, and how sure of it, which bounds everything that it says of others."""
    rows = [
        (
            name,
            _share(value, 2),
            f"{certainty[name].score:.4f} of {certainty[name].classes}",
            f"{certainty[name].conditional:.4f}",
        )
        for name, value in accuracy.items()
    ]
    columns = ("label", f"right on {clips} true {split} clips", "IS", "H(y|x)")
    return Table(f"The judge ({kind})", columns, rows, caveats(clips, accuracy))


def terms_table(terms: Terms, evidence: EvidenceSummary | None, split: str) -> Table:
    """Bound, reconstruction and evidence."""
    unit = f", squared, {IN_SD}" if terms.squared_error_unit == IN_SD else ""
    rows = [
        ("ELBO", f"{terms.elbo:,.2f}", ""),
        ("reconstruction", f"{terms.reconstruction:,.2f}", ""),
        ("KL of f", f"{terms.kl_static:,.2f}", terms.estimators.get("f", "")),
        ("KL of z", f"{terms.kl_dynamic:,.2f}", terms.estimators.get("z", "")),
        ("squared error per value", f"{terms.squared_error:.6f}", f"from posterior means{unit}"),
    ]
    if terms.unanchored_elbo is not None:
        rows.insert(1, ("ELBO of raw codes", f"{terms.unanchored_elbo:,.2f}", "under the guide itself"))
    if terms.bits_per_dimension is not None:
        rows.append(("bits per dimension", f"{terms.bits_per_dimension:.4f}", "of the ELBO"))
    if evidence is not None:
        some = f"{evidence.sequences} sequences, {evidence.draws} draws each"
        rows.append(("log evidence", f"{evidence.mean:,.2f} ± {evidence.standard_error:,.2f}", some))
        rows.append(("ELBO of the same", f"{evidence.elbo:,.2f}", ""))
        rows.append(("k-hat above .7", _share(evidence.unreliable_share), "there the evidence is a loose bound"))
    note = "" if terms.comparable else "The guide is a point: this ELBO bounds no evidence and compares with no other."
    return Table(f"Held out ({split}), nats per sequence", ("term", "mean", "how"), rows, note)


def generation_tables(fixed: Fixed, heads: Mapping[str, HeadScores], draws: int) -> list[Table]:
    """What is kept and what is drawn anew, each in a table of its own."""
    role = KEPT[fixed]
    title = {
        "motion": "Fixed motion: z kept, f drawn from its prior",
        "content": "Fixed content: f kept, z drawn from its prior",
    }[fixed]
    clips = f"{draws} draw{'s' if draws > 1 else ''} for each clip"
    kept = [
        (
            name,
            _share(h.accuracy) + ("" if h.accuracy_spread is None else f" ± {_share(h.accuracy_spread)}"),
            _share(h.chance),
            f"{h.entropies.score:.4f} of {h.entropies.classes}",
            f"{h.entropies.conditional:.4f}",
            f"{h.entropies.marginal:.4f} of {math.log(h.entropies.classes):.4f}",
            f"{h.divergence:.4f}",
        )
        for name, h in heads.items()
        if h.kept
    ]
    anew = [
        (
            name,
            _share(h.accuracy),
            _share(h.chance),
            _share(h.changed),
            _share(h.changed_by_chance),
            f"{h.from_uniform:.3f}",
            f"{h.from_uniform_by_chance:.3f}",
            f"{h.from_data:.3f}",
        )
        for name, h in heads.items()
        if not h.kept
    ]
    tables = []
    columns: Sequence[str]
    if kept:
        columns = (f"{role} label", "kept", "by chance", "IS", "H(y|x)", "H(y)", "KL from source")
        note = "IS, H(y|x) and H(y) on as many clips of every class; IS = exp(H(y) - H(y|x)) holds."
        tables.append(Table(f"{title}; what stays ({clips})", columns, kept, note))
    if anew:
        columns = ("label", "as before", "by chance", "changed", "by chance", "TV uniform", "by chance", "TV data")
        note = (
            "As before: the source's class again. Changed: the judge's answer differs from that on the source. "
            "TV: total variation distance of the classes drawn from equal shares, and from those of the training clips."
        )
        tables.append(Table(f"{title}; what is drawn anew", columns, anew, note))
    return tables


def distribution_table(heads: Sequence[tuple[str, HeadScores]], labels: Mapping[str, Label]) -> Table:
    """Shares of the classes of labels that are drawn anew."""
    rows = [
        (
            name,
            ", ".join(f"{kind} {_share(p)}" for kind, p in zip(labels[name].classes, head.distribution, strict=True)),
        )
        for name, head in heads
        if not head.kept
    ]
    return Table("Classes of what is drawn anew", ("label", "share of every class"), rows)


def swap_table(swaps: Swaps, labels: Mapping[str, Label], note: str = "") -> Table:
    """Both directions; ``note`` is what has to be said of the judge."""
    rows = []
    for name in swaps.chance:
        moves = labels[name].role == "dynamic"
        with_f, with_z = ("kept", "taken over") if moves else ("taken over", "kept")
        values = (swaps.f_replaced[name], swaps.z_replaced[name], swaps.chance[name], swaps.reconstructed[name])
        told = [_share(value) for value in values]
        rows.append((name, f"{with_f} {told[0]}", f"{with_z} {told[1]}", *told[2:]))
    columns = ("label", "f replaced", "z replaced", "by chance", "reconstructed")
    return Table("Swaps between clips: share judged as it should be", columns, rows, note)


def pixel_table(found: PixelSwaps) -> Table:
    """Where the mean frame and the motion field of swapped clips come from."""
    rows = [
        ("mean frame goes with f", _share(found.mean_frame.swapped), _share(found.mean_frame.control)),
        ("motion field goes with z", _share(1 - found.motion.swapped), _share(1 - found.motion.control)),
    ]
    note = (
        "100 % is the ideal. A model that ignores f has 0 % and 100 %, one that ignores z 100 % and 0 %. Places that z says "
        "lower the first. No Fréchet distance of videos (FVD) is given: it needs a network that was trained on other videos."
    )
    return Table(f"Pixels of {found.pairs} swaps, without labels", ("what", "share", "a third clip"), rows, note)


def quantity_table(errors: Mapping[str, QuantityErrors]) -> Table:
    """Both directions, in the units of the quantities."""
    rows = [
        (name, e.unit, *(f"{v:.3f}" for v in (e.f_replaced, e.z_replaced, e.chance, e.reconstructed, e.true)))
        for name, e in errors.items()
    ]
    columns = ("quantity", "unit", "f replaced", "z replaced", "by chance", "reconstructed", "true clips")
    note = (
        "By a network trained on true clips. f replaced, z replaced: from the values of the clip that gave z. By chance: "
        "between the true values of both clips. True clips: the error of the network itself, which bounds all others."
    )
    return Table("Quantities in swaps: mean distance from what they should be, per frame", columns, rows, note)


def probe_table(probes: Mapping[str, Mapping[str, Probe]], labels: Mapping[str, Label], source: str) -> Table:
    """What is in f alone, and in z alone; ``source`` is "means" or "draws"."""
    f, z = probes["f"], probes["z"]
    rows = [
        (
            name,
            "z" if labels[name].role == "dynamic" else "f",
            *map(_share, (f[name].linear, f[name].nonlinear, z[name].linear, z[name].nonlinear, f[name].chance)),
        )
        for name in f
    ]
    columns = ("label", "belongs to", "f linear", "f MLP", "z linear", "z MLP", "chance")
    note = (
        "A label should be told by the latent that it belongs to, and be at chance from the other. "
        + {
            "means": "Posterior means tell more than draws: they show differences far below the posterior's own spread.",
            "draws": "One draw from the posterior for each clip: what the decoder is given, noise included.",
        }[source]
    )
    return Table(f"Probes of f alone and of z alone, posterior {source}", columns, rows, note)


def series_table(series: Mapping[str, SeriesScores], split: str, count: int) -> Table:
    """Who tells the static labels of series, and verification by f and by z."""
    who = list(dict.fromkeys(name for scores in series.values() for name in scores.accuracy))
    rows = [
        (
            name,
            *(_share(scores.accuracy[each]) if each in scores.accuracy else "" for each in who),
            *map(_share, (scores.chance, scores.equal_error_f, scores.equal_error_z)),
        )
        for name, scores in series.items()
    ]
    note = (
        "f: a linear probe of posterior means. Warping: dynamic time warping. Summaries: mean, spread and change of every "
        "column. EER: equal error rate of the cosine of all pairs of sequences; it should be low for f, 50 % for z."
    )
    columns = ("label", *who, "chance", "EER of f", "EER of z")
    return Table(f"Static labels of {count} {split} series: share told right", columns, rows, note)


def speech_table(scores: SpeechScores) -> Table:
    """Speaker verification and word probes over whole recordings."""
    rows: list[tuple[str, ...]] = [
        ("equal error rate of speakers", _share(scores.equal_error_f), _share(scores.equal_error_z), "50.0%")
    ]
    rows += [
        (
            f"{name}, {kind} probe, {scores.told[name]} of them",
            *(_share(getattr(p, each)) for p in (f, z)),
            _share(f.chance),
        )
        for name, probes in scores.words.items()
        for f, z in [(probes["f"], probes["z"])]
        for kind, each in (("linear", "linear"), ("MLP", "nonlinear"))
    ]
    note = (
        "f is pooled over the windows of a recording by its precision, z is its mean over the recording, for probes its path. "
        "The equal error rate is of the cosine of all pairs of different recordings: low for f, near 50 % for z."
    )
    what = f"{scores.utterances} whole recordings of {scores.speakers} speakers"
    return Table(f"{what}: gap of {100 * scores.gap:.1f} points", ("measure", "f", "z", "by chance"), rows, note)


def score_table(scores: Scores) -> Table:
    """DCI, MIG and SAP."""
    labels = scores.in_f
    rows = [
        (
            name,
            *(_share(v) for v in (scores.dci.informativeness[name], scores.in_f[name])),
            *(f"{gaps.factors[name]:.3f}" for gaps in (scores.mig, scores.sap)),
        )
        for name in labels
    ]
    rows.append(
        (
            "mean",
            _share(sum(scores.dci.informativeness.values()) / len(labels)),
            "",
            f"{scores.mig.mean:.3f}",
            f"{scores.sap.mean:.3f}",
        )
    )
    note = (
        f"DCI disentanglement {scores.dci.disentanglement:.3f}, completeness {scores.dci.completeness:.3f}. Codes: dimensions "
        "of f; of z the mean and the mean absolute change. These scores ask for one single code per label; that f and z "
        "are separated they see only in the share of f."
    )
    return Table("Single codes", ("label", "DCI informativeness", "of it in f", "MIG", "SAP"), rows, note)


def _share(value: float, digits: int = 1) -> str:
    return f"{value:.{digits}%}"
