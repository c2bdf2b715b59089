"""Names of labels as names of variables and columns: one rule for all files."""

from collections.abc import Iterable


def variable_names(names: Iterable[str], taken: Iterable[str] = ()) -> dict[str, str]:
    """What each label is called in a file: its own name where the file can hold it.

    netCDF takes a slash for a group, and a name of dots for a path, so "_" stands for a slash, and "_" precedes dots. A name
    that the file has already, or that two labels would share, gets a number.

    Args:
        names: Of the labels, all different.
        taken: What the file calls its other variables and dimensions.

    Returns:
        From each name to that of its variable, all different, in the order of the names.

    Example:
        >>> from pyro_dsvae.inference.variable_names import variable_names
        >>> variable_names(["hair", "left/right", "left_right", "mask"], taken=["mask"])
        {'hair': 'hair', 'left/right': 'left_right', 'left_right': 'left_right_2', 'mask': 'mask_2'}
    """
    found: dict[str, str] = {}
    used = set(taken)
    for name in names:
        plain = name.replace("/", "_")
        plain = plain if plain.strip(".") else f"_{plain}"
        number, variable = 1, plain
        while variable in used:
            number += 1
            variable = f"{plain}_{number}"
        used.add(variable)
        found[name] = variable
    return found
