"""Imports run one way, and no folder, file or function is larger than a reader can take in."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import structure

TREE = structure.modules()
FILE_LINES, FUNCTION_LINES, ARGUMENTS, FOLDER_MODULES = 320, 60, 12, 16

# The rooms of each package from the ground up: a room imports from its own layer and those before it.
LAYERS = {
    "pyro_dsvae.models": [
        ["errors", "steps", "ops"],
        ["distributions", "networks", "standardisation"],
        ["static_priors", "dynamic_priors", "encoders", "decoders", "likelihoods"],
        ["dsvae"],
    ],
    "pyro_dsvae.inference": [
        [
            "files",
            "latents",
            "batch",
            "sequences",
            "stored",
            "finding",
            "handlers",
            "inference_data",
            "memory",
            "model_comparison",
            "variable_names",
        ],
        ["elbo", "prediction", "posteriors"],
        ["training", "estimation"],
        ["svi", "sampling"],
        ["evidence", "latent_space", "calibration", "latent_checks"],
        ["forecasting", "predictive_checks"],
    ],
    "pyro_dsvae": [
        ["models"],
        ["inference"],
        ["data", "recipes", "pretrained", "process", "progress", "lock", "trackers"],
        ["configuration", "judges", "clips"],
        ["cli", "figures"],
        ["runs", "metrics"],
        ["fit"],
        ["loading"],
        ["actions", "checks", "comparison", "estimator", "evaluate"],
        ["ppc", "compare", "latents", "explorer", "shard"],
        ["explore"],
        ["__main__"],
    ],
}
# What a verb may be told is what its command line offers: one function a verb, as long and as wide as it needs to be.
VERBS = {
    *(f"pyro_dsvae.{verb}.{verb}" for verb in ("fit", "compare", "ppc", "evaluate", "explore")),
    *(f"pyro_dsvae.actions.{action}.{action}" for action in structure.rooms(TREE, "pyro_dsvae.actions")),
}


def too_large() -> Iterator[tuple[str, str]]:
    """Each folder, file and function that is, and how large."""
    for package, size in structure.folder_sizes(TREE).items():
        if size > FOLDER_MODULES:
            yield package, f"{size} modules"
    for module in TREE.values():
        if module.lines > FILE_LINES:
            yield module.name, f"{module.lines} lines"
        for function in module.functions:
            name = f"{module.name}.{function.name}"
            if name not in VERBS and (function.lines > FUNCTION_LINES or function.arguments > ARGUMENTS):
                yield name, f"{function.lines} lines without docstring, {function.arguments} arguments"


def test_no_folder_file_or_function_is_too_large() -> None:
    assert dict(too_large()) == {}


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert structure.circles(structure.file_imports(TREE)) == []


@pytest.mark.parametrize("package", structure.packages(TREE))
def test_no_rooms_of_a_package_import_each_other_in_a_circle(package: str) -> None:
    assert structure.circles(structure.rooms(TREE, package)) == []


@pytest.mark.parametrize("package", LAYERS)
def test_imports_run_down_the_layers(package: str) -> None:
    graph = structure.rooms(TREE, package)
    layer = {room: height for height, names in enumerate(LAYERS[package]) for room in names}
    assert set(graph) == set(layer), "a new room belongs in LAYERS"
    assert [f"{room} -> {to}" for room, targets in graph.items() for to in targets if layer[to] > layer[room]] == []


def planted(tmp_path: Path, files: dict[str, str]) -> dict[str, structure.Module]:
    """A tree of the given files below ``pyro_dsvae/``."""
    for name, text in files.items():
        path = tmp_path / "pyro_dsvae" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return structure.modules(tmp_path)


def test_the_script_sees_a_circle_of_folders_that_no_files_have(tmp_path: Path) -> None:
    tree = planted(
        tmp_path,
        {
            "a/one.py": "from pyro_dsvae.b import low\n",
            "a/two.py": "def later():\n    import pyro_dsvae.c\n",
            "b/low.py": "",
            "b/high.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pyro_dsvae.a.two import later\n",
            "c.py": "",
        },
    )
    assert structure.circles(structure.file_imports(tree)) == []
    assert structure.rooms(tree, "pyro_dsvae") == {"a": {"b", "c"}, "b": {"a"}, "c": set()}
    assert structure.circles(structure.rooms(tree, "pyro_dsvae")) == [["a", "b"]]
    assert structure.levels(structure.rooms(tree, "pyro_dsvae")) == 2


def test_the_script_counts_code_and_neither_docstrings_nor_comments(tmp_path: Path) -> None:
    text = '"""Two\nlines."""\n\n# why\nX = (\n    1,  # one\n)\n\n\n'
    text += 'def f(a, *, b):\n    """Doc."""\n    return f"""{a}\n{b}"""\n'
    (module,) = planted(tmp_path, {"m.py": text}).values()
    assert (module.lines, module.code_lines) == (13, 6)
    assert module.functions == (structure.Function("f", 3, 2),)
