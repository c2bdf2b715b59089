"""Discrepancies of labelled data: what the judge sees in clips, real and generated, and how sure it is."""

from functools import partial

import torch
from torch import Tensor

from pyro_dsvae.inference.predictive_checks.discrepancy import Discrepancy, Frames
from pyro_dsvae.inference.predictive_checks.replications import Level
from pyro_dsvae.judges.judge import Judge

# Where they are compared with true clips: new frames of the same clip show what that clip shows.
LABEL_LEVELS: tuple[Level, ...] = ("dynamic", "static", "population")
# Of a label with more classes only the judge's confidence is compared: each class would be too rare to test.
MOST_CLASSES = 24
SEEN = "share seen as"


class JudgedClips:
    """The judge's answers to `Frames`. The latest answers are kept, because many discrepancies ask for the same."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self._frames: Frames | None = None
        self._said: dict[str, Tensor] = {}

    def probabilities(self, frames: Frames, label: str) -> Tensor:
        """Probabilities ``(*B, classes)`` of one label, float64. Gaps hold the mean of the training data."""
        if self._frames is not frames:
            self._said = self._asked(frames)
            self._frames = frames
        return self._said[label]

    @torch.no_grad()
    def _asked(self, frames: Frames) -> dict[str, Tensor]:
        x, lengths = frames.x, None
        batch = x.shape[: frames.time_dim]
        if frames.observed is not None:
            seen = frames.observed.expand(x.shape)
            x = torch.where(seen, x, self.judge.shift)
            there = seen.flatten(frames.time_dim + 1).any(-1)
            # A clip ends with the last frame of which anything was observed.
            steps = torch.arange(1, there.shape[-1] + 1, device=x.device)
            lengths = (there * steps).amax(-1).clamp(min=1).flatten()
        logits = self.judge(x.flatten(0, len(batch) - 1), lengths)
        return {name: v.double().softmax(-1).unflatten(0, batch) for name, v in logits.items()}


def label_discrepancies(judge: Judge, classes: dict[str, tuple[str, ...]]) -> list[Discrepancy]:
    """For every label the judge's confidence, and for every class the share of clips in which the judge sees it.

        confidence  T(x) = max_c P(c | x), in the mean over clips: low where clips show nothing definite
        share       T(x) = 1 if the judge takes c for the most probable class, else 0, in the mean over clips

    Args:
        classes: Label -> the names of its classes.
    """
    judged = JudgedClips(judge)
    found = []
    for label, names in classes.items():
        found.append(Discrepancy(f"the judge's confidence in {label}", partial(_confidence, judged, label)))
        if len(names) <= MOST_CLASSES:
            found += [
                Discrepancy(share_name(label, name), partial(_is_class, judged, label, number))
                for number, name in enumerate(names)
            ]
    return found


def share_name(label: str, name: str) -> str:
    """What the discrepancy "share of clips in which the judge sees this class" is called."""
    return f"{SEEN} {label} {name}"


def is_share(name: str) -> bool:
    """Whether a discrepancy of labels is 0 or 1 for every clip."""
    return name.startswith(SEEN)


def _confidence(judged: JudgedClips, label: str, frames: Frames) -> Tensor:
    return judged.probabilities(frames, label).amax(-1)


def _is_class(judged: JudgedClips, label: str, number: int, frames: Frames) -> Tensor:
    return (judged.probabilities(frames, label).argmax(-1) == number).double()
