"""What is said beside shares of few clips, and beside a judge that is often wrong."""

import torch

from pyro_dsvae.data.dataset import Label
from pyro_dsvae.judges.caveats import caveats
from pyro_dsvae.metrics.generation import Entropies
from pyro_dsvae.metrics.swaps import Swaps
from pyro_dsvae.metrics.tables import judge_table, swap_table


def test_few_clips_and_a_weak_judge_are_said_beside_the_tables() -> None:
    said = caveats(6, {"digit": 0.1, "side": 1.0})
    assert "6 clips are coarse (steps of 16.7 %)" in said
    assert "digit (10%)" in said
    assert "side" not in said
    assert "\n" not in said
    assert caveats(50, {"side": 0.8}) == ""
    assert "coarse" not in caveats(50, {"digit": 0.79})
    certainty = {"digit": Entropies(score=1.0, conditional=1.0, marginal=1.0, classes=2, count=6)}
    assert judge_table("own", {"digit": 0.1}, certainty, "test", 6).note == caveats(6, {"digit": 0.1})
    labels = {"digit": Label(torch.zeros(6, dtype=torch.int64), ("0", "1"), "static")}
    one = {"digit": 0.5}
    assert swap_table(Swaps(one, one, one, one), labels, said).note == said
