"""The page of the API runs from its first cell to its last."""

import os
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

PAGE = Path(__file__).parents[1] / "docs" / "notebook.ipynb"


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty folder, so with a small run of its own; ten cells, all with something to show but the first."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(PAGE.parents[1]), os.environ.get("PYTHONPATH", "")]))
    book = nbformat.read(PAGE, as_version=4)
    assert len(book.cells) == 10
    nbclient.NotebookClient(
        book, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    for cell in book.cells:
        if cell.cell_type == "code":
            assert any(output.output_type == "execute_result" for output in cell.outputs), cell.source


def test_the_notebook_shows_its_pictures() -> None:
    """As it is stored, for those who only read it."""
    book = nbformat.read(PAGE, as_version=4)
    pictures = [o for c in book.cells if c.cell_type == "code" for o in c.outputs if "image/png" in o.get("data", {})]
    assert len(pictures) >= 6
    assert PAGE.stat().st_size < 500_000
