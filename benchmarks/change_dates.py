"""Change between dates that do not lie on each other, before and after ``--coregister``.

A made place at two dates, some buildings more and some fewer on the second, in another light. The second date is
sampled anew from the same ground for each case: on the first date's own grid; the same with a georeference that is
wrong by 3.4 px; on a grid that is turned by 25 degrees; in the next UTM zone at half the resolution, in 16 bit; and
with a georeference that is itself turned by 0.3 degrees. All but the first are wrong by 3.4 px as well.

The detector is a difference of grey levels, averaged over 5 x 5 px, whose threshold was tuned on aligned pairs of other
places: what is measured is the road to the comparison and not a model. Run from the checkout's root:
``python -m benchmarks.change_dates``.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import rasterio
from PIL import Image
from rasterio.transform import Affine
from rasterio.warp import transform as warp_points

from rsvlm_cli.geo.align import Comparison, open_dates

SIDE_M, CELL_M = 512.0, 0.25
"""Of the made ground, and of the canvas that it is painted on."""

CRS, WEST, NORTH = "EPSG:32633", 530_000.0, 5_400_000.0
SIZE_PX, GSD_M, EDGE_M = 384, 1.0, 64.0
"""Of the first date; it leaves an edge, so that no other grid looks beyond the ground."""

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


def sample(canvas: np.ndarray, grid: Grid) -> np.ndarray:
    """Return what a sensor of a grid sees of the ground, ``(size, size)``: 4 x 4 looks within each pixel, averaged."""
    true = ~grid.wrong @ grid.transform if grid.wrong else grid.transform
    looks = (np.arange(4 * grid.size_px) + 0.5) / 4
    columns, rows = (v.ravel() for v in np.meshgrid(looks, looks))
    xs, ys = true @ (columns, rows)
    if grid.crs != CRS:
        xs, ys = warp_points(grid.crs, CRS, xs, ys)
    i = np.floor((NORTH - np.asarray(ys)) / CELL_M).astype(int).clip(0, len(canvas) - 1)
    j = np.floor((np.asarray(xs) - WEST) / CELL_M).astype(int).clip(0, len(canvas) - 1)
    seen: np.ndarray = canvas[i, j].reshape(grid.size_px, 4, grid.size_px, 4).mean(axis=(1, 3))
    return seen


def write_date(path: Path, canvas: np.ndarray, grid: Grid, rng: np.random.Generator, *, later: bool) -> Path:
    """Write a date as a three-band GeoTIFF in its own light and noise."""
    grey = sample(canvas, grid)
    light = [(0.82, 22.0), (0.9, 14.0), (0.86, 30.0)] if later else [(1.0, 0.0)] * 3
    bands = np.stack([gain * grey + offset + rng.normal(0, 3, grey.shape) for gain, offset in light])
    scale = 1 if grid.dtype == "uint8" else 37
    keys = {"driver": "GTiff", "count": 3, "width": grid.size_px, "height": grid.size_px, "photometric": "RGB"}
    with rasterio.open(path, "w", **keys, dtype=grid.dtype, crs=grid.crs, transform=grid.transform) as target:
        target.write((np.clip(bands, 0, 255) * scale).round().astype(grid.dtype))
    return path


def compare(before: Path, after: Path, *, coregister: bool) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the difference of grey levels on the grid of the first, where both hold data, and the shift measured."""
    with open_dates([before, after], Comparison(coregister=coregister)) as dates:
        one, two = (raster.read() for raster in dates.rasters)
        alignment = dates.rasters[1].alignment
    shift = alignment.shift_px if alignment and alignment.shift_px else (np.nan, np.nan)
    change = two.pixels.astype(float).mean(axis=2) - one.pixels.astype(float).mean(axis=2)
    change[~(one.valid & two.valid)] = 0
    return np.abs(_average(change)), one.valid & two.valid, float(np.hypot(*shift))


def _average(grey: np.ndarray, side: int = 5) -> np.ndarray:
    """Return the mean of the ``side`` x ``side`` pixels around each."""
    padded = np.pad(grey, side // 2, mode="edge")
    means: np.ndarray = np.lib.stride_tricks.sliding_window_view(padded, (side, side)).mean(axis=(2, 3))
    return means


def f1(marked: np.ndarray, truth: np.ndarray) -> float:
    """Return the harmonic mean of precision and recall of marked pixels."""
    return float(2 * (marked & truth).sum() / max(1, marked.sum() + truth.sum()))


def write_place(folder: Path, seed: int, cases: Sequence[str]) -> tuple[Path, dict[str, Path], np.ndarray]:
    """Write the first date of a place and its second date in each case; return them and what changed, in pixels."""
    first, second, changed = paint_ground(seed)
    rng = np.random.default_rng(seed)
    before = write_date(folder / f"{seed}_before.tif", first, CASES["aligned"], rng, later=False)
    after = {
        name: write_date(folder / f"{seed}_after_{k}.tif", second, CASES[name], rng, later=True)
        for k, name in enumerate(cases)
    }
    return before, after, sample(changed.astype(np.float32), CASES["aligned"]) > 0.5


def tune(folder: Path, seeds: Sequence[int]) -> int:
    """Return the threshold, in grey levels, that is best on aligned pairs."""
    seen = []
    for seed in seeds:
        before, after, truth = write_place(folder, seed, ["aligned"])
        seen.append((compare(before, after["aligned"], coregister=False)[0], truth))
    return max(range(4, 100, 2), key=lambda limit: sum(f1(grey > limit, truth) for grey, truth in seen))


def measure(folder: Path, seeds: Sequence[int], limit: int) -> dict[str, np.ndarray]:
    """Return, for each case, F1 as it lies, F1 coregistered and the shift measured, means over the places."""
    rows: dict[str, list[tuple[float, float, float]]] = {name: [] for name in CASES}
    for seed in seeds:
        before, after, truth = write_place(folder, seed, list(CASES))
        for name, path in after.items():
            scores = []
            for coregister in (False, True):
                grey, valid, shift = compare(before, path, coregister=coregister)
                scores.append(f1(grey[valid] > limit, truth[valid]))
            rows[name].append((scores[0], scores[1], shift))
    return {name: np.mean(row, axis=0) for name, row in rows.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--places", type=int, default=6)
    n = parser.parse_args().places
    with TemporaryDirectory() as name:
        limit = tune(Path(name), range(100, 100 + n))
        rows = measure(Path(name), range(n), limit)
    print(f"{n} places, threshold {limit} grey levels, tuned on {n} others\n")
    print("| second date | shift found, px | F1 as it lies | F1 with `--coregister` | of the aligned pair |")
    print("|---|---|---|---|---|")
    for case, (lies, brought, shift) in rows.items():
        print(f"| {case} | {shift:.2f} | {lies:.3f} | {brought:.3f} | {brought / rows['aligned'][1]:.1%} |")


if __name__ == "__main__":
    main()
