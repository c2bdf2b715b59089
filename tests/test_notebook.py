"""The page of the API runs from its first cell to its last."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "notebook.ipynb"
CODE = [cell for cell in json.loads(PAGE.read_text())["cells"] if cell["cell_type"] == "code"]


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty folder, so with a small run of its own; nine cells that each end in something to show."""
    monkeypatch.chdir(tmp_path)
    assert len(CODE) == 9
    names: dict[str, Any] = {"__name__": "__main__"}
    for cell in CODE:
        # A few steps of a fit are as good as many for what is tested.
        *before, last = ast.parse("".join(cell["source"]).replace("steps=20", "steps=2")).body
        assert isinstance(last, ast.Expr), cell["source"]
        exec(compile(ast.Module(before, []), PAGE.name, "exec"), names)
        assert eval(compile(ast.Expression(last.value), PAGE.name, "eval"), names) is not None, cell["source"]


def test_the_notebook_shows_its_pictures() -> None:
    """As it is stored, for those who only read it."""
    pictures = [o for cell in CODE for o in cell["outputs"] if "image/png" in o.get("data", {})]
    assert len(pictures) >= 6
    assert PAGE.stat().st_size < 500_000
