"""A face as layers of shapes with soft edges, from behind to before."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyro_dsvae.data.faces.identities import EYES, GLASSES, HAIR_COLOURS, HAIRS, SHAPES, SHIRTS, SKINS, Identities
from pyro_dsvae.data.faces.movement import FEATURES, Movement

# Half the height of a head in half heights of the frame, and where its middle is.
HEAD, MIDDLE = 0.58, -0.1
# What a head tilts about, in half heights of a head below its middle.
NECK = 0.9
# Where features are on a head, from its middle, in half heights of a head: eyes, nose, mouth, brows.
EYE_LINE, NOSE_LINE, MOUTH_LINE, BROWS_ABOVE = -0.08, 0.22, 0.52, 0.25
# Colours that all have.
LIPS, MOUTH, INK, WHITE = (176, 72, 76), (92, 24, 32), (30, 26, 32), (250, 250, 250)


class _Canvas:
    """n pictures (n, 3, S, S), 0 to 255, on which shapes are painted.

    Attributes:
        pictures: (n, 3, S, S).
        upright: Coordinates x and y of pixels about the middle of an upright head, (S, S), in half heights of a head.
        x, y: The same turned by the roll of every head, (n, S, S).
    """

    def __init__(self, pictures: Tensor, upright: tuple[Tensor, Tensor], x: Tensor, y: Tensor, pixel: float) -> None:
        self.pictures, self.upright, self.x, self.y, self.pixel = pictures, upright, x, y, pixel

    @classmethod
    def of(cls, ground: Tensor, size: int, roll: Tensor) -> "_Canvas":
        """The whole frame, with heads turned by roll (n, 1, 1), in radians."""
        pictures = ground.expand(len(roll), 3, size, size).clone()
        side = ((torch.arange(size, dtype=torch.float32) * 2 + 1) / size - 1) / HEAD
        column, row = side.expand(size, size), (side - MIDDLE / HEAD).unsqueeze(1).expand(size, size)
        x = roll.cos() * column + roll.sin() * (row - NECK)
        y = roll.cos() * (row - NECK) - roll.sin() * column + NECK
        return cls(pictures, (column, row), x, y, 2 / size / HEAD)

    def around(self, u: Tensor, v: Tensor, margin: float) -> "_Canvas":
        """The smallest part of the frame with all pixels that are ``margin`` or less from (u, v) in any picture.

        It shares its pixels with the whole. Most of a face is empty of eyes, and painting takes time.
        """
        near = ((self.x - u).abs() < margin) & ((self.y - v).abs() < margin)
        rows, columns = (near.any(0).any(axis).nonzero().squeeze(1) for axis in (1, 0))
        part = (..., slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1))
        column, row = self.upright
        return _Canvas(self.pictures[part], (column[part], row[part]), self.x[part], self.y[part], self.pixel)

    def paint(self, distance: Tensor, colour: Tensor | tuple[int, int, int], where: Tensor | None = None) -> None:
        """A colour where the distance to the edge of a shape is below zero.

        Args:
            distance: (n, S, S) or (S, S).
            colour: (n, 3), or one for all.
            where: (n, 1, 1) bool, in which pictures; by default in all.
        """
        cover = (0.5 - distance / self.pixel).clamp(0, 1)
        if where is not None:
            cover = cover * where
        painted = torch.as_tensor(colour, dtype=torch.float32).view(-1, 3, 1, 1)
        self.pictures.lerp_(painted.expand_as(self.pictures), cover.view(-1, 1, *cover.shape[-2:]))


@dataclass(frozen=True)
class _Face:
    """What the layers of n faces have in common, in half heights of a head.

    Attributes:
        canvas: Where they are painted.
        numbers: By name of an attribute, (n,) its class.
        measure: By name of a measure, (n, 1, 1).
        yaw, pitch: (n, 1, 1) in radians.
        feature: By name of `FEATURES`, (n, 1, 1).
    """

    canvas: _Canvas
    numbers: dict[str, NDArray[np.int64]]
    measure: dict[str, Tensor]
    yaw: Tensor
    pitch: Tensor
    feature: dict[str, Tensor]

    def of(self, attribute: str, rows: Iterable[Sequence[float]]) -> Tensor:
        """The row of every face, (n, K), of a table with one row per class."""
        return torch.tensor([tuple(row) for row in rows], dtype=torch.float32)[self.numbers[attribute]]

    def numbers_of(self, attribute: str, rows: Iterable[Sequence[float]]) -> list[Tensor]:
        """The same as K numbers (n, 1, 1)."""
        return [column.view(-1, 1, 1) for column in self.of(attribute, rows).unbind(1)]

    def seen(self, u: Tensor | float, v: Tensor | float) -> tuple[Tensor, Tensor]:
        """Where a point (u, v) of the front of the head is seen: on a ball turned by yaw and pitch, wide as the head."""
        u, v = torch.as_tensor(u) + 0 * self.yaw, torch.as_tensor(v) + 0 * self.yaw
        depth = (1 - u**2 - v**2).clamp(min=0.1).sqrt()
        across, towards = u * self.yaw.cos() + depth * self.yaw.sin(), depth * self.yaw.cos() - u * self.yaw.sin()
        return across * self.measure["width"], v * self.pitch.cos() + towards * self.pitch.sin()


def draw_faces(identities: Identities, movement: Movement, frame: int, ground: Tensor, size: int) -> Tensor:
    """Faces of n identities in one frame of their movements.

    Args:
        identities: Of n faces.
        movement: Of n faces.
        frame: The number of the frame.
        ground: (n, 3, S, S) or (n, 3, 1, 1), 0 to 255.
        size: S.

    Returns:
        (n, 3, S, S) uint8.
    """
    yaw, pitch, roll = (angle.view(-1, 1, 1) for angle in torch.from_numpy(movement.head[:, frame]).deg2rad().unbind(1))
    features = torch.from_numpy(movement.features[:, frame]).unbind(1)
    face = _Face(
        _Canvas.of(ground, size, roll),
        identities.attributes,
        {name: torch.from_numpy(values).view(-1, 1, 1) for name, values in identities.measures.items()},
        yaw,
        pitch,
        {name: feature.view(-1, 1, 1) for name, feature in zip(FEATURES, features, strict=True)},
    )
    skin, hair = face.of("skin", SKINS.values()), face.of("hair colour", HAIR_COLOURS.values())
    _back(face, skin, hair)
    head = _head(face, skin)
    _nose_and_mouth(face, skin)
    _eyes(face, hair)
    _hair(face, head, hair)
    return (face.canvas.pictures + 0.5).clamp(0, 255).to(torch.uint8)


def _back(face: _Face, skin: Tensor, hair: Tensor) -> None:
    """Hair behind the head, shoulders, neck and ears."""
    canvas, width, turned = face.canvas, face.measure["width"], face.yaw.sin()
    x, y, curls = canvas.x, canvas.y, _curls(face)
    *_, behind, below = face.numbers_of("hair", HAIRS.values())
    down = torch.where(y > 0, below.clamp(min=0.3), torch.tensor(1.12))
    ball = _rounded((x + 0.25 * turned * width) / (behind.clamp(min=0.1) * width), y / down, 2.6)
    canvas.paint(0.8 * ball + 0.04 * curls * (9 * torch.atan2(y, x)).cos(), 0.82 * hair, behind > 0)
    column, row = canvas.upright
    canvas.paint(0.7 * _rounded(column / 1.25, (row - 1.75) / 0.72, 2.6), face.of("shirt", SHIRTS.values()))
    canvas.paint(0.3 * _rounded(x / 0.3, (y - 1) / 0.32, 3.0), 0.84 * skin)
    for side in (-1, 1):
        ear = (side * face.yaw.cos() - 0.1 * turned) * width
        canvas.paint(0.15 * _rounded((x - ear) / 0.13, (y - 0.05) / 0.2), 0.9 * skin)


def _head(face: _Face, skin: Tensor) -> Tensor:
    """The outline of the head is painted. Returns its distances about one half axis larger, for what lies on it."""
    x, y = face.canvas.x, face.canvas.y
    exponent, taper = face.numbers_of("shape", SHAPES.values())
    narrowed = x / (face.measure["width"] * (1 - taper * y.clamp(-1, 1)))
    face.canvas.paint(0.85 * _rounded(narrowed, y, exponent), skin)
    return 0.9 * _rounded(narrowed / 1.07, (y + 0.02) / 1.08, exponent)


def _nose_and_mouth(face: _Face, skin: Tensor) -> None:
    feature = face.feature
    u, v = face.seen(0.0, NOSE_LINE)
    canvas = face.canvas.around(u, v, 0.3)
    nose = face.measure["nose"]
    canvas.paint(
        0.1 * _rounded((canvas.x - u - 0.05 * face.yaw.sin()) / nose, (canvas.y - v) / (1.3 * nose)), 0.8 * skin
    )
    u, v = face.seen(0.0, MOUTH_LINE)
    canvas = face.canvas.around(u, v, 0.6)
    half = face.measure["mouth width"] * (1 - feature["mouth narrowness"]) * face.yaw.cos()
    opening = feature["mouth opening"].clamp(min=0)
    along = (canvas.x - u) / half
    middle = canvas.y - v - 0.1 * opening - 0.13 * feature["mouth curve"] * (0.5 - along**2)
    gape = 0.2 * opening * (1 - along**2).clamp(min=0).sqrt()
    beyond = 3 * half * (along.abs() - 1).clamp(min=0)
    canvas.paint(middle.abs() - gape - 0.045 + beyond, LIPS)
    canvas.paint(middle.abs() - gape + 0.03 + beyond, MOUTH, opening > 0.15)


def _eyes(face: _Face, hair: Tensor) -> None:
    """Eyes, brows and glasses."""
    turned = face.yaw.sin()
    size, distance = face.measure["eye size"], face.measure["eye distance"]
    tall, awake = size * face.feature["eye opening"].clamp(min=0), face.feature["eye opening"] > 0.1
    wide = 1.05 * size * (0.6 + 0.4 * face.yaw.cos())
    iris = face.of("eyes", EYES.values())
    (rims,) = face.numbers_of("glasses", ([exponent] for exponent in GLASSES.values()))
    for side in (-1, 1):
        u, v = face.seen(side * distance, EYE_LINE)
        canvas = face.canvas.around(u, v, 0.6)
        x, y = canvas.x - u, canvas.y - v
        lids, opened = tall + 0.035, tall.clamp(min=0.01)
        canvas.paint(lids * _rounded(x / (wide + 0.035), y / lids), INK)
        white = opened * _rounded(x / wide, y / opened)
        canvas.paint(white, WHITE, awake)
        from_iris = ((x - 0.05 * turned).square() + y.square()).sqrt()
        canvas.paint(torch.maximum(from_iris - 0.62 * size, white), iris, awake)
        canvas.paint(torch.maximum(from_iris - 0.28 * size, white), INK, awake)
        slope = 0.55 * side * face.feature["brow tilt"]
        brow = y + BROWS_ABOVE + 0.12 * face.feature["brow height"] + slope * x
        canvas.paint(brow.abs() - 0.05 + 3 * (x.abs() - 1.1 * wide).clamp(min=0), 0.75 * hair)
        rim = 0.3 * _rounded(x / (wide + 0.14), y / 0.3, rims.clamp(min=2))
        canvas.paint(rim.abs() - 0.035, INK, rims > 0)
    u, v = face.seen(0.0, EYE_LINE)
    canvas = face.canvas.around(u, v, 0.4)
    gap = (distance * face.measure["width"] * face.yaw.cos() - size - 0.12).clamp(min=0.02)
    canvas.paint((canvas.y - v).abs() - 0.03 + 3 * ((canvas.x - u).abs() - gap).clamp(min=0), INK, rims > 0)


def _hair(face: _Face, head: Tensor, hair: Tensor) -> None:
    """The hair of the brow: the upper part of a slightly larger head."""
    x, y, curls = face.canvas.x, face.canvas.y, _curls(face)
    hairline, slant, *_ = face.numbers_of("hair", HAIRS.values())
    _, v = face.seen(0.0, hairline.clamp(min=-0.95))
    turned = x - 0.9 * face.measure["width"] * face.yaw.sin()
    line = v + torch.where(slant == 0, -0.25 * turned.square(), slant * turned)
    bumps = 0.05 * curls * (14 * torch.atan2(y, x)).cos()
    face.canvas.paint(torch.maximum(head - 0.12 * curls + bumps, y - line - bumps), hair, hairline > -1)


def _curls(face: _Face) -> Tensor:
    return face.numbers_of("hair", HAIRS.values())[2]


def _rounded(x: Tensor, y: Tensor, exponent: Tensor | float = 2.0) -> Tensor:
    """(|x|^p + |y|^p)^(1/p) - 1: below zero within a rounded shape of half axes one; an ellipse for p = 2."""
    if isinstance(exponent, float) and exponent == 2:
        return (x.square() + y.square()).sqrt() - 1
    # 0 to a power of a tensor is slow and has no logarithm.
    x, y = x.abs().clamp(min=1e-6), y.abs().clamp(min=1e-6)
    return (x.pow(exponent) + y.pow(exponent)).pow(1 / exponent) - 1
