"""What a fitted model can do: tensors in, tensors out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from pyro_dsvae.data.dataset import DataSource, SequenceData
from pyro_dsvae.inference.batch import Batch
from pyro_dsvae.inference.estimation import Progress, Sampler, evaluation, paths_at_once
from pyro_dsvae.inference.forecasting.forecast import Forecast, forecast
from pyro_dsvae.inference.latent_space.encoding import Codes, encode
from pyro_dsvae.inference.latent_space.generation import Keep, generate
from pyro_dsvae.inference.latent_space.imputation import Imputation, Method, impute
from pyro_dsvae.inference.latent_space.interpolation import Interpolation, Part, interpolate
from pyro_dsvae.inference.latent_space.traversal import Traversal, traverse_dynamic, traverse_static
from pyro_dsvae.inference.latents import Latents
from pyro_dsvae.inference.posteriors.anchored import Anchored
from pyro_dsvae.inference.posteriors.posterior import Posterior
from pyro_dsvae.inference.prediction import decode
from pyro_dsvae.models.dsvae import DSVAE
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.steps import Steps
from pyro_dsvae.runs.checked_batch import checked_batch, since_start

Latent = Literal["static", "dynamic", "both"]
PARTS: Mapping[Latent, Part] = {"static": "f", "dynamic": "z", "both": "both"}


@dataclass(frozen=True)
class Run:
    """A fitted model and what it was fitted to; model and guide are in evaluation mode. `pyro_dsvae.load` opens one.

    The methods take stored frames x ``(B, T, *frame)`` as the data hold them, uint8 or floating, images channel-first. They
    also take

    * mask: (B, T) or ``(B, T, *frame)`` bool, True where observed; None where all is,
    * lengths: (B,) int64, clip i ends after ``lengths[i]`` frames; None where all have T,
    * times: (B, T) observation times; None for frames one unit apart.

    What was not observed never influences a result. Frames in results are floating means E[x | f, z]. They are in [0,
    1] for runs of uint8 frames (with a normal likelihood slightly outside, too), and in the units of the data for
    others. Results are on the run's device. All methods raise `UsageError` for frames of another shape or outside the
    likelihood's support.

    Attributes:
        path: The run directory.
        config: The content of config.yaml.
        data: The source of the sequences.
        model: p(f) p(z) p(x | f, z).
        guide: q(f, z | x).
        state: The content of the checkpoint without the weights: step, length, frame_shape, data (their fingerprint).
        anchor: ``(T, *frame)``, the training clip that `anchored_guide` uses as its anchor; None where the fit kept none.
    """

    path: Path
    config: dict[str, Any]
    data: DataSource
    model: DSVAE
    guide: Posterior
    state: Mapping[str, Any]
    anchor: Tensor | None = None

    def sequences(self) -> SequenceData:
        """Load the data of the run.

        Raises:
            UsageError: Where they cannot be read, or are not the data that the run was fitted to.

        Example:
            >>> import pyro_dsvae
            >>> data = pyro_dsvae.load("runs/clips").sequences()
            >>> data.part("test").frames.shape
            torch.Size([4, 6, 3, 16, 16])
        """
        data = self.data.load()
        if self.state.get("data", data.fingerprint()) != data.fingerprint():
            raise UsageError(f"{self.path} was fitted to other data than {type(self.data).__name__} gives now")
        return data

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
        self, x: Tensor, mask: Tensor | None = None, lengths: Tensor | None = None, times: Tensor | None = None
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
        return checked_batch(x, mask, lengths, times, self.model.likelihood, self.device)

    def encode(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        lengths: Tensor | None = None,
        times: Tensor | None = None,
        draws: int = 0,
        seed: int = 0,
        progress: Progress | None = None,
        anchored: bool = False,
    ) -> Codes:
        """Infer the latents of clips.

        Args:
            x: Stored frames, ``(B, T, *frame)``.
            mask: See the class.
            lengths: See the class.
            times: See the class.
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
                f"{self.path} keeps no anchor clip, so there is no anchored inference: fit images with --posterior.views true "
                "and a --static_size above 0"
            )
        return Anchored(self.guide, self.model.likelihood, self.anchor).eval()

    def decode(self, f: Tensor, z: Tensor) -> Tensor:
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
        batch = torch.broadcast_shapes(f.shape[:-1], z.shape[:-2])
        length = z.shape[-2]
        f, z = (v.to(self.device) for v in (f, z))
        f, z = f.expand(*batch, -1).reshape(-1, f.shape[-1]), z.expand(*batch, -1, -1).reshape(-1, *z.shape[-2:])
        size = paths_at_once((length, *self.frame_shape))
        frames = [decode(self.model, *part) for part in zip(f.split(size), z.split(size), strict=True)]
        return torch.cat(frames).reshape(*batch, length, *self.frame_shape)

    def reconstruct(
        self, x: Tensor, mask: Tensor | None = None, lengths: Tensor | None = None, times: Tensor | None = None
    ) -> Tensor:
        """Decode clips from their own latents.

        Returns:
            Frames, ``(B, T, *frame)``.

        Example:
            >>> import pyro_dsvae
            >>> run = pyro_dsvae.load("runs/clips")
            >>> x = run.sequences().part("test").frames
            >>> run.reconstruct(x).shape == x.shape
            True
        """
        codes = self.encode(x, mask, lengths, times)
        return self.decode(codes.f, codes.z)

    def swap(self, a: Tensor, b: Tensor) -> Tensor:
        """Decode clips with the appearance of ``a`` and the motion of ``b``.

        Clips with gaps are encoded with their masks first: ``run.decode(run.encode(a, mask).f, run.encode(b).z)``.

        Args:
            a: Clips ``(B, T_a, *frame)``, or one clip for all of ``b``.
            b: Clips ``(B, T, *frame)``, or one clip for all of ``a``.

        Returns:
            Frames, ``(B, T, *frame)``.

        Example:
            >>> import pyro_dsvae
            >>> run = pyro_dsvae.load("runs/clips")
            >>> x = run.sequences().part("test").frames
            >>> run.swap(x[:1], x[1:]).shape  # one appearance in three motions
            torch.Size([3, 6, 3, 16, 16])
        """
        if len(a) != len(b) and 1 not in (len(a), len(b)):
            raise UsageError(f"swap takes pairs of clips, or one clip against many, not {len(a)} and {len(b)}")
        return self.decode(self.encode(a).f, self.encode(b).z)

    def sample_latents(
        self,
        n: int,
        length: int | None = None,
        seed: int = 0,
        keep: Keep | None = None,
        codes: Codes | None = None,
        times: Tensor | None = None,
    ) -> Latents:
        """Draw the latents of new clips.

        Args:
            n: The number of clips.
            length: Frames of each; by default as many as the run was fitted to, or as the clips have whose motion is kept.
            seed: Of the draws.
            keep: "static" keeps f of ``codes`` and draws z; "dynamic" keeps z of ``codes``, continued by the prior where
                ``length`` is beyond it, and draws f; None draws both.
            codes: Of n clips, or of fewer, which take turns.
            times: (n, length) of the frames, for priors in continuous time.

        Returns:
            f (n, F) and z (n, length, D).

        Example:
            >>> import pyro_dsvae
            >>> run = pyro_dsvae.load("runs/clips")
            >>> f, z = run.sample_latents(3, length=20)
            >>> f.shape, z.shape
            (torch.Size([3, 4]), torch.Size([3, 20, 2]))
        """
        if length is None:
            length = self.length if keep != "dynamic" or codes is None else codes.z.shape[1]
        times = None if times is None else since_start(times).to(self.device)
        with evaluation(self.model, self.guide, seed, self.device):
            return generate(self.model, n, length, keep, codes, times)

    def sample(
        self, n: int, length: int | None = None, seed: int = 0, keep: Keep | None = None, x: Tensor | None = None
    ) -> Tensor:
        """Generate new clips; with ``keep`` they share appearance or motion with ``x``.

        Args:
            n: The number of clips.
            length: See `sample_latents`.
            seed: Of the draws.
            keep: See `sample_latents`.
            x: The clips whose appearance or motion is kept.

        Returns:
            Frames, ``(n, length, *frame)``.

        Example:
            >>> import pyro_dsvae
            >>> run = pyro_dsvae.load("runs/clips")
            >>> x = run.sequences().part("test").frames
            >>> run.sample(3, length=20).shape
            torch.Size([3, 20, 3, 16, 16])
            >>> run.sample(3, keep="static", x=x[:1]).shape  # one appearance in three new motions
            torch.Size([3, 6, 3, 16, 16])
        """
        codes = None if x is None or keep is None else self.encode(x)
        return self.decode(*self.sample_latents(n, length, seed, keep, codes))

    def interpolate_latents(
        self, codes: Codes, count: int = 9, latent: Latent = "both", times: Tensor | None = None
    ) -> Interpolation:
        """Interpolate between the first two of ``codes``, cut to the shorter clip.

        Args:
            codes: Of the two clips.
            count: The number of points, with both ends.
            latent: "static" changes only f, "dynamic" only z, "both" both. What does not change is that of the first clip.
            times: (1, T) of the frames on the way, for priors in continuous time.

        Returns:
            f (count, 1, F) and z (count, 1, T, D).

        Example:
            >>> import pyro_dsvae
            >>> run = pyro_dsvae.load("runs/clips")
            >>> codes = run.encode(run.sequences().part("test").frames[:2])
            >>> run.interpolate_latents(codes, count=5).f.shape
            torch.Size([5, 1, 4])
        """
        length = codes.z.shape[1] if codes.lengths is None else int(codes.lengths[:2].min())
        first, second = (Latents(codes.f[i : i + 1], codes.z[i : i + 1, :length]) for i in (0, 1))
        times = None if times is None else since_start(times[:, :length]).to(self.device)
        return interpolate(self.model, first, second, count, PARTS[latent], times)

    def interpolate(self, a: Tensor, b: Tensor, count: int = 9, latent: Latent = "both") -> Tensor:
        """Interpolate between two clips, along the geometry of the priors
        (`pyro_dsvae.inference.latent_space.interpolation`).

        Args:
            a: The first clip, ``(1, T, *frame)``.
            b: The last clip, ``(1, T, *frame)``.
            count: See `interpolate_latents`.
            latent: See `interpolate_latents`.

        Returns:
            Frames ``(count, T, *frame)``, with both ends.

        Example:
            >>> import pyro_dsvae
            >>> run = pyro_dsvae.load("runs/clips")
            >>> x = run.sequences().part("test").frames
            >>> run.interpolate(x[:1], x[1:2], count=5).shape
            torch.Size([5, 6, 3, 16, 16])
        """
        if len(a) != 1 or len(b) != 1 or a.shape[1] != b.shape[1]:
            raise UsageError(
                f"interpolate takes two clips (1, T, …) of one length, not {tuple(a.shape)}, {tuple(b.shape)}"
            )
        found = self.interpolate_latents(Codes.joined([self.encode(a), self.encode(b)]), count, latent)
        return self.decode(found.f[:, 0], found.z[:, 0])

    def traverse(
        self,
        start: Codes,
        reference: Codes | None = None,
        latent: Literal["static", "dynamic"] = "static",
        dimensions: Sequence[int] | Tensor | None = None,
        count: int = 7,
        seed: int = 0,
    ) -> Traversal:
        """Change one dimension of f, or of z, at a time.

        Args:
            start: Codes of the clip whose other dimensions stay: ``run.encode(x)``.
            reference: Codes of many clips, whose values are gone through; None: draws from the prior.
            latent: "static" for f, "dynamic" for z.
            dimensions: Which dimensions; by default all.
            count: Values of each.
            seed: Of the draws.

        Returns:
            Frames ``(n, count, T, *frame)`` for n dimensions, and the values.

        Example:
            >>> import pyro_dsvae
            >>> run = pyro_dsvae.load("runs/clips")
            >>> codes = run.encode(run.sequences().part("test").frames)
            >>> run.traverse(codes, reference=codes, dimensions=[0, 3], count=5).frames.shape
            torch.Size([2, 5, 6, 3, 16, 16])
        """
        go, codes = (traverse_static, "f") if latent == "static" else (traverse_dynamic, "z")
        end = start.z.shape[1] if start.lengths is None else int(start.lengths[0])
        values = None if reference is None else getattr(reference, codes)
        if latent == "dynamic" and reference is not None and reference.lengths is not None:
            valid = Steps(reference.z.shape[1], reference.lengths).valid
            assert valid is not None
            values = reference.z[valid].unsqueeze(0)
        with evaluation(self.model, self.guide, seed, self.device):
            return go(self.model, start.f[0], start.z[0, :end], values, dimensions, count)

    def impute(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        lengths: Tensor | None = None,
        times: Tensor | None = None,
        draws: int = 50,
        method: Method = "refined",
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Imputation:
        """Draw what was not observed of clips, given what was.

        With nothing observed the draws are from the prior, which ``from_prior`` (B,) says. With everything observed,
        ``model_mean`` is the clip without noise.

        Args:
            x: Stored frames, ``(B, T, *frame)``.
            mask: See the class.
            lengths: See the class.
            times: See the class.
            draws: The number of draws, K.
            method: "amortised": the guide as it is; "refined": the guide fitted to each clip; "langevin": refined, then moved
                by Markov chains.
            seed: Of the draws.
            progress: Called with the share of the work that is done.

        Returns:
            ``mean`` and ``sd`` ``(B, T, *frame)``, ``draws`` ``(K, B, T, *frame)``, and diagnostics.

        Example:
            >>> import pyro_dsvae, torch
            >>> run = pyro_dsvae.load("runs/clips")
            >>> x = run.sequences().part("test").frames
            >>> mask = torch.ones(4, 6, dtype=torch.bool)
            >>> mask[:, 3] = False  # the fourth frame is missing
            >>> run.impute(x, mask, draws=10, method="amortised").draws.shape
            torch.Size([10, 4, 6, 3, 16, 16])
        """
        return impute(self.sampler(progress), self.batch(x, mask, lengths, times), draws, method, seed)

    def forecast(
        self,
        x: Tensor,
        horizon: int,
        mask: Tensor | None = None,
        lengths: Tensor | None = None,
        times: Tensor | None = None,
        future_times: Tensor | None = None,
        draws: int = 100,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Forecast:
        """Draw the frames that follow each clip.

        Args:
            x: Stored frames, ``(B, T, *frame)``.
            horizon: H, the number of frames to come.
            mask: See the class.
            lengths: See the class.
            times: See the class.
            future_times: (B, H) of the frames to come, where ``times`` are given.
            draws: The number of draws, K.
            seed: Of the draws.
            progress: Called with the share of the work that is done.

        Returns:
            ``mean`` ``(B, H, *frame)``, ``samples`` ``(K, B, H, *frame)``, intervals, and diagnostics.

        Example:
            >>> import pyro_dsvae
            >>> run = pyro_dsvae.load("runs/clips")
            >>> found = run.forecast(run.sequences().part("test").frames, horizon=3, draws=10)
            >>> low, high = found.interval(0.9)
            >>> found.mean.shape, bool((low <= high).all())
            (torch.Size([4, 3, 3, 16, 16]), True)
        """
        batch = self.batch(x, mask, lengths, times)
        if future_times is not None and times is not None:
            future_times = (future_times - times[:, :1]).float().to(self.device)
        return forecast(self.sampler(progress), batch, horizon, future_times, draws, seed)
