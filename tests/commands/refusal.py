"""What a command says that refuses."""


def the_error(said: str) -> str:
    """The one line of a refusal on standard error, after those that say how the data were understood."""
    *before, line = said.splitlines()
    assert all(each.startswith(("data: ", "label ", "model: ", "series are standardised")) for each in before), said
    assert line.startswith("error: "), said
    return line.removeprefix("error: ")
