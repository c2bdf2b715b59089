"""Each kind of guide views says what it takes, shows and assumes, wherever that is said."""

import copy
import inspect
import math
import pickle
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pyro_dsvae.configuration.networks import for_frames
from pyro_dsvae.configuration.options import FitOptions
from pyro_dsvae.configuration.parts import describe
from pyro_dsvae.inference.posteriors.views import GuideViews, Jitter
from pyro_dsvae.inference.posteriors.views.choice import BY_NAME, chosen_views
from pyro_dsvae.models.encoders.by_shape import frame_encoder
from pyro_dsvae.models.errors import UsageError

CONCEPTS = Path(__file__).parents[3] / "docs" / "concepts.md"
SHAPES = {"images": (3, 9, 12), "vectors": (5,)}
B, T, H = 3, 4, 6
every_kind = pytest.mark.parametrize("name", BY_NAME)


def cases() -> list[tuple[str, tuple[int, ...]]]:
    return [(name, SHAPES[kind]) for name, views in BY_NAME.items() for kind in views().takes]


def halves(views: GuideViews, shape: tuple[int, ...]) -> nn.Module:
    torch.manual_seed(0)
    return views.static_encoder(shape, 5, H, lambda shape, size: frame_encoder(shape, size, 2))


@every_kind
def test_help_and_manual_say_what_the_views_assume(name: str) -> None:
    views = BY_NAME[name]()
    first = str(type(views).__doc__).splitlines()[0]  # all that --posterior.views.help prints of it
    assert f"assumes {views.assumes}." in first
    row = re.search(rf"^\| `{name}`[^|]*\|(.*)\|(.*)\|(.*)\|$", CONCEPTS.read_text(), re.M)
    assert row is not None
    assert [cell.strip() for cell in row.groups()] == [views.z_sees, views.f_sees, views.assumes]
    assert views.sentence().endswith(f"They assume {views.assumes}.")


@pytest.mark.parametrize(("name", "shape"), cases(), ids=str)
@pytest.mark.parametrize("training", [True, False])
def test_both_halves_have_their_shapes_and_a_copy_says_the_same(
    name: str, shape: tuple[int, ...], training: bool
) -> None:
    views = chosen_views(BY_NAME[name](), shape)
    static = halves(views, shape).train(training)
    x, observed = torch.rand(B, T, *shape), torch.ones(B, T, dtype=torch.bool)

    def seen(views: GuideViews, static: nn.Module) -> tuple[Tensor, Tensor]:
        torch.manual_seed(1)
        return static(x, observed, None), views.dynamic_view(x, observed, training)

    f, z = seen(views, static)
    assert f.shape == (B, 2 * H)
    assert z.shape == x.shape
    if not training:
        assert torch.equal(views.dynamic_view(x, observed, False), z)
    for again in (copy.deepcopy, lambda both: pickle.loads(pickle.dumps(both))):
        for one, other in zip(seen(*again((views, static))), (f, z), strict=True):
            assert torch.equal(one, other)


@every_kind
def test_frames_that_views_are_not_of_are_refused_before_anything_is_built(name: str) -> None:
    for kind, shape in SHAPES.items():
        if kind in BY_NAME[name]().takes:
            assert chosen_views(name, shape).takes == BY_NAME[name]().takes  # type: ignore[arg-type]
        else:
            with pytest.raises(
                UsageError, match=f"frames of shape .* are {kind}: leave them out for the default, or take none"
            ):
                chosen_views(name, shape)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["takes", "z_sees", "f_sees", "assumes"])
def test_views_that_do_not_say_what_they_are_are_refused_before_a_fit(name: str) -> None:
    """Else a fit ended in an error when it had learned and was about to say what its views assume."""
    said = {"takes": ("images",), "z_sees": "a", "f_sees": "b", "assumes": "c", "random": False}
    methods = {method: lambda *_: None for method in ("static_encoder", "dynamic_view")}
    whole = type("Own", (GuideViews,), {**said, **methods})
    assert chosen_views(whole(), SHAPES["images"]).sentence().endswith("They assume c.")
    del said[name]
    own = type("Own", (GuideViews,), {**said, **methods})
    with pytest.raises(UsageError, match=f"^the guide views Own do not say {name}: give the class each"):
        chosen_views(own(), SHAPES["images"])


@pytest.mark.parametrize("name", [name for name in BY_NAME if name != "none"])
def test_options_out_of_range_are_refused(name: str) -> None:
    """All are counts or strengths; before, a negative strength was taken for a positive one, and NaN became the loss."""
    kind = BY_NAME[name]
    defaults = {key: p.default for key, p in inspect.signature(kind).parameters.items()}
    assert defaults
    kind(**defaults)
    for key, default in defaults.items():
        for wrong in (-default, math.nan) if default else (-1, math.nan):
            with pytest.raises(UsageError, match=f"^{key} is {wrong}; it must be"):
                kind(**{key: wrong})
    with pytest.raises(UsageError, match=r"^crop is 1\.5; it must be a number from 0 to 1$"):
        Jitter(crop=1.5)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_config_names_the_views_that_a_fit_took_by_default(shape: tuple[int, ...]) -> None:
    """So that a later default does not change how a run is opened."""
    named = describe(for_frames(FitOptions(), shape).posterior)["init_args"]["views"]
    assert type(chosen_views(named, shape)) is type(chosen_views(None, shape))
    assert named in BY_NAME
