"""Opening a finished run."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pyro_dsvae import cli
from pyro_dsvae.build import build
from pyro_dsvae.data.dataset import DataSource, SequenceData
from pyro_dsvae.inference.posteriors.posterior import Posterior
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.runs import RunDirectory


@dataclass(frozen=True)
class Run:
    """A fitted model with what it was fitted to; model and guide are in evaluation mode.

    path     the run directory
    config   what config.yaml says
    data     the source of the sequences
    model    p(f) p(z) p(x | f, z)
    guide    q(f, z | x)
    state    what the checkpoint holds beside the weights: step, length, frame_shape, data (their fingerprint)
    """

    path: Path
    config: dict[str, Any]
    data: DataSource
    model: DSVAE
    guide: Posterior
    state: Mapping[str, Any]

    def sequences(self) -> SequenceData:
        """The data of the run, read now. Raises `UsageError` where they cannot be read or are not those it was fitted to."""
        data = self.data.load()
        if self.state.get("data", data.fingerprint()) != data.fingerprint():
            raise UsageError(f"{self.path} was fitted to other data than {type(self.data).__name__} gives now")
        return data


def load(path: str | Path, checkpoint: str = "best.pt", device: str = "cpu") -> Run:
    """Open the run at ``path`` with the state of highest held-out ELBO. Its data are not read.

    Raises `UsageError` where there is no run, or it is damaged.
    """
    from pyro_dsvae.fit import fit

    directory = RunDirectory.open(Path(path))
    parser = cli.parser_for(fit, None)
    options = cli.instantiate(parser, cli.parse(parser, ["--config", str(directory.config_file)]))
    state = directory.load(checkpoint, device)
    # What is initialised from data is overwritten by the checkpoint; only shapes matter.
    examples = torch.zeros(1, state.get("length", 1), *state.get("frame_shape", ()), dtype=torch.uint8)
    objective = build(
        examples,
        options.seed,
        options.static_size,
        options.latent_size,
        options.static_prior,
        options.dynamic_prior,
        options.posterior,
        options.likelihood,
    )
    try:
        objective.load_state_dict(state["objective"])
    except (KeyError, RuntimeError) as error:
        raise UsageError(
            f"{directory.path / checkpoint} does not fit its config.yaml; restore either, or fit again"
        ) from error
    objective.to(device).eval()
    kept = {name: value for name, value in state.items() if name != "objective"}
    return Run(directory.path, directory.config(), options.data, objective.model, objective.guide, kept)
