"""f sees another window of the same recording: views of data that know which windows belong together."""

from typing import ClassVar

from torch import Tensor

from pyro_dsvae.inference.posteriors.views.guide_views import FrameKind, GuideViews
from pyro_dsvae.inference.posteriors.views.static_encoder import OrderedStaticEncoder, StaticEncoder
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.networks.frames import EncoderRecipe


class OtherWindow(GuideViews):
    """f from elsewhere: assumes that what stays is the same in all windows of a recording, and that they differ in what moves.

    In training f of a window is inferred from another window of the same recording, or of the same entity: another minute of a
    patient, another exercise of the same arm. What differs between the two cannot go into f, even where it never changes
    within a window, as a posture does not. z sees the window itself, so it can carry everything. A small ``latent_size`` and a
    prior without memory (``IID``) leave to f what both windows have in common, since z would pay for it at every step.

    Data know what belongs together where windows are cut from a table or an array, where an ``.npz`` file has ``recordings``,
    and where a source says so (`SequenceData.recordings`).

    Source: one latent for all segments of an utterance is that of Hsu, Zhang & Glass, "Unsupervised learning of disentangled
    and interpretable representations from sequential data", NeurIPS 2017; a latent of a group beside those of its members that of
    Bouchacourt, Tomioka & Nowozin, "Multi-level variational autoencoder", AAAI 2018.

    Example:
        >>> import torch
        >>> from pyro_dsvae.inference.posteriors.views import OtherWindow
        >>> x = torch.randn(2, 6, 3)
        >>> seen = OtherWindow().dynamic_view(x, torch.ones(2, 6, dtype=torch.bool), training=True)
        >>> bool(torch.equal(seen, x)), OtherWindow.f_sees
        (True, 'another window of the same recording')
    """

    takes: ClassVar[tuple[FrameKind, ...]] = ("images", "vectors")
    z_sees: ClassVar[str] = "the clip"
    f_sees: ClassVar[str] = "another window of the same recording"
    assumes: ClassVar[str] = (
        "that what stays is the same in all windows of a recording, and that they differ in what moves"
    )
    other_windows: ClassVar[bool] = True

    def static_encoder(
        self, frame_shape: tuple[int, ...], feature_size: int, hidden_size: int, encoder: EncoderRecipe
    ) -> StaticEncoder:
        return OrderedStaticEncoder(encoder(frame_shape, feature_size), hidden_size)

    def dynamic_view(self, x: Tensor, observed: Tensor, training: bool) -> Tensor:
        return x

    def recordings(self, train: Sequences) -> Tensor:
        found = train.own_recordings
        if found is None or len(found.unique()) == len(found):
            raise UsageError(
                "guide views other_window infer f from another window of the same recording, and no two training sequences are "
                "known to be of one: cut a table or an array into windows, put recordings into an .npz file, or take other views",
                "posterior",
            )
        return found
