"""The one exception for what a user can put right."""


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
