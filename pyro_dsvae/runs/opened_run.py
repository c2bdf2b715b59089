"""A fitted model and its data, opened: the way into and out of the latents, with which every use of a run begins."""

import warnings
from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pyro_dsvae.data.dataset import DataSource, SequenceData
from pyro_dsvae.data.in_memory import InMemory
from pyro_dsvae.data.location import located, places
from pyro_dsvae.data.reading import read_again
from pyro_dsvae.inference.batch import Batch
from pyro_dsvae.inference.estimation import Progress, Sampler, paths_at_once
from pyro_dsvae.inference.latent_space.encoding import Codes, encode
from pyro_dsvae.inference.latent_space.whole_clips import encode_whole
from pyro_dsvae.inference.memory import check_memory
from pyro_dsvae.inference.posteriors.anchored import Anchored
from pyro_dsvae.inference.posteriors.posterior import Posterior
from pyro_dsvae.inference.prediction import decode
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.errors import Remark, UsageError
from pyro_dsvae.runs.checked_batch import Values, as_batch, as_tensor, checked_batch
from pyro_dsvae.runs.description import described


@dataclass(frozen=True, repr=False)
class OpenedRun(ABC):
    """What a `Run` is made of, and the way into and out of its latents."""

    path: Path
    config: dict[str, Any]
    data: DataSource
    model: DSVAE
    guide: Posterior
    state: Mapping[str, Any]
    anchor: Tensor | None = None

    def __repr__(self) -> str:
        return described(self.path, self.config, self.data, self.model, self.guide, self.state)

    def sequences(self) -> SequenceData:
        """Load the data of the run.

        Relative paths count from the current folder. Where the data are not there, they are looked for in the folder in which
        the run was fitted, and then in that of the run and those above it; a `Remark` says where they were found.

        Raises:
            UsageError: Where they cannot be read, or are not the data that the run was fitted to.

        Example:
            >>> import pyro_dsvae
            >>> data = pyro_dsvae.load("runs/clips").sequences()
            >>> data.part("test").frames.shape
            torch.Size([4, 6, 3, 16, 16])
        """
        known = self.config.get("data_folder")
        folders = places(None if known is None else Path(known), self.path)
        if isinstance(self.data, InMemory):  # whose copy is the run's own
            folders.insert(0, self.path.resolve())
        for source, folder in located(self.data, folders):
            try:
                data = read_again(source, self.state.get("data"))
            except UsageError as error:
                where = "" if known is None or folder == Path(known) else f"; the run was fitted in {known}"
                raise UsageError(f"{error}{where}") from error
            if "data" not in self.state or data.has_fingerprint(self.state["data"]):
                if folder != folders[0]:
                    warnings.warn(f"the data of {self.path} are taken from {folder}", Remark, stacklevel=2)
                return data
        given = isinstance(self.data, InMemory) and self.data.holds
        than = "those that were given" if given else f"{type(self.data).__name__} gives now"
        raise UsageError(f"{self.path} was fitted to other data than {than}")

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """(C, H, W) of images, (P,) of vectors."""
        return tuple(self.model.likelihood.frame_shape)

    @property
    def length(self) -> int:
        """T, the number of frames of the longest sequence that the model was fitted to."""
        return int(self.state["length"]) if "length" in self.state else self.sequences().length

    @property
    def device(self) -> torch.device:
        """The device of model and guide."""
        return next(self.model.parameters()).device

    def sampler(self, progress: Progress | None = None, anchored: bool = False) -> Sampler:
        """Model and guide in the form that the estimators of `pyro_dsvae.inference` take.

        Args:
            progress: Called with the share of the work that is done.
            anchored: Use anchored inference (`anchored_guide`).

        Example:
            >>> import pyro_dsvae
            >>> from pyro_dsvae.inference.evidence import estimate_evidence
            >>> run = pyro_dsvae.load("runs/clips")
            >>> found = estimate_evidence(run.sampler(), run.sequences().sequences("test"), draws=25)
            >>> found.log_evidence.shape  # log p(x) of the 4 clips of the test split, nats
            torch.Size([4])
        """
        guide = self.anchored_guide() if anchored else self.guide
        return Sampler(self.model, guide, self.device, progress=progress)

    def batch(
        self, x: Values, mask: Values | None = None, lengths: Values | None = None, times: Values | None = None
    ) -> Batch:
        """Check clips and convert them to the arguments of model and guide.

        Returns:
            The arguments on the run's device: frames in model units, zero where not observed.

        Raises:
            UsageError: Where shapes, values or times are not those of this run.

        Example:
            >>> import pyro_dsvae, torch
            >>> run = pyro_dsvae.load("runs/clips")
            >>> batch = run.batch(torch.full((1, 6, 3, 16, 16), 255, dtype=torch.uint8))
            >>> batch.x.max()
            tensor(1.)
        """
        return checked_batch(as_batch(x, mask, lengths, times), self.model.likelihood, self.device)

    def encode(
        self,
        x: Values,
        mask: Values | None = None,
        lengths: Values | None = None,
        times: Values | None = None,
        draws: int = 0,
        seed: int = 0,
        progress: Progress | None = None,
        anchored: bool = False,
    ) -> Codes:
        """Infer the latents of clips.

        Args:
            x, mask, lengths, times: See the class.
            draws: K, draws from q(f, z | x) beside mean and scale.
            seed: Of the draws.
            progress: Called with the share of the work that is done.
            anchored: Use anchored inference (`anchored_guide`), so that neither latent holds information about
                the other.

        Returns:
            Mean, scale and draws of f (B, F), what stays, and of z (B, T, D), what moves.

        Example:
            >>> import pyro_dsvae
            >>> run = pyro_dsvae.load("runs/clips")
            >>> x = run.sequences().part("test").frames
            >>> codes = run.encode(x, draws=10)
            >>> codes.f.shape, codes.z.shape, codes.f_draws.shape
            (torch.Size([4, 4]), torch.Size([4, 6, 2]), torch.Size([10, 4, 4]))
        """
        return encode(self.sampler(progress, anchored), self.batch(x, mask, lengths, times), draws, seed)

    def encode_whole(
        self,
        x: Values,
        mask: Values | None = None,
        lengths: Values | None = None,
        times: Values | None = None,
        seed: int = 0,
    ) -> Codes:
        """Infer the latents of clips of any length: of longer ones than the run was fitted to, from windows of that length.

        f is pooled over the windows by its precision, and z blended where they overlap
        (`pyro_dsvae.inference.latent_space.whole_clips.encode_whole`).

        Args:
            x, mask, lengths, times: See the class.
            seed: Of draws, where a latent has no moments in closed form.

        Returns:
            Mean and scale of f (B, F) and of z (B, T, D).

        Example:
            >>> import pyro_dsvae
            >>> run = pyro_dsvae.load("runs/clips")  # fitted to clips of 6 frames
            >>> film = run.sequences().part("test").frames.flatten(0, 1)[None]
            >>> run.encode_whole(film).z.shape
            torch.Size([1, 24, 2])
        """
        return encode_whole(self.sampler(), self.batch(x, mask, lengths, times), self.length, seed)

    def decode(self, f: Values, z: Values) -> Tensor:
        """Decode latents: E[x | f, z].

        Args:
            f: Static latents, ``(*B, F)``.
            z: Paths, ``(*B, T, D)``. Batch dimensions broadcast.

        Returns:
            Frames, ``(*B, T, *frame)``.

        Example:
            >>> import pyro_dsvae
            >>> run = pyro_dsvae.load("runs/clips")
            >>> codes = run.encode(run.sequences().part("test").frames)
            >>> run.decode(codes.f[:, None], codes.z[None]).shape  # every appearance with every motion
            torch.Size([4, 4, 6, 3, 16, 16])
        """
        f, z = as_tensor("f", f), as_tensor("z", z)
        self._check_latents(f, z)
        batch = torch.broadcast_shapes(f.shape[:-1], z.shape[:-2])
        length = z.shape[-2]
        f, z = (v.to(self.device) for v in (f, z))
        # Their number is said, since a static latent of size 0 does not tell it.
        count = prod(batch)
        f = f.expand(*batch, -1).reshape(count, f.shape[-1])
        z = z.expand(*batch, -1, -1).reshape(count, *z.shape[-2:])
        check_memory(f"{count} clips of {length} frames", count, length, *self.frame_shape)
        size, steps = paths_at_once((length, *self.frame_shape)), paths_at_once((1, *self.frame_shape))
        frames = [
            # A frame is decoded from f and its own z, so long clips can be decoded in pieces.
            torch.cat([decode(self.model, some, piece) for piece in path.split(steps, dim=1)], dim=1)
            for some, path in zip(f.split(size), z.split(size), strict=True)
        ]
        return torch.cat(frames).reshape(*batch, length, *self.frame_shape)

    def _check_latents(self, f: Tensor, z: Tensor) -> None:
        """Raises `UsageError` for latents of another size than the model's."""
        sizes = self.model.static_prior.static_size, self.model.dynamic_prior.latent_size
        if f.ndim < 1 or z.ndim < 2 or (f.shape[-1], z.shape[-1]) != sizes:
            raise UsageError(
                f"f and z have shapes {tuple(f.shape)} and {tuple(z.shape)}; those of this run are (…, {sizes[0]}) and "
                f"(…, T, {sizes[1]})"
            )

    def anchored_guide(self) -> Anchored:
        """The guide with anchored inference, at the anchor clip that the fit kept (see `Anchored`).

        Raises:
            UsageError: Where the fit kept no clip, because its guide has no views or the model has no f.

        Example:
            >>> import pyro_dsvae
            >>> run = pyro_dsvae.load("runs/clips")
            >>> x = run.batch(run.sequences().part("test").frames).x
            >>> f, z = run.anchored_guide()(x)  # one draw for each clip
            >>> f.shape, z.shape
            (torch.Size([4, 4]), torch.Size([4, 6, 2]))
        """
        if self.anchor is None:
            raise UsageError(
                f"{self.path} keeps no anchor clip, so there is no anchored inference: fit images with --posterior.views turn "
                "and a --static_size above 0"
            )
        return Anchored(self.guide, self.model.decoder, self.model.likelihood, self.anchor).eval()
