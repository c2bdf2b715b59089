"""What all guide views are."""

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

from torch import Tensor

from pyro_dsvae.inference.posteriors.views.static_encoder import StaticEncoder
from pyro_dsvae.inference.sequences import Sequences
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.models.networks.frames import EncoderRecipe

FrameKind = Literal["images", "vectors"]
# What every class of guide views says of itself.
SAID = ("takes", "z_sees", "f_sees", "assumes")


class GuideViews(ABC):
    """What each half of a guide sees of a clip in training: f through a network of its own, z through a random change.

    Each half should not see what belongs to the other latent. A guide may be any density that is computed from x and from
    noise. So with random views the bound remains an ELBO with unit weights: log p(x) >= E_views[ELBO(q_view)]. In evaluation
    nothing is random, and f is inferred from all frames. With random views, later in a fit, f is also inferred from clips
    that the model has recombined.

    Views have no weights of their own but those of the static encoder. An object keeps its constructor's arguments under
    their names, so that config.yaml can say them.

    Attributes:
        takes: Which frames there are views of: images (C, H, W), vectors (P,), or both.
        z_sees: In a few words, what z is inferred from; it is printed and documented, as the two following are.
        f_sees: What f is inferred from.
        assumes: What must be true of the data. Where it is not, f and z lose what they should carry.
        random: Whether the views of a clip differ from one step to the next.
        free_dynamic: Nats per frame that z may carry at no cost early in a fit, where its user names none.

    Example:
        >>> import torch
        >>> from pyro_dsvae.inference.posteriors.views import GuideViews, OrderedStaticEncoder
        >>> class Mirrored(GuideViews):  # of images: z sees every other clip as in a mirror
        ...     takes = ("images",)
        ...     z_sees, f_sees = "the clip or its mirror image", "the clip in order"
        ...     assumes = "that left and right tell nothing of a pose"
        ...
        ...     def static_encoder(self, frame_shape, feature_size, hidden_size, encoder):
        ...         return OrderedStaticEncoder(encoder(frame_shape, feature_size), hidden_size)
        ...
        ...     def dynamic_view(self, x, observed, training):
        ...         mirrored = training and torch.rand(len(x), 1, 1, 1, 1, device=x.device) < 0.5
        ...         return x.flip(-1).where(mirrored, x) if training else x
    """

    takes: ClassVar[tuple[FrameKind, ...]]
    z_sees: ClassVar[str]
    f_sees: ClassVar[str]
    assumes: ClassVar[str]
    random: ClassVar[bool] = True
    free_dynamic: ClassVar[float] = 0.0

    @abstractmethod
    def static_encoder(
        self, frame_shape: tuple[int, ...], feature_size: int, hidden_size: int, encoder: EncoderRecipe
    ) -> StaticEncoder:
        """The network from a clip to the features of f.

        Args:
            frame_shape: (C, H, W) or (P,).
            feature_size: E, features of a frame.
            hidden_size: H; the network gives 2H features.
            encoder: Makes the encoder of whole frames that the user chose, for ``(frame_shape, feature_size)``. Views that
                do not show f whole frames do not need it.
        """

    @abstractmethod
    def dynamic_view(self, x: Tensor, observed: Tensor, training: bool) -> Tensor:
        """What z is inferred from, of the shape of x.

        Args:
            x: Frames ``(B, T, *frame)``, zero where not observed.
            observed: (B, T) bool.
            training: Whether the view is one of training; in evaluation nothing is drawn.
        """

    def recordings(self, train: Sequences) -> Tensor | None:
        """(N,) int64, which recording each training sequence is of, where f is to be inferred from another window of it.

        Then f can hardly encode what differs from one part of a recording to the next. None, where nobody says otherwise: f is
        inferred from the sequence itself. `Sequences.shared_recordings` tells what the data know.

        Raises:
            UsageError: Where the views need to know, and the data do not.
        """
        return None

    def sentence(self) -> str:
        """What the views are and assume, for whoever reads what a fit prints."""
        name = type(self).__name__
        return f"Guide views {name}: in training z sees {self.z_sees}, f {self.f_sees}. They assume {self.assumes}."

    def check(self, frame_shape: tuple[int, ...]) -> None:
        """Refuse a class that does not say all that guide views say, and frames that these are no views of.

        Raises:
            UsageError: In one line.
        """
        unsaid = [name for name in SAID if not getattr(self, name, None)]
        if unsaid:
            raise UsageError(
                f"the guide views {type(self).__name__} do not say {', '.join(unsaid)}: give the class each, as those of the "
                'package have it, such as assumes = "that left and right tell nothing of a pose"',
                "posterior",
            )
        kind = kind_of(frame_shape)
        if kind not in self.takes:
            raise UsageError(
                f"the guide views {type(self).__name__} are of {' and '.join(self.takes)}, and frames of shape {frame_shape} "
                f"are {kind}: leave them out for the default, or take none",
                "posterior",
            )


def kind_of(frame_shape: tuple[int, ...]) -> FrameKind:
    """Whether frames of this shape are images or vectors."""
    return "images" if len(frame_shape) == 3 else "vectors"
