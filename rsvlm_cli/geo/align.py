"""Two dates of one place on one pixel grid: the first one's.

The second raster is resampled on the fly (bilinear, palettes nearest) wherever its grid differs, so a window in pixels
means the same ground in both. Rasters without a georeference are taken as they are if their sizes agree.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, Resampling
from rasterio.transform import Affine
from rasterio.vrt import WarpedVRT

from rsvlm_cli.errors import NotGeoreferenced, RastersDoNotOverlap
from rsvlm_cli.geo.bands import BandMode
from rsvlm_cli.geo.gdal import gdal_session
from rsvlm_cli.geo.georef import Georeference, box_ring, close_ring, densify
from rsvlm_cli.geo.locate import Location
from rsvlm_cli.geo.raster import Raster, open_unstretched
from rsvlm_cli.geo.stretch import StretchRule
from rsvlm_cli.results import BoxPx

MAX_GSD_RATIO = 2.0
"""Beyond this, much of what differs between two dates is their resolution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two dates on one grid.

    Attributes:
        a: the first date.
        b: the second, read on the grid of ``a``: its size, crs, transform and gsd_m are those of the grid.
        overlap_px: the part of ``a`` that ``b`` covers, whole pixels, ``x1, y1, x2, y2``. Of a rotated raster it is the
            box around the shared ground; each chip's ``valid`` says the rest.
        warnings: of both rasters and of their alignment.
    """

    a: Raster
    b: Raster
    overlap_px: BoxPx
    warnings: tuple[str, ...]


@contextmanager
def open_pair(
    path_a: str | Path,
    path_b: str | Path,
    *,
    bands: str | None = None,
    stretch: str = "auto",
    shared_stretch: bool = True,
) -> Iterator[Pair]:
    """Open two dates of one place.

    Args:
        path_a: the raster whose grid results lie on.
        path_b: the other date.
        bands: for both, as `bands.choose_bands`.
        stretch: as `stretch.StretchRule.parse`.
        shared_stretch: one law for both dates, from the values of both, so that a change of stretch is not taken for a
            change on the ground. Needs one data type and the same number of bands.

    Raises:
        NotGeoreferenced: if one lacks a georeference and the sizes differ.
        RastersDoNotOverlap: if they share no ground.
        UsageError, BandsMissing, RasterUnreadable: as `raster.open_raster`.
    """
    rule = StretchRule.parse(stretch)
    with open_unstretched(path_a, bands) as a, open_unstretched(path_b, bands) as native:
        overlap_px = _overlap(a, native)
        with _on_grid(a, native) as b:
            warnings = _compare(a, native)
            same_kind = (a.dtype, a.bands.mode, len(a.bands.indexes)) == (b.dtype, b.bands.mode, len(b.bands.indexes))
            if shared_stretch and same_kind:
                a.fit(rule, native)
                b.stretch = a.stretch
            else:
                a.fit(rule)
                b.stretch = native.fit(rule).stretch
                if shared_stretch:
                    warnings += (
                        f"{a.path} ({a.dtype}) and {b.path} ({b.dtype}): differ in type or bands; "
                        "each has its own stretch",
                    )
            yield Pair(
                a=a, b=b, overlap_px=overlap_px, warnings=tuple(dict.fromkeys(a.warnings + native.warnings + warnings))
            )


def _overlap(a: Raster, b: Raster) -> BoxPx:
    """Return the whole pixels of A around the ground that B covers."""
    whole = (0.0, 0.0, float(a.width_px), float(a.height_px))
    if a.transform is None or b.transform is None:
        if (a.width_px, a.height_px) == (b.width_px, b.height_px):
            return whole
        missing = a if a.transform is None else b
        raise NotGeoreferenced(
            f"{missing.path}: has no georeference, and {a.width_px} x {a.height_px} px of {a.path} are not "
            f"{b.width_px} x {b.height_px} px of {b.path} (georeference both, or cut them to one size)"
        )
    outline = densify(close_ring(box_ring((0, 0, b.width_px, b.height_px))))
    place_a, place_b = Georeference.of(a), Georeference.of(b)
    if a.crs == b.crs:
        points = place_a.crs_to_px(place_b.px_to_crs(outline))
    else:
        points = place_a.lonlat_to_px(place_b.px_to_lonlat(outline))
    points = points.round(6)  # a common edge must not gain a pixel by rounding
    x1, y1 = np.maximum(np.floor(points.min(axis=0)), 0)
    x2, y2 = np.minimum(np.ceil(points.max(axis=0)), whole[2:])
    if x1 >= x2 or y1 >= y2:
        raise RastersDoNotOverlap(
            f"{a.path} and {b.path}: share no ground ({_where(place_a, a)}; {_where(place_b, b)})"
        )
    return float(x1), float(y1), float(x2), float(y2)


def _where(place: Georeference, raster: Raster) -> str:
    """Say where a raster's centre lies."""
    try:
        lon, lat = place.px_to_lonlat(np.array([[raster.width_px / 2, raster.height_px / 2]]))[0]
    except NotGeoreferenced:
        return f"{raster.path} lies in a local coordinate system"
    return f"{raster.path} lies at longitude {lon:.4f}, latitude {lat:.4f}"


@contextmanager
def _on_grid(a: Raster, b: Raster) -> Iterator[Raster]:
    """Give B on A's grid: itself where the grids agree, else a view that is warped as it is read."""
    if a.transform is None or b.transform is None or _same_grid(a, b):
        yield b
        return
    has_alpha = ColorInterp.alpha in b.dataset.colorinterp
    options = {
        "src_crs": CRS.from_user_input(b.crs),
        "src_transform": Affine(*b.transform),
        "crs": CRS.from_user_input(a.crs),
        "transform": Affine(*a.transform),
        "width": a.width_px,
        "height": a.height_px,
        "resampling": Resampling.nearest if b.bands.mode is BandMode.PALETTE else Resampling.bilinear,
        # The view must know where B has no data, and where it ends.
        "add_alpha": not has_alpha and b.nodata is None,
    }
    with gdal_session(b.path):
        view = WarpedVRT(b.dataset, **options)
    location = Location(crs=a.crs, transform=a.transform, gsd_m=a.gsd_m)
    with Raster(view, b.path, b.bands, location) as on_grid:
        yield on_grid


def _same_grid(a: Raster, b: Raster) -> bool:
    """Say whether both have one CRS, size and transform, to a hundredth of a pixel in every corner."""
    if (a.crs, a.width_px, a.height_px) != (b.crs, b.width_px, b.height_px):
        return False
    corners = box_ring((0, 0, b.width_px, b.height_px))
    return bool(np.abs(Georeference.of(a).crs_to_px(Georeference.of(b).px_to_crs(corners)) - corners).max() < 0.01)


def _compare(a: Raster, b: Raster) -> tuple[str, ...]:
    """Warn of what makes two dates hard to compare."""
    warnings: tuple[str, ...] = ()
    if a.transform is None or b.transform is None:
        warnings += (f"{a.path} and {b.path}: compared pixel by pixel, because not both have a georeference",)
    elif a.gsd_m and b.gsd_m and max(a.gsd_m / b.gsd_m, b.gsd_m / a.gsd_m) > MAX_GSD_RATIO:
        warnings += (
            f"{a.path} has pixels of {a.gsd_m:.3g} m, {b.path} of {b.gsd_m:.3g} m; "
            "much of what differs may be resolution",
        )
    if a.bands.labels != b.bands.labels:
        warnings += (f"{a.path} shows bands {', '.join(a.bands.labels)}, {b.path} {', '.join(b.bands.labels)}",)
    return warnings
