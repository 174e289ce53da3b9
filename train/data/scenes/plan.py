"""A scene as data, and the rules by which things find room in it.

Frame: image pixels, x right, y down, origin at the upper left corner; angles in radians from x towards y.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw

from train.data.scenes.palette import COVERS, RGB

Point = Sequence[float] | np.ndarray
SIZE_PX = 256
TERRAIN, CLEARING, WATER, SURFACE, MARKS = range(5)
_COVER_IDS = {name: i + 1 for i, name in enumerate(COVERS)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """A piece of ground.

    Attributes:
        cover: key of `palette.COVERS`.
        rgb: its colour.
        polygons: each ``(n, 2)`` px.
        lines: polyline ``(n, 2)`` px and its width in px.
        rows: direction, period in px and relative strength of a row texture (crops, ripples), or None.
        layer: `TERRAIN` to `MARKS`; a higher one is painted later.
        tag: what it belongs to, so that an edit finds it.
    """

    cover: str
    rgb: RGB
    polygons: tuple[np.ndarray, ...] = ()
    lines: tuple[tuple[np.ndarray, float], ...] = ()
    rows: tuple[float, float, float] | None = None
    layer: int = TERRAIN
    tag: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """A visible face of a thing.

    Attributes:
        polygon: ``(n, 2)`` px.
        rgb: its colour when lit evenly.
        azimuth: direction that a sloping face looks to, or None for a level one.
        lift: how far it is drawn towards the sun, px: the lit side of something round.
    """

    polygon: np.ndarray
    rgb: RGB
    azimuth: float | None = None
    lift: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """Something that stands on the ground and casts a shadow.

    Attributes:
        label: object class, or None for what is not counted (a forest's crowns).
        footprint: polygons whose union is the thing as seen from above; nothing is painted outside it.
        parts: faces, painted in order.
        height_px: for the shadow.
        mask: class in the land-cover mask; None leaves the ground's, an empty string is background.
        tag: what it belongs to.
    """

    label: str | None
    footprint: tuple[np.ndarray, ...]
    parts: tuple[Part, ...]
    height_px: float = 0.0
    mask: str | None = None
    tag: str = ""

    def bounds(self) -> tuple[float, float, float, float]:
        """Return ``x1, y1, x2, y2`` of the footprint."""
        points = np.concatenate(self.footprint)
        return (*points.min(axis=0).tolist(), *points.max(axis=0).tolist())


@dataclass
class Plan:
    """A scene under construction.

    Attributes:
        rng: the scene's generator.
        gsd_m: metres a pixel.
        setting: noun phrase of the ground.
        crossing: noun phrases of what runs through.
    """

    rng: np.random.Generator
    gsd_m: float
    setting: str = ""
    crossing: list[str] = field(default_factory=list)
    patches: list[Patch] = field(default_factory=list)
    things: list[Thing] = field(default_factory=list)
    _taken: np.ndarray = field(default_factory=lambda: np.zeros((SIZE_PX, SIZE_PX), bool))
    _parked: np.ndarray = field(default_factory=lambda: np.zeros((SIZE_PX, SIZE_PX), bool))
    _ground: Image.Image = field(default_factory=lambda: Image.new("L", (SIZE_PX, SIZE_PX)))

    def px(self, metres: float) -> float:
        """Convert a length."""
        return metres / self.gsd_m

    def paint(self, cover: str, **shape: object) -> Patch:
        """Add a patch of ground; ``shape`` as the fields of `Patch`, the colour is drawn from the cover's tones."""
        shape.setdefault("rgb", self.tone(COVERS[cover].tones))
        patch = Patch(cover=cover, **shape)  # type: ignore[arg-type]
        self.patches.append(patch)
        draw_patch(ImageDraw.Draw(self._ground), patch, 1, _COVER_IDS[cover])
        return patch

    def tone(self, tones: Sequence[RGB]) -> RGB:
        """Mix two of the tones and vary the result a little."""
        a, b = (np.array(tones[int(i)]) for i in self.rng.integers(len(tones), size=2))
        mixed = a + (b - a) * self.rng.random() + self.rng.normal(0, 5)
        red, green, blue = (int(v) for v in np.clip(mixed, 0, 255))
        return red, green, blue

    def place(self, thing: Thing, on: Iterable[str] = (), *, gap_px: float = 1.0, least_px: float = 5.0) -> bool:
        """Add a thing if it has room.

        Args:
            thing: what is to stand there.
            on: ground covers that it may stand on; empty allows all.
            gap_px: distance to everything else.
            least_px: smallest longer side of its visible box.

        Returns:
            Whether it was added: at least 60 % of it lies inside the image, all on allowed ground, touching nothing.
        """
        window, inside = self._raster(thing.footprint, gap_px)
        if inside is None or not self._is_seen(thing, least_px):
            return False
        if (self._taken[window] | self._parked[window])[inside].any() or not self._stands_on(window, inside, on):
            return False
        self._taken[window] |= inside
        self._parked[window] |= inside
        self.things.append(thing)
        return True

    def park(self, thing: Thing, *, least_px: float = 5.0) -> bool:
        """Add a vehicle: it may stand where things may not, such as on roads, but touches no other vehicle."""
        window, inside = self._raster(thing.footprint, 1.0)
        if inside is None or not self._is_seen(thing, least_px) or self._parked[window][inside].any():
            return False
        self._parked[window] |= inside
        self.things.append(thing)
        return True

    def grow(self, crown: Thing, on: Iterable[str]) -> bool:
        """Add a crown of a closed forest: crowns may touch each other, but not what stands there already."""
        window, inside = self._raster(crown.footprint, 0.0)
        if inside is None or self._taken[window][inside].any() or not self._stands_on(window, inside, on):
            return False
        self._parked[window] |= inside
        self.things.append(crown)
        return True

    def keep_clear(self, polygons: Sequence[np.ndarray], gap_px: float = 0.0) -> None:
        """Let nothing else stand on these polygons."""
        window, inside = self._raster(polygons, gap_px)
        if inside is not None:
            self._taken[window] |= inside

    def is_free(self, polygons: Sequence[np.ndarray], on: Iterable[str] = ()) -> bool:
        """Say whether the part of the polygons inside the image touches nothing and lies on allowed ground."""
        window, inside = self._raster(polygons, 0.0)
        return inside is not None and not self._taken[window][inside].any() and self._stands_on(window, inside, on)

    def is_unbuilt(self, polygons: Sequence[np.ndarray], on: Iterable[str]) -> bool:
        """Say whether the polygons meet no thing and lie on allowed ground; strips kept clear do not count."""
        window, inside = self._raster(polygons, 0.0)
        return inside is not None and not self._parked[window][inside].any() and self._stands_on(window, inside, on)

    def cover_share(self, cover: str) -> float:
        """Return the share of the image with this ground cover, things left out of account."""
        return float((np.asarray(self._ground) == _COVER_IDS[cover]).mean())

    @staticmethod
    def _is_seen(thing: Thing, least_px: float) -> bool:
        x1, y1, x2, y2 = thing.bounds()
        seen = np.clip([x1, y1, x2, y2], 0, SIZE_PX)
        width, height = seen[2] - seen[0], seen[3] - seen[1]
        large = max(width, height) >= least_px and min(width, height) >= 0.4 * least_px
        return bool(large and width * height >= 0.6 * (x2 - x1) * (y2 - y1))

    def _stands_on(self, window: tuple[slice, slice], inside: np.ndarray, on: Iterable[str]) -> bool:
        allowed = [_COVER_IDS[name] for name in on]
        return not allowed or bool(np.isin(np.asarray(self._ground)[window][inside], allowed).all())

    def _raster(
        self, polygons: Sequence[np.ndarray], gap_px: float
    ) -> tuple[tuple[slice, slice], np.ndarray] | tuple[tuple[slice, slice], None]:
        """Return the window that polygons cover and their pixels in it (None: outside the image)."""
        points = np.concatenate(polygons)
        x1, y1 = np.maximum(np.floor(points.min(axis=0) - gap_px), 0).astype(int)
        x2, y2 = np.minimum(np.ceil(points.max(axis=0) + gap_px) + 1, SIZE_PX).astype(int)
        window = (slice(y1, y2), slice(x1, x2))
        if x1 >= x2 or y1 >= y2:
            return window, None
        picture = Image.new("1", (int(x2 - x1), int(y2 - y1)))
        draw = ImageDraw.Draw(picture)
        for polygon in polygons:
            flat = (polygon - (x1, y1)).ravel().tolist()
            draw.polygon(flat, fill=1, outline=1)
            if gap_px >= 1:
                draw.line(flat + flat[:2], fill=1, width=int(2 * gap_px + 1))
        return window, np.asarray(picture)


def draw_patch(draw: ImageDraw.ImageDraw, patch: Patch, scale: int, value: int) -> None:
    """Draw a patch's shapes with one value, its pixels ``scale`` times enlarged."""
    for polygon in patch.polygons:
        draw.polygon((polygon * scale).ravel().tolist(), fill=value)
    for line, width in patch.lines:
        draw.line((line * scale).ravel().tolist(), fill=value, width=max(1, round(width * scale)), joint="curve")


# --- shapes -----------------------------------------------------------------------------------------------------------


def turned(points: Sequence[Point] | np.ndarray, centre: Point, angle: float) -> np.ndarray:
    """Turn local points by an angle and move them to a centre."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.asarray(points, float) @ np.array([[cos, sin], [-sin, cos]]) + np.asarray(centre, float)


def rectangle(width: float, height: float, dx: float = 0.0, dy: float = 0.0) -> np.ndarray:
    """Return a rectangle's corners in local coordinates, centred at ``(dx, dy)``."""
    x, y = width / 2, height / 2
    return np.array([(-x, -y), (x, -y), (x, y), (-x, y)]) + np.array([dx, dy])


def disc(radius: float, n: int = 20, dx: float = 0.0, dy: float = 0.0) -> np.ndarray:
    """Return a circle as a polygon in local coordinates."""
    t = np.arange(n) * (2 * np.pi / n)
    return np.stack([np.cos(t), np.sin(t)], axis=1) * radius + np.array([dx, dy])


def blob(rng: np.random.Generator, radius: float, roughness: float, n: int = 48) -> np.ndarray:
    """Return a natural closed outline of about this radius: a circle with a few random harmonics."""
    t = np.arange(n) * (2 * np.pi / n)
    r = np.ones(n)
    for k in range(2, 7):
        r += roughness / k * rng.normal() * np.cos(k * t + rng.uniform(0, 2 * np.pi))
    return np.stack([np.cos(t), np.sin(t)], axis=1) * (radius * np.clip(r, 0.35, 1.8))[:, None]


def curve(rng: np.random.Generator, start: Point, end: Point, bend: float, n: int = 24) -> np.ndarray:
    """Return a smooth cubic line between two points; ``bend`` is its sideways swing, a share of its length."""
    p0, p3 = np.asarray(start, float), np.asarray(end, float)
    side = np.array([-(p3 - p0)[1], (p3 - p0)[0]]) * bend
    p1, p2 = p0 + (p3 - p0) / 3 + side * rng.normal(), p0 + (p3 - p0) * 2 / 3 + side * rng.normal()
    t = np.linspace(0, 1, n)[:, None]
    return (1 - t) ** 3 * p0 + 3 * t * (1 - t) ** 2 * p1 + 3 * t**2 * (1 - t) * p2 + t**3 * p3
