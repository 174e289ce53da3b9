"""Where a raster is read: as stored, or, placed by ground control points or RPCs alone, on a north-up map grid.

Results of such a raster lie on that grid, not on the pixels as stored: what a mask or a box is worth is its place
(`docs/adr/0017-placed-on-a-map-grid.md`). Pixels are about as large as those stored; where the view shows no ground of
the raster, nothing is valid.
"""

from collections.abc import Sequence
from dataclasses import replace
from statistics import mean

import numpy as np
from rasterio._err import CPLE_BaseError
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.rpc import RPC
from rasterio.transform import GCPTransformer
from rasterio.vrt import WarpedVRT

from rsvlm_cli.errors import NotGeoreferenced, RastersDoNotOverlap
from rsvlm_cli.geo.bands import BandChoice, BandMode
from rsvlm_cli.geo.gdal import open_dataset
from rsvlm_cli.geo.georef import Georeference
from rsvlm_cli.geo.locate import MAX_GCP_ERROR_PX, Location, fits_affine, locate
from rsvlm_cli.geo.srs import utm_zone

MAX_GROWTH = 16
"""A view of more pixels for each of the file's comes from control points or RPCs that are wrong."""

MIN_GCPS = 4
"""Three points always fit an affine transform; one more says whether they do."""

WARP_ERROR_PX = 0.02
"""How far GDAL may approximate the warp; its own default is an eighth of a pixel."""


class _Verbatim(str):
    """An option's value that keeps its case: rasterio 1.4 writes ``str(value).upper()``, of a path too."""

    def __str__(self) -> str:
        return self

    def upper(self) -> str:
        return self


def place_raster(
    dataset: DatasetReader, path: str, bands: BandChoice, dem: str | None
) -> tuple[DatasetReader | WarpedVRT, Location]:
    """Return what a raster is read by, itself or a north-up view of it, and the place of that.

    Args:
        dataset: the file.
        path: for messages.
        bands: those chosen.
        dem: a raster of heights in metres above the ellipsoid, for RPCs; None takes their own mean height.

    Raises:
        RasterUnreadable, NotGeoreferenced, RastersDoNotOverlap: if RPCs need ``dem`` and it gives no height here.
    """
    view, how = _on_map(dataset, path, bands, dem) or (dataset, "")
    location = locate(view, path)
    told = location.warnings
    if how:
        size = f"pixels are those of a north-up grid, {view.width} x {view.height}"
        told += (f"{path}: placed by {how}; {size}",)
        location = replace(location, placed_by=f"{how}; warped to a north-up grid")
    if dem is not None and "RPCs" not in how:
        told += (f"{path}: is not placed by RPCs, so --dem {dem} changes nothing",)
    return view, replace(location, warnings=told)


def _on_map(dataset: DatasetReader, path: str, bands: BandChoice, dem: str | None) -> tuple[WarpedVRT, str] | None:
    """Return a north-up view of a raster that has control points or RPCs instead of a transform, and how it is placed.

    None where there is a transform, the control points fit one, or no place can be made of what there is. A polynomial
    of the second order meets the control points (of the first, if there are fewer than six), or, where that misses one
    by more than `locate.MAX_GCP_ERROR_PX`, a thin plate spline through all.
    """
    if not dataset.transform.is_identity:
        return None
    gcps, crs = dataset.gcps
    more: dict[str, object] = {"tolerance": WARP_ERROR_PX}
    if len(gcps) >= MIN_GCPS and crs and not fits_affine(dataset):
        lon, lat = (mean(point.x for point in gcps), mean(point.y for point in gcps))
        target = utm_zone(lon, lat) if crs.is_geographic else crs
        spline = _polynomial_error_px(gcps) > MAX_GCP_ERROR_PX
        how = f"{len(gcps)} ground control points, {'thin plate spline' if spline else 'polynomial'}"
        more |= {"src_crs": crs, "SRC_METHOD": "GCP_TPS" if spline else "GCP_POLYNOMIAL"}
    elif dataset.rpcs is not None:
        height_m = dataset.rpcs.height_off
        target = utm_zone(dataset.rpcs.long_off, dataset.rpcs.lat_off)
        more |= {"src_crs": CRS.from_epsg(4326), "SRC_METHOD": "RPC"}
        if dem is None:
            how = f"its RPCs at a height of {height_m:.0f} m throughout, so relief displaces it (see --dem)"
            more |= {"RPC_HEIGHT": height_m}
        else:
            how = f"its RPCs on the heights of {dem} ({height_m:.0f} m where that has none)"
            # Exact, as gdalwarp does it with a terrain: between two points that agree there may be a hill.
            more |= {
                "RPC_DEM": _find_terrain(dem, dataset.rpcs, path),
                "RPC_DEM_MISSING_VALUE": height_m,
                "tolerance": 0,
            }
    else:
        return None
    has_alpha = ColorInterp.alpha in dataset.colorinterp
    resampling = Resampling.nearest if bands.mode is BandMode.PALETTE else Resampling.bilinear
    no_data = dataset.nodatavals[bands.indexes[0] - 1]
    try:
        view = WarpedVRT(
            dataset, crs=target, resampling=resampling, add_alpha=not has_alpha and no_data is None, **more
        )
    except (RasterioError, CPLE_BaseError):
        return None  # points or coefficients that make no sense; `locate` says so
    if view.width * view.height > MAX_GROWTH * dataset.width * dataset.height:
        view.close()
        return None
    return view, how


def _find_terrain(dem: str, rpcs: RPC, path: str) -> _Verbatim:
    """Return GDAL's name of a terrain model, once it has been seen to be a raster that has some of the RPCs' ground."""
    with open_dataset(dem) as terrain:
        place = locate(terrain, dem)
        if place.crs is None or place.transform is None:
            raise NotGeoreferenced(f"{dem}: has no CRS or no transform, wanted heights on a map (gdal_edit.py -a_srs)")
        steps = np.linspace(-1, 1, 9)
        lon, lat = np.meshgrid(rpcs.long_off + steps * rpcs.long_scale, rpcs.lat_off + steps * rpcs.lat_scale)
        lonlat = np.column_stack([lon.ravel(), lat.ravel()])
        at_px = Georeference(dem, place.crs, place.transform).lonlat_to_px(lonlat)
        # Their hulls: a model of one town may lie between any points that the scene is looked at.
        if (at_px.max(axis=0) < 0).any() or (at_px.min(axis=0) > (terrain.width, terrain.height)).any():
            raise RastersDoNotOverlap(f"{dem}: has no height of the ground of {path} (wanted a terrain model of it)")
        return _Verbatim(terrain.name)


def _polynomial_error_px(gcps: Sequence[GroundControlPoint]) -> float:
    """Return by how many pixels GDAL's polynomial misses the worst control point, on the way from the map back."""
    with GCPTransformer(gcps) as polynomial:
        rows, columns = polynomial.rowcol([p.x for p in gcps], [p.y for p in gcps], op=lambda value: value)
    off = np.hypot(np.subtract(rows, [p.row for p in gcps]), np.subtract(columns, [p.col for p in gcps]))
    return float(off.max())
