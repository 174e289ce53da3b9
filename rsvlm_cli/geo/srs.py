"""Naming coordinate systems: what results and files say of one."""

from dataclasses import dataclass

from rasterio.crs import CRS
from rasterio.errors import CRSError


@dataclass(frozen=True, slots=True, kw_only=True)
class Srs:
    """A coordinate system by name, authority and definition.

    Attributes:
        name: human readable.
        authority: ``EPSG``, ``ESRI``, ..., or None for a system that no authority lists.
        code: the authority's number, or None.
        wkt: WKT 1 as GDAL writes it where it can express the system, else WKT 2.
    """

    name: str
    authority: str | None
    code: int | None
    wkt: str


def name_crs(crs: CRS) -> str:
    """Return ``AUTHORITY:CODE`` where the authority's definition is this very system, else WKT.

    Rasterio by itself takes a likely match too, such as South America Albers on SAD 69 for one on a bare ellipsoid,
    which moves results by tens of metres.
    """
    authority = crs.to_authority(confidence_threshold=100)
    return ":".join(authority) if authority else str(crs.to_wkt())


def utm_zone(lon: float, lat: float) -> CRS:
    """Return the UTM zone of a place, on WGS 84."""
    zone = min(60, int((lon + 180) % 360 // 6) + 1)
    return CRS.from_epsg((32600 if lat >= 0 else 32700) + zone)


def describe_srs(crs: str) -> Srs:
    """Describe a coordinate system given as in `rsvlm_cli.results.Source`."""
    parsed = CRS.from_user_input(crs)
    authority, code = parsed.to_authority(confidence_threshold=100) or (None, None)
    try:
        wkt = parsed.to_wkt(version="WKT1_GDAL")
    except CRSError:
        wkt = parsed.to_wkt()
    if code is None or not str(code).isdigit():
        authority, code = None, None
    name = wkt.partition('"')[2].partition('"')[0] or crs
    return Srs(name=name, authority=authority, code=None if code is None else int(code), wkt=wkt)
