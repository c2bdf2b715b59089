"""The steps that speed is measured against do the same work: the same loss from the same weights and noise."""

import copy

import pytest
import torch
from handwritten import HandwrittenStep, TextbookStep
from speed import Case, objective

from pyro_dsvae.inference.batch import Batch
from pyro_dsvae.inference.training.objective import KLWeights

VECTOR, IMAGE = (6,), (3, 32, 32)


@pytest.mark.parametrize("by_cells", [False, True], ids=["one call", "by cells"])
@pytest.mark.parametrize("case", [Case("", VECTOR, 9, 4, tiny=True), Case("", IMAGE, 4, 2)], ids=["vectors", "images"])
def test_a_step_by_hand_has_the_loss_of_the_project(case: Case, by_cells: bool) -> None:
    made = objective(case)
    hand = HandwrittenStep(copy.deepcopy(made), 1e-3, 200.0, by_cells=by_cells)
    frames = torch.randint(0, 256, (case.batch, case.length, *case.frame), dtype=torch.uint8)
    made.train()
    made.guide.progress = 0.5
    torch.manual_seed(3)
    ours = made(Batch(made.model.likelihood.to_model_units(frames)), KLWeights())["loss"]
    torch.manual_seed(3)
    theirs = hand.loss(frames)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0)


def test_textbook_pyro_has_the_loss_of_the_project() -> None:
    """With one frame, where both draw the same noise: it draws z_1, z_2, … apart."""
    case = Case("", VECTOR, 1, 4, tiny=True)
    made = objective(case)
    textbook = TextbookStep(copy.deepcopy(made), 1e-3, 200.0)
    frames = torch.randint(0, 256, (case.batch, 1, *case.frame), dtype=torch.uint8)
    made.train()
    made.guide.progress = 0.5
    torch.manual_seed(3)
    ours = made(Batch(made.model.likelihood.to_model_units(frames)), KLWeights())["loss"]
    torch.manual_seed(3)
    torch.testing.assert_close(textbook(frames), ours.detach(), rtol=1e-5, atol=0)
