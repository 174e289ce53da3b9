"""From a plan to pixels and labels.

Everything is drawn `SCALE` times enlarged and averaged down, so edges are anti-aliased; labels are the enlarged drawing
sampled at pixel centres, so they are what was painted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from train.data.records import LabelledBox
from train.data.scenes.palette import COVERS, MASK_LABELS
from train.data.scenes.plan import SIZE_PX, Patch, Plan, Thing, draw_patch

SCALE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Light:
    """Sun, season and the grain of the ground.

    Attributes:
        azimuth: direction towards the sun, radians from x towards y.
        shadow_per_height: length of a shadow divided by the height that casts it.
        shade: brightness in the shadow, relative.
        dryness: 0 lush, 1 brown.
        texture_seed: of the ground's texture; equal at both dates of a place.
    """

    azimuth: float
    shadow_per_height: float
    shade: float
    dryness: float
    texture_seed: int


@dataclass(frozen=True, slots=True)
class Drawn:
    """A painted scene.

    Attributes:
        image: ``(256, 256, 3)`` float32, 0 to 255, before the sensor.
        ident: ``(256, 256)`` int32, 0 where no thing is seen, k for ``things[k - 1]``.
        cover: ``(256, 256)`` uint8, 0 background, k for ``MASK_LABELS[k - 1]``.
        things: as in the plan.
    """

    image: np.ndarray
    ident: np.ndarray
    cover: np.ndarray
    things: tuple[Thing, ...]

    def presence(self, label: str) -> np.ndarray:
        """Return where a class of the mask or an object class is seen, ``(256, 256)`` bool."""
        if label in MASK_LABELS:
            return self.cover == MASK_LABELS.index(label) + 1
        wanted = np.array([False, *(thing.label == label for thing in self.things)])
        return wanted[self.ident]

    def objects(self) -> tuple[LabelledBox, ...]:
        """Return the tight box of every labelled thing's visible pixels, in reading order."""
        boxes = boxes_of(self.ident, len(self.things))
        found = [
            LabelledBox(label=thing.label, box_px=box)
            for thing, box in zip(self.things, boxes, strict=True)
            if thing.label is not None and box is not None
        ]
        return tuple(sorted(found, key=lambda item: (item.label, item.box_px[1], item.box_px[0])))


def random_light(rng: np.random.Generator) -> Light:
    """Draw a sun and a season."""
    return Light(
        azimuth=float(rng.uniform(0, 2 * np.pi)),
        shadow_per_height=float(rng.uniform(0.25, 1.1)),
        shade=float(rng.uniform(0.38, 0.62)),
        dryness=float(np.clip(rng.normal(0.25, 0.3), 0, 1)),
        texture_seed=int(rng.integers(2**32)),
    )


def boxes_of(ident: np.ndarray, n: int) -> list[tuple[float, float, float, float] | None]:
    """Return the tight box of each identity 1 to ``n`` in an ``(H, W)`` int array, None where it is not seen."""
    ys, xs = np.nonzero(ident)
    k = ident[ys, xs]
    low = np.full((2, n + 1), max(ident.shape), np.int64)
    high = np.full((2, n + 1), -1, np.int64)
    for axis, values in enumerate((xs, ys)):
        np.minimum.at(low[axis], k, values)
        np.maximum.at(high[axis], k, values)
    return [
        (float(low[0, i]), float(low[1, i]), float(high[0, i] + 1), float(high[1, i] + 1)) if high[0, i] >= 0 else None
        for i in range(1, n + 1)
    ]


def draw(plan: Plan, light: Light) -> Drawn:
    """Paint a plan."""
    ground, cover = _draw_ground(plan, light)
    shadow = draw_shadows(plan.things, light)
    image = ground * (1 - (1 - light.shade) * shadow[..., None] * np.array([1.0, 0.96, 0.86], np.float32))
    colour, alpha, ident = draw_things(plan.things, light)
    rng = np.random.default_rng(light.texture_seed + 1)
    colour = colour * (1 + 0.035 * (_noise(rng, 110) + _noise(rng, SIZE_PX)))[..., None]
    image = image * (1 - alpha[..., None]) + colour
    classes = [-1, *(thing_class(thing) for thing in plan.things)]
    painted = np.array(classes)[ident]
    cover = np.where(painted >= 0, painted, cover).astype(np.uint8)
    return Drawn(image, ident, cover, tuple(plan.things))


def thing_class(thing: Thing) -> int:
    """Return a thing's value in the mask: -1 leaves the ground's, 0 is background, k is ``MASK_LABELS[k - 1]``."""
    if thing.mask is None:
        return -1
    return MASK_LABELS.index(thing.mask) + 1 if thing.mask else 0


# --- ground -----------------------------------------------------------------------------------------------------------


def _noise(rng: np.random.Generator, cells: int) -> np.ndarray:
    """Return smooth noise of about unit strength, ``(256, 256)`` float32, with this many cells across."""
    values = rng.standard_normal((cells, cells), dtype=np.float32)
    if cells >= SIZE_PX:
        return values[:SIZE_PX, :SIZE_PX]
    return np.asarray(Image.fromarray(values).resize((SIZE_PX, SIZE_PX), Image.Resampling.BICUBIC))


def _cells(gsd_m: float, feature_m: float) -> int:
    return int(np.clip(SIZE_PX * gsd_m / feature_m, 3, SIZE_PX))


def _draw_ground(plan: Plan, light: Light) -> tuple[np.ndarray, np.ndarray]:
    """Return the ground's colour, ``(256, 256, 3)`` float32, and its classes, ``(256, 256)`` uint8."""
    patches = sorted(plan.patches, key=lambda patch: patch.layer)
    index = Image.new("L", (SIZE_PX * SCALE, SIZE_PX * SCALE))
    pen = ImageDraw.Draw(index)
    for value, patch in enumerate(patches):
        draw_patch(pen, patch, SCALE, value)
    which = np.asarray(index)[SCALE // 2 :: SCALE, SCALE // 2 :: SCALE]
    index.putpalette([v for patch in patches for v in _seasonal(patch, light.dryness)])
    base = np.asarray(index.convert("RGB").reduce(SCALE), np.float32)

    rng = np.random.default_rng(light.texture_seed)
    broad = _noise(rng, _cells(plan.gsd_m, 60)) + 0.5 * _noise(rng, _cells(plan.gsd_m, 25))
    mid = 0.7 * _noise(rng, _cells(plan.gsd_m, 8)) + 0.6 * _noise(rng, _cells(plan.gsd_m, 3.5))
    grain = 0.8 * _noise(rng, 128) + 0.7 * _noise(rng, SIZE_PX)
    hue = _noise(rng, _cells(plan.gsd_m, 35)) + 0.5 * _noise(rng, _cells(plan.gsd_m, 6))
    strengths = np.array([(c.broad, c.mid, c.grain) for c in (COVERS[p.cover] for p in patches)], np.float32)[which]
    factor = (
        1
        + strengths[..., 0] * 0.6 * broad
        + strengths[..., 1] * mid
        + strengths[..., 2] * grain
        + _rows(patches, which)
    )
    tint = strengths[..., 0, None] * hue[..., None] * np.array([0.3, 0.0, -0.3], np.float32)
    image = base * np.clip(factor[..., None] + tint, 0.3, 1.9)
    classes = np.array([_class_of(patch) for patch in patches], np.uint8)
    return image.astype(np.float32), classes[which]


def _class_of(patch: Patch) -> int:
    label = COVERS[patch.cover].label
    return 0 if label is None else MASK_LABELS.index(label) + 1


def _seasonal(patch: Patch, dryness: float) -> tuple[int, int, int]:
    """Brown a living cover; each patch by its own amount, so that fields ripen apart."""
    share = COVERS[patch.cover].seasonal * dryness * (0.55 + 0.45 * np.sin(sum(patch.rgb)))
    red, green, blue = (int(v + (dry - v) * 0.6 * share) for v, dry in zip(patch.rgb, (156, 140, 96), strict=True))
    return red, green, blue


def _rows(patches: Sequence[Patch], which: np.ndarray) -> np.ndarray | float:
    """Return the row texture of every pixel's patch, relative brightness, ``(256, 256)``."""
    if not any(patch.rows for patch in patches):
        return 0.0
    table = np.array([patch.rows or (0.0, 1.0, 0.0) for patch in patches], np.float32)
    angle, period, strength = (table[:, k][which] for k in range(3))
    y, x = np.mgrid[:SIZE_PX, :SIZE_PX].astype(np.float32)
    phase = (x * np.cos(angle) + y * np.sin(angle)) * (2 * np.pi / period)
    return strength * np.sin(phase)


# --- things -----------------------------------------------------------------------------------------------------------


def draw_shadows(things: Sequence[Thing], light: Light) -> np.ndarray:
    """Return the share of each pixel that lies in a shadow, ``(256, 256)`` float32."""
    picture = Image.new("L", (SIZE_PX * SCALE, SIZE_PX * SCALE))
    pen = ImageDraw.Draw(picture)
    away = -np.array([np.cos(light.azimuth), np.sin(light.azimuth)]) * light.shadow_per_height * SCALE
    for thing in things:
        if thing.height_px <= 0:
            continue
        offset = away * thing.height_px
        for polygon in thing.footprint:
            _sweep(pen, polygon * SCALE, offset)
    return np.asarray(picture.reduce(SCALE).filter(ImageFilter.GaussianBlur(0.5)), np.float32) / 255


def _sweep(pen: ImageDraw.ImageDraw, polygon: np.ndarray, offset: np.ndarray) -> None:
    """Draw everything that a polygon passes over on its way along ``offset``."""
    pen.polygon((polygon + offset).ravel().tolist(), fill=255)
    if len(polygon) > 12:
        pen.polygon((polygon + offset / 2).ravel().tolist(), fill=255)
        if max(abs(offset)) < np.ptp(polygon, axis=0).min() * 0.9:
            return
    following = np.roll(polygon, -1, axis=0)
    for a, b in zip(polygon, following, strict=True):
        pen.polygon([*a, *b, *(b + offset), *(a + offset)], fill=255)


def draw_things(things: Sequence[Thing], light: Light) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return premultiplied colour ``(256, 256, 3)``, opacity ``(256, 256)`` and identity ``(256, 256)`` int32."""
    side = SIZE_PX * SCALE
    identity, colours = Image.new("I", (side, side)), Image.new("RGB", (side, side))
    ident_pen, pen = ImageDraw.Draw(identity), ImageDraw.Draw(colours)
    sun = np.array([np.cos(light.azimuth), np.sin(light.azimuth)])
    for k, thing in enumerate(things, start=1):
        for polygon in thing.footprint:
            ident_pen.polygon((polygon * SCALE).ravel().tolist(), fill=k)
        for part in thing.parts:
            polygon = part.polygon + sun * part.lift if part.lift else part.polygon
            lit = 1.0 if part.azimuth is None else 1.0 + 0.2 * float(np.cos(part.azimuth - light.azimuth))
            red, green, blue = (min(255, int(v * lit)) for v in part.rgb)
            pen.polygon((polygon * SCALE).ravel().tolist(), fill=(red, green, blue))
    enlarged = np.asarray(identity)
    seen = Image.fromarray(((enlarged > 0) * np.uint8(255)).astype(np.uint8))
    nothing = Image.new("RGB", (side, side))
    colour = np.asarray(Image.composite(colours, nothing, seen).reduce(SCALE), np.float32)
    alpha = np.asarray(seen.reduce(SCALE), np.float32) / 255
    return colour, alpha, enlarged[SCALE // 2 :: SCALE, SCALE // 2 :: SCALE].astype(np.int32)
