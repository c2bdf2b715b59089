"""Cartoon faces: what the labels and quantities say is what the pixels show."""

import numpy as np
import pytest
import torch
from torch import Tensor

from pyro_dsvae.data.cartoon_faces import CLIPS_PER_IDENTITY, CartoonFaces
from pyro_dsvae.data.dataset import SequenceData
from pyro_dsvae.data.faces.drawing import MOUTH, WHITE, draw_faces
from pyro_dsvae.data.faces.identities import ATTRIBUTES, EYES, HAIR_COLOURS, SHIRTS, SKINS, Identities
from pyro_dsvae.data.faces.movement import EXPRESSIONS, FEATURES, HEAD, MOTIONS, REST, Movement
from pyro_dsvae.models.errors import UsageError

SIZE = 96


@pytest.fixture(scope="module")
def data() -> SequenceData:
    return CartoonFaces(size=32, clips=120).load()


def faces(count: int, head: dict[str, float], features: dict[str, float], **attributes: str) -> Tensor:
    """(count, 3, SIZE, SIZE) of different people in the same position, with these attributes; the rest by chance."""
    identities = Identities.draw(count, np.random.RandomState(0))
    for key, word in attributes.items():
        name = key.replace("_", " ")
        identities.attributes[name][:] = ATTRIBUTES[name].index(word)
    at_rest = dict(zip(FEATURES, REST, strict=True))
    angles = [[[head.get(name, 0.0) for name in HEAD]]] * count
    shares = [[[features.get(name, at_rest[name]) for name in FEATURES]]] * count
    movement = Movement(np.array(angles, np.float32), np.array(shares, np.float32))
    return draw_faces(identities, movement, 0, torch.full((1, 3, 1, 1), 128.0), SIZE).float()


def like(pictures: Tensor, colour: tuple[int, int, int]) -> Tensor:
    """Which pixels (n, H, W) have this colour."""
    return (pictures - torch.tensor(colour, dtype=torch.float32).view(3, 1, 1)).abs().amax(1) < 6


def middle(shown: Tensor) -> Tensor:
    """(n, 2): mean place (x, y) of the pixels shown."""
    at = torch.arange(SIZE, dtype=torch.float32)
    weights = shown.float()
    total = weights.sum((1, 2))
    return torch.stack([(weights.sum(1) * at).sum(1), (weights.sum(2) * at).sum(1)], 1) / total.unsqueeze(1)


@pytest.mark.parametrize(("attribute", "colours"), [("skin", SKINS), ("hair colour", HAIR_COLOURS), ("shirt", SHIRTS)])
def test_colours_are_seen_by_name(attribute: str, colours: dict[str, tuple[int, int, int]]) -> None:
    for word, colour in colours.items():
        others = [other for name, other in colours.items() if name != word]
        shown = faces(8, {}, {}, **{"hair": "short", "glasses": "none", attribute.replace(" ", "_"): word})
        assert (like(shown, colour).sum((1, 2)) > 0.02 * SIZE**2).all(), word
        if attribute == "shirt":  # white is also that of eyes, and skins and hair are shaded
            shown = shown[:, :, -4:]
            assert not any(like(shown, other).any() for other in others)


def test_eyes_have_their_colour_and_close() -> None:
    for word, colour in EYES.items():
        awake = faces(6, {}, {}, eyes=word, glasses="none", shirt="red", hair_colour="black")
        assert (like(awake, colour).sum((1, 2)) >= 8).all()
        asleep = faces(6, {}, {"eye opening": 0.0}, eyes=word, glasses="none", shirt="red", hair_colour="black")
        assert not like(asleep, colour).any()
        assert not like(asleep, WHITE).any()


def test_the_mouth_opens_and_curves() -> None:
    areas = [like(faces(6, {}, {"mouth opening": opening}), MOUTH).sum((1, 2)) for opening in (0.0, 0.5, 1.0)]
    assert not areas[0].any()
    assert (areas[2] > 1.5 * areas[1]).all()
    assert (areas[1] > 0).all()
    # Of a smile the corners are higher than the middle; of a sad mouth lower.
    smile, sad = (like(faces(6, {}, {"mouth curve": c, "mouth opening": 0.4}), MOUTH) for c in (1.0, -1.0))
    for mouths, sign in ((smile, 1), (sad, -1)):
        for mouth in mouths:
            columns = mouth.any(0).nonzero().squeeze(1)
            height = [float(mouth[:, c].nonzero().float().mean()) for c in (columns[1], columns[len(columns) // 2])]
            assert sign * (height[1] - height[0]) >= 1


@pytest.mark.parametrize(("angle", "size", "moves"), [("yaw", 25.0, (1, 0)), ("pitch", 15.0, (0, 1))])
def test_a_turned_head_moves_the_eyes(angle: str, size: float, moves: tuple[int, int]) -> None:
    plain = {"glasses": "none", "shirt": "red", "hair": "bald", "hair_colour": "black"}
    ahead, there, back = (middle(like(faces(6, {angle: a}, {}, **plain), WHITE)) for a in (0.0, size, -size))
    axis = moves.index(1)
    assert (there[:, axis] > ahead[:, axis] + 3).all()
    assert (back[:, axis] < ahead[:, axis] - 3).all()


def test_a_tilted_head_tilts_the_line_of_the_eyes() -> None:
    plain = {"glasses": "none", "shirt": "red", "hair": "bald", "hair_colour": "black"}
    for roll in (-15.0, 15.0):
        shown = like(faces(6, {"roll": roll}, {}, **plain), WHITE)
        for eyes in shown:
            rows, columns = eyes.nonzero().float().unbind(1)
            slope = float(((columns - columns.mean()) * (rows - rows.mean())).mean() / columns.var(correction=0))
            assert np.degrees(np.arctan(slope)) == pytest.approx(roll, abs=4)


def test_courses_rise_from_rest_to_the_apex_of_their_class() -> None:
    random = np.random.RandomState(1)
    for number, (name, apex) in enumerate(EXPRESSIONS.items()):
        movement = Movement.draw(np.full(200, number), np.zeros(200, int), 48, random)
        reached = (movement.features - np.array(REST)) @ (np.array(apex) - np.array(REST))
        share = reached / np.square(np.array(apex) - np.array(REST)).sum()
        assert share.max(1) == pytest.approx(0.9, abs=0.12), name
        assert share.min() > -1e-5
        again = name in ("blink", "talk")
        rises = ((share[:, 1:-1] > share[:, :-2]) & (share[:, 1:-1] >= share[:, 2:])).sum(1)
        assert (rises >= 1).all() if not again else rises.mean() > 1.5
        assert not movement.head.any()  # they are still
    for number, (name, ends) in enumerate(MOTIONS.items()):
        head = Movement.draw(np.zeros(200, int), np.full(200, number), 48, random).head
        most = np.abs(head).max((0, 1))
        assert (most <= np.abs(ends) + 1e-5).all(), name
        assert (most >= 0.9 * np.abs(ends)).all(), name


def test_labels_and_splits_belong_to_people(data: SequenceData) -> None:
    assert data.frames.shape == (120, 12, 3, 32, 32)
    assert data.split.bincount().tolist() == [96, 12, 12]
    people = data.recordings
    assert people is not None
    assert people.bincount().tolist() == [CLIPS_PER_IDENTITY] * 40
    for person in people.unique():
        assert len(data.split[people == person].unique()) == 1
        for name in ATTRIBUTES:
            assert len(data.labels[name].values[people == person].unique()) == 1
    roles = {name: label.role for name, label in data.labels.items()}
    assert {name for name, role in roles.items() if role == "dynamic"} == {"expression", "motion"}
    still = data.labels["motion"].values == list(MOTIONS).index("still")
    assert not data.quantities["head"].values[still].any()
    assert data.quantities["head"].values[~still].abs().amax((1, 2)).min() > 5


def test_attributes_and_movements_are_drawn_independently() -> None:
    """Cramér's V of all pairs stays at that of independent labels."""
    drawn = Identities.draw(4000, np.random.RandomState(3)).attributes
    labels = {name: torch.from_numpy(values) for name, values in drawn.items()}
    names = list(labels)
    for i, a in enumerate(names):
        for b in names[:i]:
            table = torch.zeros(len(ATTRIBUTES[a]), len(ATTRIBUTES[b])).index_put_(
                (labels[a], labels[b]), torch.ones(4000), accumulate=True
            )
            expected = table.sum(1, keepdim=True) * table.sum(0) / 4000
            chi = float(((table - expected) ** 2 / expected).sum())
            freedom = (table.shape[0] - 1) * (table.shape[1] - 1)
            assert chi < freedom + 5 * (2 * freedom) ** 0.5


def test_the_same_seed_draws_the_same(data: SequenceData) -> None:
    assert CartoonFaces(size=32, clips=120).load().fingerprint() == data.fingerprint()
    assert CartoonFaces(size=32, clips=120, seed=1).load().fingerprint() != data.fingerprint()


@pytest.mark.parametrize("ground", ["black", "colour", "texture"])
def test_the_ground_is_behind_the_face(ground: str, data: SequenceData) -> None:
    other = CartoonFaces(size=32, clips=120, ground=ground).load()  # type: ignore[arg-type]
    corner = other.frames[..., :3, :3].float()
    if ground == "black":
        assert not corner.any()
    changes = corner.std(1).amax((1, 2, 3))
    assert (changes > 0).any() if ground == "texture" else not changes.any()
    # The middle of the shirt is before it.
    assert torch.equal(other.frames[..., -1, 16], data.frames[..., -1, 16])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"size": 16}, "32 to 128"),
        ({"length": 3}, "at least 4"),
        ({"clips": 61}, "multiple"),
        ({"ground": "red"}, "one of black, grey"),
        ({"seed": -1}, "must lie in"),
    ],
)
def test_what_cannot_be_drawn_is_refused(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        CartoonFaces(**wrong)  # type: ignore[arg-type]
