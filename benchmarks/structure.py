"""The shape of the source tree: its import graph and its lines of code.

  python benchmarks/structure.py                # of this tree
  python benchmarks/structure.py ../other-tree  # of another one, to compare with

A *module* is a Python file of pyro_dsvae/, models/ or inference/. A package is looked at from inside: its *rooms* are its
subfolders, each as one whole, and the modules that lie directly in it, `__init__` left out. For the commands in pyro_dsvae/
models/ and inference/ are thus one room each. An *arrow* joins two rooms if a module of the first imports one of the second,
wherever the import stands: at the top, in a function or for types only. A room without arrows is on *level* 1; any other is
one level above the highest that it imports. A *circle* is a set of modules, or of rooms of one package, that import each
other, directly or by way of others.

*Code lines* have code on them: blank lines, comments and docstrings do not count.
"""

import argparse
import ast
import io
import tokenize
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parents[1]
# The name under which a top-level folder is installed.
FOLDERS = {"pyro_dsvae": "pyro_dsvae", "pyro_dsvae.models": "models", "pyro_dsvae.inference": "inference"}
IGNORED = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)

Graph = dict[str, set[str]]


@dataclass(frozen=True)
class Function:
    """One function or method, by its name within the module, with how long it is and how much it is told."""

    name: str
    lines: int
    arguments: int


@dataclass(frozen=True)
class Module:
    """One Python file: where it is, what it imports (dotted names) and how long it and its functions are."""

    name: str
    path: Path
    package: str
    imports: frozenset[str]
    lines: int
    code_lines: int
    functions: tuple[Function, ...]


def modules(tree: Path = PROJECT) -> dict[str, Module]:
    """Every module of ``tree`` by its dotted name; ``pyro_dsvae.runs`` is that folder's ``__init__``."""
    found = {}
    for installed, folder in FOLDERS.items():
        for path in sorted((tree / folder).rglob("*.py")):
            inside = path.relative_to(tree / folder)
            if folder == "pyro_dsvae" and inside.parts[0] in ("models", "inference"):  # links to the other two
                continue
            parts = inside.with_suffix("").parts
            package = ".".join((installed, *parts[:-1]))
            name = package if parts[-1] == "__init__" else f"{package}.{parts[-1]}"
            found[name] = read(name, package, path)
    return found


def read(name: str, package: str, path: Path) -> Module:
    """Parse one file."""
    text = path.read_text()
    syntax = ast.parse(text)
    imports: set[str] = set()
    for node in ast.walk(syntax):
        if isinstance(node, ast.Import):
            imports |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imports |= {f"{node.module}.{alias.name}" for alias in node.names}
    documented = set(docstring_lines(syntax))
    coded = lines_with_code(text)
    functions = tuple(
        Function(
            ".".join(owners),
            len([n for n in range(node.lineno, (node.end_lineno or 0) + 1) if n not in documented]),
            len(node.args.posonlyargs + node.args.args + node.args.kwonlyargs),
        )
        for owners, node in functions_of(syntax)
    )
    own = frozenset(one for one in imports if one.split(".")[0] == "pyro_dsvae")
    return Module(name, path, package, own, len(text.splitlines()), len(coded - documented), functions)


def functions_of(
    node: ast.AST, owners: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function under ``node``, with the names that lead to it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield (*owners, child.name), child
        named = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        yield from functions_of(child, (*owners, child.name) if named else owners)


def docstring_lines(syntax: ast.Module) -> Iterator[int]:
    """The lines on which docstrings stand."""
    for node in ast.walk(syntax):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                yield from range(first.lineno, (first.end_lineno or first.lineno) + 1)


def lines_with_code(text: str) -> set[int]:
    """The lines on which a token stands that is not a comment."""
    found: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in IGNORED:
            found |= set(range(token.start[0], token.end[0] + 1))
    return found


def file_imports(tree: Mapping[str, Module]) -> Graph:
    """Module -> the modules that it imports: ``from a.b import c`` is a.b.c where that is a module, else a.b."""

    def target(name: str) -> str | None:
        while name and name not in tree:
            name = name.rpartition(".")[0]
        return name or None

    graph: Graph = {}
    for name, module in tree.items():
        targets = {target(imported) for imported in module.imports}
        graph[name] = {to for to in targets if to is not None and to != name}
    return graph


def packages(tree: Mapping[str, Module]) -> list[str]:
    """Every folder of modules, by its dotted name."""
    return sorted({module.package for module in tree.values()})


def rooms(tree: Mapping[str, Module], package: str) -> Graph:
    """The rooms of ``package`` -> the rooms of it that they import."""

    def room(name: str) -> str | None:
        inside = name.removeprefix(f"{package}.")
        return None if inside == name else inside.split(".")[0]

    graph: Graph = {own: set() for name in tree if (own := room(name)) is not None}
    for name, targets in file_imports(tree).items():
        if (own := room(name)) is not None:
            graph[own] |= {to for target in targets if (to := room(target)) is not None and to != own}
    return graph


def circles(graph: Graph) -> list[list[str]]:
    """The sets of more than one node in which each reaches each other."""
    reached = {node: reachable(graph, node) for node in graph}
    together = {frozenset(other for other in reached[node] if node in reached[other]) for node in graph}
    return sorted(sorted(names) for names in together if len(names) > 1)


def reachable(graph: Graph, start: str) -> set[str]:
    """What ``start`` imports, directly or not; ``start`` itself only where it is in a circle."""
    found: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting += graph[node]
    return found


def levels(graph: Graph) -> int:
    """How many levels a graph has, its circles taken as one node each."""
    inside = {node: frozenset(circle) for circle in circles(graph) for node in circle}

    def height(node: str) -> int:
        members = inside.get(node, frozenset((node,)))
        below = {to for member in members for to in graph[member]} - members
        return 1 + max((height(to) for to in below), default=0)

    return max(map(height, graph), default=0)


def folder_sizes(tree: Mapping[str, Module]) -> dict[str, int]:
    """Package -> the modules that lie directly in it, ``__init__`` and ``__main__`` left out."""
    return {
        package: sum(m.package == package and m.path.stem not in ("__init__", "__main__") for m in tree.values())
        for package in packages(tree)
    }


def by_folder(tree: Mapping[str, Module]) -> dict[str, list[Module]]:
    """Top-level folder -> its modules."""
    owners = {m.name: ".".join(m.package.split(".")[:2]) for m in tree.values()}
    names = {installed: folder for installed, folder in FOLDERS.items() if folder != "pyro_dsvae"}
    return {
        folder: [m for m in tree.values() if names.get(owners[m.name], "pyro_dsvae") == folder]
        for folder in FOLDERS.values()
    }


def report(tree: Mapping[str, Module]) -> str:
    """What the command prints."""
    lines = [f"{'package':24}{'rooms':>8}{'arrows':>8}{'levels':>8}{'circles':>9}"]
    for package in FOLDERS:
        graph = rooms(tree, package)
        arrows = sum(map(len, graph.values()))
        lines.append(f"{package:24}{len(graph):8}{arrows:8}{levels(graph):8}{len(circles(graph)):9}")
    graph = file_imports(tree)
    sizes = folder_sizes(tree)
    largest = max(sizes, key=lambda package: sizes[package])
    lines += ["", f"modules: {len(tree)} in {len(sizes)} folders, {sum(map(len, graph.values()))} imports among them"]
    lines += [f"circle of modules: {', '.join(circle)}" for circle in circles(graph)] or ["circles of modules: none"]
    between = [(package, circle) for package in packages(tree) for circle in circles(rooms(tree, package))]
    lines += [f"circle of rooms of {package}: {', '.join(circle)}" for package, circle in between]
    lines += [] if between else ["circles of rooms, in any package: none"]
    lines += [f"largest folder: {largest}, {sizes[largest]} modules", ""]
    lines.append(f"{'folder':24}{'lines':>8}{'code lines':>12}")
    for folder, here in by_folder(tree).items():
        lines.append(f"{folder + '/':24}{sum(m.lines for m in here):8,}{sum(m.code_lines for m in here):12,}")
    lines.append(f"{'all':24}{sum(m.lines for m in tree.values()):8,}{sum(m.code_lines for m in tree.values()):12,}")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "tree", nargs="?", type=Path, default=PROJECT, help="the folder that holds pyro_dsvae/ (this one)"
    )
    print(report(modules(parser.parse_args().tree)))
