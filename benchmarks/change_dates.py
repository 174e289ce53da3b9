"""Change between dates that do not lie on each other, before and after ``--coregister``.

A made place at two dates, some buildings more and some fewer on the second, in another light. The second date is
sampled anew from the same ground for each case: on the first date's own grid; the same with a georeference that is
wrong by 3.4 px; on a grid that is turned by 25 degrees; in the next UTM zone at half the resolution, in 16 bit; and
with a georeference that is itself turned by 0.3 degrees. All but the first are wrong by 3.4 px as well.

Two detectors: a difference of grey levels, averaged over 5 x 5 px, on painted ground, which measures the road to the
comparison; and a model by ``detect-change --scale native`` on drawn ground (`benchmarks.big_scene`). Either's threshold
is tuned on aligned pairs of other places. Run from the checkout's root: ``python -m benchmarks.change_dates``, and with
``--model nano`` for a model.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import rasterio
from PIL import Image
from rasterio.transform import Affine
from rasterio.warp import transform as warp_points

from benchmarks.big_scene import BigScene, SceneRecipe
from rsvlm_cli import pipeline
from rsvlm_cli.geo.align import Comparison, open_dates
from rsvlm_cli.results import Alignment, Mask
from rsvlm_cli.settings import Settings
from rsvlm_cli.tasks.mosaic import NO_DATA
from train.data.scenes.palette import MASK_LABELS
from train.data.scenes.plan import SIZE_PX as TILE_PX

SIDE_M, CELL_M = 512.0, 0.25
"""Of the made ground, and of the canvas that it is painted on."""

CRS, WEST, NORTH = "EPSG:32633", 530_000.0, 5_400_000.0
SIZE_PX, GSD_M, EDGE_M = 384, 1.0, 64.0
"""Of the first date; it leaves an edge, so that no other grid looks beyond the ground."""

BUILDINGS_PER_HA = 2.7
"""On drawn ground."""

SHIFT_PX = (2.6, -2.2)
"""3.4 px long."""


@dataclass(frozen=True)
class Grid:
    """How a date is stored.

    Attributes:
        crs: its CRS.
        transform: as written into the file.
        size_px: of its sides.
        dtype: of its values.
        wrong: what its transform is wrong by, an affine of map coordinates, or None.
    """

    crs: str
    transform: Affine
    size_px: int
    dtype: str = "uint8"
    wrong: Affine | None = None


HERE = Affine(GSD_M, 0, WEST + EDGE_M, 0, -GSD_M, NORTH - EDGE_M)
MOVED = Affine.translation(SHIFT_PX[0] * GSD_M, -SHIFT_PX[1] * GSD_M)
MIDDLE = (WEST + SIDE_M / 2, NORTH - SIDE_M / 2)
TURNED = Affine.translation(*MIDDLE) @ Affine.rotation(25) @ Affine.scale(GSD_M, -GSD_M)


def next_zone(size_px: int) -> Grid:
    """Return a grid of 2 m pixels in UTM 34 around the same ground."""
    (x,), (y,) = warp_points(CRS, "EPSG:32634", [MIDDLE[0]], [MIDDLE[1]])
    corner = Affine.translation(x - size_px, y + size_px)
    return Grid("EPSG:32634", corner @ Affine.scale(2 * GSD_M, -2 * GSD_M), size_px, "uint16", MOVED)


CASES = {
    "aligned": Grid(CRS, HERE, SIZE_PX),
    "shifted": Grid(CRS, HERE, SIZE_PX, wrong=MOVED),
    "grid turned by 25 degrees": Grid(CRS, TURNED @ Affine.translation(-192, -192), SIZE_PX, wrong=MOVED),
    "UTM 34, half resolution, 16 bit": next_zone(200),
    "georeference turned by 0.3 degrees": Grid(CRS, HERE, SIZE_PX, wrong=MOVED @ Affine.rotation(0.3, MIDDLE)),
}


def paint_ground(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return two dates of a place as grey levels 0 to 255 and where they differ, ``(n, n)`` each at `CELL_M`."""
    rng, n = np.random.default_rng(seed), round(SIDE_M / CELL_M)
    ground = np.full((n, n), 100, np.float32)
    for cell_m, depth in ((64, 22), (16, 14), (6, 10), (2, 8)):
        cells = round(SIDE_M / cell_m)
        noise = Image.fromarray(rng.normal(0, depth, (cells, cells)).astype(np.float32))
        ground += np.asarray(noise.resize((n, n), Image.Resampling.BICUBIC))
    for at in rng.uniform(0.15, 0.85, 3) * n:
        ground[round(at) : round(at) + 32] = rng.uniform(120, 170)  # a road, 8 m wide
    dates, changed = [ground, ground.copy()], np.zeros((n, n), bool)
    for left in range(300, n - 420, 190):
        for top in range(300, n - 420, 190):
            kind = rng.choice(["both", "new", "gone", "none"], p=[0.45, 0.12, 0.08, 0.35])
            width, height, dx, dy = rng.integers((50, 50, 0, 0), (120, 120, 60, 60))
            here = (slice(top + dy, top + dy + height), slice(left + dx, left + dx + width))
            for k, names in enumerate((("both", "gone"), ("both", "new"))):
                if kind in names:
                    dates[k][here] = rng.uniform(180, 225) if kind != "both" else 190 + 10 * np.sin(left + top)
            changed[here] = kind in ("new", "gone")
    return dates[0], dates[1], changed


def draw_ground(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the same of drawn ground, in colour: dates ``(n, n, 3)``, where a building came or went ``(n, n)``."""
    n = round(SIDE_M / CELL_M)
    counts = {"building": round(BUILDINGS_PER_HA * SIDE_M**2 / 10_000)}
    scene = BigScene(SceneRecipe(width_px=n, height_px=n, counts=counts, gsd_m=CELL_M, seed=seed))
    rng, whole = np.random.default_rng(seed), scene.tiles
    kinds = {
        id(thing): rng.choice(["both", "new", "gone"], p=[0.6, 0.25, 0.15])
        for plan in whole.values() for thing in plan.things
    }  # fmt: skip
    dates, roofs = [], []
    for here in (("both", "gone"), ("both", "new")):
        scene.tiles = {
            tile: replace(plan, things=[thing for thing in plan.things if kinds[id(thing)] in here])
            for tile, plan in whole.items()
        }
        drawn = [[scene.draw_tile((x, y)) for x in range(n // TILE_PX)] for y in range(n // TILE_PX)]
        dates.append(np.block([[[image] for image, *_ in row] for row in drawn]).astype(np.float32))
        cover = np.block([[classes for _, classes, _ in row] for row in drawn])
        roofs.append(cover == MASK_LABELS.index("building") + 1)
        scene.light = replace(scene.light, azimuth=scene.light.azimuth + 0.5)
    return dates[0], dates[1], roofs[0] != roofs[1]


def sample(canvas: np.ndarray, grid: Grid) -> np.ndarray:
    """Return what a sensor of a grid sees of the ground: 4 x 4 looks within each pixel, averaged.

    Args:
        canvas: ``(n, n)`` or ``(n, n, 3)``.
        grid: with ``size`` pixels a side.

    Returns:
        ``(size, size)`` or ``(size, size, 3)``.
    """
    true = ~grid.wrong @ grid.transform if grid.wrong else grid.transform
    looks = (np.arange(4 * grid.size_px) + 0.5) / 4
    columns, rows = (v.ravel() for v in np.meshgrid(looks, looks))
    xs, ys = true @ (columns, rows)
    if grid.crs != CRS:
        xs, ys = warp_points(grid.crs, CRS, xs, ys)
    i = np.floor((NORTH - np.asarray(ys)) / CELL_M).astype(int).clip(0, len(canvas) - 1)
    j = np.floor((np.asarray(xs) - WEST) / CELL_M).astype(int).clip(0, len(canvas) - 1)
    looks_at = canvas[i, j].reshape(grid.size_px, 4, grid.size_px, 4, *canvas.shape[2:])
    seen: np.ndarray = looks_at.mean(axis=(1, 3))
    return seen


def write_date(path: Path, canvas: np.ndarray, grid: Grid, rng: np.random.Generator, *, later: bool) -> Path:
    """Write a date as a three-band GeoTIFF in its own light and noise."""
    seen = np.broadcast_to(np.atleast_3d(sample(canvas, grid)), (grid.size_px, grid.size_px, 3))
    light = [(0.82, 22.0), (0.9, 14.0), (0.86, 30.0)] if later else [(1.0, 0.0)] * 3
    bands = np.stack(
        [gain * seen[..., k] + offset + rng.normal(0, 3, seen.shape[:2]) for k, (gain, offset) in enumerate(light)]
    )
    scale = 1 if grid.dtype == "uint8" else 37
    keys = {"driver": "GTiff", "count": 3, "width": grid.size_px, "height": grid.size_px, "photometric": "RGB"}
    with rasterio.open(path, "w", **keys, dtype=grid.dtype, crs=grid.crs, transform=grid.transform) as target:
        target.write((np.clip(bands, 0, 255) * scale).round().astype(grid.dtype))
    return path


Compared = tuple[np.ndarray, np.ndarray, float]
"""How much each pixel of the first date changed, where both hold data, and how long the shift measured was, pixels."""


def subtract(before: Path, after: Path, *, coregister: bool) -> Compared:
    """Compare two dates by their grey levels."""
    with open_dates([before, after], Comparison(coregister=coregister)) as dates:
        one, two = (raster.read() for raster in dates.rasters)
        alignment = dates.rasters[1].alignment
    change = two.pixels.astype(float).mean(axis=2) - one.pixels.astype(float).mean(axis=2)
    change[~(one.valid & two.valid)] = 0
    return np.abs(_average(change)), one.valid & two.valid, _length(alignment)


def ask_model(model: str, before: Path, after: Path, *, coregister: bool) -> Compared:
    """Compare two dates by a model's probability that a building came or went; cells are spread over their pixels."""
    settings = Settings(model=model, scale="native", coregister=coregister, threads=1)
    report = pipeline.detect_change([str(before), str(after)], ["building"], settings)
    (mask,) = (result for result in report.results if isinstance(result, Mask))
    assert mask.probability is not None
    p_set = np.where(mask.cells == 1, mask.probability, 1 - mask.probability)
    x1, y1, x2, y2 = mask.area_px
    centres = np.arange(SIZE_PX) + 0.5
    rows = np.floor((centres - y1) / (y2 - y1) * len(p_set)).astype(int)
    columns = np.floor((centres - x1) / (x2 - x1) * p_set.shape[1]).astype(int)
    inside = ((rows >= 0) & (rows < p_set.shape[0]))[:, None] & (columns >= 0) & (columns < p_set.shape[1])
    at = np.ix_(rows.clip(0, p_set.shape[0] - 1), columns.clip(0, p_set.shape[1] - 1))
    return p_set[at], inside & (mask.cells[at] != NO_DATA), _length(report.sources[1].alignment)


def _length(alignment: Alignment | None) -> float:
    return float(np.hypot(*alignment.shift_px)) if alignment and alignment.shift_px else float("nan")


@dataclass(frozen=True)
class Detector:
    """What finds the change.

    Attributes:
        paint: gives the two dates of a place by its seed, and where they differ.
        compare: two files, by keyword ``coregister``.
        limits: thresholds to choose from.
    """

    paint: Callable[[int], tuple[np.ndarray, np.ndarray, np.ndarray]]
    compare: Callable[..., Compared]
    limits: Sequence[float]


DIFFERENCE = Detector(paint_ground, subtract, range(4, 100, 2))


def model_detector(model: str) -> Detector:
    """Return a bundle as a detector."""
    return Detector(draw_ground, partial(ask_model, model), [k / 50 for k in range(1, 50)])


def _average(grey: np.ndarray, side: int = 5) -> np.ndarray:
    """Return the mean of the ``side`` x ``side`` pixels around each."""
    padded = np.pad(grey, side // 2, mode="edge")
    means: np.ndarray = np.lib.stride_tricks.sliding_window_view(padded, (side, side)).mean(axis=(2, 3))
    return means


def f1(marked: np.ndarray, truth: np.ndarray) -> float:
    """Return the harmonic mean of precision and recall of marked pixels."""
    return float(2 * (marked & truth).sum() / max(1, marked.sum() + truth.sum()))


def write_place(
    folder: Path, seed: int, cases: Sequence[str], detector: Detector
) -> tuple[Path, dict[str, Path], np.ndarray]:
    """Write the first date of a place and its second date in each case; return them and what changed, in pixels."""
    first, second, changed = detector.paint(seed)
    rng = np.random.default_rng(seed)
    before = write_date(folder / f"{seed}_before.tif", first, CASES["aligned"], rng, later=False)
    after = {
        name: write_date(folder / f"{seed}_after_{k}.tif", second, CASES[name], rng, later=True)
        for k, name in enumerate(cases)
    }
    return before, after, sample(changed.astype(np.float32), CASES["aligned"]) > 0.5


def tune(folder: Path, seeds: Sequence[int], detector: Detector = DIFFERENCE) -> float:
    """Return the threshold that is best on aligned pairs."""
    seen = []
    for seed in seeds:
        before, after, truth = write_place(folder, seed, ["aligned"], detector)
        change, valid, _ = detector.compare(before, after["aligned"], coregister=False)
        seen.append((change[valid], truth[valid]))
    return max(detector.limits, key=lambda limit: sum(f1(change > limit, truth) for change, truth in seen))


def measure(folder: Path, seeds: Sequence[int], limit: float, detector: Detector = DIFFERENCE) -> dict[str, np.ndarray]:
    """Return, for each case, F1 as it lies, F1 coregistered and the shift measured, means over the places."""
    rows: dict[str, list[tuple[float, float, float]]] = {name: [] for name in CASES}
    for seed in seeds:
        before, after, truth = write_place(folder, seed, list(CASES), detector)
        for name, path in after.items():
            scores = []
            for coregister in (False, True):
                change, valid, shift = detector.compare(before, path, coregister=coregister)
                scores.append(f1(change[valid] > limit, truth[valid]))
            rows[name].append((scores[0], scores[1], shift))
    return {name: np.mean(row, axis=0) for name, row in rows.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--places", type=int, default=6)
    parser.add_argument("--model", help="a bundle's name or folder, instead of the difference of grey levels")
    chosen = parser.parse_args()
    detector, n = model_detector(chosen.model) if chosen.model else DIFFERENCE, chosen.places
    with TemporaryDirectory() as name:
        limit = tune(Path(name), range(100, 100 + n), detector)
        rows = measure(Path(name), range(n), limit, detector)
    print(f"{n} places, threshold {limit}, tuned on {n} others\n")
    print("| second date | shift found, px | F1 as it lies | F1 with `--coregister` | of the aligned pair |")
    print("|---|---|---|---|---|")
    for case, (lies, brought, shift) in rows.items():
        print(f"| {case} | {shift:.2f} | {lies:.3f} | {brought:.3f} | {brought / rows['aligned'][1]:.1%} |")


if __name__ == "__main__":
    main()
