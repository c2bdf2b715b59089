"""The codes of a data set, in files, and how well they predict its labels."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import xarray
from rich.console import Console
from torch import Tensor

from pyro_dsvae.actions.output import Output, check_place, chosen_formats, output
from pyro_dsvae.actions.selection import Source
from pyro_dsvae.actions.series_csv import Keys
from pyro_dsvae.data.dataset import SPLITS, Label, Split
from pyro_dsvae.data.names import Names
from pyro_dsvae.figures import clip_pages as latent_figures
from pyro_dsvae.inference.latent_space.encoding import Codes
from pyro_dsvae.inference.sequences import evenly_spaced
from pyro_dsvae.inference.variable_names import variable_names
from pyro_dsvae.loading import load
from pyro_dsvae.metrics.features import path_features
from pyro_dsvae.metrics.probes import Probe, probe
from pyro_dsvae.metrics.tables import Table
from pyro_dsvae.models.errors import check_seed
from pyro_dsvae.progress import Bar

FORMATS = ("npz", "nc", "csv")
AT_ONCE = 1024
# Clips of a split that probes are made of, evenly spaced.
PROBED = 20_000


def encode(
    run: Path,
    clips: str | None = None,
    draws: int = 0,
    split: Literal["train", "validation", "test", "all"] = "all",
    probes: bool = True,
    resize: bool = False,
    format: str = "npz",
    out: Path | None = None,
    overwrite: bool = False,
    seed: int = 0,
    anchored: bool = False,
) -> Path:
    """Write f and z of clips (mean, scale and draws) with their labels, and report how well each code predicts the labels.

    The probe of a label is a linear classifier on f, or on all z of a clip, trained on the train split and counted on the
    validation split. It is made where the data have labels and --split is all; probe.json has a non-linear one, too.

    Args:
        run: the run directory
        clips: positions in the split (3,7 or 0:4) or files; by default all
        draws: draws from q(f, z | x) per clip, beside mean and scale; not in CSV
        split: of the data
        probes: whether to probe the codes for labels
        resize: bring files of another size or channel count to those of the run
        format: of npz, nc, csv, with commas
        out: the new folder; by default RUN/latents/encode-NNN
        overwrite: replace what is there
        seed: of the draws and the probes
        anchored: f and z are inferred from a redrawn clip, so that they tell less of each other (anchored inference)

    Returns:
        The new folder.

    Example:
        >>> import numpy as np
        >>> from pathlib import Path
        >>> from pyro_dsvae.actions.encode import encode
        >>> folder = encode(Path("runs/clips"), clips="0:3", draws=5)
        >>> codes = np.load(folder / "encode.npz")
        >>> codes["f"].shape, codes["z"].shape
        ((3, 4), (3, 6, 2))
    """
    check_seed(seed)
    opened = load(run)
    formats = chosen_formats(format, False, FORMATS)
    check_place(out, overwrite)
    source = Source(opened, "validation" if split == "all" else split, resize)
    options = {"clips": clips, "draws": draws, "split": split, "probes": probes, "seed": seed, "anchored": anchored}
    with output("encode", opened.path, out, formats, options, overwrite) as to:
        with Bar("encoding") as bar:
            if clips is None:
                found = _of_data(source, None if split == "all" else split, draws, seed, bar, anchored, to.path.parent)
            else:
                chosen = source.named(clips)
                codes = chosen.encode(opened, draws, seed, bar, anchored)
                apart = torch.full((len(chosen),), -1)
                table, times = chosen.table, chosen.batch.times
                found = Encoded(codes, chosen.names, chosen.indices, apart, chosen.labels, table, times)
        to.arrays(found.arrays())
        if "nc" in formats:
            found.dataset(to.about).to_netcdf(to.folder / "encode.nc", engine="h5netcdf")
        if "csv" in formats:
            _write_csv(to, found)
        if probes and clips is None and split == "all" and found.labels:
            with Bar("probing") as bar:
                report = _probes(found, seed, bar)
            _tell(to, report)
    return to.path


@dataclass(frozen=True)
class Encoded:
    """The codes of n clips, and what is known of these.

    Attributes:
        indices: (n,) position in the split, -1 for a clip from a file.
        split: (n,) index into `SPLITS`, -1 where the clips were named.
        table: The names in the table that the clips come from, if they come from one.
        times: (n, T) of the steps, if they have any.
    """

    codes: Codes
    names: Sequence[str]
    indices: Tensor
    split: Tensor
    labels: Mapping[str, Label]
    table: Names | None = None
    times: Tensor | None = None

    def arrays(self) -> dict[str, Any]:
        """All of it, for ``.npz``."""
        codes = self.codes
        values: dict[str, Any] = {"f": codes.f, "f_scale": codes.f_scale, "z": codes.z, "z_scale": codes.z_scale}
        if len(codes.f_draws):
            values |= {"f_draws": codes.f_draws, "z_draws": codes.z_draws}
        if codes.lengths is not None:
            values["lengths"] = codes.lengths
        values |= {"indices": self.indices, "split": self.split, "names": np.array(self.names)}
        if self.table is not None:
            values["entities"] = np.array(self.table.entities)
        for name, label in self.labels.items():
            values |= {f"labels_{name}": label.values, f"role_{name}": np.array(label.role)}
            values[f"classes_{name}"] = np.array(label.classes)
        return values

    def dataset(self, about: Mapping[str, Any]) -> xarray.Dataset:
        """The same with names for its axes, for netCDF."""
        codes = self.codes
        axes = {"f": ("clip", "f_dim"), "z": ("clip", "step", "z_dim")}
        variables: dict[str, Any] = {}
        for name, dims in axes.items():
            variables[name] = (dims, getattr(codes, name).cpu().numpy())
            variables[f"{name}_scale"] = (dims, getattr(codes, f"{name}_scale").cpu().numpy())
            if len(codes.f_draws):
                variables[f"{name}_draws"] = (("draw", *dims), getattr(codes, f"{name}_draws").cpu().numpy())
        if codes.lengths is not None:
            variables["length"] = ("clip", codes.lengths.cpu().numpy())
        for name, variable in variable_names(self.labels).items():
            label = self.labels[name]
            variables[f"label_{variable}"] = ("clip", np.array(label.classes)[label.values.numpy()], {"label": name})
        variables["index"], variables["split"] = ("clip", self.indices.numpy()), ("clip", np.array(self.split_names()))
        return xarray.Dataset(variables, {"clip": list(range(len(self.names)))}, {"about": json.dumps(about)})

    def split_names(self) -> list[str]:
        """(n,) name of the split, or "" where clips were named."""
        return [SPLITS[i] if i >= 0 else "" for i in self.split.tolist()]


def _of_data(
    source: Source, split: Split | None, draws: int, seed: int, bar: Bar, anchored: bool, folder: Path
) -> Encoded:
    """The clips of one split, or all, some at a time: neither they nor their codes need fit into memory.

    The codes are kept in files of ``folder`` that have no name.
    """
    data = source.data
    rows = torch.arange(len(data)) if split is None else data.rows(split)
    positions = torch.empty(len(data), dtype=torch.int64)
    for index in range(len(SPLITS)):
        of = data.split == index
        positions[of] = torch.arange(int(of.sum()))

    def parts() -> Iterator[Codes]:
        for number, some in enumerate(rows.split(AT_ONCE)):
            part = data.take(some)
            yield source.run.encode(
                part.frames, part.mask, part.lengths, part.times, draws, seed + number, anchored=anchored
            )
            bar(min(1.0, (number + 1) * AT_ONCE / len(rows)))

    kept = {name: replace(label, values=label.values[rows]) for name, label in data.labels.items()}
    names = [f"clip {i}" for i in positions[rows].tolist()]
    table = None if data.names is None else data.names.take(rows)
    times = None if data.times is None else data.times[rows]
    return Encoded(
        Codes.gathered(parts(), len(rows), folder), names, positions[rows], data.split[rows].long(), kept, table, times
    )


def _write_csv(to: Output, found: Encoded) -> None:
    """static.csv with one line per clip, dynamic.csv with one per step that exists; of tables with entity and time."""
    codes = found.codes
    keys = None
    if found.table is not None:
        keys = Keys.of(found.table, tuple(found.names), found.times, codes.z.shape[1], len(found.table.columns))
    own = [] if keys is None else [keys.entity, keys.time]
    f, f_scale, z, z_scale = (v.cpu() for v in (codes.f, codes.f_scale, codes.z, codes.z_scale))
    labels = {name: [label.classes[i] for i in label.values.tolist()] for name, label in found.labels.items()}
    with (to.folder / "static.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        sizes = range(codes.f.shape[1])
        start, end = ["clip", *own, "split"], [f"{kind}_{i}" for kind in ("f", "f_scale") for i in sizes]
        writer.writerow([*start, *variable_names(labels, [*start, *end]).values(), *end])
        for i, (name, part) in enumerate(zip(found.names, found.split_names(), strict=True)):
            known = [values[i] for values in labels.values()]
            key = [] if keys is None else [keys.entities[i], keys.times[i][0]]
            writer.writerow([name, *key, part, *known, *map(_short, f[i].tolist()), *map(_short, f_scale[i].tolist())])
    lengths = [codes.z.shape[1]] * len(f) if codes.lengths is None else codes.lengths.tolist()
    with (to.folder / "dynamic.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        sizes = range(codes.z.shape[2])
        writer.writerow(["clip", *own, "split", "step", *(f"z_{i}" for i in sizes), *(f"z_scale_{i}" for i in sizes)])
        for i, (name, part) in enumerate(zip(found.names, found.split_names(), strict=True)):
            means, scales = z[i].tolist(), z_scale[i].tolist()
            for step in range(lengths[i]):
                key = [] if keys is None else [keys.entities[i], keys.times[i][step]]
                writer.writerow([name, *key, part, step, *map(_short, means[step]), *map(_short, scales[step])])


def _short(value: float) -> str:
    return f"{value:.6g}"


def _probes(found: Encoded, seed: int, bar: Bar) -> dict[str, dict[str, Probe]]:
    """Label -> code "f" and "z" -> what a probe of it tells."""
    both = ((found.split == SPLITS.index(name)).nonzero().squeeze(1) for name in ("train", "validation"))
    train, held_out = (rows[evenly_spaced(len(rows), PROBED)] for rows in both)
    labels = [
        {name: replace(v, values=v.values[rows]) for name, v in found.labels.items()} for rows in (train, held_out)
    ]
    codes = found.codes
    f, z = ([values[rows].cpu() for rows in (train, held_out)] for values in (codes.f, codes.z))
    lengths = [None if codes.lengths is None else codes.lengths[rows].cpu() for rows in (train, held_out)]
    report: dict[str, dict[str, Probe]] = {name: {} for name in found.labels}
    for number, (code, values) in enumerate({"f": f, "z": list(map(path_features, z, lengths))}.items()):
        for name, probed in probe(values[0], labels[0], values[1], labels[1], seed).items():
            report[name][code] = probed
        bar((number + 1) / 2)
    return report


def _tell(to: Output, report: Mapping[str, Mapping[str, Probe]]) -> None:
    """The report as a table, a picture and probe.json."""
    shown = {name: {code: asdict(value) for code, value in codes.items()} for name, codes in report.items()}
    (to.folder / "probe.json").write_text(json.dumps(shown, indent=2) + "\n")
    latent_figures.probes(
        {
            name: {code: value.linear for code, value in codes.items()} | {"chance": next(iter(codes.values())).chance}
            for name, codes in report.items()
        },
        to.folder / "probe.png",
    )
    rows = [
        (name, *(f"{share:.1%}" for share in (codes["f"].linear, codes["z"].linear, codes["f"].chance)))
        for name, codes in report.items()
    ]
    table = Table(
        "linear probes on validation clips: share predicted right", ("label", "from f", "from z", "by chance"), rows
    )
    Console(highlight=False, emoji=False).print(table.rich())
