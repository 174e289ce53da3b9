"""Where results land: the fake engine says exactly where, the files must say the same on the map."""

import json
import sqlite3
import struct
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
from PIL import Image
from rasterio.transform import Affine
from rasterio.warp import transform as warp

from rsvlm_cli.tasks.grammar import format_mask
from tests.factories import draw_scene, write_geotiff
from tests.fake_engine import WRITTEN

ALBERS = "+proj=aea +lat_0=-32 +lon_0=-60 +lat_1=-5 +lat_2=-42 +x_0=0 +y_0=0 +ellps=aust_SA +units=m +no_defs"
PLACES = {
    "north": ("EPSG:32633", Affine(1, 0, 500_000, 0, -1, 5_000_000)),
    "south": ("EPSG:32736", Affine(0.5, 0, 523_000, 0, -0.5, 9_252_000)),
    "rotated": ("EPSG:32633", Affine.translation(500_000, 5_000_000) @ Affine.rotation(33) @ Affine.scale(2, -3)),
    "degrees": ("EPSG:4326", Affine(1e-4, 0, -70.5, 0, -1e-4, -33.4)),
    "mercator": ("EPSG:3857", Affine(2, 0, -7_800_000, 0, -2, -4_000_000)),
    "no authority": (ALBERS, Affine(10, 0, 100_000, 0, -10, 200_000)),
}  # fmt: skip


@pytest.fixture(params=PLACES)
def placed(request, scenes):
    """``placed.tif`` of 400 x 300 px somewhere on Earth; returns its crs and transform."""
    crs, transform = PLACES[request.param]
    write_geotiff(scenes / "placed.tif", draw_scene((400, 300)), crs=crs, transform=transform)
    return crs, transform


def corners_px() -> np.ndarray:
    x1, y1, x2, y2 = 40.0, 60.0, 120.0, 120.0
    return np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2)])


def to_px(coordinates, crs: str, from_crs: str, transform: Affine) -> np.ndarray:
    """Carry map coordinates to pixels by rasterio alone, a second witness."""
    xs, ys = warp(from_crs, crs, *np.asarray(coordinates, float).T)
    return np.array([~transform @ point for point in zip(xs, ys, strict=True)])


def is_near_every_corner(ring_px: np.ndarray, corners: np.ndarray, tolerance_px: float) -> bool:
    distance = np.linalg.norm(ring_px[:, None] - corners[None], axis=2).min(axis=0)
    return bool((distance < tolerance_px).all())


def test_a_box_in_geojson_lies_where_it_is_within_a_pixel(run, fake_engine, placed):
    crs, transform = placed
    fake_engine("[10, 20, 30, 40]")
    done = run("ground", "placed.tif", "-p", "ship", "-o", "box.geojson")
    assert done.exit_code == 0, done.stderr
    collection = json.loads(Path("box.geojson").read_text())
    assert collection.keys() == {"type", "features"}
    (feature,) = collection["features"]
    assert feature["geometry"]["type"] == "Polygon"
    (ring,) = feature["geometry"]["coordinates"]
    assert ring[0] == ring[-1]
    ring_px = to_px(ring, crs, "EPSG:4326", transform)
    assert is_near_every_corner(ring_px, corners_px(), 0.05)
    lon, lat = np.array(ring).T
    assert ((lon[:-1] * lat[1:] - lon[1:] * lat[:-1]).sum()) > 0  # anticlockwise
    properties = feature["properties"]
    assert (properties["label"], properties["task"]) == ("ship", "ground")
    assert [properties[f"{k}_px"] for k in ("x1", "y1", "x2", "y2")] == pytest.approx([40, 60, 120, 120])
    assert 0 < properties["score"] <= 1


def test_a_box_in_json_is_given_in_pixels_map_and_degrees(run, fake_engine, placed):
    crs, transform = placed
    fake_engine("[10, 20, 30, 40]")
    (box,) = json.loads(run("ground", "placed.tif", "-p", "ship", "--json").stdout)["results"]
    assert box["box_px"] == pytest.approx([40, 60, 120, 120])
    map_px = np.array([~transform @ tuple(point) for point in box["ring_crs"]])
    np.testing.assert_allclose(map_px[:4], corners_px(), atol=1e-5)
    np.testing.assert_allclose(to_px(box["ring_lonlat"], crs, "EPSG:4326", transform)[:4], corners_px(), atol=0.05)
    if crs.startswith("EPSG:32"):
        assert box["area_m2"] == pytest.approx(80 * 60 * abs(transform.determinant), rel=2e-3)


def test_a_geopackage_opens_in_gdal_with_the_raster_s_crs_and_place(run, fake_engine, placed):
    crs, transform = placed
    fake_engine("[10, 20, 30, 40] [50, 50, 60, 60]")
    assert run("ground", "placed.tif", "-p", "ship", "-o", "box.gpkg").exit_code == 0
    info = pyogrio.read_info("box.gpkg", layer="ground")
    assert info["features"] == 2
    assert info["geometry_type"] == "Polygon"
    assert rasterio.crs.CRS.from_user_input(info["crs"]) == rasterio.crs.CRS.from_user_input(crs)
    meta, _, geometries, values = pyogrio.raw.read("box.gpkg", layer="ground")
    assert values[list(meta["fields"]).index("label")].tolist() == ["ship", "ship"]
    ring = np.frombuffer(geometries[0][13:], "<f8").reshape(-1, 2)
    map_px = np.array([~transform @ tuple(point) for point in ring])
    assert is_near_every_corner(map_px, corners_px(), 1e-4)
    x, y = transform @ (80, 90)
    _, _, hits, _ = pyogrio.raw.read("box.gpkg", layer="ground", bbox=(x - 1e-9, y - 1e-9, x + 1e-9, y + 1e-9))
    assert len(hits) >= 1  # through the R-tree
    _, _, hits, _ = pyogrio.raw.read("box.gpkg", layer="ground", bbox=(x + 1e7, y, x + 1e7 + 1, y + 1))
    assert len(hits) == 0


def test_a_geopackage_has_index_style_and_whole_tables(run, fake_engine):
    fake_engine("[10, 20, 30, 40]")
    assert run("ground", "scene.tif", "-p", "ship", "-o", "box.gpkg").exit_code == 0
    database = sqlite3.connect("box.gpkg")
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert database.execute("PRAGMA foreign_key_check").fetchall() == []
    assert database.execute("PRAGMA application_id").fetchone() == (struct.unpack(">I", b"GPKG")[0],)
    srs = dict(database.execute("SELECT srs_id, organization FROM gpkg_spatial_ref_sys"))
    assert srs == {-1: "NONE", 0: "NONE", 4326: "EPSG", 32633: "EPSG"}
    assert database.execute("SELECT count(*) FROM rtree_ground_geom").fetchone() == (1,)
    (style,) = database.execute("SELECT styleQML FROM layer_styles WHERE useAsDefault = 1").fetchone()
    assert 'value="ship"' in style
    tables = [name for (name,) in database.execute("SELECT table_name FROM gpkg_contents")]
    database.close()
    assert tables == ["ground", "layer_styles"]
    assert pyogrio.read_info("box.gpkg")["features"] == 1  # the layer is what a reader finds first


def test_gdal_can_edit_a_geopackage_and_its_index_follows(run, fake_engine):
    fake_engine("[10, 20, 30, 40]")
    assert run("ground", "scene.tif", "-p", "ship", "-o", "box.gpkg").exit_code == 0
    meta, _, geometries, values = pyogrio.raw.read("box.gpkg", layer="ground")
    kind = {"layer": "ground", "geometry_type": "Polygon", "crs": meta["crs"]}
    pyogrio.raw.write("box.gpkg", geometries, values, meta["fields"], append=True, **kind)
    database = sqlite3.connect("box.gpkg")
    assert database.execute("SELECT count(*) FROM rtree_ground_geom").fetchone() == (2,)
    database.close()


def test_without_a_georeference_geojson_is_refused_and_geopackage_holds_pixels(run, fake_engine, scenes):
    Image.fromarray(np.moveaxis(draw_scene((400, 300)), 0, -1)).save(scenes / "plain.png")
    engine = fake_engine("[10, 20, 30, 40]")
    done = run("ground", "plain.png", "-p", "ship", "-o", "box.geojson")
    assert done.exit_code == 3
    assert engine.calls == []
    assert run("ground", "plain.png", "-p", "ship", "-o", "box.gpkg").exit_code == 0
    meta, _, geometries, _ = pyogrio.raw.read("box.gpkg", layer="ground")
    ring = np.frombuffer(geometries[0][13:], "<f8").reshape(-1, 2)
    assert is_near_every_corner(ring * (1, -1), corners_px(), 1e-6)
    assert "32633" not in str(meta["crs"])


def test_a_mask_is_the_same_ground_in_every_file(run, fake_engine, placed):
    _, transform = placed
    cells = np.zeros((24, 24), bool)
    cells[4:10, 6:18] = True
    cells[6, 8] = False  # a hole
    reply = format_mask(cells, WRITTEN.mask_style, "water")
    for suffix in ("tif", "geojson", "json", "gpkg"):
        fake_engine(reply)
        done = run("segment", "placed.tif", "--label", "water", "--tile", "whole", "-o", f"mask.{suffix}")
        assert done.exit_code == 0, done.stderr
        assert done.stdout.startswith("water\t12.3%")
    with rasterio.open("mask.tif") as dataset:
        np.testing.assert_array_equal(dataset.read(1), cells)
        np.testing.assert_allclose(dataset.transform @ (24, 24), transform @ (400, 300))
        assert dataset.nodata == 255
        assert dataset.colormap(1)[1][3] == 255
    mask = json.loads(Path("mask.json").read_text())["results"][0]
    assert mask["size_cells"] == [24, 24]
    assert [v for value, n in mask["runs"] for v in [value] * n] == cells.astype(int).ravel().tolist()
    (feature,) = json.loads(Path("mask.geojson").read_text())["features"]
    assert len(feature["geometry"]["coordinates"]) == 2  # the hole is a hole
    assert feature["properties"]["area_m2"] == pytest.approx(mask["cover"][0]["area_m2"], rel=1e-3)
    assert pyogrio.read_info("mask.gpkg", layer="segment")["features"] == 1


def test_an_overlay_shows_box_mask_and_legend_in_their_place(run, fake_engine, scenes):
    write_geotiff(scenes / "grey.tif", np.full((3, 600, 600), 90, np.uint8))
    cells = np.zeros((24, 24), bool)
    cells[:12, :12] = True
    fake_engine(format_mask(cells, WRITTEN.mask_style, "water"))
    assert run("segment", "grey.tif", "--label", "water", "--tile", "whole", "--preview", "mask.png").exit_code == 0
    picture = np.asarray(Image.open("mask.png")).astype(int)
    panel = picture[28 : 28 + 600, 8 : 8 + 600]
    assert (panel[50:250, 50:250] != 90).any(axis=2).all()
    assert (panel[350:550, 350:550] == 90).all()
    fake_engine("[10, 20, 30, 40]")
    assert run("ground", "grey.tif", "-p", "ship", "--preview", "box.png").exit_code == 0
    panel = np.asarray(Image.open("box.png")).astype(int)[28 : 28 + 600, 8 : 8 + 600]
    ys, xs = np.nonzero((panel != 90).any(axis=2))
    assert (xs.min(), ys.min(), xs.max(), ys.max()) == pytest.approx((60, 120, 180, 240), abs=3)


def test_show_off_a_terminal_says_why_it_draws_nothing(run, fake_engine):
    fake_engine("a port")
    done = run("caption", "scene.tif", "--show")
    assert done.stdout == "a port\n"
    assert "warning: --show draws on a terminal" in done.stderr


def test_nothing_is_overwritten_unless_asked(run, fake_engine, scenes):
    (scenes / "answer.json").write_text("mine")
    engine = fake_engine("a port")
    refused = run("caption", "scene.tif", "-o", "answer.json")
    assert refused.exit_code == 3
    assert (scenes / "answer.json").read_text() == "mine"
    assert engine.calls == []
    assert run("caption", "scene.tif", "-o", "answer.json", "--overwrite").exit_code == 0
    assert json.loads((scenes / "answer.json").read_text())["results"][0]["text"] == "a port"


@pytest.mark.parametrize("suffix", ["gpkg", "png", "json", "tif"])
def test_an_interrupted_write_leaves_nothing_behind(run, fake_engine, scenes, monkeypatch, suffix):
    def break_off(*_):
        raise KeyboardInterrupt

    before = sorted(scenes.iterdir())
    monkeypatch.setattr("os.replace", break_off)
    fake_engine(format_mask(np.ones((24, 24), bool), WRITTEN.mask_style, "water"))
    done = run("segment", "scene.tif", "--label", "water", "--tile", "whole", "-o", f"mask.{suffix}")
    assert done.exit_code == 130
    assert sorted(scenes.iterdir()) == before


def test_a_style_lies_beside_mask_and_polygons_and_a_user_s_own_is_kept(run, fake_engine, scenes):
    reply = format_mask(np.ones((24, 24), bool), WRITTEN.mask_style, "water")
    fake_engine(*[reply] * 4)
    command = ("segment", "scene.tif", "--label", "water", "--tile", "whole", "-o")
    assert run(*command, "mask.tif").exit_code == 0
    style = (scenes / "mask.qml").read_text()
    assert run(*command, "mask.geojson").stderr == ""
    assert (scenes / "mask.qml").read_text() == style
    (scenes / "mask.qml").write_text("mine")
    kept = run(*command, "mask.tiff")
    assert (kept.exit_code, (scenes / "mask.qml").read_text()) == (0, "mine")
    assert "mask.qml: is another style and was kept" in kept.stderr
    assert run(*command, "mask.tif", "--overwrite").exit_code == 0
    assert (scenes / "mask.qml").read_text() == style


def test_several_rasters_write_one_file_each_by_their_stem(run, fake_engine, scenes):
    fake_engine("a port", "a field")
    assert run("caption", "before.tif", "after.tif", "-o", "{stem}.txt").exit_code == 0
    assert (scenes / "before.txt").read_text() == "a port\n"
    assert (scenes / "after.txt").read_text() == "a field\n"
    done = run("caption", "before.tif", "after.tif", "-o", "all.txt")
    assert done.exit_code == 2
    assert "{stem}" in done.stderr


def test_several_rasters_share_one_jsonl(run, fake_engine, scenes):
    fake_engine("a port", "a field")
    assert run("caption", "before.tif", "after.tif", "-o", "all.jsonl").exit_code == 0
    lines = (scenes / "all.jsonl").read_text().splitlines()
    assert [json.loads(line)["results"][0]["text"] for line in lines] == ["a port", "a field"]


def test_a_model_s_text_cannot_command_the_terminal(run, fake_engine):
    fake_engine("a\x1b[2J port\nof call")
    assert run("caption", "scene.tif").stdout == "a\N{REPLACEMENT CHARACTER}[2J port of call\n"


def test_a_mask_of_a_raster_without_georeference_lies_on_its_pixel_grid(run, tmp_path):
    Image.new("RGB", (90, 70), (60, 110, 60)).save(tmp_path / "plain.png")
    done = run("segment", tmp_path / "plain.png", "--label", "water", "--out", tmp_path / "mask.tif")
    assert done.exit_code == 0, done.stderr
    with Image.open(tmp_path / "mask.tif") as mask:
        assert mask.size == (90, 70)
