"""The Sprites benchmark as a page: measures of every run against targets, controls and the literature."""

from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

from benchmarks.sprites.measures import ATTRIBUTES, CODES, DIRECTION, KIND, Found, best_probe, measures, swapped
from benchmarks.sprites.records import Record
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
SWAPS = (
    "24 pairs drawn at random, none left out; first row, first seed. Every frame is decoded by the model, those of the two "
    "clips too, so no frame of the art is copied here."
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
    """Mean, and the standard deviation over seeds where there are several."""
    return f"{mean(values):{form}}" + (f" ± {stdev(values):{form}}" if len(values) > 1 else "")


def table(results: Mapping[str, Sequence[Found]], reduced: bool) -> str:
    """Markdown: a line per measure, a column per row of the benchmark; bold where the mean reaches the target."""
    lines = ["| measure | target | best published (other judge) | " + " | ".join(results) + " |"]
    lines.append("|---|---|---|" + "---:|" * len(results))
    for measure in measures(reduced):
        cells = []
        for runs in results.values():
            values = [measure.value(found) for found in runs]
            text = spread(values, measure.form)
            cells.append(f"**{text}**" if measure.reached(mean(values)) else text)
        lines.append(f"| {measure.name} | {measure.goal()} | {measure.best} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


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


def direction(results: Mapping[str, Sequence[Found]]) -> str:
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
    for name, runs in results.items():
        cells = [spread([value(found) for found in runs], ".1%") for value in values]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def codes(results: Mapping[str, Sequence[Found]]) -> str:
    """The scores of single codes of each row; rows that were evaluated without scikit-learn have none."""
    scored = {name: [found["scores"] for found in runs if found["scores"]] for name, runs in results.items()}
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
        if runs:
            cells = [spread([value(scores) for scores in runs], form) for value, form in CODES.values()]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def page(
    records: Sequence[Record], titles: Mapping[str, str], setting: Mapping[str, Any], picture: str | None = None
) -> str:
    """The whole page.

    records  every run; at least one
    titles   row -> what it is called, in the order of the table
    setting  command, split, size, judge
    picture  file name of the swaps, beside the page
    """
    runs = {
        title: sorted((run for run in records if run.row == row), key=lambda run: run.seed)
        for row, title in titles.items()
        if any(run.row == row for run in records)
    }
    results = {title: [run.evaluation for run in some] for title, some in runs.items()}
    reduced = setting["size"] < 64
    sections = {
        "Published": f"{PROVENANCE}\n\n{published()}",
        "The viewing direction": direction(results),
        "DCI, MIG and SAP": codes(results),
        "The judge": confusion(next(iter(results.values()))[0]),
        "Swaps": f"![24 swaps]({picture})\n\n{SWAPS} {CREDITS}." if picture else "",
        "Runs": _runs(runs),
    }
    head = [
        "# Real Sprites",
        "",
        f"    {setting['command']}",
        "",
        *(["**Reduced setting: 32 x 32 pixels, to be read as such.**", ""] if reduced else []),
        f"{setting['size']} x {setting['size']} pixels. {SPLITS[setting['split']]} Mean ± standard deviation over the seeds "
        "of a row, where it has several. All rows have the same data, budget and judge; each checkpoint is that of the highest "
        "ELBO on held-out training characters.",
        "",
        f"{JUDGED.format(judge=setting['judge'])}",
        "",
        table(results, reduced),
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
