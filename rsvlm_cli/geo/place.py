"""Rasters whose place is given by ground control points or RPCs alone, seen on a north-up map grid.

Results of such a raster lie on that grid, not on the pixels as stored: what a mask or a box is worth is its place.
"""

from statistics import mean

from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.vrt import WarpedVRT

from rsvlm_cli.geo.bands import BandChoice, BandMode
from rsvlm_cli.geo.locate import fits_affine
from rsvlm_cli.geo.srs import utm_zone

MAX_GROWTH = 16
"""A view of more pixels for each of the file's comes from control points or RPCs that are wrong."""

MIN_GCPS = 4
"""Three points always fit an affine transform; one more says whether they do."""


def place_raster(dataset: DatasetReader, bands: BandChoice) -> tuple[WarpedVRT, str] | None:
    """Return a north-up view of a raster that has control points or RPCs instead of a transform, and how it is placed.

    None where there is a transform, the control points fit one, or no place can be made of what there is.
    """
    if not dataset.transform.is_identity:
        return None
    gcps, crs = dataset.gcps
    more: dict[str, object] = {}
    if len(gcps) >= MIN_GCPS and crs and not fits_affine(dataset):
        lon, lat = (mean(point.x for point in gcps), mean(point.y for point in gcps))
        target = utm_zone(lon, lat) if crs.is_geographic else crs
        how = f"placed by {len(gcps)} ground control points"
        more["src_crs"] = crs
    elif dataset.rpcs is not None:
        target = utm_zone(dataset.rpcs.long_off, dataset.rpcs.lat_off)
        how = f"placed by its RPCs at a height of {dataset.rpcs.height_off:.0f} m throughout, so relief displaces it"
        more |= {"src_crs": CRS.from_epsg(4326), "RPC_HEIGHT": str(dataset.rpcs.height_off), "SRC_METHOD": "RPC"}
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
    return view, f"{how}; pixels are those of a north-up grid, {view.width} x {view.height}"
