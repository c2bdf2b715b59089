"""Columns of a table by their names in options of parts."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from pyro_dsvae.configuration.options import SharedOptions
from pyro_dsvae.configuration.parts import part_class
from pyro_dsvae.models.likelihoods.product import Product, by_number

Taken = TypeVar("Taken", bound=SharedOptions)


def with_numbers(options: Taken, names: Sequence[str]) -> Taken:
    """The options with the columns of a `Product` by their numbers, as config.yaml has them.

    Args:
        options: Those of a fit.
        names: Of the columns of the data, in their order; empty where they have none.

    Raises:
        UsageError: For a name that no column has.
    """
    recipe: Any = options.likelihood
    groups = recipe.keywords.get("groups") if isinstance(recipe, partial) else None
    if not groups or part_class(recipe) is not Product:
        return options
    return replace(options, likelihood=partial(recipe, groups=by_number(groups, names)))
