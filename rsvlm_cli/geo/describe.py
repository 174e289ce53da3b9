"""All that a raster says about itself, for ``rsvlm info``."""

from pathlib import Path
from typing import Any

import numpy as np

from rsvlm_cli.errors import NotGeoreferenced
from rsvlm_cli.geo.gdal import gdal_session
from rsvlm_cli.geo.georef import Georeference, box_ring, close_ring, densify, unwrap_lon
from rsvlm_cli.geo.raster import Raster, open_raster


def describe_raster(
    path: str | Path, *, bands: str | None = None, stretch: str = "auto", dem: str | None = None
) -> dict[str, Any]:
    """Describe a raster and what the model would be shown of it; JSON types only.

    Keys: ``path, driver, width_px, height_px, dtype, bands`` (``index, name, colour`` of each), ``crs, transform,
    gsd_m, placed_by, bounds_crs, bounds_lonlat`` (west, south, east, north; None where unknown; east beyond 180 where
    the antimeridian is crossed), ``nodata, mask, overviews, tiled, block_px, compression, shown_bands, shown_by,
    stretch, calibration, date, date_by, dates, warnings``. Of a raster that is read on a map grid, what is said of
    pixels, blocks and mask is the grid's.

    Raises:
        RasterUnreadable, BandsMissing, UsageError: as `raster.open_raster`.
    """
    with open_raster(path, bands=bands, stretch=stretch, dem=dem) as raster, gdal_session(path):
        dataset = raster.dataset
        first = raster.bands.indexes[0]
        rows, columns = dataset.block_shapes[first - 1]
        tags = raster.stored.tags() | raster.stored.tags(ns="IMAGERY")
        return {
            "path": raster.path,
            "driver": raster.stored.driver,
            "width_px": raster.width_px,
            "height_px": raster.height_px,
            "dtype": raster.dtype,
            "bands": [
                {"index": k, "name": name, "colour": colour.name}
                for k, (name, colour) in enumerate(zip(dataset.descriptions, dataset.colorinterp, strict=True), start=1)
            ],
            "crs": raster.crs,
            "transform": raster.transform,
            "gsd_m": raster.gsd_m,
            "placed_by": raster.placed_by,
            **_bounds(raster),
            "nodata": None
            if raster.nodata is None
            else str(raster.nodata)
            if not np.isfinite(raster.nodata)
            else raster.nodata,
            "mask": "+".join(flag.name for flag in dataset.mask_flag_enums[first - 1]),
            "overviews": dataset.overviews(first),
            "tiled": columns < raster.width_px,
            "block_px": [columns, rows],
            "compression": raster.stored.tags(ns="IMAGE_STRUCTURE").get("COMPRESSION"),
            "shown_bands": list(raster.bands.labels),
            "shown_by": raster.bands.by,
            "stretch": raster.stretch.text,
            "calibration": None if raster.calibration is None else raster.calibration.text,
            "date": raster.dated.date,
            "date_by": raster.dated.by,
            "dates": {key: value for key, value in sorted(tags.items()) if "date" in key.lower()},
            "warnings": list(raster.warnings),
        }


def _bounds(raster: Raster) -> dict[str, list[float] | None]:
    """Return the bounds of the raster's whole outline, not of two corners."""
    if raster.transform is None:
        return {"bounds_crs": None, "bounds_lonlat": None}
    place = Georeference.of(raster)
    outline = densify(close_ring(box_ring((0, 0, raster.width_px, raster.height_px))))
    bounds_crs = _extent(place.px_to_crs(outline))
    try:
        return {"bounds_crs": bounds_crs, "bounds_lonlat": _extent(unwrap_lon(place.px_to_lonlat(outline)))}
    except NotGeoreferenced:
        return {"bounds_crs": bounds_crs, "bounds_lonlat": None}


def _extent(points: np.ndarray) -> list[float]:
    return [float(v) for v in np.concatenate([points.min(axis=0), points.max(axis=0)])]
