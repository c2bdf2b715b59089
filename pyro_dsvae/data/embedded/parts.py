"""What the embedded characters are made of: six skins, trousers, tops and hairs, each with its colours and its shape.

Every painter draws one part of one variant on a `Layer`, in the pose that the layer is for.
"""

import math
from functools import reduce
from operator import or_
from typing import NamedTuple

from pyro_dsvae.data.embedded.pixel_art import Canvas, Colour, Limb, Pose, Ramp, Shape, block, capsule, ellipse, polygon


class Palette(NamedTuple):
    """The colours of one variant: the material itself, its trimming, and a third one (eyes, shoes, linings)."""

    main: Colour
    trim: Colour
    third: Colour


# Attribute -> variant -> colours. The order of both is that of the labels.
PALETTES: dict[str, dict[str, Palette]] = {
    "skin": {
        "fair": Palette((250, 205, 170), (240, 140, 130), (60, 110, 200)),
        "bearded": Palette((214, 150, 100), (120, 70, 40), (80, 50, 30)),
        "elf": Palette((186, 156, 206), (110, 70, 150), (60, 160, 90)),
        "painted": Palette((150, 92, 58), (255, 196, 70), (50, 25, 20)),
        "goblin": Palette((128, 182, 84), (250, 240, 200), (190, 60, 40)),
        "frost": Palette((120, 178, 216), (215, 240, 250), (40, 50, 140)),
    },
    "trousers": {
        "shorts": Palette((150, 150, 60), (225, 215, 170), (190, 80, 50)),
        "long": Palette((64, 92, 170), (150, 170, 220), (176, 110, 62)),
        "kilt": Palette((176, 50, 56), (235, 190, 80), (168, 120, 70)),
        "baggy": Palette((206, 120, 196), (250, 220, 120), (250, 220, 120)),
        "patched": Palette((142, 98, 66), (90, 180, 120), (112, 118, 160)),
        "boots": Palette((224, 216, 196), (250, 160, 60), (164, 72, 110)),
    },
    "top": {
        "tee": Palette((216, 66, 60), (250, 220, 90), (250, 220, 90)),
        "long sleeve": Palette((48, 160, 150), (200, 240, 220), (200, 240, 220)),
        "vest": Palette((196, 126, 60), (110, 62, 36), (240, 200, 110)),
        "coat": Palette((90, 76, 172), (240, 196, 84), (190, 180, 230)),
        "armour": Palette((158, 168, 186), (96, 104, 130), (236, 200, 100)),
        "striped": Palette((240, 240, 236), (58, 110, 200), (228, 70, 80)),
    },
    "hair": {
        "crop": Palette((158, 84, 44), (200, 130, 70), (200, 130, 70)),
        "long": Palette((236, 194, 76), (220, 90, 120), (220, 90, 120)),
        "topknot": Palette((66, 112, 220), (245, 210, 90), (245, 210, 90)),
        "bob": Palette((226, 88, 150), (250, 250, 250), (250, 250, 250)),
        "afro": Palette((142, 74, 180), (250, 180, 60), (250, 180, 60)),
        "mohawk": Palette((244, 116, 44), (170, 64, 58), (170, 64, 58)),
    },
}


class Layer(Canvas):
    """A canvas for one variant of an attribute in one pose."""

    def __init__(self, size: int, variant: int, palette: Palette, at: Pose) -> None:
        super().__init__(size)
        self.variant, self.at = variant, at
        self.main, self.trim, self.third = (Ramp.of(colour) for colour in palette)


WHITE = Ramp.of((250, 250, 250))


def skin_arm(on: Layer, limb: Limb) -> None:
    """An arm, without its sleeve."""
    thick = (-0.1, 0.3, -0.4, 0.5, 0.2, 0.0)[on.variant]
    on.paint(on.main, limb.part(0, 1, 2.6 + thick, 2.2 + thick), ellipse(*limb.end, 2.9 + thick, 2.9 + thick))
    if on.variant == 3:
        on.trace(on.trim, limb.part(0.6, 0.68, 3, 3))


def skin_leg(on: Layer, limb: Limb) -> None:
    """A leg, without trousers."""
    on.paint(on.main, limb.part(0, 1, 3.2, 2.6), _shoe(on.at, limb))


def _ear(variant: int, x: float, y: float, sign: float) -> Shape:
    """Round, or pointing to the right (sign 1) or left (-1)."""
    if variant == 2:
        return polygon((x, y - 2), (x + sign * 8.5, y - 5), (x + sign, y + 2.4), r=0.8)
    if variant == 4:
        return polygon((x, y - 2.4), (x + sign * 7, y + 1.6), (x, y + 2.8), r=1.2)
    if variant == 5:
        fin = ((x - sign, y - 1), (x + sign * 5, y - 4), (x + sign * 3, y), (x + sign * 5, y + 4), (x, y + 2))
        return polygon(*fin, r=0.4)
    size = (2.2, 2.6, 0, 3.0)[variant]
    return ellipse(x + sign * 0.4, y, size, size + 0.5)


def head(on: Layer) -> None:
    """The head and face; in profile without the ear, which lies on the hair."""
    (x, y), side = on.at.head, on.at.side
    jaw = (7.0, 8.6, 6.2, 9.4, 8.8, 6.8)[on.variant]
    skull = ellipse(x, y - 0.5, 9.8, 9.4) | ellipse(x - (1.6 if side else 0), y + 4, jaw, 5.6)
    if side:
        nose = (1.6, 2.0, 1.4, 2.0, 3.4, 1.4)[on.variant]
        on.paint(on.main, skull, ellipse(x - 9.4, y + 3.6, nose, 1.5))
    else:
        on.paint(on.main, *(_ear(on.variant, x + sign * 9.6, y + 2.4, sign) for sign in (-1, 1)))
        on.paint(on.main, skull)
    _marks(on)
    # Eyes begin and end between pixels wherever the head is: in small pictures anything else blurs them away.
    ey = on.snap(y + 1.5)
    for ex, look in ((on.snap(x - 6), -1),) if side else ((on.snap(x - 4), 1), (on.snap(x + 4), -1)):
        on.trace(WHITE, block(ex, ey, 2.0, 2.4))
        on.trace(on.third, block(ex + look, ey, 1.0, 2.4))


def side_ear(on: Layer) -> None:
    """The ear of a profile lies on the hair."""
    if on.at.side:
        x, y = on.at.head
        on.paint(on.main, _ear(on.variant, x + 2.4, y + 2.2, 1), shade=1.2)


def _marks(on: Layer) -> None:
    """What tells one skin from another in the face: cheeks, beard, drops, paint, tusks, spots."""
    (x, y), side = on.at.head, on.at.side
    middle = x - 6.5 if side else x
    cheeks = [x - 4.6] if side else [x - 6.2, x + 6.2]
    if on.variant == 0:
        on.trace(on.trim, *(ellipse(cx, y + 6.0, 2.1, 1.4) for cx in cheeks))
    elif on.variant == 1:
        beard = ellipse(x - (2 if side else 0), y + 6.6, 8.2, 5.6)
        on.paint(on.trim, beard - ellipse(middle, y + 3.4, 5.0 if side else 5.6, 3.2))
    elif on.variant == 2:
        on.trace(on.trim, *(polygon((cx - 1.4, y + 4.4), (cx + 1.4, y + 4.4), (cx, y + 8.0)) for cx in cheeks))
    elif on.variant == 3:
        stripes = [capsule((cx - 2.4, y + 6.8), (cx + 2.4, y + 5.8), 0.9) for cx in cheeks]
        on.trace(on.trim, *stripes, block(middle, y - 1, 0.9, 2.4))
    elif on.variant == 4:
        tusks = [middle + 1] if side else [x - 3, x + 3]
        on.paint(on.trim, *(polygon((tx - 1.1, y + 8), (tx + 1.1, y + 8), (tx, y + 4.6)) for tx in tusks), shade=0)
        if not side:
            on.paint(on.main, ellipse(x, y + 4.4, 1.8, 1.5))
    else:
        on.trace(on.trim, *(ellipse(cx, y + down, 0.9, 0.9) for cx in cheeks for down in (5.0, 7.4)))


def _shoe(at: Pose, leg: Limb, grow: float = 0.0) -> Shape:
    x, y = leg.end
    if at.side:
        return capsule((x + 0.8, y + 0.2), (x - 2.6 - grow, y + 0.8), 2.5 + grow, 2.0 + grow)
    return ellipse(x, y + 0.5, 3.6 + grow, 3.0 + grow)


def trouser_leg(on: Layer, limb: Limb) -> None:
    """One leg of the trousers."""
    legs = ((0.34, 3.8, 4.4), (0.84, 3.6, 4.0), (0.0, 3.5, 3.5), (0.64, 3.9, 4.7), (0.72, 3.6, 3.9), (0.6, 3.5, 3.0))
    if on.variant == 5:
        on.paint(on.third, limb.part(0.62, 0.95, 3.2, 3.0), _shoe(on.at, limb, 0.3))
    elif on.variant != 3:  # who wears the baggy ones goes barefoot
        on.paint(on.third, _shoe(on.at, limb))
    if on.variant == 3:
        on.paint(on.trim, limb.part(0.79, 0.85, 3.0, 3.0))
    on.paint(on.main, limb.part(0, *legs[on.variant]))
    if on.variant == 4:
        on.paint(on.trim, ellipse(*limb.at(0.55), 2.4, 2.2), inside=True, shade=1)
    elif on.variant == 5:
        on.paint(on.trim, limb.part(0.54, 0.6, 3.7, 3.7))


def waist(on: Layer) -> None:
    """The waist of the trousers."""
    (x, y), wide = on.at.hips, 4.6 if on.at.side else 6.6
    if on.variant != 2:
        on.paint(on.main, ellipse(x, y, wide, 3.2))
        return
    hem = wide + 3.4
    on.paint(on.main, polygon((x - wide, y - 3), (x + wide, y - 3), (x + hem, y + 7), (x - hem, y + 7), r=0.8))
    pleats = [capsule((x + dx * wide, y), (x + dx * hem, y + 8), 0.6) for dx in (-0.55, 0.1, 0.75)]
    on.trace(on.trim, *pleats, capsule((x - hem, y + 4.2), (x + hem, y + 4.2), 0.6))


def sleeve(on: Layer, limb: Limb) -> None:
    """The sleeve of one arm."""
    x, y = limb.root
    if on.variant == 0:
        on.paint(on.main, limb.part(0, 0.36, 3.3, 3.8))
    elif on.variant == 1:
        on.paint(on.main, limb.part(0, 0.7, 3.3, 2.9))
        on.paint(on.trim, limb.part(0.7, 0.74, 2.7, 2.7))
    elif on.variant == 3:
        on.paint(on.third, limb.part(0.7, 0.78, 3.6, 4.0))
        on.paint(on.main, limb.part(0, 0.68, 3.2, 4.3))
    elif on.variant == 4:
        on.paint(on.trim, limb.part(0, 0.5, 2.9, 2.9))
        on.paint(on.main, ellipse(x, y - 0.4, 4.9, 4.0))
        on.trace(on.third, ellipse(x, y - 0.6, 1.3, 1.3))
    elif on.variant == 5:
        on.paint(on.main, limb.part(0, 0.6, 3.2, 3.2))
        on.paint(on.trim, *(limb.part(t, t + 0.04, 3.2, 3.2) for t in (0.28, 0.58)), inside=True, shade=1)


def _torso(at: Pose, hem: float, flare: float, shoulders: float = 0.0) -> Shape:
    """A garment from the shoulders to ``hem`` below the hips, there ``flare`` wider than the waist."""
    (cx, cy), (hx, hy) = at.chest, at.hips
    top, low = (5.0 + shoulders, 5.0 + flare * 0.7) if at.side else (6.4 + shoulders, 5.4 + flare)
    return polygon((cx - top, cy + 0.6), (cx + top, cy + 0.6), (hx + low, hy + hem), (hx - low, hy + hem), r=1.2)


def shirt(on: Layer) -> None:
    """The top without its sleeves."""
    (cx, cy), (hx, hy) = on.at.chest, on.at.hips
    fx = cx - 3 if on.at.side else cx  # the middle of the front
    hem, flare, shoulders = ((0, 0.6, 0), (2, 0.2, 0), (-2.2, 0, -0.6), (4.0, 3.4, 0), (-3.4, 0.8, 0.6), (1, 0.2, 0))[
        on.variant
    ]
    cloth = _torso(on.at, hem, flare, shoulders)

    def band(y: float, half: float) -> Shape:
        return capsule((hx - 12, y), (hx + 12, y), half)

    if on.variant == 2:
        cloth -= polygon((fx - 2.6, cy - 3), (fx + 2.6, cy - 3), (fx + 0.5, cy + 8), (fx - 0.5, cy + 8))
    elif on.variant == 4:
        on.paint(on.trim, _torso(on.at, 2.4, 1.4))
    on.paint(on.main, cloth)
    if on.variant == 0:
        on.trace(on.trim, polygon((fx - 2.4, cy + 4), (fx, cy + 7.4), (fx + 2.4, cy + 4), (fx, cy + 5)))
    elif on.variant == 1:
        on.trace(on.trim, ellipse(fx, cy + 0.4, 4.0, 2.0))
        on.trace(on.third, band(hy - 1.6, 0.9))
    elif on.variant == 2:
        on.trace(on.third, *(ellipse(fx + 3.2, cy + down, 0.9, 0.9) for down in (4.4, 7.4)))
    elif on.variant == 3:
        on.trace(on.trim, capsule((fx, cy), (fx - (hx - fx) * 0.3, hy + 9), 0.8), band(hy - 2.4, 1.2))
        on.paint(on.third, polygon((fx - 5, cy - 1), (fx + 5, cy - 1), (fx, cy + 4), r=0.6))
    elif on.variant == 4:
        on.trace(on.third, capsule((fx, cy + 1), (fx, hy - 3), 0.7))
    else:
        on.trace(on.trim, *(band(cy + down, 0.95) for down in (3.4, 7.2, 11)))
        on.paint(on.third, polygon((fx - 3.6, cy - 0.6), (fx + 3.6, cy - 0.6), (fx, cy + 5), r=0.8))


def _cap(at: Pose, brow: float, grow: float = 0.0, back: float = 3.0, curls: tuple[Shape, ...] = ()) -> Shape:
    """Hair on the skull down to ``brow`` below the middle of the face; behind the ear down to ``back``."""
    x, y = at.head
    hair = reduce(or_, curls, ellipse(x + (0.8 if at.side else 0), y - 1.6, 10.2 + grow, 9.6 + grow))
    if at.side:
        ear = ((x - 2.5, y + brow), (x - 0.5, y + 1), (x + 2, y + back))
        return hair - polygon((x - 18, y + brow), *ear, (x + 18, y + back + 2), (x + 18, y + 24), (x - 18, y + 24))
    return hair - polygon((x - 7.8, y + 24), (x - 7.2, y + brow), (x + 7.2, y + brow), (x + 7.8, y + 24))


def hair_back(on: Layer) -> None:
    """The hair behind the body."""
    (x, y), side = on.at.head, on.at.side
    x += 4 if side else 0
    if on.variant == 1:
        half = 5.6 if side else 10.2
        tips = (x + half + 0.8, y + 19), (x - half + 1, y + 19)
        on.paint(on.main, polygon((x - half, y - 4), (x + half, y - 4), *tips, r=2))
    elif on.variant == 2:
        on.paint(on.main, capsule((x, y), (x + (5 if side else 0), y + 9), 4, 1.5))
    elif on.variant == 3:
        on.paint(on.main, ellipse(x - (1 if side else 0), y + 2.4, 9.4 if side else 12.2, 9.4))


def hair_front(on: Layer) -> None:
    """The hair in front of the head."""
    at, (x, y), side = on.at, on.at.head, on.at.side
    if on.variant == 0:
        tufts = (polygon((x + d - 3, y - 8), (x + d - 2.5, y - 13.4), (x + d + 3, y - 8), r=0.6) for d in (-5, 0, 5))
        on.paint(on.main, _cap(at, -3.4, 0.2), *tufts)
    elif on.variant == 1:
        locks = [] if side else [capsule((x + s * 9.4, y - 2), (x + s * 9.6, y + 14), 2.4, 1.8) for s in (-1, 1)]
        on.paint(on.main, _cap(at, -2.6, 0.9, 9), *locks)
        on.trace(on.trim, capsule((x - 12, y - 6), (x + 12, y - 6), 1.0))
    elif on.variant == 2:
        kx = x + (3.5 if side else 0)
        on.paint(on.main, ellipse(kx, y - 13.4, 4.6, 4.2))
        on.paint(on.main, _cap(at, -4.6))
        on.paint(on.trim, capsule((kx - 2.6, y - 10.6), (kx + 2.6, y - 10.6), 1.2), shade=1)
    elif on.variant == 3:
        on.paint(on.main, _cap(at, -0.8, 1.5, 10))
        on.paint(on.trim, ellipse(x + (1 if side else 7), y - 6, 2.0, 1.6))
    elif on.variant == 4:
        ring, cx = [math.radians(degrees) for degrees in range(-210, 31, 30)], x + (2.4 if side else 0)
        curls = tuple(ellipse(cx + 9.6 * math.cos(a), y - 3.6 + 8.8 * math.sin(a), 4.4, 4.4) for a in ring)
        on.paint(on.main, _cap(at, -3.8, 0.6, 4, curls), shade=3)
    else:
        on.paint(on.trim, _cap(at, -6.0, -0.4), shade=1)
        comb = ((-8, -12), (-3.5, -12), (1.5, -11.5), (6.5, -9.5)) if side else ((-3.2, -9), (3.2, -9), (0, -11))
        for dx, dy in comb:
            tip = (x + dx + (dx - (3 if side else 0)) * 0.3 + 1, y + dy - 6.4)
            on.paint(on.main, polygon((x + dx - 2.6, y + dy + 4), tip, (x + dx + 2.8, y + dy + 4), r=0.7))
    shine = Ramp(on.main.light, on.main.light, on.main.light, on.main.line)
    on.trace(shine, capsule((x - 6.5, y - 6.8), (x - 3, y - 9), 0.8))
