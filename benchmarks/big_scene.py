"""A scene of any size with objects at known places, drawn tile by tile: ``python -m benchmarks.big_scene OUT.tif``.

The ground is one function of place (lakes, fields, bare land and roads), so no tile shows an edge; on it stand objects
of the drawn set (`train.data.scenes`), each whole in a tile. Beside the scene lie its land cover, pixel by pixel, and a
list of its objects with tight boxes. Pixels are drawn and forgotten; what stands in a tile is kept, 0.2 MB a tile.

Frame: the scene's pixels, x right, y down, origin at the upper left corner.
"""

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import rasterio
from rasterio.enums import Resampling
from rasterio.transform import Affine

from train.data.records import LabelledBox
from train.data.scenes import sports, things
from train.data.scenes.palette import COVERS, MASK_LABELS
from train.data.scenes.plan import SIZE_PX, Plan, Thing
from train.data.scenes.render import Light, boxes_of, draw_shadows, draw_things, thing_class

Tile = tuple[int, int]

GROUND = ("grass", "crop", "soil", "water", "asphalt")
"""Covers of the ground, by their index in a tile's array."""

WATER, ROAD = GROUND.index("water"), GROUND.index("asphalt")
ROAD_M, ROAD_STEP_M = 9.0, 700.0
MARGIN_PX = 3
TRIES = 400

MAKERS: dict[str, Callable[[Plan, np.ndarray, float], Thing]] = {
    "airplane": lambda p, at, a: things.airplane(p, at, a, p.rng.uniform(28, 55)),
    "baseball diamond": lambda p, at, a: sports.baseball_diamond(p, at, a, p.rng.uniform(24, 30)),
    "basketball court": lambda p, at, a: sports.basketball_court(p, at, a),
    "building": lambda p, at, a: things.building(
        p, at, a, (p.rng.uniform(14, 34), p.rng.uniform(9, 16)), flat=bool(p.rng.random() < 0.5), height_m=6
    ),
    "car": lambda p, at, a: things.car(p, at, a),
    "ship": lambda p, at, a: things.ship(p, at, a, p.rng.uniform(18, 75)),
    "solar panel": lambda p, at, a: things.solar_array(p, at, a, (p.rng.uniform(16, 36), p.rng.uniform(8, 14))),
    "storage tank": lambda p, at, a: things.storage_tank(p, at, p.rng.uniform(8, 20), p.tone(((226, 226, 222),))),
    "swimming pool": lambda p, at, a: things.swimming_pool(p, at, a, (p.rng.uniform(10, 16), p.rng.uniform(5, 8))),
    "tennis court": lambda p, at, a: sports.tennis_court(p, at, a),
    "truck": lambda p, at, a: things.truck(p, at, a),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneRecipe:
    """What is drawn; the same recipe gives the same bytes.

    Attributes:
        width_px, height_px: size.
        counts: how many of each label of `MAKERS` are to stand there; what finds no room is left out.
        gsd_m: metres a pixel.
        seed: of everything random.
    """

    width_px: int
    height_px: int
    counts: Mapping[str, int]
    gsd_m: float = 0.5
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Truth:
    """What the scene shows.

    Attributes:
        recipe: what was asked for.
        objects: every object with the tight box of its visible pixels, in reading order of its tile.
    """

    recipe: SceneRecipe
    objects: tuple[LabelledBox, ...]

    def to_json(self) -> dict[str, object]:
        """Return the JSON form."""
        return {"recipe": asdict(self.recipe), "objects": [asdict(item) for item in self.objects]}


def counts_for(side_px: int, per_megapixel: float = 40.0) -> dict[str, int]:
    """Return counts of every label for a square scene, the same density whatever the side."""
    each = per_megapixel * (side_px / 1000) ** 2 / len(MAKERS)
    return {label: max(1, round(each)) for label in MAKERS}


@dataclass
class BigScene:
    """A scene that can be drawn tile by tile, in any order."""

    recipe: SceneRecipe
    light: Light = field(init=False)
    tiles: dict[Tile, Plan] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.recipe.seed)
        self.light = Light(azimuth=0.9, shadow_per_height=0.5, shade=0.5, dryness=0.2, texture_seed=self.recipe.seed)
        self._texture = {cells: _periodic_noise(rng, cells) for cells in (1024, 400, 90)}
        self._phases = rng.uniform(0, 2 * np.pi, (3, 8))
        self._directions = rng.normal(0, 1, (2, 8, 2))
        self._tones = {name: np.mean(COVERS[name].tones, axis=0) for name in GROUND}
        self._cover = lru_cache(maxsize=64)(self._lay_ground)
        for label, count in self.recipe.counts.items():
            for k in range(count):
                self._put(label, np.random.default_rng([self.recipe.seed, *label.encode(), k]))

    def draw_tile(self, tile: Tile) -> tuple[np.ndarray, np.ndarray, tuple[LabelledBox, ...]]:
        """Return a tile's picture ``(256, 256, 3)`` uint8, its cover ``(256, 256)`` uint8, its objects."""
        cover, origin = self._cover(tile), np.array(tile) * SIZE_PX
        image = self._paint_ground(cover, origin)
        classes = np.array([MASK_LABELS.index(COVERS[name].label or "") + 1 for name in GROUND], np.uint8)[cover]
        plan = self.tiles.get(tile)
        objects: tuple[LabelledBox, ...] = ()
        if plan is not None:
            shadow = draw_shadows(plan.things, self.light)[..., None]
            image *= 1 - (1 - self.light.shade) * shadow
            colour, alpha, ident = draw_things(plan.things, self.light)
            image = image * (1 - alpha[..., None]) + colour
            painted = np.array([-1, *(thing_class(thing) for thing in plan.things)])[ident]
            classes = np.where(painted >= 0, painted, classes).astype(np.uint8)
            objects = _objects(plan, ident, origin)
        grain = np.random.default_rng([self.recipe.seed, *tile]).normal(0, 2.5, image.shape)
        return np.clip(image + grain + 0.5, 0, 255).astype(np.uint8), classes, objects

    def _put(self, label: str, rng: np.random.Generator) -> None:
        """Find room for one object: a ship on water, all else on dry land, touching nothing and no edge of a tile."""
        n_x, n_y = self.recipe.width_px // SIZE_PX, self.recipe.height_px // SIZE_PX
        for _ in range(TRIES):
            tile = (int(rng.integers(n_x)), int(rng.integers(n_y)))
            plan = self.tiles.get(tile) or Plan(rng=rng, gsd_m=self.recipe.gsd_m)
            plan.rng = rng
            thing = MAKERS[label](plan, rng.uniform(12, SIZE_PX - 12, 2), float(rng.uniform(0, 2 * np.pi)))
            x1, y1, x2, y2 = thing.bounds()
            if min(x1, y1) < MARGIN_PX or max(x2, y2) > SIZE_PX - MARGIN_PX:
                continue
            under = self._cover(tile)[int(y1) : int(y2) + 1, int(x1) : int(x2) + 1]
            fits = (under == WATER).all() if label == "ship" else not np.isin(under, (WATER, ROAD)).any()
            if fits and plan.place(thing, gap_px=3.0, least_px=4.0):
                self.tiles[tile] = plan
                return

    def _lay_ground(self, tile: Tile) -> np.ndarray:
        """Return which of `GROUND` each pixel of a tile is, ``(256, 256)`` uint8."""
        x_m, y_m = ((np.arange(SIZE_PX) + 0.5 + start * SIZE_PX) * self.recipe.gsd_m for start in tile)
        wet = self._waves(0, x_m, y_m, 520.0)
        dry = self._waves(1, x_m, y_m, 260.0)
        cover = np.select([wet > 1.3, dry > 1.0, dry < -0.8], [WATER, GROUND.index("soil"), GROUND.index("crop")], 0)
        x_m, y_m = x_m[None, :], y_m[:, None]
        for along, across, phase in ((x_m, y_m, self._phases[2, 0]), (y_m, x_m, self._phases[2, 1])):
            middle = across + 60 * np.sin(along / 190 + phase)
            cover[np.abs((middle + ROAD_STEP_M / 3) % ROAD_STEP_M - ROAD_STEP_M / 2) < ROAD_M / 2] = ROAD
        return cover.astype(np.uint8)

    def _waves(self, which: int, x_m: np.ndarray, y_m: np.ndarray, length_m: float) -> np.ndarray:
        """Return a smooth field of about unit strength, ``(len(y_m), len(x_m))``: plane waves of about this length."""
        per_m = self._directions[which] * (2 * np.pi / length_m / 1.5)
        along_x = np.multiply.outer(x_m, per_m[:, 0]) + self._phases[which]
        along_y = np.multiply.outer(y_m, per_m[:, 1])
        total: np.ndarray = np.cos(along_y) @ np.sin(along_x).T + np.sin(along_y) @ np.cos(along_x).T
        return total / 2.0

    def _paint_ground(self, cover: np.ndarray, origin: np.ndarray) -> np.ndarray:
        """Return the colour of the ground, ``(256, 256, 3)`` float32."""
        tones = np.array([self._tones[name] for name in GROUND], np.float32)
        strengths = np.array([(COVERS[n].grain, COVERS[n].mid, COVERS[n].broad) for n in GROUND], np.float32)[cover]
        window = np.ix_(*((np.arange(SIZE_PX) + start) % 1024 for start in origin[::-1]))
        layers = np.stack([texture[window] for texture in self._texture.values()], axis=-1)
        return tones[cover] * np.clip(1 + (strengths * layers).sum(axis=-1), 0.4, 1.7)[..., None]


def write_scene(path: Path, recipe: SceneRecipe) -> Truth:
    """Write a scene as a tiled JPEG GeoTIFF with overviews, its cover and its objects.

    Args:
        path: of the scene; ``STEM_cover.tif`` (0 background, k for ``MASK_LABELS[k - 1]``) and ``STEM_objects.json``
            are put beside it.
        recipe: what is drawn.
    """
    scene = BigScene(recipe)
    found: list[LabelledBox] = []
    place = {"crs": "EPSG:32633", "transform": Affine(recipe.gsd_m, 0, 500_000, 0, -recipe.gsd_m, 5_000_000)}
    blocks = {"tiled": True, "blockxsize": SIZE_PX, "blockysize": SIZE_PX, "bigtiff": "if_safer"}
    size = {"driver": "GTiff", "dtype": "uint8", "width": recipe.width_px, "height": recipe.height_px}
    picture = size | place | blocks | {"count": 3, "photometric": "ycbcr", "compress": "jpeg", "jpeg_quality": 92}
    mask = size | place | blocks | {"count": 1, "compress": "deflate"}
    cover_path = path.with_name(f"{path.stem}_cover.tif")
    with rasterio.Env(GDAL_CACHEMAX=64 * 2**20):
        with rasterio.open(path, "w", **picture) as image_file, rasterio.open(cover_path, "w", **mask) as cover_file:
            for top in range(0, recipe.height_px, SIZE_PX):
                for left in range(0, recipe.width_px, SIZE_PX):
                    tile = (left // SIZE_PX, top // SIZE_PX)
                    image, cover, objects = scene.draw_tile(tile)
                    found += objects
                    rows, columns = min(SIZE_PX, recipe.height_px - top), min(SIZE_PX, recipe.width_px - left)
                    window = ((top, top + rows), (left, left + columns))
                    image_file.write(np.moveaxis(image[:rows, :columns], -1, 0), window=window)
                    cover_file.write(cover[None, :rows, :columns], window=window)
        with rasterio.open(path, "r+") as image_file:
            factors = [2**k for k in range(1, 8) if max(recipe.width_px, recipe.height_px) >> k >= SIZE_PX]
            if factors:
                image_file.build_overviews(factors, Resampling.average)
    truth = Truth(recipe, tuple(found))
    path.with_name(f"{path.stem}_objects.json").write_text(json.dumps(truth.to_json()), encoding="utf-8")
    return truth


def _objects(plan: Plan, ident: np.ndarray, origin: np.ndarray) -> tuple[LabelledBox, ...]:
    boxes = boxes_of(ident, len(plan.things))
    offset = (*origin.tolist(), *origin.tolist())
    return tuple(
        LabelledBox(label=thing.label, box_px=tuple(v + o for v, o in zip(box, offset, strict=True)))
        for thing, box in zip(plan.things, boxes, strict=True)
        if thing.label and box
    )


def _periodic_noise(rng: np.random.Generator, cells: int, side: int = 1024) -> np.ndarray:
    """Return noise of unit strength without frequencies above ``cells`` a side, periodic, ``(side, side)`` float32."""
    spectrum = np.fft.rfft2(rng.standard_normal((side, side)))
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]) * side
    noise = np.fft.irfft2(spectrum * np.exp(-((frequency / (cells / 2)) ** 2)), (side, side))
    return (noise / noise.std()).astype(np.float32)


def main() -> None:
    """Write one scene."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path)
    parser.add_argument("--side", type=int, default=20_000, help="pixels")
    parser.add_argument("--gsd", type=float, default=0.5, help="metres a pixel")
    parser.add_argument("--per-megapixel", type=float, default=40.0, help="objects")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    counts = counts_for(chosen.side, chosen.per_megapixel)
    recipe = SceneRecipe(width_px=chosen.side, height_px=chosen.side, counts=counts, gsd_m=chosen.gsd, seed=chosen.seed)
    truth = write_scene(chosen.out, recipe)
    print(f"{chosen.out}: {chosen.side} x {chosen.side} px, {len(truth.objects)} objects")


if __name__ == "__main__":
    main()
