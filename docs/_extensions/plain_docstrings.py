"""Docstrings are plain text first: formulas in them need no escapes to be reStructuredText, and tables no markup."""

import re

from sphinx.application import Sphinx

# What is markup already: literals, roles, emphasis.
SPANS = re.compile(r"(``.+?``|:[\w:]+:`[^`]+`|`[^`]+`_{0,2}|\*\*[^\s*][^*]*\*\*|\*[^\s*][^*]*\*)")
# A line of an aligned table: a name or several, two spaces or more, what it is.
ENTRY = re.compile(r"([\w.*(),/ ]*?[\w.*()]+)  +(\S.*)")
# The heads of sections, whose indented lines napoleon reads.
SECTION = re.compile(r"[A-Z][a-z]+( [A-Za-z]+)?:")


def escaped(text: str) -> str:
    """A line of text in which no bar, star or trailing underscore is markup.

    >>> print(escaped("q(f | x_t) with `p(x|f)`, (T, *frame)"))
    q(f \\| x_t) with `p(x|f)`, (T, \\*frame)
    """

    def outside(part: str) -> str:
        part = re.sub(r"(?<!\\)([|*])", r"\\\1", part)
        return re.sub(r"(?<=\w)_(?!\w)", r"\\_", part)

    return "".join(part if i % 2 else outside(part) for i, part in enumerate(SPANS.split(text)))


def mended(lines: list[str]) -> list[str]:
    """Indented paragraphs outside sections as literal blocks, aligned tables "name  text" as lists, all else escaped."""
    out: list[str] = []
    literal = table = section = False
    before = ""
    for line in lines:
        first = not before.strip()
        before = line
        code = line.lstrip().startswith((">>>", "..."))
        if not line.strip():
            out.append("")
        elif line.startswith("  "):
            if first and not (literal or table or section or code or line.lstrip().startswith(("- ", "* "))):
                literal = True
                out += ["::", ""]
            shown = f"  {line.strip()}" if table else line
            out.append(shown if literal or code else escaped(shown))
        else:
            entry = ENTRY.fullmatch(line) if first or table else None
            if first or (table and not entry):
                out.append("")
            literal, table, section = False, entry is not None, SECTION.fullmatch(line) is not None
            plain = line if code else escaped(line)
            out.append(f"* ``{entry[1]}``: {escaped(entry[2])}" if entry else plain)
    return out


def mend(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Called for every docstring, before napoleon."""
    lines[:] = mended(lines)


def setup(app: Sphinx) -> dict[str, bool]:
    """Stand before napoleon, whose priority is 500."""
    app.connect("autodoc-process-docstring", mend, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
