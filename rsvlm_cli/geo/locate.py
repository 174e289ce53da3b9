"""What an open file says about its place: coordinate system, transform, ground sampling distance.

Control points that one affine transform meets to half a pixel give that transform; what they or RPCs say otherwise
takes a view on a map grid (`rsvlm_cli.geo.place`). A drone's photograph is placed by its position, height and heading,
nearly.
"""

from dataclasses import dataclass

import numpy as np
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.io import DatasetReader
from rasterio.transform import Affine

from rsvlm_cli.errors import InputError
from rsvlm_cli.geo.drone import locate_photograph
from rsvlm_cli.geo.georef import Georeference
from rsvlm_cli.geo.srs import name_crs
from rsvlm_cli.results import Affine6

MAX_GCP_ERROR_PX = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """A raster's place.

    Attributes:
        crs, transform: as in `results.Source`; both None without a georeference.
        gsd_m: ground size of one pixel in metres, the geometric mean of its two sides, or None.
        placed_by: as in `results.Source`.
        warnings: one line each.
    """

    crs: str | None = None
    transform: Affine6 | None = None
    gsd_m: float | None = None
    placed_by: str | None = None
    warnings: tuple[str, ...] = ()


def locate(dataset: DatasetReader, path: str) -> Location:
    """Find a raster's place on Earth, or say why it has none."""
    crs, transform, by = dataset.crs, dataset.transform, "transform"
    if transform.is_identity and dataset.gcps[0]:
        gcps, crs = dataset.gcps
        transform, error_px = _fit_gcps(dataset)
        by = f"{len(gcps)} ground control points, affine"
        if not error_px <= MAX_GCP_ERROR_PX:
            return Location(
                warnings=(f"{path}: {len(gcps)} ground control points that give no place; results are in pixels",)
            )
    if transform.is_identity and dataset.rpcs is not None:
        return Location(warnings=(f"{path}: its RPCs give no place; results are in pixels",))
    if transform.is_identity:
        return _locate_photograph(dataset, path)
    if not crs:
        return Location(
            warnings=(f"{path}: has a transform but no CRS; results are in pixels (assign: gdal_edit.py -a_srs)",)
        )
    values = tuple(float(v) for v in tuple(transform)[:6])
    if not np.isfinite(values).all() or transform.determinant == 0:
        return Location(warnings=(f"{path}: its transform cannot be inverted; results are in pixels",))
    text = name_crs(crs)
    try:
        gsd_m = _gsd_m(crs, text, values, (dataset.width / 2, dataset.height / 2))  # type: ignore[arg-type]
    except InputError:
        warning = (
            f"{path}: its CRS has no known place on Earth; map coordinates are local and longitude, latitude unknown"
        )
        nominal_m = _nominal_m(crs, values)  # type: ignore[arg-type]
        return Location(crs=text, transform=values, gsd_m=nominal_m, placed_by=by, warnings=(warning,))  # type: ignore[arg-type]
    return Location(crs=text, transform=values, gsd_m=gsd_m, placed_by=by)  # type: ignore[arg-type]


def fits_affine(dataset: DatasetReader) -> bool:
    """Say whether one affine transform meets the control points to `MAX_GCP_ERROR_PX`."""
    return _fit_gcps(dataset)[1] <= MAX_GCP_ERROR_PX


def _locate_photograph(dataset: DatasetReader, path: str) -> Location:
    """Place a picture without any georeference, if it is a drone's."""
    found = locate_photograph(dataset)
    if found is None or found.crs is None:
        said = f"{found.text} and " if found else ""
        gsd_m = found.gsd_m if found else None
        return Location(gsd_m=gsd_m, warnings=(f"{path}: {said}has no georeference; results are in pixels",))
    return Location(
        crs=found.crs,
        transform=found.transform,
        gsd_m=found.gsd_m,
        placed_by="approximate, a drone's position, height and heading",
        warnings=(f"{path}: {found.text}",),
    )


def _gsd_m(crs: CRS, text: str, transform: Affine6, centre_px: tuple[float, float]) -> float:
    """Return the CRS's own pixel size where it is true to the ground, else the ground size at the raster's centre.

    UTM's scale is within 0.1 %, and 0.1 m should be said as 0.1; Web Mercator doubles lengths at 60 degrees.
    """
    width_m, height_m = Georeference("", text, transform).ground_size_m(centre_px)
    ground = float(np.sqrt(width_m * height_m))
    nominal = _nominal_m(crs, transform)
    return nominal if nominal is not None and abs(nominal / ground - 1) < 0.01 else ground


def _nominal_m(crs: CRS, transform: Affine6) -> float | None:
    """Return the pixel size by the CRS's own unit, from the lengths of the transform's columns."""
    try:
        metres = None if crs.is_geographic else crs.linear_units_factor[1]
    except CRSError:
        metres = None
    a, b, _, d, e, _ = transform
    return float(np.sqrt(np.hypot(a, d) * np.hypot(b, e)) * metres) if metres else None


def _fit_gcps(dataset: DatasetReader) -> tuple[Affine, float]:
    return _fit_affine(np.array([(p.col, p.row, p.x, p.y) for p in dataset.gcps[0]]))


def _fit_affine(points: np.ndarray) -> tuple[Affine, float]:
    """Fit map = affine(pixel) to ``(N, 4)`` rows of column, row, x, y; return it and its largest error in pixels."""
    if len(points) < 3:
        return Affine.identity(), float("inf")
    px = np.column_stack([points[:, :2], np.ones(len(points))])
    shift = points[:, 2:].mean(axis=0)  # so that large eastings cost no digits
    solution, _, rank, _ = np.linalg.lstsq(px, points[:, 2:] - shift, rcond=None)
    linear = solution[:2].T
    if rank < 3 or np.linalg.det(linear) == 0:
        return Affine.identity(), float("inf")
    error_px = np.linalg.solve(linear, (px @ solution + shift - points[:, 2:]).T)
    (a, b), (d, e) = linear
    c, f = solution[2] + shift
    return Affine(a, b, c, d, e, f), float(np.abs(error_px).max())
