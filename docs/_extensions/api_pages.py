"""One page of the API reference per package, with all of its modules, written before every build from what is there."""

import importlib
import inspect
import pkgutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from sphinx.application import Sphinx

ROOT = "pyro_dsvae"
# The innermost first, as the names of the others begin with the last one's.
LAYERS: Mapping[str, str] = {
    f"{ROOT}.models": "The generative process",
    f"{ROOT}.inference": "Guides, the ELBO, estimators",
    ROOT: "Commands, data, runs, metrics",
}
INTRODUCTION = """Every public class and function, from its docstring. One page is one folder of the source. One
section is one file.

Most users need three names: `pyro_dsvae.load` opens a run, [`Run`](pyro_dsvae.runs.md) is what it returns, and
[`SequenceData`](pyro_dsvae.data.md) holds sequences. Each command is also a function of the same name, such as
`pyro_dsvae.fit.fit`; [they are listed here](pyro_dsvae.md)."""


def packages(name: str) -> list[str]:
    """The package and all packages in it."""
    inside = pkgutil.iter_modules(importlib.import_module(name).__path__, f"{name}.")
    return [name, *(p for module in inside if module.ispkg for p in packages(module.name))]


def modules(package: str) -> list[str]:
    """The modules of a package, without those in packages of its own and without scripts."""
    inside = pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}.")
    return [module.name for module in inside if not module.ispkg and not module.name.endswith("__main__")]


def page(package: str) -> str:
    """MyST source: a heading and an automodule directive for every module."""
    parts = [f"# {short(package)}", f"*Modules of* `{package}`.", summary(package)]
    for module in modules(package):
        directive = f".. automodule:: {module}\n   :members:\n   :show-inheritance:"
        parts.append(f"## {module.rpartition('.')[2]}\n\n```{{eval-rst}}\n{directive}\n```")
    return "\n\n".join(part for part in parts if part) + "\n"


def short(name: str) -> str:
    """The name as headings have it, without what all names begin with."""
    return name.removeprefix(f"{ROOT}.")


def summary(package: str, cell: bool = False) -> str:
    """The first line of the package's docstring, or nothing; as the ``cell`` of a table without bars."""
    line = (inspect.getdoc(importlib.import_module(package)) or "").split("\n")[0]
    return line.replace("|", "\\|") if cell else line


def index(found: Sequence[str]) -> str:
    """The first page: what lies where, layer by layer."""
    sections = ["# API reference", INTRODUCTION]
    rest = list(found)
    for layer, words in LAYERS.items():
        inside = [name for name in rest if name == layer or name.startswith(f"{layer}.")]
        rest = [name for name in rest if name not in inside]
        entries = "\n".join(f"{short(name)} <{name}>" for name in inside)
        said = "\n".join(f"| [{short(name)}]({name}.md) | {summary(name, cell=True)} |" for name in inside)
        sections += [f"## {words}", f"| package | |\n|---|---|\n{said}", f"```{{toctree}}\n:hidden:\n\n{entries}\n```"]
    return "\n\n".join(sections) + "\n"


def write(app: Sphinx) -> None:
    """Write the pages; one that says what it said keeps its date, so that Sphinx need not read it again."""
    folder = Path(app.srcdir) / "api"
    folder.mkdir(exist_ok=True)
    found = [package for package in packages(ROOT) if modules(package)]
    wanted = {folder / f"{package}.md": page(package) for package in found} | {folder / "index.md": index(found)}
    for old in set(folder.glob("*.md")) - set(wanted):
        old.unlink()
    for path, text in wanted.items():
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def setup(app: Sphinx) -> dict[str, bool]:
    """Write the pages before Sphinx looks for them."""
    app.connect("builder-inited", write, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
