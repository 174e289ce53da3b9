"""Features as GeoJSON after RFC 7946: WGS 84 longitude and latitude, outer rings anticlockwise, no ``crs`` member."""

from typing import Any

from rsvlm_cli.errors import NotGeoreferenced
from rsvlm_cli.geo.georef import Georeference, Placed
from rsvlm_cli.output.document import LONLAT_DECIMALS
from rsvlm_cli.output.features import Feature
from rsvlm_cli.results import Source


def require_lonlat(source: Placed) -> None:
    """Refuse GeoJSON of a raster without a place: pixels are never written as longitude and latitude.

    Raises:
        NotGeoreferenced: with the formats that hold pixel coordinates.
    """
    if source.crs is None or source.transform is None:
        raise NotGeoreferenced(
            f"{source.path}: has no georeference, and GeoJSON is longitude and latitude (write .json or .gpkg, or "
            "assign one: gdal_edit.py -a_srs -a_ullr)"
        )


def to_geojson(features: list[Feature], source: Source) -> dict[str, Any]:
    """Return a FeatureCollection.

    Raises:
        NotGeoreferenced: if the raster has no place on Earth.
    """
    require_lonlat(source)
    reference = Georeference.of(source)
    items = [
        {"type": "Feature", "geometry": _geometry(reference, feature), "properties": feature.properties}
        for feature in features
    ]
    return {"type": "FeatureCollection", "features": items}


def _geometry(reference: Georeference, feature: Feature) -> dict[str, Any]:
    polygons = [
        [[[round(lon, LONLAT_DECIMALS), round(lat, LONLAT_DECIMALS)] for lon, lat in ring] for ring in polygon]
        for polygon in reference.polygon_lonlat(feature.rings_px)
    ]
    if len(polygons) == 1:
        return {"type": "Polygon", "coordinates": polygons[0]}
    return {"type": "MultiPolygon", "coordinates": polygons}
