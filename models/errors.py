"""What is said of what a user can put right, or should know."""

import difflib
import math
from collections.abc import Iterable, Mapping
from numbers import Integral

# Generators of torch take 64 bits; some purposes count on from the seed.
LARGEST_SEED = 2**63 - 1


class UsageError(ValueError):
    """Something the caller got wrong: an option, a file, a shape, a value.

    The message is one line that says what is wrong and what would be right. Every command prints it
    without a traceback and exits with status 2; from Python it is an ordinary ``ValueError``.

    Args:
        message: The line.
        options: Names of the arguments that would put it right, such as "optimisation.learning_rate". A command adds their
            flags to the line.
    """

    def __init__(self, message: str, *options: str) -> None:
        super().__init__(message)
        self.options = options


def check_positive(name: str, value: float) -> None:
    """Refuse a number that is not positive, or that is none.

    Raises:
        UsageError: Unless 0 < ``value`` < infinity.

    Example:
        >>> from pyro_dsvae.models.errors import check_positive
        >>> check_positive("scale", float("nan"))
        Traceback (most recent call last):
        pyro_dsvae.models.errors.UsageError: scale is nan; it must be a finite number
    """
    if not math.isfinite(value):
        raise UsageError(f"{name} is {value}; it must be a finite number")
    if value <= 0:
        raise UsageError(f"{name} is {value}; it must be positive")


def check_amounts(values: Mapping[str, float], most: float = math.inf) -> None:
    """Refuse numbers, given by their names, that are negative, infinite or none, or larger than ``most``.

    Raises:
        UsageError: Unless 0 <= value < infinity and value <= ``most`` for each.

    Example:
        >>> from pyro_dsvae.models.errors import check_amounts
        >>> check_amounts({"crop": 0.1, "flip": -0.5}, most=1)
        Traceback (most recent call last):
        pyro_dsvae.models.errors.UsageError: flip is -0.5; it must be a number from 0 to 1
    """
    for name, value in values.items():
        if not (math.isfinite(value) and 0 <= value <= most):
            range_ = f"number from 0 to {most:g}" if most < math.inf else "finite number, at least 0"
            raise UsageError(f"{name} is {value}; it must be a {range_}")


def check_count(name: str, value: int, least: int = 1) -> None:
    """Refuse what is no whole number, and a number that is too small.

    Raises:
        UsageError: Unless ``value`` is an integer of at least ``least``.

    Example:
        >>> from pyro_dsvae.models.errors import check_count
        >>> check_count("horizon", 2.5)
        Traceback (most recent call last):
        pyro_dsvae.models.errors.UsageError: horizon is 2.5; it must be a whole number of at least 1
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise UsageError(f"{name} is {value!r}; it must be a whole number of at least {least}")


def check_seed(seed: int) -> None:
    """Refuse what cannot seed every generator.

    Raises:
        UsageError: Unless it is an integer from 0 to `LARGEST_SEED`.
    """
    if isinstance(seed, bool) or not isinstance(seed, Integral) or not 0 <= seed <= LARGEST_SEED:
        raise UsageError(f"seed is {seed!r}; it must be a whole number from 0 to {LARGEST_SEED}")


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """For a message about a name that is none of these: the one most like it, or nothing where none is.

    Example:
        >>> from pyro_dsvae.models.errors import did_you_mean
        >>> did_you_mean("lstn", ["GRU", "LSTM"]), did_you_mean("lstn", ["GRU"])
        (' (did you mean LSTM?)', '')
    """
    lower = {each.lower(): each for each in names}
    close = difflib.get_close_matches(name.lower(), list(lower), n=1, cutoff=0.5)
    return f" (did you mean {lower[close[0]]}?)" if close else ""


def with_article(word: str) -> str:
    """The word with its indefinite article: a decoder, an encoder."""
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


class Remark(UserWarning):
    """What a user should know and need not put right. A command prints it as one line.

    Args:
        message: The line.
        options: As in `UsageError`.
    """

    def __init__(self, message: str, *options: str) -> None:
        super().__init__(message)
        self.options = options
