"""What the networks for images have in common: which frames they take, and how often they halve them."""

from pyro_dsvae.models.errors import UsageError

MIN_SIDE, MAX_SIDE = 16, 128


def check_image(frame_shape: tuple[int, ...]) -> None:
    """Raise `UsageError` unless a frame is (C, S, S) with S from 16 to 128."""
    if len(frame_shape) != 3 or frame_shape[1] != frame_shape[2] or not MIN_SIDE <= frame_shape[1] <= MAX_SIDE:
        raise UsageError(
            f"frames of shape {frame_shape} fit no network: give vectors (P,) or square images (C, S, S), "
            f"S from {MIN_SIDE} to {MAX_SIDE}"
        )


def levels(side: int) -> int:
    """Halvings that bring ``side`` to a map of 4 to 7 pixels."""
    return (side // 4).bit_length() - 1
