"""Several dates of one place on one pixel grid: the first one's.

A later raster is resampled on the fly (bilinear, palettes nearest) wherever its grid differs, so a window in pixels
means the same ground in all. Rasters without a georeference are taken as they are if their sizes agree. How far a later
date still lies out of register is measured, and undone by the same resampling where that is asked for.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, Resampling
from rasterio.transform import Affine
from rasterio.vrt import WarpedVRT

from rsvlm_cli.errors import NotGeoreferenced, RastersDoNotOverlap
from rsvlm_cli.geo.bands import BandMode
from rsvlm_cli.geo.coregister import AGREE_PX, Registration, measure_registration
from rsvlm_cli.geo.dates import Dated, order_warning, parse_dates
from rsvlm_cli.geo.gdal import gdal_session
from rsvlm_cli.geo.georef import Georeference, box_ring, close_ring, densify
from rsvlm_cli.geo.locate import Location
from rsvlm_cli.geo.place import WARP_ERROR_PX
from rsvlm_cli.geo.radiometry import match_radiometry
from rsvlm_cli.geo.raster import Raster, open_unstretched
from rsvlm_cli.geo.stretch import StretchRule
from rsvlm_cli.results import Affine6, Alignment, BoxPx

MAX_GSD_RATIO = 2.0
"""Beyond this, much of what differs between two dates is their resolution."""

MIN_OVERLAP_FRAC = 0.1
"""Less shared ground is worth a warning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How dates are made comparable.

    Attributes:
        bands: for all, as `bands.choose_bands`.
        stretch: as `stretch.StretchRule.parse`. All dates of one data type share one law, so that a change of stretch
            is not taken for a change on the ground.
        dem: for all, as `place.place_raster`.
        coregister: whether a measured shift is undone.
        radiometry: ``match`` brings later dates to the light of the first, ``none`` does not, ``auto`` does unless the
            stretch fixes the values by itself.
        dates: as `dates.parse_dates`, or None to take them from tags and names.
        known: alignments of an earlier run, one a raster, that are used instead of measuring again; the first is None.
    """

    bands: str | None = None
    stretch: str = "auto"
    dem: str | None = None
    coregister: bool = False
    radiometry: Literal["auto", "match", "none"] = "auto"
    dates: str | None = None
    known: tuple[Alignment | None, ...] = ()

    @property
    def matches(self) -> bool:
        """Whether later dates are brought to the light of the first."""
        fixed = StretchRule.parse(self.stretch).kind in ("range", "none")
        return self.radiometry == "match" or (self.radiometry == "auto" and not fixed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dates:
    """Several dates on one grid.

    Attributes:
        rasters: in the order given, all read on the grid of the first: size, crs, transform and gsd_m are those of the
            grid. Each later one's ``alignment`` says how it came there.
        covers_px: the part of the first that each covers, whole pixels, ``x1, y1, x2, y2``. Of a rotated raster it is
            the box around the shared ground; each chip's ``valid`` says the rest.
        warnings: of the rasters and of their alignment.
    """

    rasters: tuple[Raster, ...]
    covers_px: tuple[BoxPx, ...]
    warnings: tuple[str, ...]

    def overlap_px(self, i: int, j: int) -> BoxPx:
        """Return what two of the dates both cover.

        Raises:
            RastersDoNotOverlap: if that is nothing.
        """
        one, two = self.covers_px[i], self.covers_px[j]
        x1, y1, x2, y2 = max(one[0], two[0]), max(one[1], two[1]), min(one[2], two[2]), min(one[3], two[3])
        if x1 >= x2 or y1 >= y2:
            raise RastersDoNotOverlap(
                f"{self.rasters[i].path} and {self.rasters[j].path}: share no ground on {self.rasters[0].path} "
                "(give the raster that covers both first)"
            )
        return x1, y1, x2, y2


@contextmanager
def open_dates(paths: Sequence[str | Path], how: Comparison | None = None) -> Iterator[Dates]:
    """Open several dates of one place.

    Args:
        paths: the first is the raster whose grid results lie on.
        how: how they are made comparable.

    Raises:
        NotGeoreferenced: if one lacks a georeference and the sizes differ.
        RastersDoNotOverlap: if one shares no ground with the first.
        UsageError, BandsMissing, RasterUnreadable: as `raster.open_raster`.
    """
    how = how or Comparison()
    rule = StretchRule.parse(how.stretch)
    asked = parse_dates(how.dates, len(paths)) if how.dates is not None else ()
    with ExitStack() as stack:
        natives = [stack.enter_context(open_unstretched(path, how.bands, how.dem)) for path in paths]
        for raster, date in zip(natives, asked, strict=False):
            raster.dated = Dated(date=date, by="asked")
        a = natives[0]
        covers = [(0.0, 0.0, float(a.width_px), float(a.height_px)), *(_overlap(a, native) for native in natives[1:])]
        alike = [native for native in natives[1:] if _comparable(a, native)]
        a.fit(rule, *alike)
        rasters, warnings = [a], order_warning([native.dated.date for native in natives])
        for k, native in enumerate(natives[1:], start=1):
            warnings += _compare(a, native, covers[k])
            if native in alike and rule.looks:
                native.take_stretch(a)
            else:
                native.fit(rule)
            known = how.known[k] if how.known else None
            rasters.append(_brought(stack, a, native, covers[k], how, known))
            warnings += _told(a, rasters[-1], how) if known is None else ()
        own = tuple(warning for native in natives for warning in native.warnings)
        yield Dates(
            rasters=tuple(rasters), covers_px=tuple(covers), warnings=tuple(dict.fromkeys(own + tuple(warnings)))
        )


def _comparable(a: Raster, b: Raster) -> bool:
    """Say whether one law of stretch suits both: alike bands, and values that mean the same or say what they mean."""
    if (a.bands.mode, len(a.bands.indexes)) != (b.bands.mode, len(b.bands.indexes)):
        return False
    if a.calibration is not None and b.calibration is not None:
        return a.calibration.same_law(b.calibration) or "uint8" not in (a.dtype, b.dtype)
    return a.dtype == b.dtype and a.calibration is b.calibration


def _brought(
    stack: ExitStack, a: Raster, native: Raster, cover_px: BoxPx, how: Comparison, known: Alignment | None
) -> Raster:
    """Bring a later date, its own stretch fixed, onto the grid and to the light of the first; say how."""
    b = _on_grid(stack, a, native)
    alignment = known or _measure(a, b, native, cover_px, coregister=how.coregister)
    if alignment.applied is not None:
        b = _on_grid(stack, a, native, Affine(*alignment.applied))
    if how.matches:
        matched = match_radiometry(a, b, cover_px)
        b.stretch = matched.stretch or b.stretch
        alignment = replace(alignment, radiometry=matched.text)
    b.alignment = alignment
    return b


def _measure(a: Raster, b: Raster, native: Raster, cover_px: BoxPx, *, coregister: bool) -> Alignment:
    """Compare the grids and measure what shift is left between them."""
    ratio = native.gsd_m / a.gsd_m if a.gsd_m and native.gsd_m else None
    alignment = Alignment(overlap_frac=_overlap_frac(a, native), gsd_ratio=ratio)
    found = measure_registration(a, b, cover_px)
    if found is None:
        return alignment
    centre = ((cover_px[0] + cover_px[2]) / 2, (cover_px[1] + cover_px[3]) / 2)
    shift = found.shift_px(centre)
    return replace(
        alignment,
        shift_px=(round(shift[0], 3), round(shift[1], 3)),
        shift_m=_length_m(a, centre, shift),
        rotation_deg=round(found.rotation_deg, 4),
        agreement=found.agreement,
        n_blocks=found.n_blocks,
        applied=_worth_moving(found, cover_px) if coregister else None,
    )


def _worth_moving(found: Registration, cover_px: BoxPx) -> Affine6 | None:
    """Return the map to undo, or None where it moves no corner by 0.05 px: resampling would cost more than it mends."""
    x1, y1, x2, y2 = cover_px
    moves = [np.hypot(*found.shift_px(corner)) for corner in ((x1, y1), (x2, y1), (x1, y2), (x2, y2))]
    return found.moved if max(moves) > 0.05 else None


def _length_m(a: Raster, centre: tuple[float, float], shift: tuple[float, float]) -> float | None:
    if a.transform is None:
        return None
    try:
        line = np.array([centre, (centre[0] + shift[0], centre[1] + shift[1])])
        return round(Georeference.of(a).length_m(line), 3)
    except NotGeoreferenced:
        return None


def _told(a: Raster, b: Raster, how: Comparison) -> tuple[str, ...]:
    """Say in one line what a user must know of a later date's place."""
    alignment = b.alignment
    if alignment is None:
        return ()
    if alignment.shift_px is None:
        return (
            (f"{b.path}: its shift against {a.path} cannot be measured; left where it lies",) if how.coregister else ()
        )
    length = f"{np.hypot(*alignment.shift_px):.1f} px" + (
        f" ({alignment.shift_m:.3g} m)" if alignment.shift_m is not None else ""
    )
    turn = f", turned by {alignment.rotation_deg:.2f} degrees" if alignment.rotation_deg else ""
    agreed = f"{alignment.agreement:.0%} of {alignment.n_blocks} blocks agree"
    if alignment.applied is not None:
        return (f"{b.path}: lay {length}{turn} from {a.path} ({agreed}); moved onto it",)
    if how.coregister or (np.hypot(*alignment.shift_px) <= AGREE_PX and not turn):
        return ()
    return (f"{b.path}: lies {length}{turn} from {a.path} ({agreed}); undo it with --coregister",)


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
    points = _px_to_px(b, a, outline).round(6)  # a common edge must not gain a pixel by rounding
    x1, y1 = np.maximum(np.floor(points.min(axis=0)), 0)
    x2, y2 = np.minimum(np.ceil(points.max(axis=0)), whole[2:])
    if x1 >= x2 or y1 >= y2:
        raise RastersDoNotOverlap(
            f"{a.path} and {b.path}: share no ground ({_where(Georeference.of(a), a)}; {_where(Georeference.of(b), b)})"
        )
    return float(x1), float(y1), float(x2), float(y2)


def _overlap_frac(a: Raster, b: Raster) -> float:
    """Return the share of A that B covers, to about a percent."""
    if a.transform is None or b.transform is None:
        return 1.0
    steps = (np.arange(64) + 0.5) / 64
    places = np.stack(np.meshgrid(steps * a.width_px, steps * a.height_px), axis=-1).reshape(-1, 2)
    inside = _px_to_px(a, b, places) / (b.width_px, b.height_px)
    return float(((inside > 0) & (inside < 1)).all(axis=1).mean())


def _px_to_px(one: Raster, other: Raster, points_px: np.ndarray) -> np.ndarray:
    """Convert pixel coordinates of one raster to those of another, through the ground."""
    place, there = Georeference.of(one), Georeference.of(other)
    if one.crs == other.crs:
        return there.crs_to_px(place.px_to_crs(points_px))
    return there.lonlat_to_px(place.px_to_lonlat(points_px))


def _where(place: Georeference, raster: Raster) -> str:
    """Say where a raster's centre lies."""
    try:
        lon, lat = place.px_to_lonlat(np.array([[raster.width_px / 2, raster.height_px / 2]]))[0]
    except NotGeoreferenced:
        return f"{raster.path} lies in a local coordinate system"
    return f"{raster.path} lies at longitude {lon:.4f}, latitude {lat:.4f}"


def _on_grid(stack: ExitStack, a: Raster, b: Raster, moved: Affine | None = None) -> Raster:
    """Give B on A's grid: itself where the grids agree, else a view that is warped as it is read.

    ``moved`` is a map of A's pixels to undo: the view shows at a pixel what B has where the map leads from there.
    """
    placed = a.transform is not None and b.transform is not None
    if moved is None and (not placed or _same_grid(a, b)):
        return b
    has_alpha = ColorInterp.alpha in b.dataset.colorinterp
    # Without a georeference pixels are their own map: any one plane coordinate system will do.
    grid = Affine(*a.transform) if placed and a.transform else Affine.identity()
    options = {
        "src_crs": CRS.from_user_input(b.crs if placed else "EPSG:3857"),
        "src_transform": Affine(*b.transform) if placed and b.transform else Affine.identity(),
        "crs": CRS.from_user_input(a.crs if placed else "EPSG:3857"),
        "transform": Affine(*(np.reshape(grid, (3, 3)) @ np.reshape(moved, (3, 3))).ravel()[:6]) if moved else grid,
        "width": a.width_px,
        "height": a.height_px,
        "resampling": Resampling.nearest if b.bands.mode is BandMode.PALETTE else Resampling.bilinear,
        "tolerance": WARP_ERROR_PX,
        # The view must know where B has no data, and where it ends.
        "add_alpha": not has_alpha and b.nodata is None,
    }
    with gdal_session(b.path):
        view = WarpedVRT(b.dataset, **options)
    location = Location(crs=a.crs, transform=a.transform, gsd_m=a.gsd_m, placed_by=b.placed_by)
    on_grid = stack.enter_context(Raster(view, b.path, b.bands, location))
    on_grid.stored, on_grid.stretch, on_grid.dated = b.stored, b.stretch, b.dated
    return on_grid


def _same_grid(a: Raster, b: Raster) -> bool:
    """Say whether both have one CRS, size and transform, to a hundredth of a pixel in every corner."""
    if (a.crs, a.width_px, a.height_px) != (b.crs, b.width_px, b.height_px):
        return False
    corners = box_ring((0, 0, b.width_px, b.height_px))
    return bool(np.abs(Georeference.of(a).crs_to_px(Georeference.of(b).px_to_crs(corners)) - corners).max() < 0.01)


def _compare(a: Raster, b: Raster, cover_px: BoxPx) -> tuple[str, ...]:
    """Warn of what makes two dates hard to compare."""
    warnings: tuple[str, ...] = ()
    if a.transform is None or b.transform is None:
        warnings += (f"{a.path} and {b.path}: compared pixel by pixel, because not both have a georeference",)
    elif a.gsd_m and b.gsd_m and max(a.gsd_m / b.gsd_m, b.gsd_m / a.gsd_m) > MAX_GSD_RATIO * 1.01:
        warnings += (
            f"{a.path} has pixels of {a.gsd_m:.3g} m, {b.path} of {b.gsd_m:.3g} m; "
            "much of what differs may be resolution",
        )
    share = (cover_px[2] - cover_px[0]) * (cover_px[3] - cover_px[1]) / (a.width_px * a.height_px)
    if share < MIN_OVERLAP_FRAC:
        warnings += (f"{b.path}: covers only {share:.1%} of {a.path}; the rest is not compared",)
    if not _comparable(a, b):
        warnings += (
            f"{a.path} ({a.dtype}) and {b.path} ({b.dtype}): differ in type or bands; each has its own stretch",
        )
    if a.bands.labels != b.bands.labels:
        warnings += (f"{a.path} shows bands {', '.join(a.bands.labels)}, {b.path} {', '.join(b.bands.labels)}",)
    return warnings
