"""From options and data to the loop of a fit."""

from torch import Tensor

from pyro_dsvae.configuration.build import build_from, check_times, examples
from pyro_dsvae.configuration.options import FitOptions
from pyro_dsvae.data.dataset import SequenceData
from pyro_dsvae.data.intensities import check_intensities
from pyro_dsvae.data.names import listed
from pyro_dsvae.data.tables.columns import ColumnMoments
from pyro_dsvae.inference.svi import SVI
from pyro_dsvae.inference.training.hardware import Hardware
from pyro_dsvae.inference.training.schedule import Budget
from pyro_dsvae.models.errors import UsageError


def columns_for(options: FitOptions, data: SequenceData) -> ColumnMoments | None:
    """What series are standardised by, the columns of the training split; None for images, and where nothing is."""
    series = options.standardise and len(data.frame_shape) == 1
    return ColumnMoments.of(data.sequences("train")) if series else None


def loop_for(options: FitOptions, data: SequenceData, columns: ColumnMoments | None, new: bool = True) -> SVI:
    """The loop at its start, with model and guide built.

    Args:
        options: Those of the fit, with networks chosen (`for_frames`).
        data: What is fitted to.
        columns: See `columns_for`.
        new: Whether the fit begins; one that is resumed is not asked again whether images are intensities.

    Raises:
        UsageError: Where the parts and the data do not go together.
    """
    train = data.sequences("train")
    objective = build_from(options, examples(data), columns)
    for part in data.stored().parts() if new else ():  # those of a run that exists are known by their fingerprint
        objective.model.likelihood.check(part.visible)
    if new and columns is not None and bool(columns.unobserved.any()):
        _check_observed(data, columns.unobserved)
    check_times(data, objective.model.dynamic_prior)
    if new and any(objective.model.likelihood.real_channels):
        check_intensities(data)
    hardware = Hardware(options.device, options.precision, options.devices, options.compile, options.data_on)
    hardware.launch(min(options.optimisation.batch_size, len(train)))
    budget = Budget(options.steps, options.minutes)
    return SVI(objective, train, data.sequences("validation"), options.optimisation, budget, options.seed, hardware)


def _check_observed(data: SequenceData, suspected: Tensor) -> None:
    """Raises `UsageError` where a column has no value in any split. What is in doubt, ``suspected`` (P,), is looked at."""
    empty = suspected.clone()
    for part in data.stored().parts():
        empty &= ~part.observed.flatten(0, 1).any(0)
    if not empty.any():
        return
    names = data.column_names or tuple(map(str, range(len(empty))))
    kept, out = (
        listed([n for n, e in zip(names, empty.tolist(), strict=True) if e == which]) for which in (False, True)
    )
    raise UsageError(
        f"column{'s' if empty.sum() > 1 else ''} {out} hold{'' if empty.sum() > 1 else 's'} no value; fit the others, {kept}",
        *(("data.channels",) if data.column_names else ()),
    )
