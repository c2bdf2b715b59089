"""The pieces of an HTML report that is one file: style, tables that scroll, pictures inside the page, escaped words."""

import base64
import html
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --soft: #57606a; --paper: #ffffff; --box: #f6f8fa; --rule: #d0d7de;
  --serious: #c2261b; --warning: #9a6700; --note: #0b6bcb; --good: #1a7f37; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --soft: #9aa4ae; --paper: #0d1117; --box: #161b22; --rule: #30363d;
    --serious: #ff7b72; --warning: #e3b341; --note: #6cb6ff; --good: #56d364; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.6rem; margin: .5rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.2rem 0 .6rem; padding-top: .6rem; border-top: 1px solid var(--rule); }
h3 { font-size: 1.05rem; margin: 1.4rem 0 .4rem; }
p, li, dd { max-width: 75ch; }
.soft, figcaption, caption { color: var(--soft); font-size: .9rem; }
.mark { border: 2px solid var(--warning); border-radius: 6px; padding: .5rem .8rem; }
ul.findings, ul.findings ul { list-style: none; padding: 0; }
ul.findings > li { max-width: none; margin: .5rem 0; padding: .5rem .8rem; background: var(--box); border-left: 5px solid;
  border-radius: 4px; overflow-wrap: anywhere; }
.serious { border-color: var(--serious) !important; } .warning { border-color: var(--warning) !important; }
.note { border-color: var(--note) !important; } .good { border-color: var(--good) !important; }
.word { font-weight: 600; } .serious .word { color: var(--serious); } .warning .word { color: var(--warning); }
.note .word { color: var(--note); } .good .word { color: var(--good); }
ul.findings ul li { max-width: none; margin: .4rem 0; font-size: .92rem; }
summary { cursor: pointer; color: var(--soft); padding: .25rem 0; overflow-wrap: anywhere; }
.verdict li { font-size: 1.05rem; }
.scroll { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: .3rem; }
th, td { padding: .25rem .5rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--rule); }
th:first-child, td:first-child, th.words, td.words { text-align: left; }
th:first-child, td:first-child { position: sticky; left: 0; background: var(--paper); }
tr.found td:first-child { font-weight: 600; }
@media (max-width: 600px) { table { font-size: .8rem; } th, td { padding: .25rem .35rem; }
  th:first-child, td:first-child, td.words { white-space: normal; min-width: 6.5rem; } }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 320px), 1fr)); gap: .8rem; }
figure { margin: 0; }
img { display: block; max-width: 100%; height: auto; background: #fff; border: 1px solid var(--rule); border-radius: 6px; }
img.film { max-width: none; width: 1020px; }
.scroll img.wide { min-width: 560px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; } dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
code { font-size: .9em; overflow-wrap: anywhere; }
"""


def document(title: str, sections: Sequence[str]) -> str:
    """A whole page that asks for nothing from outside."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{text(title)}</title><style>{STYLE}</style></head>\n<body><main><h1>{text(title)}</h1>\n"
        + "\n".join(sections)
        + "\n</main></body></html>\n"
    )


def text(words: str) -> str:
    """Words in which nothing is markup."""
    return html.escape(words)


def sentence(words: str) -> str:
    """Words with a capital and a full stop."""
    first = words.split(" ", 1)[0]
    # Not of symbols: q(f), z.
    return (words[:1].upper() + words[1:] if len(first) > 1 and first.replace("-", "").isalnum() else words) + "."


def number(value: float) -> str:
    """Three digits; a dash for what is not finite."""
    return f"{value:.3g}" if math.isfinite(value) else "–"


def table(
    caption: str,
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    words: Sequence[int] = (),
    marked: Sequence[bool] = (),
) -> str:
    """A table that scrolls inside its box; the columns ``words`` are aligned to the left, ``marked`` rows set off."""

    def kind(place: int) -> str:
        return ' class="words"' if place in words else ""

    tops = "".join(f'<th scope="col"{kind(i)}>{text(name)}</th>' for i, name in enumerate(head))
    lines = []
    for number, row in enumerate(rows):
        found = ' class="found"' if number < len(marked) and marked[number] else ""
        cells = "".join(f"<td{kind(i)}>{text(cell)}</td>" for i, cell in enumerate(row))
        lines.append(f"<tr{found}>{cells}</tr>")
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{text(caption)}"><table><caption>{text(caption)}'
        f"</caption><thead><tr>{tops}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def folded(summary: str, content: str) -> str:
    """Content that opens on demand."""
    return f"<details><summary>{text(summary)}</summary>{content}</details>"


def picture(file: Path, alt: str, caption: str, wide: bool = False, film: bool = False) -> str:
    """A PNG inside the page, or nothing where it was not drawn."""
    if not file.is_file():
        return ""
    data = base64.b64encode(file.read_bytes()).decode()
    kind = ' class="film"' if film else ' class="wide"' if wide else ""
    image = f'<img src="data:image/png;base64,{data}" alt="{text(alt)}"{kind}>'
    if kind:
        image = f'<div class="scroll" tabindex="0" role="region" aria-label="{text(alt)}">{image}</div>'
    words = f"<figcaption>{text(caption)}</figcaption>" if caption else ""
    return f"<figure>{image}{words}</figure>"
