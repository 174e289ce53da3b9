"""Features as a GeoPackage in the raster's own coordinate system, with an R-tree and a QGIS style, by sqlite3 alone.

Source: OGC GeoPackage Encoding Standard 1.4 (12-128r19): sections 1.1.2 spatial reference systems, 2.1.3 geometry
encoding, annex F.3 R-tree. A raster without a georeference gets srs_id -1 (undefined Cartesian) and y turned upwards,
which is where desktop GIS draw such a raster.
"""

import sqlite3
import struct
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from rsvlm_cli.geo.georef import close_ring
from rsvlm_cli.geo.srs import describe_srs
from rsvlm_cli.output.document import georeference
from rsvlm_cli.output.features import Feature
from rsvlm_cli.output.style import Colour, style_qml
from rsvlm_cli.results import Source

APPLICATION_ID = 0x47504B47
"""``GPKG``."""
USER_VERSION = 10400
CUSTOM_SRS_ID = 100_000
"""Outside the ids that EPSG gives out."""

COLUMNS = {
    "task": "TEXT",
    "label": "TEXT",
    "text": "TEXT",
    "question": "TEXT",
    "score": "REAL",
    "date_before": "TEXT",
    "date": "TEXT",
    "area_m2": "REAL",
    "length_m": "REAL",
    "perimeter_m": "REAL",
    "x1_px": "REAL",
    "y1_px": "REAL",
    "x2_px": "REAL",
    "y2_px": "REAL",
    "source": "TEXT",
    "model": "TEXT",
}
"""The properties of `rsvlm_cli.output.features.Feature`."""

_TABLES = """
CREATE TABLE gpkg_spatial_ref_sys (srs_name TEXT NOT NULL, srs_id INTEGER PRIMARY KEY, organization TEXT NOT NULL,
  organization_coordsys_id INTEGER NOT NULL, definition TEXT NOT NULL, description TEXT);
CREATE TABLE gpkg_contents (table_name TEXT NOT NULL PRIMARY KEY, data_type TEXT NOT NULL, identifier TEXT UNIQUE,
  description TEXT DEFAULT '', last_change DATETIME NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now')),
  min_x DOUBLE, min_y DOUBLE, max_x DOUBLE, max_y DOUBLE, srs_id INTEGER,
  CONSTRAINT fk_gc_r_srs_id FOREIGN KEY (srs_id) REFERENCES gpkg_spatial_ref_sys(srs_id));
CREATE TABLE gpkg_geometry_columns (table_name TEXT NOT NULL, column_name TEXT NOT NULL,
  geometry_type_name TEXT NOT NULL, srs_id INTEGER NOT NULL, z TINYINT NOT NULL, m TINYINT NOT NULL,
  CONSTRAINT pk_geom_cols PRIMARY KEY (table_name, column_name), CONSTRAINT uk_gc_table_name UNIQUE (table_name),
  CONSTRAINT fk_gc_tn FOREIGN KEY (table_name) REFERENCES gpkg_contents(table_name),
  CONSTRAINT fk_gc_srs FOREIGN KEY (srs_id) REFERENCES gpkg_spatial_ref_sys (srs_id));
CREATE TABLE gpkg_extensions (table_name TEXT, column_name TEXT, extension_name TEXT NOT NULL, definition TEXT NOT NULL,
  scope TEXT NOT NULL, CONSTRAINT ge_tce UNIQUE (table_name, column_name, extension_name));
CREATE TABLE layer_styles (id INTEGER PRIMARY KEY AUTOINCREMENT, f_table_catalog TEXT, f_table_schema TEXT,
  f_table_name TEXT, f_geometry_column TEXT, styleName TEXT, styleQML TEXT, styleSLD TEXT, useAsDefault BOOLEAN,
  description TEXT, owner TEXT, ui TEXT, update_time DATETIME DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now')));
"""

_SRS = (
    ("Undefined Cartesian", -1, "NONE", -1, "undefined"),
    ("Undefined geographic", 0, "NONE", 0, "undefined"),
)

_RTREE_TRIGGERS = """
CREATE TRIGGER rtree_{t}_geom_insert AFTER INSERT ON {t} WHEN (new.geom NOT NULL AND NOT ST_IsEmpty(NEW.geom))
BEGIN INSERT OR REPLACE INTO rtree_{t}_geom VALUES (NEW.fid, ST_MinX(NEW.geom), ST_MaxX(NEW.geom), ST_MinY(NEW.geom),
  ST_MaxY(NEW.geom)); END;
CREATE TRIGGER rtree_{t}_geom_update6 AFTER UPDATE OF geom ON {t} WHEN OLD.fid = NEW.fid AND (NEW.geom NOTNULL AND NOT
  ST_IsEmpty(NEW.geom)) AND (OLD.geom NOTNULL AND NOT ST_IsEmpty(OLD.geom))
BEGIN UPDATE rtree_{t}_geom SET minx = ST_MinX(NEW.geom), maxx = ST_MaxX(NEW.geom), miny = ST_MinY(NEW.geom),
  maxy = ST_MaxY(NEW.geom) WHERE id = NEW.fid; END;
CREATE TRIGGER rtree_{t}_geom_update7 AFTER UPDATE OF geom ON {t} WHEN OLD.fid = NEW.fid AND (NEW.geom NOTNULL AND NOT
  ST_IsEmpty(NEW.geom)) AND (OLD.geom ISNULL OR ST_IsEmpty(OLD.geom))
BEGIN INSERT INTO rtree_{t}_geom VALUES (NEW.fid, ST_MinX(NEW.geom), ST_MaxX(NEW.geom), ST_MinY(NEW.geom),
  ST_MaxY(NEW.geom)); END;
CREATE TRIGGER rtree_{t}_geom_update2 AFTER UPDATE OF geom ON {t} WHEN OLD.fid = NEW.fid AND (NEW.geom ISNULL OR
  ST_IsEmpty(NEW.geom)) BEGIN DELETE FROM rtree_{t}_geom WHERE id = OLD.fid; END;
CREATE TRIGGER rtree_{t}_geom_update5 AFTER UPDATE ON {t} WHEN OLD.fid != NEW.fid AND (NEW.geom NOTNULL AND NOT
  ST_IsEmpty(NEW.geom)) BEGIN DELETE FROM rtree_{t}_geom WHERE id = OLD.fid; INSERT OR REPLACE INTO rtree_{t}_geom
  VALUES (NEW.fid, ST_MinX(NEW.geom), ST_MaxX(NEW.geom), ST_MinY(NEW.geom), ST_MaxY(NEW.geom)); END;
CREATE TRIGGER rtree_{t}_geom_update4 AFTER UPDATE ON {t} WHEN OLD.fid != NEW.fid AND (NEW.geom ISNULL OR
  ST_IsEmpty(NEW.geom)) BEGIN DELETE FROM rtree_{t}_geom WHERE id IN (OLD.fid, NEW.fid); END;
CREATE TRIGGER rtree_{t}_geom_delete AFTER DELETE ON {t} WHEN old.geom NOT NULL
BEGIN DELETE FROM rtree_{t}_geom WHERE id = OLD.fid; END;
"""


def write_geopackage(
    path: Path, layer: str, features: Sequence[Feature], source: Source, colours: Mapping[str, Colour]
) -> None:
    """Write one layer of polygons to a file that does not exist yet.

    Args:
        path: the file.
        layer: its table; a plain word.
        features: the polygons.
        source: whose coordinate system they get.
        colours: of each label, for QGIS.
    """
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        database.execute(f"PRAGMA user_version = {USER_VERSION}")
        database.executescript(_TABLES)
        srs_id = _add_srs(database, source)
        bounds = _add_features(database, layer, features, source, srs_id)
        database.execute(
            "INSERT INTO gpkg_contents (table_name, data_type, identifier, min_x, min_y, max_x, max_y, srs_id) "
            "VALUES (?, 'features', ?, ?, ?, ?, ?, ?)",
            (layer, layer, *_outer_bounds(bounds), srs_id),
        )
        database.execute("INSERT INTO gpkg_geometry_columns VALUES (?, 'geom', 'POLYGON', ?, 0, 0)", (layer, srs_id))
        _add_rtree(database, layer, bounds)
        # Behind the layer, so that a reader that takes the first table takes the layer.
        database.execute(
            "INSERT INTO gpkg_contents (table_name, data_type, identifier) "
            "VALUES ('layer_styles', 'attributes', 'layer_styles')"
        )
        database.execute(
            "INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, f_geometry_column, styleName, "
            "styleQML, useAsDefault, description) VALUES ('', '', ?, 'geom', 'rsvlm', ?, 1, 'colours of rsvlm')",
            (layer, style_qml(colours)),
        )


def _add_srs(database: sqlite3.Connection, source: Source) -> int:
    """Fill the table of coordinate systems and return the id of the source's."""
    world = describe_srs("EPSG:4326")
    rows: list[tuple[Any, ...]] = [*_SRS, (world.name, 4326, "EPSG", 4326, world.wkt)]
    srs_id = -1
    if source.crs is not None:
        srs = describe_srs(source.crs)
        srs_id = srs.code if srs.authority == "EPSG" and srs.code is not None else CUSTOM_SRS_ID
        if srs_id != 4326:
            rows.append(
                (srs.name, srs_id, srs.authority or "NONE", srs.code if srs.code is not None else srs_id, srs.wkt)
            )
    database.executemany(
        "INSERT INTO gpkg_spatial_ref_sys (srs_name, srs_id, organization, organization_coordsys_id, definition) "
        "VALUES (?, ?, ?, ?, ?)",
        rows,
    )
    return srs_id


def _add_features(
    database: sqlite3.Connection, layer: str, features: Sequence[Feature], source: Source, srs_id: int
) -> np.ndarray:
    """Create and fill the layer's table; return the bounds ``(N, 4)`` as min x, max x, min y, max y."""
    columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
    database.execute(f"CREATE TABLE {layer} (fid INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, geom POLYGON, {columns})")
    reference = georeference(source)
    bounds = np.zeros((len(features), 4))
    marks = ", ".join("?" * (len(COLUMNS) + 1))
    for k, feature in enumerate(features):
        rings = [close_ring(ring) for ring in feature.rings_px]
        rings = [ring * (1, -1) if reference is None else reference.px_to_crs(ring) for ring in rings]
        (min_x, min_y), (max_x, max_y) = rings[0].min(axis=0), rings[0].max(axis=0)
        bounds[k] = min_x, max_x, min_y, max_y
        values = [feature.properties[name] for name in COLUMNS]
        database.execute(
            f"INSERT INTO {layer} (geom, {', '.join(COLUMNS)}) VALUES ({marks})",
            (_geometry(rings, srs_id, bounds[k]), *values),
        )
    return bounds


def _geometry(rings: Sequence[np.ndarray], srs_id: int, bounds: np.ndarray) -> bytes:
    """Return the GeoPackage binary of a polygon: header with envelope, then little-endian WKB."""
    head = b"GP" + struct.pack("<BBi4d", 0, 0b011, srs_id, *bounds)
    body = b"".join(struct.pack("<I", len(ring)) + np.ascontiguousarray(ring, "<f8").tobytes() for ring in rings)
    return head + struct.pack("<BII", 1, 3, len(rings)) + body


def _outer_bounds(bounds: np.ndarray) -> tuple[float | None, ...]:
    """Return min x, min y, max x, max y of all features, or four times None."""
    if not len(bounds):
        return (None,) * 4
    return (*map(float, bounds[:, [0, 2]].min(axis=0)), *map(float, bounds[:, [1, 3]].max(axis=0)))


def _add_rtree(database: sqlite3.Connection, layer: str, bounds: np.ndarray) -> None:
    index = f"rtree_{layer}_geom"
    database.execute(f"CREATE VIRTUAL TABLE {index} USING rtree(id, minx, maxx, miny, maxy)")
    rows = [(fid, *map(float, row)) for fid, row in enumerate(bounds, start=1)]
    database.executemany(f"INSERT INTO {index} VALUES (?, ?, ?, ?, ?)", rows)
    # The triggers call functions that only spatial readers have, so they come after our own rows.
    database.executescript(_RTREE_TRIGGERS.format(t=layer))
    database.execute(
        "INSERT INTO gpkg_extensions VALUES (?, 'geom', 'gpkg_rtree_index', "
        "'http://www.geopackage.org/spec140/#extension_rtree', 'write-only')",
        (layer,),
    )
