"""A result as a SpatioTemporal Asset Catalog item: where and when, what it was made from and by, and its files.

Source: STAC 1.1.0 item; extensions projection 2.0.0, processing 1.2.0, file 2.1.0 (checksums as multihashes),
classification 2.0.0. Assets are named relative to the item, so a folder can be moved as one.
"""

import hashlib
import os
from calendar import monthrange
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from rsvlm_cli import __version__
from rsvlm_cli.errors import NotGeoreferenced
from rsvlm_cli.geo.georef import Georeference, Polygon, box_ring
from rsvlm_cli.output.document import LONLAT_DECIMALS, georeference
from rsvlm_cli.results import Mask, Report, Source

VERSION = "1.1.0"
EXTENSIONS = {"projection": "2.0.0", "processing": "1.2.0", "file": "2.1.0", "classification": "2.0.0"}
MEDIA_TYPES = {
    ".geojson": "application/geo+json",
    ".gpkg": "application/geopackage+sqlite3",
    ".html": "text/html",
    ".json": "application/json",
    ".png": "image/png",
    ".txt": "text/plain",
    ".tif": "image/tiff; application=geotiff; profile=cloud-optimized",
    ".tiff": "image/tiff; application=geotiff; profile=cloud-optimized",
}
SHA256_MULTIHASH = "1220"
"""The code of SHA-256 and the length of its digest, in hexadecimal (multiformats.io)."""


def build_item(path: Path, report: Report, files: Sequence[Path], command: str) -> dict[str, Any]:
    """Return the item.

    Args:
        path: where the item will lie; its stem is the item's id.
        report: the result.
        files: what was written of it, each an asset with its size and checksum.
        command: what the user typed.
    """
    source = report.sources[0]
    reference = georeference(source)
    polygons = _footprint(reference, source)
    item: dict[str, Any] = {
        "type": "Feature",
        "stac_version": VERSION,
        "stac_extensions": [
            f"https://stac-extensions.github.io/{name}/v{version}/schema.json" for name, version in EXTENSIONS.items()
        ],
        "id": path.stem,
        "geometry": _geometry(polygons),
    }
    if polygons:
        item["bbox"] = _bounds(polygons)
    item["properties"] = _properties(report, command) | _projection(source)
    item["links"] = []
    item["assets"] = {
        f"source-{k}": {
            "href": _relative(Path(raster.path), path),
            "roles": ["source"],
            "title": Path(raster.path).name,
        }
        for k, raster in enumerate(report.sources, start=1)
    }
    for file in files:
        item["assets"][file.suffix[1:].lower()] = _asset(file, path, report)
    return item


def _footprint(reference: Georeference | None, source: Source) -> list[Polygon]:
    """Return the window in longitude and latitude, cut at the antimeridian; none where it has no place."""
    try:
        return [] if reference is None else reference.polygon_lonlat([box_ring(source.window_px)])
    except NotGeoreferenced:
        return []


def _geometry(polygons: Sequence[Polygon]) -> dict[str, Any] | None:
    rounded = [
        [[[round(v, LONLAT_DECIMALS) for v in point] for point in ring] for ring in polygon] for polygon in polygons
    ]
    if len(rounded) == 1:
        return {"type": "Polygon", "coordinates": rounded[0]}
    return {"type": "MultiPolygon", "coordinates": rounded} if rounded else None


def _bounds(polygons: Sequence[Polygon]) -> list[float]:
    """Return west, south, east, north; west is the greater where the antimeridian lies between (RFC 7946, 5.2)."""
    parts = [np.array(polygon[0]) for polygon in polygons]
    if len(parts) > 1:
        west = min(part[:, 0].min() for part in parts if part[:, 0].max() >= 180)
        east = max(part[:, 0].max() for part in parts if part[:, 0].min() <= -180)
    else:
        west, east = parts[0][:, 0].min(), parts[0][:, 0].max()
    south, north = min(part[:, 1].min() for part in parts), max(part[:, 1].max() for part in parts)
    return [round(float(v), LONLAT_DECIMALS) for v in (west, south, east, north)]


def _properties(report: Report, command: str) -> dict[str, Any]:
    source = report.sources[0]
    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    dates = [raster.date for raster in report.sources if raster.date]
    properties: dict[str, Any] = {"title": f"{report.task}: {', '.join(Path(s.path).name for s in report.sources)}"}
    if dates:
        start, end = min(_span(text)[0] for text in dates), max(_span(text)[1] for text in dates)
        properties |= {"datetime": None, "start_datetime": start, "end_datetime": end}
    else:
        # An item must have a time; of imagery without a date the only one known is the result's own.
        properties |= {"datetime": now, "description": "The imagery has no date: datetime is that of the processing."}
    properties |= {"created": now, "processing:software": {"rsvlm": __version__}, "processing:lineage": command}
    if source.gsd_m is not None:
        properties["gsd"] = source.gsd_m
    properties |= {"rsvlm:task": report.task, "rsvlm:model": report.model[0], "rsvlm:model_sha256": report.model[1]}
    return properties


def _projection(source: Source) -> dict[str, Any]:
    """Return the projection extension's fields: of the source's own grid, rows before columns."""
    fields: dict[str, Any] = {"proj:shape": [source.height_px, source.width_px]}
    if source.crs is not None and source.transform is not None:
        is_code = len(source.crs.split(":")) == 2 and len(source.crs) <= 20
        fields |= {"proj:code": source.crs} if is_code else {"proj:code": None, "proj:wkt2": source.crs}
        fields["proj:transform"] = list(source.transform)
    return fields


def _asset(file: Path, item: Path, report: Report) -> dict[str, Any]:
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    suffix = file.suffix.lower()
    asset: dict[str, Any] = {
        "href": _relative(file, item),
        "type": MEDIA_TYPES[suffix],
        "roles": ["overview"] if suffix in (".png", ".html") else ["data"],
        "file:size": file.stat().st_size,
        "file:checksum": SHA256_MULTIHASH + digest,
    }
    masks = [result for result in report.results if isinstance(result, Mask)]
    if suffix in (".tif", ".tiff") and masks:
        names = enumerate(("background", *masks[0].labels))
        asset["classification:classes"] = [
            {"value": value, "name": _name(label)} | {"title": label} for value, label in names
        ]
    return asset


def _name(label: str) -> str:
    """Return a label as the classification extension wants names: letters, digits, dashes and underscores."""
    return "".join(char if char.isascii() and (char.isalnum() or char in "-_") else "_" for char in label)


def _relative(file: Path, item: Path) -> str:
    """Return a file's address from the item's folder, with forward slashes; absolute on another drive."""
    try:
        relative = os.path.relpath(file, item.parent)
    except ValueError:
        return file.resolve().as_uri()
    return Path(relative).as_posix()


def _span(date: str) -> tuple[str, str]:
    """Return the first and last second of a year, a month or a day."""
    year, month, day = (*map(int, date[:10].split("-")), 0, 0)[:3]
    last_month = month or 12
    last_day = day or monthrange(year, last_month)[1]
    first = f"{year:04d}-{month or 1:02d}-{day or 1:02d}T00:00:00Z"
    return first, f"{year:04d}-{last_month:02d}-{last_day:02d}T23:59:59Z"
