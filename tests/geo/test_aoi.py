import json

import numpy as np
import pyogrio
import pytest
import shapely

from rsvlm_cli.errors import InputError, NotGeoreferenced, UsageError, WindowOutside
from rsvlm_cli.geo.aoi import read_aoi
from rsvlm_cli.geo.georef import Georeference
from tests.geo.test_region import Scene

RING_PX = np.array([(50.0, 40), (250, 60), (200, 220), (50, 40)])


def feature(ring, kind="Polygon"):
    coordinates = [ring.tolist()] if kind == "Polygon" else ring.tolist()
    return {"type": "Feature", "properties": {}, "geometry": {"type": kind, "coordinates": coordinates}}


def write(path, **document):
    path.write_text(json.dumps(document), "utf-8")
    return path


def test_geojson_polygons_become_pixels(tmp_path):
    ring = Georeference.of(Scene()).px_to_lonlat(RING_PX)
    path = write(tmp_path / "aoi.geojson", type="FeatureCollection", features=[feature(ring)])
    aoi = read_aoi(path, Scene())
    assert shapely.symmetric_difference(aoi.shape, shapely.Polygon(RING_PX)).area < 1
    assert aoi.bounds_px == pytest.approx((50, 40, 250, 220), abs=0.01)


def test_an_older_file_s_coordinate_system_is_followed(tmp_path):
    ring = Georeference.of(Scene()).px_to_crs(RING_PX)
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
    path = write(tmp_path / "aoi.json", type="FeatureCollection", crs=crs, features=[feature(ring)])
    assert read_aoi(path, Scene()).bounds_px == pytest.approx((50, 40, 250, 220), abs=0.01)


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:3857", "EPSG:4326"])
def test_geopackages_written_by_gdal_are_read_in_any_coordinate_system(tmp_path, crs):
    from rasterio.warp import transform

    ring = Georeference.of(Scene()).px_to_crs(RING_PX)
    ring = np.column_stack(transform("EPSG:32633", crs, *ring.T))
    path = tmp_path / "aoi.gpkg"
    shapes = shapely.to_wkb(np.array([shapely.Polygon(ring), shapely.Point(ring[0])], object)[:1])
    pyogrio.raw.write(path, shapes, [], [], crs=crs, geometry_type="Polygon", driver="GPKG")
    assert read_aoi(path, Scene()).bounds_px == pytest.approx((50, 40, 250, 220), abs=0.05)


def test_holes_stay_open_and_what_lies_outside_the_raster_is_cut(tmp_path):
    place = Georeference.of(Scene())
    outer, hole = ([(-50, -50), (500, -50), (500, 150), (-50, 150)], [(100, 50), (200, 50), (200, 100), (100, 100)])
    rings = [place.px_to_lonlat(np.array([*ring, ring[0]], float)).tolist() for ring in (outer, hole)]
    aoi = read_aoi(write(tmp_path / "a.geojson", type="Polygon", coordinates=rings), Scene())
    assert aoi.bounds_px == pytest.approx((0, 0, 400, 150), abs=0.05)
    assert aoi.holds(50, 75)
    assert not aoi.holds(150, 75)
    assert not aoi.meets((120, 60, 180, 90))
    cells = aoi.cells((0.0, 0.0, 400.0, 300.0), (6, 8))
    expected = np.zeros((6, 8), bool)
    expected[:3] = True
    expected[1, 2:4] = False
    np.testing.assert_array_equal(cells, expected)


def test_what_is_no_area_is_refused_in_one_line(tmp_path):
    ring = Georeference.of(Scene()).px_to_lonlat(RING_PX)
    line = write(tmp_path / "line.geojson", type="FeatureCollection", features=[feature(ring, "LineString")])
    with pytest.raises(InputError, match="holds no polygon"):
        read_aoi(line, Scene())
    far = write(tmp_path / "far.geojson", type="FeatureCollection", features=[feature(ring + 0.5)])
    with pytest.raises(WindowOutside, match="share no ground"):
        read_aoi(far, Scene())
    (tmp_path / "bad.geojson").write_text("{", "utf-8")
    (tmp_path / "bad.gpkg").write_text("no database", "utf-8")
    for name in ("bad.geojson", "bad.gpkg"):
        with pytest.raises(InputError, match="can be read"):
            read_aoi(tmp_path / name, Scene())
    with pytest.raises(InputError, match="no such file"):
        read_aoi(tmp_path / "none.gpkg", Scene())
    with pytest.raises(UsageError, match="ogr2ogr"):
        read_aoi(tmp_path / "aoi.shp", Scene())
    with pytest.raises(NotGeoreferenced):
        read_aoi(line, Scene(crs=None, transform=None))
