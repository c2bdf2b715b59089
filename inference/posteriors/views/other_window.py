"""f sees another window of the same recording: views of series that know which windows belong together."""

from typing import ClassVar

from torch import Tensor

from pyro_dsvae.inference.posteriors.views.guide_views import FrameKind, GuideViews
from pyro_dsvae.inference.posteriors.views.rescale import rescaled
from pyro_dsvae.inference.posteriors.views.static_encoder import OrderedStaticEncoder, StaticEncoder
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.models.errors import UsageError, check_amounts
from pyro_dsvae.models.networks.frames import EncoderRecipe


class OtherWindow(GuideViews):
    """f from elsewhere: assumes that what stays is the same in all windows of a recording, and that they differ in what moves.

    In training f of a window is inferred from another window of the same recording, or of the same entity: another day of a
    patient, another exercise of the same arm. What differs between the two cannot go into f, even where it never changes
    within a window, as a posture does not. z sees the window itself at a somewhat other level and scale, as with `Rescale`, but
    less so, or z would carry what both windows have in common, too.

    Data know what belongs together where windows are cut from a table or an array, where an ``.npz`` file has ``recordings``,
    and where a source says so (`SequenceData.recordings`). ``--optimisation.kl_static 0.01`` lets f be used early.

    Source: one latent for all segments of an utterance is that of Hsu, Zhang & Glass, "Unsupervised learning of disentangled
    and interpretable representations from sequential data", NeurIPS 2017; a latent of a group beside those of its members that
    of Bouchacourt, Tomioka & Nowozin, "Multi-level variational autoencoder", AAAI 2018.

    Args:
        level: Standard deviation of the change of level, in standard deviations of the column.
        scale: Standard deviation of the logarithm of the change of scale.

    Example:
        >>> import torch
        >>> from pyro_dsvae.inference.posteriors.views import OtherWindow
        >>> x = torch.randn(2, 6, 3)
        >>> seen = OtherWindow().dynamic_view(x, torch.ones(2, 6, dtype=torch.bool), training=True)
        >>> seen.shape, OtherWindow.f_sees
        (torch.Size([2, 6, 3]), 'another window of the same recording')
    """

    takes: ClassVar[tuple[FrameKind, ...]] = ("vectors",)
    z_sees: ClassVar[str] = "the series at a somewhat other level and scale"
    f_sees: ClassVar[str] = "another window of the same recording"
    assumes: ClassVar[str] = (
        "that what stays is the same in all windows of a recording, and that they differ in what moves"
    )

    def __init__(self, level: float = 0.4, scale: float = 0.3) -> None:
        check_amounts({"level": level, "scale": scale})
        self.level = level
        self.scale = scale

    def static_encoder(
        self, frame_shape: tuple[int, ...], feature_size: int, hidden_size: int, encoder: EncoderRecipe
    ) -> StaticEncoder:
        return OrderedStaticEncoder(encoder(frame_shape, feature_size), hidden_size)

    def dynamic_view(self, x: Tensor, observed: Tensor, training: bool) -> Tensor:
        return rescaled(x, self.level, self.scale) if training else x

    def recordings(self, train: Sequences) -> Tensor:
        found = train.shared_recordings()
        if found is None:
            raise UsageError(
                "the guide views OtherWindow infer f from another window of the same recording, and the training sequences "
                "are not known to be of several recordings, some of two windows or more: cut tables or arrays into windows, "
                "give an .npz file recordings, or take other views",
                "posterior",
            )
        return found
