r"""The run that ships with the package: a finished fit, its weights in half precision, and what that rounding costs.

  python -m pyro_dsvae.fit --posterior.hidden_size 88 --posterior.feature_size 88 --out runs/sprites   # 13 minutes on one core
  python benchmarks/shipped_run.py runs/sprites                                                        # 2 minutes

The weights of the default sizes have more than 5 MB in half precision, so the LSTMs and features are smaller. The second
command writes pyro_dsvae/pretrained/sprites and prints a table: the ELBO of the validation split and the judge's shares in
swaps, of the run and of what ships.

What resumes a fit (checkpoint.pt), the pictures, and the folder in which it was fitted are left out.
"""

import argparse
from pathlib import Path

import torch
import yaml

import pyro_dsvae
from pyro_dsvae.configuration.networks import for_frames
from pyro_dsvae.data.dataset import SequenceData
from pyro_dsvae.judges.cache import load_or_train_judge
from pyro_dsvae.judges.swap_scores import swap_scores
from pyro_dsvae.metrics.features import encode, one_split
from pyro_dsvae.metrics.unlabelled import measure_terms
from pyro_dsvae.pretrained import FOLDER
from pyro_dsvae.runs.directory import RunDirectory
from pyro_dsvae.runs.run import Run

FORGOTTEN = {"data_folder": None, "device": "auto", "tracker": None}
LIMIT = 5_000_000  # bytes


def ship(run: Path, to: Path) -> None:
    """Write the folder that ships.

    Args:
        run: A finished fit.
        to: The new folder.
    """
    old, new = RunDirectory.open(run), RunDirectory(to)
    state = old.load("best.pt")
    options = for_frames(old.options(), tuple(state["frame_shape"]))
    state["objective"] = {
        name: value.half() if value.is_floating_point() else value for name, value in state["objective"].items()
    }
    to.mkdir(parents=True, exist_ok=True)
    new.write_text(new.config_file, yaml.safe_dump({**options.config(), **FORGOTTEN}, sort_keys=False))
    new.write_text(new.metrics_file, old.metrics_file.read_text())
    new.write_summary(old.summary())
    new.save("best.pt", state)
    # Anew under this short name, which the archive repeats for every tensor.
    torch.save(torch.load(to / "best.pt", weights_only=True), to / "best.pt")


def measured(run: Run, data: SequenceData) -> dict[str, float]:
    """ELBO of the validation split in nats per sequence, and the shares that the judge sees right in swaps."""
    held_out = data.measured("validation")
    sequences = one_split(held_out)
    terms = measure_terms(run.model, run.guide, sequences, encode(run.sampler(), sequences), 0, run.device)
    judge = load_or_train_judge(data, run.model.likelihood.to_model_units)
    scores = swap_scores(judge, run.model, run.guide, held_out, run.model.likelihood.to_model_units)
    return {"ELBO": terms.elbo, **scores.kept, **scores.taken_over}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a finished fit")
    parser.add_argument("--out", type=Path, default=FOLDER / "sprites")
    options = parser.parse_args()
    torch.set_num_threads(1)
    ship(options.run, options.out)
    size = (options.out / "best.pt").stat().st_size
    if size > LIMIT:
        raise SystemExit(f"best.pt has {size:,} bytes; at most {LIMIT:,} ship")
    data = pyro_dsvae.load(options.run).sequences()
    before, after = (measured(pyro_dsvae.load(path), data) for path in (options.run, options.out))
    print(f"{options.out / 'best.pt'}: {size:,} bytes\n\n| | run | as it ships |\n|---|---|---|")
    for name in before:
        figures = [f"{each[name]:,.1f}" if name == "ELBO" else f"{each[name]:.1%}" for each in (before, after)]
        print(f"| {name} | {' | '.join(figures)} |")


if __name__ == "__main__":
    main()
