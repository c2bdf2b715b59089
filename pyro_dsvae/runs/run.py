"""What can be done with a finished run: tensors in, tensors out."""

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

Latent = Literal["static", "dynamic", "both"]
PARTS: Mapping[Latent, Part] = {"static": "f", "dynamic": "z", "both": "both"}


@dataclass(frozen=True)
class Run:
    """A fitted model with what it was fitted to; model and guide are in evaluation mode.

    path     the run directory
    config   what config.yaml says
    data     the source of the sequences
    model    p(f) p(z) p(x | f, z)
    guide    q(f, z | x)
    state    what the checkpoint holds beside the weights: step, length, frame_shape, data (their fingerprint)
    anchor   (T, \\*frame) the training clip that `anchored` takes as its anchor; None where the fit kept none

    The methods take stored frames as the data hold them, x (B, T, \\*frame) uint8 or floating, images channel-first, and

    mask     (B, T) or (B, T, \\*frame) bool, True where observed, or None: all are
    lengths  (B,) int64, or None: clip i ends after ``lengths[i]`` frames
    times    (B, T) observation times, or None: frames one unit apart

    What was not observed never influences a result. The frames they return are floating means E[x | f, z], in [0, 1] for
    runs of uint8 frames (a normal likelihood may leave it by a little) and in the units of the data for others. Results are
    on the run's device. All raise `UsageError` for frames of another shape or beyond what the likelihood allows.
    """

    path: Path
    config: dict[str, Any]
    data: DataSource
    model: DSVAE
    guide: Posterior
    state: Mapping[str, Any]
    anchor: Tensor | None = None

    def sequences(self) -> SequenceData:
        """The data of the run, read now. Raises `UsageError` where they cannot be read or are not those it was fitted to."""
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
        """Where model and guide are."""
        return next(self.model.parameters()).device

    def sampler(self, progress: Progress | None = None, anchored: bool = False) -> Sampler:
        """Model and guide as the estimators of `pyro_dsvae.inference` take them: ``estimate_evidence(run.sampler(), …)``.

        anchored  whether to use anchored inference (`anchored_guide`)
        """
        guide = self.anchored_guide() if anchored else self.guide
        return Sampler(self.model, guide, self.device, progress=progress)

    def batch(
        self, x: Tensor, mask: Tensor | None = None, lengths: Tensor | None = None, times: Tensor | None = None
    ) -> Batch:
        """The arguments of model and guide, checked, on the run's device; frames as values, zero where not observed."""
        if x.shape[2:] != self.frame_shape or x.ndim < 3 or 0 in x.shape[:2]:
            raise UsageError(
                f"clips have shape {tuple(x.shape)}; those of this run are (B, T, {_listed(self.frame_shape)})"
            )
        _check_shapes(x, mask, lengths, times)
        x, mask, lengths, times = (None if v is None else v.to(self.device) for v in (x, mask, lengths, times))  # type: ignore[assignment]
        x = Batch(x, mask, lengths).visible
        if x.is_floating_point() and not bool(torch.isfinite(x).all()):
            raise UsageError("the clips hold values that are not finite; say in mask that they were not observed")
        self.model.likelihood.check(x)
        # Priors know intervals only; large times would lose theirs in single precision.
        times = None if times is None else (times - times[:, :1]).float()
        return Batch(self.model.likelihood.prepare(x), mask, lengths, times)

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
        """Mean, scale and ``draws`` draws of f (B, F), what stays, and z (B, T, D), what moves; see `Codes`.

        anchored  whether to use anchored inference (`anchored_guide`), so that neither latent tells of the other
        """
        return encode(self.sampler(progress, anchored), self.batch(x, mask, lengths, times), draws, seed)

    def anchored_guide(self) -> Anchored:
        """The guide with anchored inference, at the anchor clip that the fit has kept (`Anchored`).

        Raises `UsageError` where the fit kept no clip, as its guide has no views or there is no f.
        """
        if self.anchor is None:
            raise UsageError(
                f"{self.path} keeps no anchor clip, so there is no anchored inference: fit images with --posterior.views true "
                "and a --static_size above 0"
            )
        return Anchored(self.guide, self.model.likelihood, self.anchor).eval()

    def decode(self, f: Tensor, z: Tensor) -> Tensor:
        """Frames (\\*B, T, \\*frame) for f (\\*B, F) and z (\\*B, T, D); batch dimensions of size 1 are widened."""
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
        """Frames (B, T, \\*frame) decoded from each clip's own codes."""
        codes = self.encode(x, mask, lengths, times)
        return self.decode(codes.f, codes.z)

    def swap(self, a: Tensor, b: Tensor) -> Tensor:
        """Frames (B, T, \\*frame) with the look of clips ``a`` and the motion of clips ``b``.

        a  (B, T_a, \\*frame), or one clip (1, T_a, \\*frame) for all of b
        b  (B, T, \\*frame), or one clip for all of a

        Clips with gaps are encoded with their masks first: ``run.decode(run.encode(a, mask).f, run.encode(b).z)``.
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
        """f (n, F) and z (n, length, D) of new clips.

        length  frames of each; by default as many as the run was fitted to, or as the clips have whose motion is kept
        keep    static: the looks in ``codes`` under new motions; dynamic: the motions in ``codes`` under new looks, going on
                in new ways where ``length`` is beyond them; None: all new
        codes   of n clips, or of fewer, which take turns
        times   (n, length) of the frames, for priors in continuous time
        """
        if length is None:
            length = self.length if keep != "dynamic" or codes is None else codes.z.shape[1]
        times = None if times is None else (times - times[:, :1]).float().to(self.device)
        with evaluation(self.model, self.guide, seed, self.device):
            return generate(self.model, n, length, keep, codes, times)

    def sample(
        self, n: int, length: int | None = None, seed: int = 0, keep: Keep | None = None, x: Tensor | None = None
    ) -> Tensor:
        """New clips (n, length, \\*frame); with ``keep`` they share the look or the motion of ``x`` (see `sample_latents`)."""
        codes = None if x is None or keep is None else self.encode(x)
        return self.decode(*self.sample_latents(n, length, seed, keep, codes))

    def interpolate_latents(
        self, codes: Codes, count: int = 9, latent: Latent = "both", times: Tensor | None = None
    ) -> Interpolation:
        """f (count, 1, F) and z (count, 1, T, D) from the first of two codes to the second, cut to the shorter clip.

        latent  static: only f goes over, dynamic: only z, both: both; what does not go over stays that of the first
        times   (1, T) of the frames on the way, for priors in continuous time
        """
        length = codes.z.shape[1] if codes.lengths is None else int(codes.lengths[:2].min())
        first, second = (Latents(codes.f[i : i + 1], codes.z[i : i + 1, :length]) for i in (0, 1))
        times = None if times is None else (times - times[:, :1])[:, :length].float().to(self.device)
        return interpolate(self.model, first, second, count, PARTS[latent], times)

    def interpolate(self, a: Tensor, b: Tensor, count: int = 9, latent: Latent = "both") -> Tensor:
        """Clips (count, T, \\*frame) that lead from clip ``a`` (1, T, \\*frame) to clip ``b``, with both ends.

        Along the geometry of the priors (`pyro_dsvae.inference.latent_space.interpolation`); arguments as for
        `interpolate_latents`.
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
        """One dimension of f, or of z, at a time: ``frames`` (n, count, T, \\*frame) for n dimensions; see `Traversal`.

        start       of the clip whose other dimensions stay: ``run.encode(x)``
        reference   of many clips, which tell the values to go through; None: draws from the prior
        dimensions  which, by default all
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
        """What was not observed of each clip: ``mean``, ``sd`` (B, T, \\*frame) and ``draws`` (K, B, T, \\*frame).

        method  amortised: the guide as it is; refined: fitted to every clip; langevin: refined, then moved by chains

        Of a clip of which nothing was observed these are draws of the prior, which ``from_prior`` (B,) says. With everything
        observed, ``model_mean`` is the clip without noise.
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
        """The ``horizon`` frames after each clip: ``mean`` (B, H, \\*frame), ``samples`` (K, B, H, \\*frame), intervals.

        future_times  (B, horizon) of the frames to come, where ``times`` are given
        """
        batch = self.batch(x, mask, lengths, times)
        if future_times is not None and times is not None:
            future_times = (future_times - times[:, :1]).float().to(self.device)
        return forecast(self.sampler(progress), batch, horizon, future_times, draws, seed)


def _listed(sizes: tuple[int, ...]) -> str:
    return ", ".join(str(size) for size in sizes)


def _check_shapes(x: Tensor, mask: Tensor | None, lengths: Tensor | None, times: Tensor | None) -> None:
    """Raises `UsageError` where what is known of clips x (B, T, \\*frame) has another shape than they."""
    clips = tuple(x.shape[:2])
    if mask is not None and (mask.dtype != torch.bool or tuple(mask.shape) not in (clips, tuple(x.shape))):
        raise UsageError(f"mask is {mask.dtype} {tuple(mask.shape)}; it must be bool {clips} or {tuple(x.shape)}")
    if lengths is not None:
        if lengths.shape != clips[:1] or lengths.is_floating_point():
            raise UsageError(f"lengths are {lengths.dtype} {tuple(lengths.shape)}; they must be int64 {clips[:1]}")
        if int(lengths.min()) < 1 or int(lengths.max()) > clips[1]:
            raise UsageError(
                f"lengths run from {int(lengths.min())} to {int(lengths.max())}; they lie in 1..{clips[1]}"
            )
    if times is not None and (tuple(times.shape) != clips or not bool((times.diff(dim=1) > 0).all())):
        raise UsageError(f"times have shape {tuple(times.shape)}; they must be {clips} and increase along each clip")
