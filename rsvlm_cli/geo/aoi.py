"""An area of interest from a vector file: GeoJSON, or the polygons of a GeoPackage, in a raster's pixels."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from rasterio.crs import CRS
from rasterio.errors import CRSError

from rsvlm_cli.errors import InputError, UsageError, WindowOutside
from rsvlm_cli.geo.georef import LONLAT, Georeference, densify
from rsvlm_cli.geo.region import Sized, parse_region
from rsvlm_cli.geo.tiling import whole_pixels
from rsvlm_cli.results import BoxPx

SUFFIXES = (".geojson", ".json", ".gpkg")


@dataclass(frozen=True)
class Aoi:
    """Polygons in a raster's pixels, cut at its edge.

    Attributes:
        shape: their union, not empty.
    """

    shape: shapely.Geometry

    @property
    def bounds_px(self) -> BoxPx:
        """The box around it."""
        x1, y1, x2, y2 = (float(v) for v in self.shape.bounds)
        return x1, y1, x2, y2

    def meets(self, box_px: BoxPx) -> bool:
        """Say whether a box shares ground with it."""
        return bool(self.shape.intersects(shapely.box(*box_px)))

    def holds(self, x_px: float, y_px: float) -> bool:
        """Say whether a point lies in it."""
        return bool(shapely.contains_xy(self.shape, x_px, y_px))

    def cells(self, box_px: BoxPx, shape: tuple[int, int]) -> np.ndarray:
        """Return ``shape`` bool, rows and columns of a grid over a box: which cells have their centre in it."""
        x1, y1, x2, y2 = box_px
        y, x = ((np.arange(n) + 0.5) / n for n in shape)
        inside: np.ndarray = shapely.contains_xy(self.shape, *np.meshgrid(x1 + x * (x2 - x1), y1 + y * (y2 - y1)))
        return inside


def read_aoi(path: str | Path, raster: Sized) -> Aoi:
    """Read the polygons of a vector file into a raster's pixels; edges are followed, not their ends alone.

    Raises:
        UsageError: if the file is of another kind.
        InputError: if it cannot be read, or holds no polygon.
        NotGeoreferenced: if the raster has no place on Earth.
        WindowOutside: if the polygons share no ground with the raster.
    """
    file = Path(path)
    if file.suffix.lower() not in SUFFIXES:
        raise UsageError(
            f"--aoi {path}: wanted {', '.join(SUFFIXES)} (ogr2ogr aoi.geojson {file.name} converts others)"
        )
    if not file.is_file():
        raise InputError(f"{path}: no such file")
    place = Georeference.of(raster)
    try:
        read = _read_geopackage if file.suffix.lower() == ".gpkg" else _read_geojson
        polygons = [_to_px(polygon, place, crs) for polygon, crs in read(file)]
    except (ValueError, KeyError, TypeError, AttributeError, sqlite3.Error, shapely.errors.GEOSException) as error:
        raise InputError(f"{path}: is no {file.suffix[1:]} that can be read: {error}") from error
    if not polygons:
        raise InputError(f"{path}: holds no polygon (lines and points are no area)")
    extent = shapely.box(0, 0, raster.width_px, raster.height_px)
    shape = shapely.intersection(shapely.union_all([shapely.make_valid(polygon) for polygon in polygons]), extent)
    if shape.area == 0:
        raise WindowOutside(f"{path}: its polygons share no ground with {raster.path}")
    shapely.prepare(shape)
    return Aoi(shape)


def choose_part(raster: Sized, default_px: BoxPx, window: str | None, aoi: str | None) -> tuple[Aoi | None, BoxPx]:
    """Return the area of interest, if one is given, and the part to look at in whole pixels.

    Args:
        raster: whose pixels count.
        default_px: the part that is there where none is asked for.
        window: as `region.parse_region`, or None.
        aoi: as `read_aoi`, or None.

    Raises:
        UsageError: if both are given.
        RsvlmError: as `region.parse_region` and `read_aoi`.
    """
    if aoi is None:
        return None, default_px if window is None else whole_pixels(parse_region(window, raster))
    if window is not None:
        raise UsageError("--aoi with --window or --bbox: wanted one of them, each says which part to look at")
    area = read_aoi(aoi, raster)
    return area, whole_pixels(area.bounds_px)


def _polygons(shape: shapely.Geometry) -> Iterator[shapely.Geometry]:
    """Yield the polygons of a geometry of any kind."""
    for part in shapely.get_parts(shape):
        if part.geom_type == "Polygon" and not part.is_empty:
            yield part
        elif part.geom_type in ("MultiPolygon", "GeometryCollection"):
            yield from _polygons(part)


def _to_px(polygon: shapely.Geometry, place: Georeference, crs: CRS) -> shapely.Geometry:
    outer, *holes = (
        place.points_to_px(densify(shapely.get_coordinates(ring)), crs)
        for ring in (polygon.exterior, *polygon.interiors)
    )
    return shapely.Polygon(outer, holes)


def _read_geojson(path: Path) -> Iterator[tuple[shapely.Geometry, CRS]]:
    """Yield polygons in longitude and latitude (RFC 7946), or in what an older file's ``crs`` names."""
    document: dict[str, Any] = json.loads(path.read_text("utf-8"))
    crs = LONLAT
    if document.get("crs"):
        crs = _crs(document["crs"]["properties"]["name"])
    features = document["features"] if document["type"] == "FeatureCollection" else [document]
    for feature in features:
        geometry = feature["geometry"] if feature["type"] == "Feature" else feature
        if geometry is not None:
            for polygon in _polygons(shapely.from_geojson(json.dumps(geometry))):
                yield polygon, crs


def _read_geopackage(path: Path) -> Iterator[tuple[shapely.Geometry, CRS]]:
    """Yield the polygons of every layer; OGC 12-128r18, clause 2.1.3: a header, its envelope, then WKB."""
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
        layers = database.execute("SELECT table_name, column_name, srs_id FROM gpkg_geometry_columns").fetchall()
        for table, column, srs_id in layers:
            found = database.execute(
                "SELECT organization, organization_coordsys_id, definition FROM gpkg_spatial_ref_sys WHERE srs_id = ?",
                (srs_id,),
            ).fetchone()
            if found is None:
                raise ValueError(f"layer {table} names no coordinate system")
            crs = _crs(f"EPSG:{found[1]}" if str(found[0]).upper() == "EPSG" else found[2])
            quoted = [name.replace('"', '""') for name in (column, table)]
            for (blob,) in database.execute('SELECT "{}" FROM "{}"'.format(*quoted)):
                if blob:
                    envelope = (0, 32, 48, 48, 64)[(blob[3] >> 1) & 7]
                    for polygon in _polygons(shapely.from_wkb(blob[8 + envelope :])):
                        yield polygon, crs


def _crs(name: str) -> CRS:
    """Read a coordinate system's name; its axes are taken as x, y, which GeoPackage and old GeoJSON store.

    Raises:
        ValueError: if it is none.
    """
    if name.upper().endswith("CRS84"):
        return LONLAT
    try:
        return CRS.from_user_input(name)
    except CRSError as error:
        raise ValueError(f"coordinate system {name!r} is not known") from error
