"""The options of a fit, each written once: name, type, default, role, and what ``--help`` says of it.

The arguments of `fit` and `compare`, the flags of both commands, the keys of config.yaml, what may change when a run is
resumed, what makes two runs one candidate, and what a run is opened with are all read off these classes.
"""

import functools
import inspect
from collections.abc import Callable, Iterable
from dataclasses import KW_ONLY, dataclass, field, fields
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeAlias, TypeVar

from pyro_dsvae.configuration.catalogue import PARTS
from pyro_dsvae.configuration.checking import checked_arguments
from pyro_dsvae.configuration.parts import describe, plain
from pyro_dsvae.data.dataset import DataSource
from pyro_dsvae.data.sprites import Sprites
from pyro_dsvae.inference.posteriors.lstm import LSTM as LSTMPosterior
from pyro_dsvae.inference.posteriors.posterior import Posterior
from pyro_dsvae.inference.training.contrastive import Contrastive
from pyro_dsvae.inference.training.hardware import Compilation, Device, Keep, Precision
from pyro_dsvae.inference.training.schedule import DEFAULT_STEPS, Optimisation
from pyro_dsvae.models.dynamic_priors.dynamic_prior import DynamicPrior
from pyro_dsvae.models.dynamic_priors.lstm import LSTM as DynamicLSTM
from pyro_dsvae.models.likelihoods.likelihood import Likelihood
from pyro_dsvae.models.networks.frames import EncoderRecipe, FrameDecoder
from pyro_dsvae.models.static_priors.autoregressive_mixture import AutoregressiveMixture
from pyro_dsvae.models.static_priors.static_prior import StaticPrior
from pyro_dsvae.trackers.tracker import Tracker

if TYPE_CHECKING:
    from pyro_dsvae.data.memory.conversion import Given

    Data: TypeAlias = DataSource | Given
else:
    # What the command line takes. From Python `checked_arguments` makes a source of the others.
    Data = DataSource

Value = TypeVar("Value")
Result = TypeVar("Result")
Taken = TypeVar("Taken", bound="SharedOptions")
Arguments = ParamSpec("Arguments")


class Role(Enum):
    """What an option decides.

    DATA        what is fitted to
    MODEL       model and guide: which weights a checkpoint holds
    TRAINING    how they are fitted
    SEED        the initial weights, the order of the data and all noise
    BUDGET      how long; may change when a run is resumed
    INCIDENTAL  where and how fast; may change when a run is resumed, and makes no other candidate
    MEASUREMENT what is compared, and how it is measured
    CALL        what one call does; not written into config.yaml
    """

    DATA = auto()
    MODEL = auto()
    TRAINING = auto()
    SEED = auto()
    BUDGET = auto()
    INCIDENTAL = auto()
    MEASUREMENT = auto()
    CALL = auto()


def option(default: Value, role: Role, said: str) -> Value:
    """A field of a class of options; ``said`` is its line in ``--help``."""
    made: Any = field(default=default, metadata={"role": role, "said": said})
    return made


@dataclass(frozen=True)
class SharedOptions:
    """What `fit` and `compare` both take: all that decides what is fitted."""

    data: Data = option(
        Sprites(),
        Role.DATA,
        "the sequences: Sprites, MovingDigits, CartoonFaces, LPCSprites, Arrays, SeriesTable, VideoFolder, "
        "SpeechFolder, SpokenWords, WatchExercises, JapaneseVowels, BasicMotions",
    )
    _: KW_ONLY
    seed: int = option(
        0,
        Role.SEED,
        "of the initial weights, the order of the data and all noise; fits of a comparison count on from it",
    )
    steps: int | None = option(
        None, Role.BUDGET, f"optimiser steps of a fit (without --minutes: {DEFAULT_STEPS}, in a comparison 700)"
    )
    minutes: float | None = option(None, Role.BUDGET, "minutes of a fit")
    device: Device = option(
        "auto",
        Role.INCIDENTAL,
        "where to fit and to measure: auto (a GPU where there is one), cpu, cuda, cuda:1 for that GPU, mps",
    )
    data_folder: Path | None = option(
        None,
        Role.INCIDENTAL,
        "where relative paths of --data and runs are looked for, too; a run keeps the folder it was fitted in",
    )
    precision: Precision = option("32", Role.TRAINING, "32, or bf16 inside the networks")
    static_size: int = option(64, Role.MODEL, "dimension F of the static latent f; 0 for a model without a static part")
    latent_size: int = option(
        8, Role.MODEL, "dimension D of each dynamic latent z_t; a small one keeps appearance out of z"
    )
    static_prior: Callable[[int], StaticPrior] = option(AutoregressiveMixture, Role.MODEL, "the static prior p(f)")
    dynamic_prior: Callable[[int], DynamicPrior] = option(DynamicLSTM, Role.MODEL, "the dynamic prior p(z_1:T)")
    posterior: Callable[[tuple[int, ...], int, int, EncoderRecipe], Posterior] = option(
        LSTMPosterior, Role.MODEL, "the guide q(f, z | x)"
    )
    encoder: EncoderRecipe | None = option(
        None,
        Role.MODEL,
        "the network from frames to features; by default what the data recommend, or Convolutional for images, Dense for "
        "vectors",
    )
    decoder: Callable[[int, int, tuple[int, ...]], FrameDecoder] | None = option(
        None,
        Role.MODEL,
        "the network from f and z_t to frames; by default what the data recommend, or Textures for images, Dense for vectors",
    )
    likelihood: Callable[[tuple[int, ...]], Likelihood] | None = option(
        None,
        Role.MODEL,
        "the likelihood p(x_t | f, z_t), given what the decoder says; by default what the data recommend, or Normal",
    )
    standardise: bool = option(
        True,
        Role.MODEL,
        "series (vectors under a real-valued likelihood): networks and noise are in standard deviations from the mean of each "
        "column, both of the training split; frames stay in the units of the data",
    )
    contrastive: Contrastive | None = option(
        None,
        Role.TRAINING,
        "terms beside the ELBO; none, Contrastive, or weights as in --contrastive.weight_mi 5",
    )
    optimisation: Optimisation = option(Optimisation(), Role.TRAINING, "how to fit")
    tracker: Tracker | None = option(
        None,
        Role.INCIDENTAL,
        "who is told of metrics, figures and files beside the run's own folder: TensorBoard, MLflow",
    )

    @property
    def source(self) -> DataSource:
        """The data, of which a verb has made a source."""
        assert isinstance(self.data, DataSource)
        return self.data

    def config(self) -> dict[str, Any]:
        """All options but those of one call, as config.yaml has them: parts with class path and arguments."""
        return self.written(option_names(type(self), *(set(Role) - {Role.CALL})))

    def shared(self) -> dict[str, Any]:
        """Those options that `fit` and `compare` both take, as config.yaml has them."""
        return self.written(each.name for each in fields(SharedOptions))

    def written(self, chosen: Iterable[str]) -> dict[str, Any]:
        """Some options, as config.yaml has them."""
        values = {name: getattr(self, name) for name in chosen}
        return {
            name: describe(value) if name in PARTS and value is not None else plain(value)
            for name, value in values.items()
        }


@dataclass(frozen=True)
class FitOptions(SharedOptions):
    """The options of `fit`."""

    out: Path | None = option(None, Role.CALL, "the run directory (by default the next free runs/NAME-NNN)")
    _: KW_ONLY
    devices: int = option(1, Role.INCIDENTAL, "how many devices share every batch, one process each")
    compile: Compilation = option(
        "none",
        Role.INCIDENTAL,
        "the frame networks, in this mode of torch.compile; reduce-overhead records CUDA graphs",
    )
    data_on: Keep = option(
        "auto",
        Role.INCIDENTAL,
        "where the stored frames are during the fit; auto takes the device where they fill at most half of its memory",
    )
    keep_data: bool = option(
        False,
        Role.INCIDENTAL,
        "keep a copy in the run of data that were given from Python, so that commands can read them",
    )
    resume: bool = option(False, Role.CALL, "go on with the run in --out; where nothing is yet, begin it")
    profile: bool = option(
        False, Role.CALL, "write a PyTorch profiler trace and a table of five steps into the run's folder profile/"
    )


def option_names(kind: type[SharedOptions], *roles: Role) -> tuple[str, ...]:
    """The options of some roles, in the order of the arguments."""
    return tuple(each.name for each in fields(kind) if each.metadata["role"] in roles)


def takes(
    options: Callable[Arguments, Taken],
) -> Callable[[Callable[[Taken], Result]], Callable[Arguments, Result]]:
    """A decorator: the function of one object of options becomes one of its fields as arguments.

    ``@takes(FitOptions) def fit(options)`` is called as ``fit(data=…, steps=…)``. Signature, types for checkers and the
    section Args of the docstring are those of the class.
    """

    def decorate(work: Callable[[Taken], Result]) -> Callable[Arguments, Result]:
        @functools.wraps(work)
        def verb(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
            return work(options(**checked_arguments(options, work.__name__, args, kwargs)))  # type: ignore[call-arg, arg-type]

        signature = inspect.signature(options)
        said = {each.name: each.metadata["said"] for each in fields(options)}  # type: ignore[arg-type]
        listed = "\n".join(f"    {name}: {said[name]}" for name in signature.parameters)
        text, section, rest = str(inspect.getdoc(work)).partition("\n\nReturns:")
        verb.__doc__ = f"{text}\n\nArgs:\n{listed}{section}{rest}\n"
        verb.__signature__ = signature  # type: ignore[attr-defined]
        return verb

    return decorate
