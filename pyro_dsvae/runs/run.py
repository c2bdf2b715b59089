"""What a fitted model can do: tensors in, tensors out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from pyro_dsvae.inference.estimation import Progress, evaluation
from pyro_dsvae.inference.forecasting.forecast import Forecast, forecast
from pyro_dsvae.inference.latent_space.encoding import Codes
from pyro_dsvae.inference.latent_space.generation import Keep, generate
from pyro_dsvae.inference.latent_space.imputation import Imputation, Method, impute
from pyro_dsvae.inference.latent_space.interpolation import Interpolation, Part, interpolate
from pyro_dsvae.inference.latent_space.traversal import Traversal, traverse_dynamic, traverse_static
from pyro_dsvae.inference.latents import Latents
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.steps import Steps
from pyro_dsvae.runs.checked_batch import Values, as_tensor, one_of, since_start
from pyro_dsvae.runs.opened_run import OpenedRun

Latent = Literal["static", "dynamic", "both"]
PARTS: Mapping[Latent, Part] = {"static": "f", "dynamic": "z", "both": "both"}


@dataclass(frozen=True, repr=False)
class Run(OpenedRun):
    """A fitted model and what it was fitted to; model and guide are in evaluation mode. `pyro_dsvae.load` opens one.

    The methods take stored frames x ``(B, T, *frame)`` as the data hold them, tensors or arrays of NumPy, uint8 or floating,
    images channel-first. They also take

    * mask: (B, T) or ``(B, T, *frame)`` bool, True where observed; None where all is,
    * lengths: (B,) int64, clip i ends after ``lengths[i]`` frames; None where all have T,
    * times: (B, T) observation times; None for frames one unit apart.

    What was not observed never influences a result. Frames in results are floating means E[x | f, z]. They are in [0,
    1] for runs of uint8 frames (with a normal likelihood slightly outside, too), and in the units of the data for
    others. Results are on the run's device. All methods raise `UsageError` for frames of another shape or outside the
    likelihood's support.

    Attributes:
        path, config: The run directory, and the content of its config.yaml.
        data: The source of the sequences.
        model, guide: p(f) p(z) p(x | f, z) and q(f, z | x).
        state: The content of the checkpoint without the weights: step, length, frame_shape, data (their fingerprint).
        anchor: ``(T, *frame)``, the training clip that `anchored_guide` uses as its anchor; None where the fit kept none.
    """

    def reconstruct(
        self, x: Values, mask: Values | None = None, lengths: Values | None = None, times: Values | None = None
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

    def swap(self, a: Values, b: Values) -> Tensor:
        """Decode clips with the appearance of ``a`` and the motion of ``b``.

        Clips with gaps come with their masks: ``run.decode(run.encode(a, mask).f, run.encode(b).z)``. Long ones: encode_whole.

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
        if not self.model.static_prior.static_size:
            raise UsageError("this run has no static part (static_size is 0), so there is no appearance to swap")
        return self.decode(self.encode_whole(a).f, self.encode_whole(b).z)

    def sample_latents(
        self,
        n: int,
        length: int | None = None,
        seed: int = 0,
        keep: Keep | None = None,
        codes: Codes | None = None,
        times: Values | None = None,
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
        self, n: int, length: int | None = None, seed: int = 0, keep: Keep | None = None, x: Values | None = None
    ) -> Tensor:
        """Generate new clips; with ``keep`` they share appearance or motion with ``x``.

        Args:
            n: The number of clips.
            length, seed, keep: See `sample_latents`.
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
        self, codes: Codes, count: int = 9, latent: Latent = "both", times: Values | None = None
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
        one_of("latent", latent, PARTS)
        length = codes.z.shape[1] if codes.lengths is None else int(codes.lengths[:2].min())
        first, second = (Latents(codes.f[i : i + 1], codes.z[i : i + 1, :length]) for i in (0, 1))
        times = None if times is None else since_start(times[:, :length]).to(self.device)
        return interpolate(self.model, first, second, count, PARTS[latent], times)

    def interpolate(self, a: Values, b: Values, count: int = 9, latent: Latent = "both") -> Tensor:
        """Interpolate between two clips, along the geometry of the priors.

        Args:
            a, b: The first clip and the last, ``(1, T, *frame)``.
            count, latent: See `interpolate_latents`.

        Returns:
            Frames ``(count, T, *frame)``, with both ends.

        Example:
            >>> import pyro_dsvae
            >>> run = pyro_dsvae.load("runs/clips")
            >>> x = run.sequences().part("test").frames
            >>> run.interpolate(x[:1], x[1:2], count=5).shape
            torch.Size([5, 6, 3, 16, 16])
        """
        a, b = as_tensor("a", a), as_tensor("b", b)
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
        one_of("latent", latent, ("static", "dynamic"))
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
        x: Values,
        mask: Values | None = None,
        lengths: Values | None = None,
        times: Values | None = None,
        draws: int = 50,
        method: Method = "refined",
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Imputation:
        """Draw what was not observed of clips, given what was.

        With nothing observed the draws are from the prior, which ``from_prior`` (B,) says. With everything observed,
        ``model_mean`` is the clip without noise.

        Args:
            x, mask, lengths, times: See the class.
            draws: The number of draws, K.
            method: "amortised": the guide; "refined": it is fitted to each clip first; "langevin": then moved by MCMC, too.
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
        x: Values,
        horizon: int,
        mask: Values | None = None,
        lengths: Values | None = None,
        times: Values | None = None,
        future_times: Values | None = None,
        draws: int = 100,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Forecast:
        """Draw the frames that follow each clip.

        Args:
            x, mask, lengths, times: See the class.
            horizon: H, the number of frames to come.
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
        future = None if future_times is None else as_tensor("future_times", future_times)
        if future is not None and times is not None:
            future = (future - as_tensor("times", times)[:, :1]).float().to(self.device)
        return forecast(self.sampler(progress), batch, horizon, future, draws, seed)
