"""What sentences about data call them: sequences by number, and what N sequences of T frames are."""

from torch import Tensor


def size_in_words(height: int, width: int) -> str:
    """The size of an image, height first as in (C, H, W): "32 x 32", and "20 x 12 (H x W)" where the sides differ."""
    return f"{height} x {width}{' (H x W)' if height != width else ''}"


def in_words(n: int, steps: str, frame: tuple[int, ...]) -> str:
    """What n sequences of so many steps are: "80 sequences of 6 steps of 100 values"."""
    image = len(frame) == 3
    if image:
        size = f"{size_in_words(frame[1], frame[2])}, {frame[0]} channel{'s' if frame[0] > 1 else ''}"
    else:
        size = f"{' x '.join(map(str, frame))} value{'s' if frame != (1,) else ''}"
    kind, step = ("clip", "frame") if image else ("sequence", "step")
    return f"{n} {kind}{'s' if n != 1 else ''} of {steps} {step}s of {size}"


def numbered_sequences(which: Tensor) -> str:
    """Sequences, (N,) bool, by their numbers: "sequence 3", "sequences 1, 3 and 9", "sequences 0, 1, 2, … (80 in all)"."""
    numbers = [str(i) for i in which.nonzero().squeeze(1).tolist()]
    if len(numbers) == 1:
        return f"sequence {numbers[0]}"
    if len(numbers) > 10:
        return f"sequences {', '.join(numbers[:10])}, … ({len(numbers)} in all)"
    return f"sequences {', '.join(numbers[:-1])} and {numbers[-1]}"
