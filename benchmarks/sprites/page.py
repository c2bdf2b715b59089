"""The Sprites benchmark as a page: measures of every run against targets, controls and the literature."""

from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any, NamedTuple

from benchmarks.sprites.measures import (
    ATTRIBUTES,
    CODES,
    DIRECTION,
    KIND,
    Found,
    Measure,
    best_probe,
    measures,
    raw_elbo,
    swapped,
)
from benchmarks.sprites.records import Record
from benchmarks.sprites.rows import ANCHORED, FITS, ROWS, fit_of
from pyro_dsvae.data.lpc_sprites import ACTIONS, CLASSES, CREDITS
from pyro_dsvae.metrics.disentanglement import PREDICTORS

SPLITS = {
    "test": "Test characters, never seen in training; [the log](separation.md) says how often they were looked at.",
    "validation": "Held-out training characters (the validation split), for development: not the benchmark's result.",
}
JUDGED = (
    "The judge ({judge}) was trained by this project. Published figures were given by other judges, so these do not compare "
    "with them. Bold: the mean reaches the target. Probes are the better of a linear and a non-linear one. Draws of the "
    "posterior are what the decoder is given; means, of which a probe sees differences far below the posterior's scale, tell "
    "nearly everything after three steps of fitting already, so they have no target. A latent that carries nothing passes the "
    "probes and fails the swaps: read both. Fixed motion, the literature's measure, shows no separation by itself either: a "
    "model without a static part reconstructs the clips and passes. Distances are total variation. ELBOs compare between rows "
    "of one likelihood only."
)
CONSTRUCTION = (
    "*The default now* is `--decoder Textures --posterior.views turn`: there z alone makes anything move, by construction, and "
    "where a figure looks can come from either latent. All other fits have what was the default before: `--decoder Regions "
    "--posterior.views recolour`, Adam, and where a row names no other prior `--dynamic_prior Flow`. Certain with `Regions`: "
    "the decoder lays out 24 regions by z and gives each one colour by f. So for one z every channel of a frame is in a space "
    "of 24 dimensions, whatever f is, and f cannot move anything. Where less than all of the actions stay with z, "
    "reconstructions are to blame. That the action stays is no result of any row; that attributes go with f is."
)
RAW = (
    "Raw codes: every figure is of the guide itself, q(f, z | x). Anchored inference changes what codes tell, so its figures "
    "have columns and lines of their own below, and no cell averages both."
)
NO_RECORD = "no record"
MISSING = (
    f"{NO_RECORD}: the fits of that row, or those seeds of it, were measured by anchored inference alone. The version of that "
    "time switched it on at the end of a fit where it cost little, so the seeds that have a record are no random choice. The "
    "ELBO under the guide itself was recorded of all."
)
SWITCHED = (
    "Each latent is inferred from the model's own decoding of it, beside the other latent of one anchor clip. This removes "
    "from the codes what the decoder does not use, so probes of them tell less than those of raw codes of the same weights."
)
SWAPS = (
    "24 pairs drawn at random, none left out; first row, first seed, {codes}. Every frame is decoded by the model, those of "
    "the two clips too, so no frame of the art is copied here."
)
PROVENANCE = (
    "Fixed motion, as widely quoted and not checked against the papers; the last row is documented by that port, under the "
    "literature's own judge."
)
# Action accuracy, IS, H(y|x), H(y).
PUBLISHED = {
    "DSVAE (Li & Mandt 2018)": ("90.73 %", "8.384", ".072", "2.192"),
    "C-DSVAE (Bai et al. 2021)": ("99.99 %", "8.871", ".014", "2.197"),
    "SKD (Berman et al. 2023)": ("100 %", "8.999", "1.6e-7", "2.197"),
    "SPYL, DBSE": ("100 %", "", "", ""),
    "C-DSVAE, an independent port's own run": ("88.8-89.1 %", "6.25-6.33", ".33-.34", "2.17"),
}


def spread(values: Sequence[float], form: str) -> str:
    """Mean, and the standard deviation over seeds where there are several; of nothing, that there is no record."""
    if not values:
        return NO_RECORD
    return f"{mean(values):{form}}" + (f" ± {stdev(values):{form}}" if len(values) > 1 else "")


class Seeds(NamedTuple):
    """Evaluations of the fits of one row, by seed.

    own    under the guide that the row is about
    other  under the other one: of the guide itself for an anchored row, and the reverse
    """

    own: Mapping[int, Found]
    other: Mapping[int, Found]

    @classmethod
    def of(cls, records: Sequence[Record], row: str) -> "Seeds":
        """Those in ``records``."""
        others = [name for name in ROWS if fit_of(name) == fit_of(row) and name != row]
        by_seed = sorted(records, key=lambda run: run.seed)
        own = {run.seed: run.evaluation for run in by_seed if run.row == row}
        return cls(own, {run.seed: run.evaluation for run in by_seed if run.row in others})

    def values(self, measure: Measure) -> list[float]:
        """The measure of every seed; one of the guide itself is read from either evaluation, once for a seed."""
        found = {**self.other, **self.own} if measure.itself else self.own
        return [measure.value(one) for one in found.values()]


def table(rows: Mapping[str, Seeds], lines: Sequence[Measure]) -> str:
    """Markdown: a line per measure, a column per row of the benchmark; bold where the mean reaches the target."""
    text = ["| measure | target | best published (other judge) | " + " | ".join(rows) + " |"]
    text.append("|---|---|---|" + "---:|" * len(rows))
    text.append("| seeds |  |  | " + " | ".join(str(len(seeds.own)) for seeds in rows.values()) + " |")
    for measure in lines:
        cells = []
        for seeds in rows.values():
            values = seeds.values(measure)
            cell = spread(values, measure.form)
            cell = f"**{cell}**" if values and measure.reached(mean(values)) else cell
            cells.append(cell if len(values) in (0, len(seeds.own)) else f"{cell} ({len(values)} seeds)")
        text.append(f"| {measure.name} | {measure.goal()} | {measure.best} | " + " | ".join(cells) + " |")
    return "\n".join(text)


def price(records: Sequence[Record]) -> str:
    """What guide views cost: the ELBO of the default beside that without views; nothing where either is not there."""
    elbo = Measure("", raw_elbo, itself=True)
    values = [Seeds.of(records, row).values(elbo) for row in ("default", "no-views")]
    if not all(values):
        return ""
    told = [spread(some, ",.1f") for some in values]
    return (
        f"Separation has a price: under the guide itself the held-out ELBO is {told[0]} nats with guide views (default) and "
        f"{told[1]} without them."
    )


def published() -> str:
    """Markdown: the literature's figures, as theirs."""
    lines = ["| method (other judge) | action accuracy | IS | H(y given x) | H(y) |", "|---|---:|---:|---:|---:|"]
    return "\n".join([*lines, *(f"| {name} | " + " | ".join(row) + " |" for name, row in PUBLISHED.items())])


def confusion(found: Found) -> str:
    """Markdown: the judge's accuracy on true clips, its confusion matrix of actions, and what it confuses elsewhere."""
    counts = found["judged"]["confusion"]
    right = ", ".join(f"{name} {value:.2%}" for name, value in found["accuracy"].items())
    sure = found["certainty"]["action"]
    lines = [
        f"Right on {found['sequences']} true clips: {right}. Its answers on their actions have IS {sure['score']:.3f} and "
        f"H(y given x) of {sure['conditional']:.4f}: no generated clips can be expected to have better ones.",
        "",
    ]
    lines += ["| action, true class by answer | " + " | ".join(ACTIONS) + " |", "|---|" + "---:|" * len(ACTIONS)]
    lines += [
        f"| {kind} | " + " | ".join(map(str, row)) + " |" for kind, row in zip(ACTIONS, counts["action"], strict=True)
    ]
    wrong = [
        f"{n} {CLASSES[n][i]} as {CLASSES[n][j]} {count}"
        for n in ATTRIBUTES
        for i, row in enumerate(counts[n])
        for j, count in enumerate(row)
        if count and i != j
    ]
    return "\n".join([*lines, "", f"Mistakes on attributes: {'; '.join(wrong) if wrong else 'none'}."])


def direction(rows: Mapping[str, Seeds]) -> str:
    """What the action label joins, and where each model puts it."""
    lines = [
        "The action label joins what is done (walk, spell, slash) with the direction that a figure looks in. The direction "
        "never changes within a clip, so a model may well put it into f; by the labels' convention it belongs to z. The better "
        "probe of posterior draws (chance is a third), and the share of swaps in which the direction stays with z:",
        "",
        "| row | direction from f | direction from z | kind from f | kind from z | direction stays with z |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    values = [best_probe("draws", latent, label) for label in (DIRECTION, KIND) for latent in "fz"]
    values.append(swapped("f_replaced", DIRECTION))
    for name, seeds in rows.items():
        cells = [spread([value(found) for found in seeds.own.values()], ".1%") for value in values]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def codes(rows: Mapping[str, Seeds]) -> str:
    """The scores of single codes of each row; rows that were evaluated without scikit-learn are left out."""
    scored = {
        name: [found["scores"] for found in seeds.own.values() if found["scores"]] for name, seeds in rows.items()
    }
    if not any(scored.values()):
        return ""
    all_runs = [scores for runs in scored.values() for scores in runs]
    standard = all(scores.get("predictors") == PREDICTORS for scores in all_runs)
    predictors = (
        "With the predictors of disentanglement_lib"
        if standard
        else "With random forests for DCI and decision trees for SAP, which do not compare with disentanglement_lib's figures"
    )
    lines = [
        f"{predictors}. Codes are the dimensions of f, and of z the mean and the mean absolute change. "
        "Informativeness, MIG and SAP are means over labels. The scores ask for one code per label, so that f and z are "
        "separated shows only in the share of DCI's importances that falls on f, and there badly: where an attribute is "
        "written into f and into z, trees may well split on f alone, while the decoder follows z (compare the swaps). "
        "They are no evidence of separation.",
        "",
        f"| row | {' | '.join(CODES)} |",
        "|---|" + "---:|" * len(CODES),
    ]
    for name, runs in scored.items():
        if runs or not rows[name].own:
            cells = [spread([value(scores) for scores in runs], form) for value, form in CODES.values()]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def page(records: Sequence[Record], setting: Mapping[str, Any], picture: str | None = None) -> str:
    """The whole page: raw codes first, anchored inference in rows of its own.

    records  every run; at least one
    setting  command, split, size, judge
    picture  file name of the swaps, beside the page
    """
    made = {run.row for run in records}
    raw = {ROWS[row]: Seeds.of(records, row) for row in FITS if {row, ANCHORED.get(row)} & made}
    anchored = {ROWS[row]: Seeds.of(records, row) for row in ANCHORED.values() if row in made}
    reduced = setting["size"] < 64
    both = {**raw, **anchored}
    lacking = any(len(seeds.own) < len({**seeds.other, **seeds.own}) for seeds in raw.values())
    first = next(iter(raw.values())).own
    swaps = SWAPS.format(codes="raw codes" if first else "anchored inference")
    sections = {
        "Anchored inference": f"{SWITCHED}\n\n{table(anchored, measures(reduced, anchored=True))}" if anchored else "",
        "Published": f"{PROVENANCE}\n\n{published()}",
        "The viewing direction": direction(both),
        "DCI, MIG and SAP": codes(both),
        "The judge": confusion(records[0].evaluation),
        "Swaps": f"![24 swaps]({picture})\n\n{swaps} {CREDITS}." if picture else "",
        "Runs": _runs(
            {
                title: sorted((run for run in records if run.row == row), key=lambda run: run.seed)
                for row, title in ROWS.items()
                if row in made
            }
        ),
    }
    head = [
        "# Real Sprites",
        "",
        f"    {setting['command']}",
        "",
        *(["**Reduced setting: 32 x 32 pixels, to be read as such.**", ""] if reduced else []),
        f"{setting['size']} x {setting['size']} pixels. {SPLITS[setting['split']]} Mean ± standard deviation over the seeds "
        "of a row, where it has several. All rows have the same data and judge, and all but *the default now* the same "
        "budget. Each checkpoint is that of the highest ELBO on held-out training characters.",
        "",
        f"{JUDGED.format(judge=setting['judge'])}",
        "",
        f"{RAW}{f' *{MISSING}*' if lacking else ''}",
        "",
        " ".join(text for text in (CONSTRUCTION, price(records)) if text),
        "",
        table(raw, measures(reduced)),
        "",
    ]
    return "\n".join([*head, *(f"## {title}\n\n{text}\n" for title, text in sections.items() if text)])


def _runs(runs: Mapping[str, Sequence[Record]]) -> str:
    """How many, what they cost and where, and the commands of every row with its seeds as N."""
    lines = ["| row | seeds | steps | seconds of fitting | commit |", "|---|---:|---:|---:|---|"]
    for title, some in runs.items():
        steps, seconds = (spread([float(run.fit[key]) for run in some], ",.0f") for key in ("steps", "seconds"))
        commits = "; ".join(dict.fromkeys(run.commit for run in some))
        lines.append(f"| {title} | {len(some)} | {steps} | {seconds} | {commits} |")
    machines = dict.fromkeys(_machine(run.fit) for some in runs.values() for run in some)
    lines += ["", f"{'; '.join(machines)}."]
    for title, some in runs.items():
        command = [line.replace(f"--seed {some[0].seed} ", "--seed N ") for line in some[0].commands]
        lines += ["", f"{title}:", "", *(f"    {line}" for line in command)]
    return "\n".join(lines)


def _machine(fit: Mapping[str, Any]) -> str:
    """What a fit ran on."""
    versions = ", ".join(f"{name} {number}" for name, number in fit["versions"].items())
    return f"{fit['device']}, {fit['threads']} thread(s), {versions}"
