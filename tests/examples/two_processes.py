"""Three steps with noise, as one of several processes; the first writes what all of them then have.

torchrun --nproc-per-node 2 two_processes.py FILE
"""

import sys
from pathlib import Path

import torch
import torch.distributed as dist

from pyro_dsvae.configuration.build import build
from pyro_dsvae.inference.posteriors.lstm import LSTM as LSTMPosterior
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.inference.svi import SVI
from pyro_dsvae.inference.training.hardware import Hardware
from pyro_dsvae.inference.training.schedule import Budget, Optimisation
from pyro_dsvae.models.dynamic_priors.lstm import LSTM
from pyro_dsvae.models.likelihoods.normal import Normal
from pyro_dsvae.models.static_priors.standard_normal import StandardNormal


def main(path: Path) -> None:
    torch.set_num_threads(1)
    frames = torch.randn(20, 5, 4, generator=torch.Generator().manual_seed(1))
    objective = build(frames, 0, 3, 2, StandardNormal, LSTM, LSTMPosterior, Normal)
    rows = Sequences(frames, None, None, torch.arange(20))
    hardware = Hardware("cpu")
    hardware.launch(4)
    loop = SVI(objective, rows, rows, Optimisation(batch_size=4), Budget(3), hardware=hardware)
    losses = torch.stack([loop._step(0.5) for _ in range(3)])
    mine = torch.cat([p.detach().flatten() for p in objective.parameters()])
    everyone = [torch.empty_like(mine) for _ in range(loop.processes.count)]
    dist.all_gather(everyone, mine)
    apart = [torch.empty_like(losses) for _ in range(loop.processes.count)]
    dist.all_gather(apart, losses)
    evaluated = loop.evaluate(rows)
    if loop.processes.rank == 0:
        torch.save({"parameters": everyone, "losses": apart, "evaluated": evaluated}, path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
