"""Rasters whose place is given by ground control points or RPCs alone, seen on a north-up map grid.

Results of such a raster lie on that grid, not on the pixels as stored: what a mask or a box is worth is its place
(`docs/adr/0017-placed-on-a-map-grid.md`). Pixels are about as large as those stored; where the view shows no ground of
the raster, nothing is valid.
"""

from collections.abc import Sequence
from statistics import mean

import numpy as np
from rasterio._err import CPLE_BaseError
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.transform import GCPTransformer
from rasterio.vrt import WarpedVRT

from rsvlm_cli.geo.bands import BandChoice, BandMode
from rsvlm_cli.geo.locate import MAX_GCP_ERROR_PX, fits_affine
from rsvlm_cli.geo.srs import utm_zone

MAX_GROWTH = 16
"""A view of more pixels for each of the file's comes from control points or RPCs that are wrong."""

MIN_GCPS = 4
"""Three points always fit an affine transform; one more says whether they do."""

WARP_ERROR_PX = 0.02
"""How far GDAL may approximate the warp; its own default is an eighth of a pixel."""


def place_raster(dataset: DatasetReader, bands: BandChoice) -> tuple[WarpedVRT, str] | None:
    """Return a north-up view of a raster that has control points or RPCs instead of a transform, and how it is placed.

    None where there is a transform, the control points fit one, or no place can be made of what there is. A polynomial
    of the second order meets the control points (of the first, if there are fewer than six), or, where that misses one
    by more than `locate.MAX_GCP_ERROR_PX`, a thin plate spline through all. RPCs are read at their own mean height.
    """
    if not dataset.transform.is_identity:
        return None
    gcps, crs = dataset.gcps
    more: dict[str, object] = {}
    if len(gcps) >= MIN_GCPS and crs and not fits_affine(dataset):
        lon, lat = (mean(point.x for point in gcps), mean(point.y for point in gcps))
        target = utm_zone(lon, lat) if crs.is_geographic else crs
        spline = _polynomial_error_px(gcps) > MAX_GCP_ERROR_PX
        how = f"{len(gcps)} ground control points, {'thin plate spline' if spline else 'polynomial'}"
        more |= {"src_crs": crs, "SRC_METHOD": "GCP_TPS" if spline else "GCP_POLYNOMIAL"}
    elif dataset.rpcs is not None:
        target = utm_zone(dataset.rpcs.long_off, dataset.rpcs.lat_off)
        how = f"its RPCs at a height of {dataset.rpcs.height_off:.0f} m throughout, so relief displaces it"
        more |= {"src_crs": CRS.from_epsg(4326), "RPC_HEIGHT": str(dataset.rpcs.height_off), "SRC_METHOD": "RPC"}
    else:
        return None
    has_alpha = ColorInterp.alpha in dataset.colorinterp
    resampling = Resampling.nearest if bands.mode is BandMode.PALETTE else Resampling.bilinear
    no_data = dataset.nodatavals[bands.indexes[0] - 1]
    try:
        view = WarpedVRT(
            dataset, crs=target, resampling=resampling, tolerance=WARP_ERROR_PX,
            add_alpha=not has_alpha and no_data is None, **more,
        )  # fmt: skip
    except (RasterioError, CPLE_BaseError):
        return None  # points or coefficients that make no sense; `locate` says so
    if view.width * view.height > MAX_GROWTH * dataset.width * dataset.height:
        view.close()
        return None
    return view, how


def _polynomial_error_px(gcps: Sequence[GroundControlPoint]) -> float:
    """Return by how many pixels GDAL's polynomial misses the worst control point, on the way from the map back."""
    with GCPTransformer(gcps) as polynomial:
        rows, columns = polynomial.rowcol([p.x for p in gcps], [p.y for p in gcps], op=lambda value: value)
    off = np.hypot(np.subtract(rows, [p.row for p in gcps]), np.subtract(columns, [p.col for p in gcps]))
    return float(off.max())
