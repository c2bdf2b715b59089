"""Fit a disentangled sequential VAE.

  python -m pyro_dsvae.fit                                   the main job: the embedded sprites, 8 minutes on two cores
  python -m pyro_dsvae.fit --data LPCSprites --data.root DIR --data.size 32 --minutes 30
  python -m pyro_dsvae.fit --data Arrays --data.path clips.npz --likelihood Bernoulli
  python -m pyro_dsvae.fit --dynamic_prior IID               any part by name …
  python -m pyro_dsvae.fit --dynamic_prior my_priors.Damped  … or by the dotted path of your own class
  python -m pyro_dsvae.fit --out runs/a --resume             continue a run that was stopped or killed
  python -m pyro_dsvae.fit --config runs/a/config.yaml       repeat a run
  python -m pyro_dsvae.fit --config kalman-vae               a well-known model: the recipes are listed below
  python -m pyro_dsvae.fit --devices 2                       every batch shared by two devices of this machine …
  torchrun --nproc-per-node 8 --nnodes 2 … -m pyro_dsvae.fit … or by those of several

--data, --static_prior, --dynamic_prior, --posterior and --likelihood take the name of a class; its options follow as
--dynamic_prior.hidden_size 64, and --dynamic_prior.help LSTM lists them. Fitting ends at --steps or --minutes, whichever
comes first. Writes the run directory (config.yaml, checkpoint.pt, best.pt, metrics.csv, summary.json, figures/) and prints
its path as the last line: run: DIR. Exits 0, with 2 and one line for what can be put right, with 130 after Ctrl-C, which
saves everything first.
"""

import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyro_dsvae import cli, recipes
from pyro_dsvae.configuration.build import build, check_times, examples
from pyro_dsvae.configuration.parts import describe, plain
from pyro_dsvae.data.dataset import DataSource
from pyro_dsvae.data.sprites import Sprites
from pyro_dsvae.inference.posteriors.lstm import LSTM as LSTMPosterior
from pyro_dsvae.inference.posteriors.posterior import Posterior
from pyro_dsvae.inference.svi import SVI, NonFiniteError
from pyro_dsvae.inference.training.contrastive import Contrastive
from pyro_dsvae.inference.training.distributed import is_rank_zero
from pyro_dsvae.inference.training.hardware import (
    Compilation,
    Device,
    Hardware,
    Keep,
    Precision,
    check_devices,
    device_for,
)
from pyro_dsvae.inference.training.schedule import DEFAULT_STEPS, Budget, Optimisation
from pyro_dsvae.models.dynamic_priors.dynamic_prior import DynamicPrior
from pyro_dsvae.models.dynamic_priors.flow import Flow as DynamicFlow
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.likelihoods.likelihood import Likelihood
from pyro_dsvae.models.likelihoods.normal import Normal
from pyro_dsvae.models.static_priors.autoregressive_mixture import AutoregressiveMixture
from pyro_dsvae.models.static_priors.static_prior import StaticPrior
from pyro_dsvae.runs.directory import RunDirectory
from pyro_dsvae.runs.profiling import StepProfile
from pyro_dsvae.runs.progress import FitJournal
from pyro_dsvae.runs.report import report

# What may change when a run is resumed: where it runs and how long, not what is fitted.
RESUMABLE = ("steps", "minutes", "device", "devices", "compile", "data_on")


@dataclass(frozen=True)
class FitResult:
    """What `fit` returns.

    Attributes:
        run: The run directory.
        finished: Whether the fit ended; False after Ctrl-C.
        summary: What summary.json holds, in nats per sequence; empty where it did not end.
    """

    run: Path
    finished: bool
    summary: Mapping[str, Any]


def fit(
    data: DataSource = Sprites(),
    out: Path | None = None,
    seed: int = 0,
    steps: int | None = None,
    minutes: float | None = None,
    device: Device = "auto",
    precision: Precision = "32",
    devices: int = 1,
    compile: Compilation = "none",
    data_on: Keep = "auto",
    resume: bool = False,
    profile: bool = False,
    static_size: int = 64,
    latent_size: int = 8,
    static_prior: Callable[[int], StaticPrior] = AutoregressiveMixture,
    dynamic_prior: Callable[[int], DynamicPrior] = DynamicFlow,
    posterior: Callable[[tuple[int, ...], int, int], Posterior] = LSTMPosterior,
    likelihood: Callable[[int, int, tuple[int, ...]], Likelihood] = Normal,
    contrastive: Contrastive | None = None,
    optimisation: Optimisation = Optimisation(),
) -> FitResult:
    """Fit a model and leave a run directory.

    Args:
        data: the sequences: Sprites, LPCSprites, Arrays
        out: the run directory (by default the next free runs/NAME-NNN)
        seed: of the initial weights, the order of the data and all noise
        steps: optimiser steps (without --minutes: 1800)
        minutes: of fitting
        device: where to fit: auto (a GPU where there is one), cpu, cuda, cuda:1 for that GPU, mps
        precision: 32, or bf16 inside the networks
        devices: how many devices share every batch, one process each
        compile: the frame networks, in this mode of torch.compile; reduce-overhead records CUDA graphs
        data_on: where the stored frames are during the fit; auto takes the device where they fill at most half of its memory
        resume: go on with the run in --out
        profile: write a PyTorch profiler trace and a table of five steps into the run's folder profile/
        static_size: dimension F of the static latent f; 0 for a model without a static part
        latent_size: dimension D of each dynamic latent z_t; small keeps looks out of z
        static_prior: p(f)
        dynamic_prior: p(z_1:T)
        posterior: the guide q(f, z | x)
        likelihood: p(x_t | f, z_t)
        contrastive: terms beside the ELBO; none, Contrastive, or weights as in --contrastive.weight_mi 5
        optimisation: how to fit

    Raises:
        UsageError: For anything the caller can put right.

    Returns:
        The run directory, whether the fit ended, and what summary.json holds.

    Example:
        >>> from functools import partial
        >>> from pathlib import Path
        >>> from pyro_dsvae import Arrays
        >>> from pyro_dsvae.fit import fit
        >>> from pyro_dsvae.models.dynamic_priors import GRU
        >>> result = fit(data=Arrays("clips.npz"), dynamic_prior=partial(GRU, hidden_size=8), out=Path("runs/gru"), steps=2)
        test split, nats per sequence
        ...
        >>> result.finished, result.run.as_posix()
        (True, 'runs/gru')
    """
    if steps is None and minutes is None:
        steps = DEFAULT_STEPS
    budget = Budget(steps, minutes)
    _check_options(device, devices, static_size, latent_size, out, resume)
    parts = {
        "static_prior": static_prior,
        "dynamic_prior": dynamic_prior,
        "posterior": posterior,
        "likelihood": likelihood,
    }
    path = next_free(data) if out is None else out
    config = {
        "data": describe(data),
        "seed": seed,
        "steps": steps,
        "minutes": minutes,
        "device": device,
        "precision": precision,
        "devices": devices,
        "compile": compile,
        "data_on": data_on,
        "static_size": static_size,
        "latent_size": latent_size,
        **{name: describe(part) for name, part in parts.items()},
        "contrastive": plain(contrastive),
        "optimisation": plain(optimisation),
    }
    run = _resumed(path, config) if resume else None
    if run is None:
        RunDirectory.check_free(path)
    sequences = data.load()
    train = sequences.sequences("train")
    objective = build(
        examples(sequences),
        seed,
        static_size,
        latent_size,
        static_prior,
        dynamic_prior,
        posterior,
        likelihood,
        contrastive,
    )
    objective.model.likelihood.check(sequences.frames)
    check_times(sequences, objective.model.dynamic_prior)
    hardware = Hardware(device, precision, devices, compile, data_on)
    hardware.launch(min(optimisation.batch_size, len(train)))
    svi = SVI(objective, train, sequences.sequences("validation"), optimisation, budget, seed, hardware)
    test = sequences.sequences("test")
    fingerprint = sequences.fingerprint()
    if run is None:
        start = {**svi.state(), "data": fingerprint}
        run = svi.processes.on_rank_zero(lambda: RunDirectory.create(path, config, start)) or RunDirectory(path)
    else:
        _restore(run, svi, fingerprint)
    first = svi.processes.rank == 0
    with (
        StepProfile(run) if profile and first else nullcontext() as profiled,
        FitJournal(run, budget, svi.step, fingerprint, first, profiled) as journal,
        _Interrupts(journal),
    ):
        try:
            finished = svi.run(journal)
        except NonFiniteError as error:
            raise UsageError(f"{error}. The last good state is in {run.path / 'checkpoint.pt'}") from error
    if not finished:
        return FitResult(run.path, False, {})
    return FitResult(run.path, True, report(run, svi, sequences, test))


def _check_options(
    device: str, devices: int, static_size: int, latent_size: int, out: Path | None, resume: bool
) -> None:
    """Raises `UsageError` for what can be told before anything is read."""
    check_devices(devices, device_for(device))
    if static_size < 0:
        raise UsageError(f"static_size is {static_size}; it is a number of dimensions, 0 for no static part")
    if latent_size < 1:
        raise UsageError(f"latent_size is {latent_size}; a latent needs at least 1 dimension")
    if resume and out is None:
        raise UsageError("--resume needs --out DIR, the run to go on with")


def next_free(data: DataSource) -> Path:
    """The first of runs/NAME-001, runs/NAME-002, … that does not exist."""
    name = type(data).__name__.lower()
    return next(path for n in range(1, 10**6) if not (path := Path("runs") / f"{name}-{n:03}").exists())


def _resumed(path: Path, config: Mapping[str, Any]) -> RunDirectory:
    """The run at ``path``. Raises `UsageError` where it was fitted to other data or with other parts."""
    run = RunDirectory.open(path)
    before = run.config()
    for name, value in config.items():
        if name not in RESUMABLE and before.get(name) != value:
            raise UsageError(
                f"{path} was fitted with {name} = {_short(before.get(name))}, not {_short(value)}; "
                "resume with the same options (--resume --out alone takes them from the run) or fit into another --out"
            )
    return run


def _short(value: object) -> str:
    if isinstance(value, Mapping) and "class_path" in value:
        options = ", ".join(f"{k}={v}" for k, v in value.get("init_args", {}).items())
        return f"{str(value['class_path']).rsplit('.', 1)[-1]}({options})"
    return str(value)


def _restore(run: RunDirectory, svi: SVI, fingerprint: str) -> None:
    state = run.load("checkpoint.pt", svi.fabric.device)
    if state.get("data") != fingerprint:
        raise UsageError(f"{run.path} was fitted to other data: the sequences differ from those of this --data")
    try:
        svi.restore(state)
    except (KeyError, RuntimeError, ValueError) as error:
        raise UsageError(
            f"{run.path / 'checkpoint.pt'} does not fit its config.yaml; restore either, or fit again"
        ) from error
    svi.processes.on_rank_zero(lambda: run.forget_after(svi.step))


class _Interrupts:
    """Ctrl-C asks the fit to stop after the step it is in; a second one stops it at once."""

    def __init__(self, journal: FitJournal) -> None:
        self.journal = journal

    def __enter__(self) -> None:
        self.main = threading.current_thread() is threading.main_thread()
        if self.main:
            self.before = signal.signal(signal.SIGINT, self._ask)

    def __exit__(self, *_: object) -> None:
        if self.main:
            signal.signal(signal.SIGINT, self.before)

    def _ask(self, *_: object) -> None:
        if self.journal.stopping:
            raise KeyboardInterrupt
        self.journal.stopping = True


def main(arguments: Sequence[str]) -> int:
    """The command: 0, or 130 after Ctrl-C."""
    parser = cli.parser_for(fit, f"{__doc__}\nRecipes:\n\n{recipes.listing()}")
    arguments = recipes.resolve(arguments)
    arguments = _bare_flag(arguments)
    given = cli.peek(arguments, "out", "resume")
    if given["out"] is not None and given["resume"] == "true":
        # Options that are not named are those of the run, so that --out DIR --resume is all one has to say.
        before = RunDirectory.open(Path(given["out"]))
        before.config()  # says in one line where the file is spoilt
        arguments = ["--config", str(before.config_file), *arguments]
    values = cli.instantiate(parser, cli.parse(parser, arguments))
    result = fit(**{name: value for name, value in vars(values).items() if name != "config"})
    if not is_rank_zero():  # of several processes the first one speaks
        return 0 if result.finished else 130
    if not result.finished:
        print(f"stopped and saved; go on with: python -m pyro_dsvae.fit --out {result.run} --resume", file=sys.stderr)
    print(f"run: {result.run}")
    return 0 if result.finished else 130


def _bare_flag(arguments: Sequence[str]) -> list[str]:
    """``--resume`` alone means ``--resume true``, and so for ``--profile``."""
    following = [*arguments, "-"][1:]
    flags = ("--resume", "--profile")
    return [f"{a}=true" if a in flags and n.startswith("-") else a for a, n in zip(arguments, following, strict=True)]


if __name__ == "__main__":
    cli.main(main)
