"""At which scale a scene is looked at: the law of docs/resolution.md.

A model sees a picture of a fixed size, so the window it is shown decides what a pixel of it means on the ground.
"""

import math
import re
from collections.abc import Collection, Mapping, Sequence

from rsvlm_cli.errors import UsageError
from rsvlm_cli.geo.tiling import Lattice
from rsvlm_cli.scene import Scene

AUTO_SHRINK = 2.0
"""Raster pixels in a model pixel where nothing is known of what is looked for."""

WHOLE_UP_TO = 1.5
"""A raster up to so many windows long is looked at as a whole."""

MAX_LEVEL = 6
"""Of the pyramid: a model pixel is up to 2 ** 6 raster pixels wide."""

FITS_WITHIN = 1.5
"""A class is said to be out of scale where the ground sampling is that many times outside what it was trained for."""

MIN_TILE_PX = 16
MAX_ENLARGE = 4.0
"""A window smaller than a quarter of the model's picture shows nothing that a quarter does not."""


def plan_lattice(scene: Scene, kind: str, labels: Sequence[str]) -> Lattice:
    """Choose the windows' side from the settings, the raster and the classes, and lay the lattice.

    Args:
        scene: what is looked at; warned where a class was trained for another ground sampling distance.
        kind: of the labels in the manifest: ``objects``, ``masks`` or ``change``.
        labels: what is looked for.

    Raises:
        UsageError: if ``--tile``, ``--scale`` and ``--cell`` do not fit together, or are no such thing.
    """
    settings, raster, grid = scene.settings, scene.rasters[0], scene.mask_grid
    whole = (0.0, 0.0, float(raster.width_px), float(raster.height_px))
    if settings.scale is not None and settings.tile not in ("auto", "whole"):
        raise UsageError("--scale and --tile: wanted one of them, both say how large a window is")
    ranges = scene.trained_gsd_m(kind, labels)
    if settings.scale is None and settings.tile == "whole":
        lattice = Lattice.over(scene.window_px, None, grid)
    else:
        tile_px = _tile_px(scene, ranges)
        longest = max(raster.width_px, raster.height_px)
        one = settings.tile == "auto" and settings.scale is None and longest <= WHOLE_UP_TO * tile_px
        lattice = Lattice.over(whole, None if one else tile_px, grid)
    _warn_out_of_scale(scene, lattice, ranges)
    return lattice


def _tile_px(scene: Scene, ranges: Mapping[str, tuple[float, float]]) -> float:
    """Return the windows' side in raster pixels."""
    settings, side = scene.settings, scene.model_side_px
    if settings.scale is not None:
        return side * _shrink_asked(scene, settings.scale)
    if settings.tile not in ("auto", "whole"):
        asked_px = int(settings.tile) if settings.tile.isdecimal() else 0
        if asked_px < MIN_TILE_PX:
            raise UsageError(f"--tile {settings.tile}: wanted auto, whole, or a side of at least {MIN_TILE_PX} px")
        return asked_px
    tile_px = side * choose_shrink(scene.rasters[0].gsd_m, ranges.values())
    if settings.cell is None:
        return tile_px
    # The windows whose cells, halved so often, are what was asked for.
    fine_px = scene.mask_grid * cell_px(scene)
    return fine_px * 2.0 ** max(0, round(math.log2(tile_px / fine_px)))


def choose_shrink(gsd_m: float | None, ranges: Collection[tuple[float, float]]) -> float:
    """Return how many raster pixels, a power of two, one model pixel shall be.

    The level at which most classes lie in the range that they were trained for; of several such levels, the one nearest
    to the middle of the ranges, on average and by ratio.

    Args:
        gsd_m: ground size of a raster pixel in metres, or None.
        ranges: of each class the lowest and the highest ground size of a model pixel in training, metres.
    """
    if gsd_m is None or not ranges:
        return AUTO_SHRINK

    def misfit(shrink: float) -> tuple[int, float]:
        at_m = gsd_m * shrink
        outside = sum(not low <= at_m <= high for low, high in ranges)
        return outside, sum(abs(math.log(at_m / math.sqrt(low * high))) for low, high in ranges)

    return min((2.0**level for level in range(MAX_LEVEL + 1)), key=misfit)


def _shrink_asked(scene: Scene, text: str) -> float:
    """Read ``--scale``: raster pixels in a model pixel."""
    if text == "native":
        return 1.0
    try:
        metres = float(text.removesuffix("m"))
    except ValueError:
        metres = 0.0
    if not 0 < metres < math.inf:
        raise UsageError(
            f"--scale {text}: wanted native, or metres of ground for a pixel that the model sees, as in 0.5"
        )
    gsd_m = scene.rasters[0].gsd_m
    if gsd_m is None:
        raise UsageError(
            f"--scale {text}: {scene.rasters[0].path} does not say how large its pixels are "
            "(use --scale native or --tile)"
        )
    least_m = gsd_m * least_tile_px(scene) / scene.model_side_px
    if metres < least_m:
        raise UsageError(
            f"--scale {text}: {scene.rasters[0].path} has pixels of {gsd_m:.3g} m; wanted at least {least_m:.3g}"
        )
    return metres / gsd_m


def least_tile_px(scene: Scene) -> float:
    """Return the side of the smallest window that is worth a look, in raster pixels."""
    return max(MIN_TILE_PX, scene.model_side_px / MAX_ENLARGE)


def cell_px(scene: Scene) -> float:
    """Read ``--cell``: the side of a mask's cell in raster pixels.

    Raises:
        UsageError: if it is no length, or finer than windows of the raster can give.
    """
    text, raster = str(scene.settings.cell), scene.rasters[0]
    found = re.fullmatch(r"([0-9]*\.?[0-9]+) ?(m|px)?", text.strip())
    side = float(found[1]) if found else 0.0
    if not 0 < side < math.inf:
        raise UsageError(f"--cell {text}: wanted a length on the ground or in pixels, as in 2m or 4px")
    assert found is not None
    if found[2] != "px":
        if raster.gsd_m is None:
            raise UsageError(f"--cell {text}: {raster.path} does not say how large its pixels are (use --cell 4px)")
        side /= raster.gsd_m
    least = least_tile_px(scene) / scene.mask_grid
    if side < least * (1 - 1e-6):
        metres = "" if raster.gsd_m is None else f", {least * raster.gsd_m:.3g}m"
        raise UsageError(f"--cell {text}: wanted at least {least:.3g}px{metres} for {scene.bundle.manifest.name}")
    return side


def count_halvings(scene: Scene, lattice: Lattice) -> int:
    """Return how often the lattice's cells are to be halved for the cell that was asked for."""
    if scene.settings.cell is None:
        return 0
    ratio = max(lattice.cell_px) / cell_px(scene)
    return max(0, math.ceil(round(math.log2(ratio), 2)))


def _warn_out_of_scale(scene: Scene, lattice: Lattice, ranges: Mapping[str, tuple[float, float]]) -> None:
    gsd_m = scene.rasters[0].gsd_m
    if gsd_m is None:
        return
    seen_m = gsd_m * lattice.grid * math.sqrt(math.prod(lattice.cell_px)) / scene.model_side_px
    strange = [
        f"{label} {low:.3g} to {high:.3g}"
        for label, (low, high) in ranges.items()
        if not low / FITS_WITHIN <= seen_m <= high * FITS_WITHIN
    ]
    if strange:
        scene.warnings.append(
            f"the model sees {seen_m:.3g} m of ground a pixel; it was trained for {', '.join(strange)} m "
            "(choose with --scale METRES)"
        )
