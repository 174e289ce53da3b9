"""What was drawn or corrected in a GIS becomes records in the pixels of its raster."""

import numpy as np
import pyogrio
import pytest
import shapely
from rasterio.transform import Affine
from rasterio.warp import transform_geom
from shapely.affinity import affine_transform
from shapely.geometry import box as rectangle
from shapely.geometry import mapping, shape

from rsvlm_cli.errors import InputError
from tests.factories import write_geotiff
from tests.train.published_sets import convert, read_prepared
from train.data.records import LabelledBox

UTM, TO_UTM = "EPSG:32633", Affine(0.5, 0, 500_000, 0, -0.5, 5_000_000)
SIDE = 1100

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning", "ignore:'crs' was not")


def write_raster(path, size=SIDE, crs=UTM, value=90):
    path.parent.mkdir(parents=True, exist_ok=True)
    transform = TO_UTM if crs else None
    write_geotiff(path, np.full((3, size, size), value, np.uint8), crs=crs, transform=transform)


def write_layer(path, features, *, layer="drawn", crs=UTM, to_crs=TO_UTM):
    """Write ``(shape in pixels, attributes)`` as a layer of a GeoPackage."""
    a, b, c, d, e, f, *_ = to_crs
    shapes = [affine_transform(s, (a, b, d, e, c, f)) for s, _ in features]
    if crs not in (UTM, None):
        shapes = [shape(transform_geom(UTM, crs, mapping(s))) for s in shapes]
    names = sorted({key for _, words in features for key in words}) or ["label"]
    columns = [np.array([words.get(name) for _, words in features], object) for name in names]
    pyogrio.raw.write(
        path,
        shapely.to_wkb(shapes),
        columns,
        names,
        layer=layer,
        driver="GPKG",
        geometry_type="Unknown",
        crs=crs,
        append=path.exists(),
    )


@pytest.mark.parametrize("crs", [UTM, "EPSG:4326"])
def test_drawn_polygons_are_boxes_and_masks_in_the_rasters_pixels(tmp_path, crs):
    write_raster(tmp_path / "set/harbour.tif")
    ship, pond = rectangle(10, 20, 40, 60), rectangle(600, 100, 700, 300)
    write_layer(tmp_path / "set/harbour.gpkg", [(ship, {"label": "Ship"}), (pond, {"class": "pond"})], crs=crs)
    records = convert("corrections", tmp_path / "set", tmp_path)
    assert sorted(records) == ["harbour_0_0", "harbour_0_512", "harbour_512_0", "harbour_512_512"]
    first, second = records["harbour_0_0"], records["harbour_512_0"]
    assert first.objects[0].label == "ship"
    assert first.objects[0].box_px == pytest.approx((10, 20, 40, 60), abs=0.05)
    assert second.objects[0].box_px == pytest.approx((88, 100, 188, 300), abs=0.05)
    assert (first.complete, first.mask_labels) == (("pond", "ship"), ("pond", "ship"))
    mask = read_prepared(tmp_path, "corrections", first.mask)
    assert (mask == 2).sum() == pytest.approx(30 * 40, abs=80)
    assert (mask[30, 20], mask[5, 5]) == (2, 0)
    assert first.gsd_m == pytest.approx(0.5, abs=0.01)
    assert read_prepared(tmp_path, "corrections", second.images[0]).shape == (512, 588, 3)


def test_tasks_of_our_own_results_say_what_a_feature_is(tmp_path):
    write_raster(tmp_path / "set/a.tif")
    whole = rectangle(0, 0, SIDE, SIDE)
    features = [
        (rectangle(10, 10, 30, 30), {"task": "ground", "label": "ship"}),
        (rectangle(100, 100, 200, 200), {"task": "segment", "label": "water"}),
        (whole, {"task": "ask", "question": "Is there a quay?", "text": "yes"}),
        (whole, {"task": "caption", "text": "a harbour with one ship"}),
        (whole, {"task": "classify", "label": "Port"}),
    ]
    write_layer(tmp_path / "set/a.gpkg", features)
    records = convert("corrections", tmp_path / "set", tmp_path)
    window, tile = records.pop("a_window_0"), records["a_0_0"]
    assert (window.questions, window.scene) == ((("Is there a quay?", "yes"),), "port")
    assert window.captions == ("a harbour with one ship",)
    assert read_prepared(tmp_path, "corrections", window.images[0]).shape == (1024, 1024, 3)
    assert window.gsd_m == pytest.approx(0.5 * SIDE / 1024, rel=0.01)
    assert tile.objects == (LabelledBox(label="ship", box_px=(10.0, 10.0, 30.0, 30.0)),)
    assert (tile.complete, tile.mask_labels) == (("ship",), ("water",))
    assert read_prepared(tmp_path, "corrections", tile.mask)[150, 150] == 1
    assert not any(record.questions for record in records.values())


def test_only_checked_rectangles_are_taken(tmp_path):
    write_raster(tmp_path / "set/a.tif")
    write_layer(tmp_path / "set/a.gpkg", [(rectangle(220, 320, 240, 340), {"label": "ship"})])
    write_layer(tmp_path / "set/a.gpkg", [(rectangle(200, 300, 500, 600), {})], layer="Checked")
    (record,) = convert("corrections", tmp_path / "set", tmp_path).values()
    assert record.id == "a_200_300"
    assert record.objects == (LabelledBox(label="ship", box_px=(20.0, 20.0, 40.0, 40.0)),)


def test_two_dates_and_their_drawn_change(tmp_path):
    write_raster(tmp_path / "set/a_before.tif", 300, value=50)
    write_raster(tmp_path / "set/a_after.tif", 300, value=60)
    write_layer(tmp_path / "set/a.gpkg", [(rectangle(0, 0, 150, 300), {"task": "detect-change", "label": "building"})])
    (record,) = convert("corrections", tmp_path / "set", tmp_path).values()
    assert len(record.images) == 2
    assert (read_prepared(tmp_path, "corrections", record.mask) == 1).mean() == 0.5
    assert (record.objects, record.mask_labels) == ((), ("building",))


def test_without_a_georeference_rows_count_downwards(tmp_path):
    write_raster(tmp_path / "set/a.tif", 300, crs=None)
    write_layer(
        tmp_path / "set/a.gpkg", [(rectangle(10, 20, 30, 60), {"label": "ship"})], crs=None, to_crs=Affine.scale(1, -1)
    )
    (record,) = convert("corrections", tmp_path / "set", tmp_path).values()
    assert record.objects == (LabelledBox(label="ship", box_px=(10.0, 20.0, 30.0, 60.0)),)


@pytest.mark.parametrize(
    ("raster", "crs", "message"),
    [(None, None, "no raster a.tif beside it"), (UTM, None, "has no coordinate system"), ("", UTM, "no georeference")],
)
def test_what_does_not_fit_is_one_line(tmp_path, raster, crs, message):
    (tmp_path / "set").mkdir()
    if raster is not None:
        write_raster(tmp_path / "set/a.tif", 300, crs=raster or None)
    write_layer(tmp_path / "set/a.gpkg", [(rectangle(1, 1, 9, 9), {"label": "ship"})], crs=crs)
    with pytest.raises(InputError, match=message):
        convert("corrections", tmp_path / "set", tmp_path)
