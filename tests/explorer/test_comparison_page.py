"""The page of a finished comparison: its report, its figures, and what its candidates draw."""

import shutil
from pathlib import Path

import numpy as np
import panel as pn
import pytest
import yaml
from PIL import Image

from pyro_dsvae import pretrained
from pyro_dsvae.clips.writing import to_bytes
from pyro_dsvae.explorer.library import Library
from pyro_dsvae.explorer.page import page
from pyro_dsvae.explorer.pages.comparison import read_comparison
from pyro_dsvae.models.errors import UsageError
from tests.explorer.strips import pixels


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """The folder of a comparison of two runs."""
    runs = [tmp_path / f"{name}-seed0" for name in ("LSTM", "GRU")]
    for run in runs:
        shutil.copytree(pretrained.FOLDER / "sprites", run)
    out = tmp_path / "out"
    (out / "figures").mkdir(parents=True)
    (out / "config.yaml").write_text(yaml.safe_dump({"runs": [str(run) for run in runs], "data_folder": None}))
    (out / "comparison.csv").write_text("candidate,evidence\nLSTM,1\nGRU,2\n")
    (out / "comparison.md").write_text("# Comparison\n\n| candidate | evidence |\n| --- | --- |\n| LSTM | 1 |\n")
    Image.new("RGB", (9, 7)).save(out / "figures" / "rate_distortion.png")
    return out


def test_it_shows_what_the_candidates_draw(finished: Path, library: Library) -> None:
    read = read_comparison(finished)
    shutil.rmtree(finished.parent)  # which is not needed any more
    view = page(library, read)
    chooser = view.select(pn.widgets.RadioButtonGroup)[0]
    assert chooser.value == "Comparison"
    shown = [pane.object for pane in view.select(pn.pane.HTML) if 'class="clip"' in pane.object]
    expected = library.run.sample(3)
    for i, text in enumerate(shown):
        assert f"{('LSTM', 'GRU')[i // 3]}, draw {i % 3 + 1}" in text
        np.testing.assert_array_equal(pixels(text), to_bytes(expected[i % 3]))
    assert len(shown) == 6
    assert [picture.alt_text for picture in view.select(pn.pane.PNG)] == ["rate distortion"]


def test_candidates_whose_runs_are_gone_or_damaged_are_said(finished: Path, library: Library) -> None:
    shutil.rmtree(finished.parent / "LSTM-seed0")
    (finished.parent / "GRU-seed0" / "best.pt").write_bytes(b"PK" + bytes(100))
    view = page(library, read_comparison(finished))
    lines = [alert.object for alert in view.select(pn.pane.Alert)]
    assert [line.split(":")[0] for line in lines] == ["nothing is drawn from LSTM", "nothing is drawn from GRU"]
    assert not any("\n" in line for line in lines)


def test_a_comparison_that_lacks_its_table_is_one_line(finished: Path) -> None:
    (finished / "comparison.csv").unlink()
    with pytest.raises(UsageError, match=r"holds no finished comparison \(no comparison.csv\)"):
        read_comparison(finished)
