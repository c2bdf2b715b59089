"""Drawing for `pyro_dsvae.data.sprites`: outlined and shaded shapes on a canvas, and a small posed skeleton.

All coordinates are in units of a 64 x 64 grid, x to the right and y down, whatever size the picture gets.
"""

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Point = tuple[float, float]
Colour = tuple[int, int, int]

GRID = 64.0
SUPERSAMPLE = 4
MOTIONS = ("walk", "cast", "slash")
FRAMES = 8


@dataclass(frozen=True)
class Shape:
    """A region: the signed distance to its border, negative inside, and a box (x0, y0, x1, y1) that holds it."""

    distance: Callable[[Floats, Floats], Floats]
    box: tuple[float, float, float, float]

    def __or__(self, other: "Shape") -> "Shape":
        (ax, ay, bx, by), (cx, cy, dx, dy) = self.box, other.box
        box = min(ax, cx), min(ay, cy), max(bx, dx), max(by, dy)
        return Shape(lambda x, y: np.minimum(self.distance(x, y), other.distance(x, y)), box)

    def __sub__(self, other: "Shape") -> "Shape":
        return Shape(lambda x, y: np.maximum(self.distance(x, y), -other.distance(x, y)), self.box)


def ellipse(cx: float, cy: float, rx: float, ry: float) -> Shape:
    """The distance is a good estimate near the border, where it is used."""

    def distance(x: Floats, y: Floats) -> Floats:
        u, v = (x - cx) / rx, (y - cy) / ry
        k = np.hypot(u, v)
        return k * (k - 1) / (np.hypot(u / rx, v / ry) + 1e-6)

    return Shape(distance, (cx - rx, cy - ry, cx + rx, cy + ry))


def capsule(a: Point, b: Point, ra: float, rb: float | None = None) -> Shape:
    """A rounded line from a to b, its half width going from ``ra`` to ``rb`` (else constant)."""
    (ax, ay), (ux, uy), end = a, (b[0] - a[0], b[1] - a[1]), ra if rb is None else rb

    def distance(x: Floats, y: Floats) -> Floats:
        t = np.clip(((x - ax) * ux + (y - ay) * uy) / (ux * ux + uy * uy + 1e-6), 0, 1)
        return np.hypot(x - ax - t * ux, y - ay - t * uy) - (ra + t * (end - ra))

    r = max(ra, end)
    return Shape(distance, (min(ax, b[0]) - r, min(ay, b[1]) - r, max(ax, b[0]) + r, max(ay, b[1]) + r))


def polygon(*points: Point, r: float = 0.0) -> Shape:
    """Any simple polygon, its corners rounded outwards by ``r``."""

    def distance(x: Floats, y: Floats) -> Floats:
        nearest = np.full(np.broadcast_shapes(x.shape, y.shape), np.inf, np.float32)
        inside = np.zeros(nearest.shape, bool)
        for (ax, ay), (bx, by) in zip(points, points[1:] + points[:1], strict=True):
            ux, uy = bx - ax, by - ay
            t = np.clip(((x - ax) * ux + (y - ay) * uy) / (ux * ux + uy * uy + 1e-6), 0, 1)
            np.minimum(nearest, np.hypot(x - ax - t * ux, y - ay - t * uy), out=nearest)
            if ay != by:
                inside ^= ((y < ay) != (y < by)) & (x < ax + (y - ay) * (ux / uy))
        return np.where(inside, -nearest, nearest) - np.float32(r)

    xs, ys = zip(*points, strict=True)
    return Shape(distance, (min(xs) - r, min(ys) - r, max(xs) + r, max(ys) + r))


def block(cx: float, cy: float, half_x: float, half_y: float) -> Shape:
    """An upright rectangle."""
    x0, y0, x1, y1 = cx - half_x, cy - half_y, cx + half_x, cy + half_y
    return polygon((x0, y0), (x1, y0), (x1, y1), (x0, y1))


def _mix(a: Colour, b: Colour, t: float) -> Colour:
    red, green, blue = (round(u + (v - u) * t) for u, v in zip(a, b, strict=True))
    return red, green, blue


@dataclass(frozen=True)
class Ramp:
    """The four tones of one material, darker tones leaning to violet as painted shadows do."""

    light: Colour
    base: Colour
    dark: Colour
    line: Colour

    @classmethod
    def of(cls, base: Colour) -> "Ramp":
        return cls(
            _mix(base, (255, 250, 225), 0.38), base, _mix(base, (50, 15, 75), 0.40), _mix(base, (32, 12, 48), 0.74)
        )


class Canvas:
    """A transparent picture on which later shapes cover earlier ones."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.scale = size * SUPERSAMPLE / GRID
        # One output pixel, but never a hair line on large pictures nor a heavy one on small pictures.
        self.line = min(1.5, 0.9 * GRID / size)
        self._colour = np.zeros((size * SUPERSAMPLE, size * SUPERSAMPLE, 3), np.uint8)
        self._covered = np.zeros((size * SUPERSAMPLE, size * SUPERSAMPLE), bool)

    def paint(self, ramp: Ramp, *shapes: Shape, inside: bool = False, shade: float = 2.2) -> None:
        """Draw the union of ``shapes``: outlined, lit from the upper left, its far rim dark for ``shade`` units.

        With ``inside``, only where something is drawn already, and without an outline: a pattern on cloth.
        """
        shape = reduce(operator.or_, shapes)
        n, pad = len(self._covered), math.ceil((self.line + 0.5) * self.scale)
        x0, y0 = (max(0, math.floor(low * self.scale) - pad) for low in shape.box[:2])
        x1, y1 = (min(n, math.ceil(high * self.scale) + pad) for high in shape.box[2:])
        if x0 >= x1 or y0 >= y1:
            return
        sx, sy, hx, hy = (round(s * self.scale) for s in (0.6 * shade, 0.8 * shade, 0.7, 0.9))
        # The distances on a margin wide enough to look at them from the shifted places of shadow and highlight.
        m = max(sx, sy, hx, hy)
        x = ((np.arange(x0 - m, x1 + m, dtype=np.float32) + 0.5) / self.scale)[None, :]
        y = ((np.arange(y0 - m, y1 + m, dtype=np.float32) + 0.5) / self.scale)[:, None]
        far = shape.distance(x, y)
        h, w = y1 - y0, x1 - x0

        def seen(dx: int, dy: int) -> NDArray[np.bool_]:
            return far[m + dy : m + dy + h, m + dx : m + dx + w] < 0

        colour, covered = self._colour[y0:y1, x0:x1], self._covered[y0:y1, x0:x1]
        body = seen(0, 0)
        if inside:
            body = body & covered
        else:
            outlined = far[m : m + h, m : m + w] < self.line
            colour[outlined] = ramp.line
            covered |= outlined
        colour[body] = ramp.base
        colour[body & ~seen(-hx, -hy)] = ramp.light
        colour[body & ~seen(sx, sy)] = ramp.dark

    def snap(self, place: float) -> float:
        """The border between two output pixels that is nearest to a coordinate."""
        return round(place * self.size / GRID) * GRID / self.size

    def trace(self, ramp: Ramp, *shapes: Shape) -> None:
        """`paint` a pattern inside what is drawn, without a shadow."""
        self.paint(ramp, *shapes, inside=True, shade=0)

    def pixels(self) -> Floats:
        """(4, size, size): red, green, blue (0..255, already weighted by cover) and cover (0..1)."""
        k = SUPERSAMPLE
        planes = np.concatenate([self._colour, self._covered[..., None] * np.uint8(255)], axis=2).astype(np.uint16)
        rows = sum(planes[i::k] for i in range(1, k)) + planes[::k]
        pooled = (sum(rows[:, i::k] for i in range(1, k)) + rows[:, ::k]).astype(np.float32) / (k * k)
        pooled[..., 3] /= 255
        # Harder edges than plain averaging gives: pixels, not blur.
        cover = np.clip((pooled[..., 3] - 0.25) * 2, 0, 1)
        pooled *= (cover / np.maximum(pooled[..., 3], 1e-6))[..., None]
        return np.ascontiguousarray(pooled.transpose(2, 0, 1))


@dataclass(frozen=True)
class Limb:
    """Shoulder, elbow, hand; or hip, knee, foot."""

    root: Point
    joint: Point
    end: Point

    def at(self, t: float) -> Point:
        """The place a fraction t of the way from root to end, along the limb."""
        a, b, t = (self.root, self.joint, t * 2) if t < 0.5 else (self.joint, self.end, t * 2 - 1)
        return a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t

    def part(self, start: float, stop: float, r0: float, r1: float) -> Shape:
        """The limb from fraction ``start`` to ``stop``, its half width going from ``r0`` to ``r1``."""
        if not start < 0.5 < stop:
            return capsule(self.at(start), self.at(stop), r0, r1)
        middle = r0 + (r1 - r0) * (0.5 - start) / (stop - start)
        return capsule(self.at(start), self.joint, r0, middle) | capsule(self.joint, self.at(stop), middle, r1)


@dataclass(frozen=True)
class Pose:
    """Where the body parts are, seen from the left (``side``) or the front; near or screen-left limbs come first."""

    side: bool
    head: Point
    chest: Point
    hips: Point
    arms: tuple[Limb, Limb]
    legs: tuple[Limb, Limb]


def _limb(root: Point, end: Point, length: float, bend: float) -> Limb:
    """Two bones of ``length`` / 2 each; the sign of ``bend`` says to which side of the straight line they bend."""
    dx, dy = end[0] - root[0], end[1] - root[1]
    span = math.hypot(dx, dy)
    if span > length:
        dx, dy = dx * length / span, dy * length / span
        end, span = (root[0] + dx, root[1] + dy), length
    out = bend * math.sqrt(max(length**2 - span**2, 0.0)) / 2 / max(span, 1e-6)
    return Limb(root, (root[0] + dx / 2 - dy * out, root[1] + dy / 2 + dx * out), end)


@dataclass(frozen=True)
class Gesture:
    """One moment of a motion, the same for every character.

    ``ahead``/``down`` shift of the body, ``lean`` of the head over the hips; ``arms`` (degrees, reach): 0 hangs, 90 is
    level, 180 straight up; ``feet`` (ahead, up) from the standing place. Ahead is left on the screen.
    """

    ahead: float = 0.0
    down: float = 0.0
    lean: float = 0.0
    arms: tuple[Point, Point] = ((6.0, 12.2), (6.0, 12.2))
    feet: tuple[Point, Point] = ((0.0, 0.0), (0.0, 0.0))


def _walk(frame: int, side: bool) -> Gesture:
    swing, pass_by = math.sin(frame * math.pi / 4), math.cos(frame * math.pi / 4)
    bob = 1.1 * abs(swing) - 0.6
    lifts = 3.6 * max(pass_by, 0.0), 3.6 * max(-pass_by, 0.0)
    if side:
        return Gesture(
            down=bob, lean=0.8, arms=((-44 * swing, 12.0), (44 * swing, 12.0)),
            feet=((7 * swing, lifts[0]), (-7 * swing, lifts[1])),
        )  # fmt: skip
    # Seen from the front, limbs that swing ahead come lower (feet) or higher and inwards (hands).
    return Gesture(
        ahead=0.9 * pass_by, down=bob, lean=0.5 * pass_by,
        arms=((8 + 16 * swing, 11.0 + 1.8 * swing), (8 - 16 * swing, 11.0 - 1.8 * swing)),
        feet=((0.0, 1.4 * lifts[0] - 1.3 * swing), (0.0, 1.4 * lifts[1] + 1.3 * swing)),
    )  # fmt: skip


def _cast(frame: int, side: bool) -> Gesture:
    angle = (6, 42, 84, 122, 150, 134, 98, 50)[frame]
    rise = max(0.0, angle - 6) / 144
    reach = 12.2 + 3.2 * rise
    far = angle + (16 * rise if side else 0)
    return Gesture(ahead=0.0, down=0.7 * math.sin(rise * math.pi) - 0.8 * rise, lean=-0.8 * rise * side,
                   arms=((angle, reach), (far, reach)))  # fmt: skip


def _slash(frame: int, side: bool) -> Gesture:
    ahead = (0.0, -1.2, -2.6, -2.2, 2.6, 5.0, 4.0, 1.4)[frame]
    strike = max(ahead, 0.0) / 5
    if side:
        angle = (6, -48, -112, -165, 128, 84, 52, 20)[frame]
        other = (6, 20, 34, 20, -18, -40, -30, -8)[frame]
    else:
        angle = (6, 50, 104, 148, 70, -28, -52, -20)[frame]
        other = (6, 16, 28, 24, 40, 52, 38, 16)[frame]
    step = 4.5 * strike
    return Gesture(
        ahead=ahead if side else -0.7 * ahead, down=2.0 * strike, lean=0.35 * ahead * (1 if side else -1),
        arms=((angle, 12.2 + 2.6 * abs(angle - 6) / 150), (other, 12.2)),
        feet=((step * (1.4 if side else 0.5), 0.0), (-step if side else step * 0.9, 0.0)),
    )  # fmt: skip


def pose(motion: str, frame: int, side: bool) -> Pose:
    """The skeleton in one of the `FRAMES` frames of one of the `MOTIONS`, from the left or the front."""
    g = {"walk": _walk, "cast": _cast, "slash": _slash}[motion](frame, side)
    hips = (32 - g.ahead, 45.0 + g.down)
    chest = (hips[0] - g.lean * 0.6, hips[1] - 11.0)
    head = (chest[0] - g.lean * 0.6, chest[1] - 11.5)
    # Near limbs are a little right of the middle seen from the left side, screen-left ones left seen from the front.
    outs = (1.2, -1.2) if side else (-7.4, 7.4)
    steps = (0.8, -0.8) if side else (-3.7, 3.7)
    arms, legs = [], []
    for (degrees, reach), (ahead, up), out, step in zip(g.arms, g.feet, outs, steps, strict=True):
        sign = -1.0 if side else math.copysign(1.0, out)
        angle = math.radians(degrees)
        # Shoulders rise with a raised arm.
        shoulder = (chest[0] + out, chest[1] + 1.0 - 1.6 * (1 - math.cos(angle)) / 2)
        hand = (shoulder[0] + sign * reach * math.sin(angle), shoulder[1] + reach * math.cos(angle))
        arms.append(_limb(shoulder, hand, 13.4 + 2.4 * abs(angle) / 3.1, 1.0 if side else -sign))
        foot = (32 + step - ahead * (1 if side else math.copysign(1.0, -step)), 59.0 - up)
        legs.append(_limb((hips[0] + step, hips[1] + 0.5), foot, 13.7, -1.0 if side else sign * 0.4))
    return Pose(side, head, chest, hips, (arms[0], arms[1]), (legs[0], legs[1]))


def over(front: Floats, back: Floats) -> Floats:
    """Alpha-over of premultiplied pictures (..., 4, H, W) that broadcast against each other."""
    return front + back * (1 - front[..., 3:, :, :])


def stack(layers: Sequence[Floats]) -> Floats:
    """`over` from the first, lowest, layer to the last."""
    result = layers[0]
    for layer in layers[1:]:
        result = over(layer, result)
    return result
