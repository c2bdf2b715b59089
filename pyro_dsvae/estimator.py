"""A DSVAE as a transformer of scikit-learn."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np
import torch
from torch import Tensor

from pyro_dsvae.configuration.build import check_sizes
from pyro_dsvae.configuration.loop import columns_for, loop_for
from pyro_dsvae.configuration.networks import for_frames
from pyro_dsvae.configuration.options import FitOptions
from pyro_dsvae.data.dataset import SPLITS, SequenceData
from pyro_dsvae.data.in_memory import InMemory
from pyro_dsvae.data.intensities import OVERSHOOT, check_intensities
from pyro_dsvae.inference.posteriors.posterior import Posterior
from pyro_dsvae.inference.svi import NonFiniteError
from pyro_dsvae.inference.training.hardware import Device, device_for
from pyro_dsvae.inference.training.held_out_elbo import held_out_terms
from pyro_dsvae.inference.training.objective import Objective
from pyro_dsvae.inference.training.schedule import DEFAULT_STEPS, Optimisation
from pyro_dsvae.inference.training.seeding import generators_kept
from pyro_dsvae.models.dynamic_priors.dynamic_prior import DynamicPrior
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.likelihoods.likelihood import Likelihood
from pyro_dsvae.models.networks.frames import EncoderRecipe, FrameDecoder
from pyro_dsvae.models.static_priors.static_prior import StaticPrior
from pyro_dsvae.runs.checked_batch import one_of
from pyro_dsvae.runs.run import Run

try:
    from sklearn.base import BaseEstimator, TransformerMixin
    from sklearn.utils import Tags, check_array, check_random_state
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as error:
    raise ImportError("DSVAETransformer needs scikit-learn 1.6 or newer: pip install 'pyro-dsvae[evaluate]'") from error

__all__ = ["DSVAETransformer"]

Output = Literal["static", "dynamic", "both"]


@dataclass(eq=False, repr=False)
class DSVAETransformer(TransformerMixin, BaseEstimator):
    """Sequences to the means of their latents, and back.

    ``transform`` gives one row for each sequence: the mean of q(f | x), what stays; or that of q(z | f, x), what moves; or
    both. Sequences X are, by rank, (N, T) series of one value, (N, T, P) series of P, (N, T, H, W) grey images or
    (N, T, C, H, W) images; uint8 images are 0..255, floating ones intensities from 0 to 1. T and the shape of a frame are those
    of the fit. NaN means that a value was not observed. Nothing is written; `pyro_dsvae.fit.fit` leaves a run.

    The parameters are the options of `fit`, and None stands for their defaults there.

    Attributes:
        output: Which latents ``transform`` gives, "static" for f, "dynamic" for z, or "both".
        steps: Optimiser steps.
        static_size, latent_size: F, the size of f, and D, that of each z_t.
        static_prior, dynamic_prior, posterior, encoder, decoder, likelihood: Parts, as for `fit`: a class, or
            ``functools.partial(Class, option=value)``.
        standardise: Whether series are fitted in standard deviations from the mean of each column.
        optimisation: Batches, learning rates and so on.
        validation_fraction: Share of the sequences, drawn at random, that chooses the best state.
        device: "auto", "cpu", "cuda", "mps".
        random_state: A seed, a ``RandomState``, or None for another fit every time.
        run_: The fitted model as a `Run`: swap, forecast, impute and the rest.
        static_mean_, dynamic_mean_: Mean of f (F,) and of z (T, D) over the sequences that were fitted.
        n_features_in_: T, which is what scikit-learn counts as features.

    Example:
        >>> import numpy as np
        >>> from pyro_dsvae.estimator import DSVAETransformer
        >>> X = np.random.default_rng(0).normal(size=(20, 6, 3))  # 20 series of 6 steps of 3 values
        >>> codes = DSVAETransformer(static_size=4, steps=2, random_state=0).fit_transform(X)
        >>> codes.shape
        (20, 4)
    """

    output: Output = "static"
    steps: int = DEFAULT_STEPS
    static_size: int = 64
    latent_size: int = 8
    static_prior: Callable[[int], StaticPrior] | None = None
    dynamic_prior: Callable[[int], DynamicPrior] | None = None
    posterior: Callable[[tuple[int, ...], int, int, EncoderRecipe], Posterior] | None = None
    encoder: EncoderRecipe | None = None
    decoder: Callable[[int, int, tuple[int, ...]], FrameDecoder] | None = None
    likelihood: Callable[[tuple[int, ...]], Likelihood] | None = None
    standardise: bool = True
    optimisation: Optimisation | None = None
    validation_fraction: float = 0.1
    device: Device = "auto"
    random_state: int | np.random.RandomState | None = None

    def fit(self, X: np.ndarray, y: object = None) -> Self:
        """Fit the model.

        Args:
            X: Sequences, see the class; at least 2 of at least 2 steps.
            y: Not used.

        Raises:
            UsageError: For parameters and sequences that make no fit.
        """
        one_of("output", self.output, get_args(Output))
        check_sizes(self.static_size, self.latent_size)
        if self.output == "static" and self.static_size == 0:
            raise UsageError("static_size is 0, so there is no f to transform to; take output='dynamic'")
        if not 0 < self.validation_fraction < 1:
            raise UsageError(f"validation_fraction is {self.validation_fraction}; it lies between 0 and 1, such as 0.1")
        X = self._checked(X, reset=True)
        seed = int(check_random_state(self.random_state).randint(2**31))
        held_out = np.random.default_rng(seed).permutation(len(X)) < max(1, round(self.validation_fraction * len(X)))
        if held_out.all():
            raise UsageError(f"none of {len(X)} sequences is left to be fitted; give more of them")
        data = self._data(X, torch.from_numpy(np.where(held_out, SPLITS.index("validation"), SPLITS.index("train"))))
        options = for_frames(self._options(seed), data.frame_shape, None)
        assert options.likelihood is not None  # `for_frames` has named it
        if any(options.likelihood(data.frame_shape).real_channels):
            check_intensities(data, "X", "give")
        with generators_kept(device_for(self.device)):
            loop = loop_for(options, data, columns_for(options, data))
            best = _BestState()
            try:
                loop.run(best)
            except NonFiniteError as error:
                raise UsageError(f"{error}", "optimisation.learning_rate") from error
        fitted = loop.objective
        fitted.load_state_dict(best.state)
        fitted.eval()
        state = {"length": data.length, "frame_shape": list(data.frame_shape), "data": data.fingerprint()}
        place = Path(type(self).__name__)
        self.run_ = Run(place, options.config(), InMemory("array"), fitted.model, fitted.guide, state, fitted.anchor)
        codes = self.run_.encode(data.part("train").frames, data.part("train").mask)
        self.static_mean_, self.dynamic_mean_ = codes.f.mean(0).cpu().numpy(), codes.z.mean(0).cpu().numpy()
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        """The means of the latents, (N, columns) float32: f (N, F), or z (N, T * D) step by step, or f beside z."""
        check_is_fitted(self)
        data = self._more(X)
        codes = self.run_.encode(data.frames, data.mask)
        parts = {"static": [codes.f], "dynamic": [codes.z.flatten(1)], "both": [codes.f, codes.z.flatten(1)]}
        return torch.cat(parts[self.output], dim=1).cpu().numpy()

    def inverse_transform(self, X: np.ndarray) -> np.ndarray:
        """Decode rows as ``transform`` gives them.

        Where the rows hold one of the latents only, the other is its mean over the sequences that were fitted.

        Args:
            X: (N, columns).

        Returns:
            E[x | f, z], of the shape and in the units of the sequences that were fitted.
        """
        check_is_fitted(self)
        rows = torch.from_numpy(np.array(check_array(X), dtype=np.float32))
        names = self.get_feature_names_out()
        if rows.shape[1] != len(names):
            raise UsageError(f"X has {rows.shape[1]} columns; those of output={self.output!r} are {len(names)}")
        f, z = (
            torch.from_numpy(mean).expand(len(rows), *mean.shape) for mean in (self.static_mean_, self.dynamic_mean_)
        )
        if self.output != "dynamic":
            f = rows[:, : f.shape[1]]
        if self.output != "static":
            z = rows[:, len(names) - z[0].numel() :].reshape(z.shape)
        frames = self.run_.decode(f, z).detach().cpu().numpy()
        return frames.reshape(len(rows), *self.shape_) * (255 if self.bytes_ else 1)

    def score(self, X: np.ndarray, y: object = None) -> float:
        """The mean ELBO, nats per sequence, from one draw each: higher is better, and a grid search takes it by default."""
        check_is_fitted(self)
        data = self._more(X)
        fitted = Objective(self.run_.model, self.run_.guide)
        return held_out_terms(fitted, data.sequences("train"), self.run_.device, seed=0)["elbo"]

    def get_feature_names_out(self, input_features: Sequence[str] | None = None) -> np.ndarray:
        """What the columns of ``transform`` are called: f0, f1, … for f, and z0_1 for dimension 1 of z at step 0.

        Args:
            input_features: Names of what was fitted, which are only checked.
        """
        check_is_fitted(self)
        known = vars(self).get("feature_names_in_")
        if input_features is not None and len(input_features) != self.n_features_in_:
            raise UsageError(
                f"input_features should have length equal to number of features ({self.n_features_in_}), got "
                f"{len(input_features)}"
            )
        if input_features is not None and known is not None and list(input_features) != list(known):
            raise UsageError("input_features is not equal to feature_names_in_")
        length, size = self.dynamic_mean_.shape
        static = [f"f{i}" for i in range(len(self.static_mean_))]
        dynamic = [f"z{t}_{i}" for t in range(length) for i in range(size)]
        parts = {"static": static, "dynamic": dynamic, "both": static + dynamic}
        return np.array(parts[self.output], dtype=object)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def _options(self, seed: int) -> FitOptions:
        """The options of a fit; a parameter that is None has its default there."""
        parts = ("static_prior", "dynamic_prior", "posterior", "encoder", "decoder", "likelihood", "optimisation")
        given: dict[str, Any] = {name: getattr(self, name) for name in parts if getattr(self, name) is not None}
        return FitOptions(
            InMemory("array"),
            seed=seed,
            steps=self.steps,
            device=self.device,
            static_size=self.static_size,
            latent_size=self.latent_size,
            standardise=self.standardise,
            **given,
        )

    def _checked(self, X: np.ndarray, reset: bool) -> np.ndarray:
        """The sequences as scikit-learn checks them; of the shape that was fitted, unless they are to be."""
        X = validate_data(
            self,
            X,
            reset=reset,
            allow_nd=True,
            ensure_all_finite="allow-nan",
            ensure_min_samples=2 if reset else 1,
            ensure_min_features=2 if reset else 1,
        )
        if X.ndim > 5:
            raise UsageError(f"X has shape {X.shape}; sequences are (N, T), (N, T, P), (N, T, H, W) or (N, T, C, H, W)")
        if X.ndim == 5 and X.shape[2] not in (1, 3, 4) and X.shape[-1] in (1, 3, 4):
            raise UsageError(f"X has shape {X.shape}; images have their channels first: X.transpose(0, 1, 4, 2, 3)")
        if reset:
            self.shape_, self.bytes_ = X.shape[1:], X.ndim > 3 and X.dtype == np.uint8
        elif X.shape[1:] != self.shape_:
            raise UsageError(f"X has sequences of shape {X.shape[1:]}; those that were fitted have {self.shape_}")
        return X

    def _more(self, X: np.ndarray) -> SequenceData:
        """Sequences for the fitted model. Decoded ones, which are a little beyond 0 and 1, are taken as well."""
        data = self._data(self._checked(X, reset=False))
        if any(self.run_.model.likelihood.real_channels):
            check_intensities(data, "X", "give", OVERSHOOT)
        return data

    def _data(self, X: np.ndarray, split: Tensor | None = None) -> SequenceData:
        """Checked sequences as the model takes them."""
        kept = X.dtype == np.uint8 and X.ndim > 3
        frames = torch.from_numpy(np.array(X, dtype=np.uint8 if kept else np.float32))  # a copy: X may be read only
        frames = frames.unsqueeze(2) if X.ndim in (2, 4) else frames
        mask = None if kept or not frames.isnan().any() else ~frames.isnan()
        split = torch.zeros(len(X)) if split is None else split
        return SequenceData(frames, split.to(torch.uint8), mask=mask)


class _BestState:
    """A journal that keeps the state of the highest held-out ELBO, and nothing else."""

    state: Mapping[str, Any]

    def log(self, row: Mapping[str, Any]) -> None:
        """See `Journal.log`."""

    def save(self, state: Mapping[str, Any]) -> None:
        """See `Journal.save`."""

    def save_best(self, state: Mapping[str, Any]) -> None:
        """See `Journal.save_best`."""
        self.state = copy.deepcopy(state["objective"])

    def advance(self, progress: float, seconds: float, elbo: float) -> None:
        """See `Journal.advance`."""

    def stop(self) -> bool:
        """See `Journal.stop`."""
        return False
