"""Guards on the tree itself: what is installed, which way imports point, what every part owes its users."""

import ast
import inspect
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import import_module
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from pyro_dsvae import pretrained, recipes
from pyro_dsvae.configuration.catalogue import PARTS
from pyro_dsvae.data.dataset import DataSource
from pyro_dsvae.inference.posteriors.posterior import Posterior
from pyro_dsvae.models.dynamic_priors.dynamic_prior import DynamicPrior
from pyro_dsvae.models.likelihoods.likelihood import Likelihood
from pyro_dsvae.models.networks.frames import FrameDecoder, FrameEncoder
from pyro_dsvae.models.static_priors.static_prior import StaticPrior
from pyro_dsvae.trackers.tracker import Tracker

PROJECT = Path(__file__).parents[1]
# Top-level folder -> the name under which it is installed.
FOLDERS = {"pyro_dsvae": "pyro_dsvae", "models": "pyro_dsvae/models", "inference": "pyro_dsvae/inference"}
BASES: dict[str, type] = {
    "data": DataSource,
    "static_prior": StaticPrior,
    "dynamic_prior": DynamicPrior,
    "posterior": Posterior,
    "encoder": FrameEncoder,
    "decoder": FrameDecoder,
    "likelihood": Likelihood,
    "tracker": Tracker,
}
CLASSES = [(option, name, kind) for option, kinds in PARTS.items() for name, kind in kinds.items()]


def sources(folder: str) -> list[Path]:
    """The Python files of a top-level folder, links not followed."""
    root = PROJECT / folder

    def linked(path: Path) -> bool:
        return any(parent.is_symlink() for parent in path.parents if parent.is_relative_to(root))

    return [path for path in sorted(root.rglob("*.py")) if not linked(path)]


def modules(folder: str) -> list[str]:
    """Names relative to the folder's installed name: ``pyro_dsvae/models/dsvae.py``."""
    return [f"{FOLDERS[folder]}/{path.relative_to(PROJECT / folder).as_posix()}" for path in sources(folder)]


def imports(path: Path) -> set[str]:
    """Every module that a file imports, inside functions too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The names in the wheel, built from a copy so that the tree stays as it is."""
    tree = tmp_path_factory.mktemp("tree")
    for folder in FOLDERS:
        shutil.copytree(PROJECT / folder, tree / folder, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(PROJECT / file, tree)
    built = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tree / "dist"), str(tree)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    (file,) = (tree / "dist").glob("*.whl")
    return zipfile.ZipFile(file).namelist()


def test_wheel_holds_the_tree(wheel: list[str]) -> None:
    """An unlisted sub-package would vanish silently."""
    expected = {name for folder in FOLDERS for name in modules(folder)} | {"pyro_dsvae/py.typed"}
    expected |= {f"pyro_dsvae/recipes/{name}.yaml" for name in recipes.names()}
    files = ("config.yaml", "best.pt", "metrics.csv", "summary.json")
    expected |= {f"pyro_dsvae/pretrained/{name}/{file}" for name in pretrained.names() for file in files}
    assert {name for name in wheel if ".dist-info/" not in name} == expected


def test_what_is_imported_is_declared() -> None:
    """The wheel is tried beside this environment's libraries, which hides a dependency that nobody named."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    used = ("evaluate", "series", "video", "trackers", "scale", "explore")
    named = [*project["dependencies"], *(line for extra in used for line in extras[extra])]
    declared = {re.split(r"[^\w-]", line)[0].lower() for line in named}
    declared.add("xarray")  # the data type of ArviZ, whose version ArviZ decides
    known = packages_distributions()
    found = {name.split(".")[0] for folder in FOLDERS for path in sources(folder) for name in imports(path)}
    third = {name for name in found - set(sys.stdlib_module_names) if name != "pyro_dsvae"}
    assert {name for name in third if not declared & {d.lower() for d in known[name]}} == set()


def test_wheel_holds_licence_and_command(wheel: list[str]) -> None:
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in wheel)
    assert any(name.endswith(".dist-info/entry_points.txt") for name in wheel)


@pytest.mark.parametrize("folder", ["models", "inference"])
def test_links_serve_a_bare_checkout(folder: str) -> None:
    link = PROJECT / "pyro_dsvae" / folder
    assert link.is_symlink()
    assert link.readlink() == Path("..") / folder


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("import models", "TID251"),
        ("import inference.svi", "TID251"),
        ("from models.dsvae import DSVAE", "TID251"),
        ("from . import steps", "TID252"),
        ("from .steps import Steps", "TID252"),
    ],
)
def test_ruff_bans_second_names_and_relative_imports(line: str, rule: str) -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--output-format=concise", "--stdin-filename=models/snippet.py", "-"],
        input=f"{line}\n",
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert rule in checked.stdout


@pytest.mark.parametrize("path", sources("models"), ids=lambda path: path.stem)
def test_models_know_nothing_of_inference_and_commands(path: Path) -> None:
    own = {name for name in imports(path) if name.split(".")[0] == "pyro_dsvae"}
    assert all(name.startswith("pyro_dsvae.models.") for name in own), own


@pytest.mark.parametrize("path", sources("inference"), ids=lambda path: path.stem)
def test_inference_knows_nothing_of_commands(path: Path) -> None:
    own = {name for name in imports(path) if name.split(".")[0] == "pyro_dsvae"}
    assert all(name.startswith(("pyro_dsvae.models.", "pyro_dsvae.inference.")) for name in own), own


@pytest.mark.parametrize("path", [*sources("models"), *sources("inference")], ids=lambda path: path.stem)
def test_messages_below_the_commands_name_no_flags(path: Path) -> None:
    """`UsageError` takes the names of arguments; a command makes flags of them."""
    raised = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Raise)]
    said = [
        n.value for node in raised for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)
    ]
    assert [text for text in said if re.search(r"--\w", text)] == []


@pytest.mark.parametrize("path", [path for folder in FOLDERS for path in sources(folder)], ids=lambda path: path.stem)
def test_every_module_is_documented_and_plain(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert not tree.body or ast.get_docstring(tree), "no docstring"
    calls = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert "hasattr" not in calls
    # Pyro's own signatures, matplotlib's properties of text, and a signature that a type checker knows (`takes`).
    if path.name not in ("elbo.py", "run.py", "options.py"):
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        assert [f.name for f in functions if f.args.kwarg] == []


@pytest.mark.parametrize("module", ["pyro_dsvae", "pyro_dsvae.__main__"])
def test_import_of_the_package_is_light(module: str) -> None:
    code = f"import sys, {module}; sys.exit(any(name in sys.modules for name in ('torch', 'pyro', 'matplotlib')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=False).returncode == 0


MANUALS = """
import contextlib, runpy, sys
for verb in ("fit", "compare", "evaluate", "ppc"):
    sys.argv = [verb, "--help"]
    with contextlib.suppress(SystemExit):
        runpy.run_module(f"pyro_dsvae.{verb}", run_name="__main__")
    print("slow:", verb, *(name for name in SLOW if name in sys.modules))
"""


def test_a_manual_loads_nothing_that_is_slow_and_not_needed_for_it() -> None:
    """One process for all four, since to import torch takes longest."""
    slow = ("matplotlib", "arviz_stats", "arviz_base", "lightning_fabric", "torch._dynamo", "sklearn", "pandas")
    command = [sys.executable, "-W", "ignore::RuntimeWarning:runpy", "-c", f"SLOW = {slow}\n{MANUALS}"]
    done = subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, text=True)
    assert done.stdout.count("usage: ") == 4
    found = [line for line in done.stdout.splitlines() if line.startswith("slow:")]
    assert found == [f"slow: {verb}" for verb in ("fit", "compare", "evaluate", "ppc")]


def test_package_says_what_it_has() -> None:
    package = import_module("pyro_dsvae")
    assert all(callable(getattr(package, name)) for name in package.__all__)
    assert set(package.__all__) < set(dir(package))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = package.nothing


def test_package_has_what_a_user_starts_from() -> None:
    package = import_module("pyro_dsvae")
    assert {"load", "Run", "SequenceData", "Quantity", *PARTS["data"]} == set(package.__all__)


@pytest.mark.parametrize("verb", ["fit", "compare", "evaluate", "ppc"])
def test_a_verb_is_a_function_of_its_module(verb: str) -> None:
    module = import_module(f"pyro_dsvae.{verb}")
    assert verb in module.__all__
    assert callable(getattr(module, verb))


@pytest.mark.parametrize("option", PARTS)
def test_a_folder_of_parts_has_its_parts_and_what_they_are(option: str) -> None:
    folder = import_module(next(iter(PARTS[option].values())).__module__.rpartition(".")[0])
    assert {*PARTS[option], BASES[option].__name__} <= set(folder.__all__)
    assert all(getattr(folder, name) is kind for name, kind in PARTS[option].items())
    assert getattr(folder, BASES[option].__name__) is BASES[option]


@pytest.mark.parametrize(("option", "name", "kind"), CLASSES, ids=[f"{option}-{name}" for option, name, _ in CLASSES])
def test_parts_are_documented_and_final(option: str, name: str, kind: type) -> None:
    assert issubclass(kind, BASES[option])
    assert kind.__name__ == name
    assert kind.__doc__
    assert not inspect.isabstract(kind)
    others = {other for _, _, other in CLASSES} - {kind}
    assert not others & set(kind.__mro__), "a part may not inherit from another"
    assert kind.__module__.rpartition(".")[2].replace("_", "") == name.lower(), "one concept, one file, named after it"
    for parameter in inspect.signature(kind).parameters.values():
        assert parameter.annotation is not inspect.Parameter.empty, f"{parameter.name} has no type"
