"""What has to be said beside shares of few clips, and beside a judge that is often wrong."""

from collections.abc import Mapping

# Below this many clips a difference that is not seen is no agreement, and shares are coarse.
FEW_CLIPS = 50
# A judge that is right on less of the true clips says little about others.
MOSTLY_RIGHT = 0.8


def few_clips(count: int) -> str:
    """The sentence on shares of ``count`` clips; empty where they are many."""
    if count >= FEW_CLIPS:
        return ""
    step = 100 / max(1, count)
    return (
        f"Scores of {count} clips are coarse (steps of {step:.3g} %), and so is chance, which is that of these clips."
    )


def weak_judge(accuracy: Mapping[str, float]) -> str:
    """The sentence on labels that the judge reads badly in true clips; empty where there are none."""
    weak = [f"{name} ({share:.0%})" for name, share in accuracy.items() if share < MOSTLY_RIGHT]
    if not weak:
        return ""
    return (
        f"The judge is right on less than {MOSTLY_RIGHT:.0%} of the true clips in {', '.join(weak)}: its answers there say "
        "little about the model."
    )


def caveats(count: int, accuracy: Mapping[str, float]) -> str:
    """Both, in one line; empty where nothing has to be said."""
    return " ".join(filter(None, (weak_judge(accuracy), few_clips(count))))
