from dataclasses import dataclass

import numpy as np
import pytest
from rasterio.warp import transform as warp_points

from rsvlm_cli.errors import NotGeoreferenced, UsageError, WindowOutside
from rsvlm_cli.geo.georef import Georeference
from rsvlm_cli.geo.region import parse_region


@dataclass
class Scene:
    path: str = "scene.tif"
    width_px: int = 400
    height_px: int = 300
    crs: str | None = "EPSG:32633"
    transform: tuple | None = (2.0, 0.0, 500_000.0, 0.0, -2.0, 5_000_000.0)


def test_a_pixel_box_is_taken_as_it_is_in_any_order_of_corners() -> None:
    assert parse_region("10,20,110.5,90", Scene()) == (10, 20, 110.5, 90)
    assert parse_region("px: 110.5, 90, 10, 20", Scene()) == (10, 20, 110.5, 90)


def test_a_box_over_the_edge_is_cut() -> None:
    assert parse_region("-50,-50,1000,100", Scene()) == (0, 0, 400, 100)


def test_a_map_box_becomes_pixels() -> None:
    assert parse_region("map:500020,4999800,500100,4999960", Scene()) == pytest.approx((10, 20, 50, 100))


def test_a_lonlat_box_holds_all_of_its_ground() -> None:
    scene = Scene()
    corners = np.array([[100, 100], [200, 150]])
    lonlat = Georeference.of(scene).px_to_lonlat(corners)
    west, south = lonlat.min(axis=0)
    east, north = lonlat.max(axis=0)
    box = parse_region(f"lonlat:{west},{south},{east},{north}", scene)
    xs, ys = warp_points("EPSG:4326", "EPSG:32633", [west, west, east, east], [south, north, south, north])
    px = [((x - 500_000) / 2, (5_000_000 - y) / 2) for x, y in zip(xs, ys, strict=True)]
    assert box[0] <= min(x for x, _ in px) + 1e-6
    assert box[2] >= max(x for x, _ in px) - 1e-6
    assert box == pytest.approx((100, 100, 200, 150), abs=0.5)


def test_a_map_box_on_a_rotated_raster_is_the_box_around_it() -> None:
    half = 0.5**0.5
    transform = (half, half, 500_000.0, -half, half, 5_000_000.0)
    box = parse_region("map:500100,4999890,500110,4999900", Scene(transform=transform))
    assert box[2] - box[0] == pytest.approx(10 * 2**0.5)


@pytest.mark.parametrize("text", ["500,10,600,20", "map:0,0,10,10", "lonlat:10,10,11,11"])
def test_a_region_elsewhere_is_refused_with_where_the_raster_is(text: str) -> None:
    with pytest.raises(WindowOutside, match=r"spans 0,0,400,300 px or map:500000,4999400,500800,5000000$"):
        parse_region(text, Scene())


@pytest.mark.parametrize(
    "text", ["", "1,2,3", "1,2,3,4,5", "a,b,c,d", "nan,0,1,1", "foo:1,2,3,4", "5,5,5,9", "1,2,inf,4"]
)
def test_a_malformed_region_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="region"):
        parse_region(text, Scene())


def test_map_coordinates_need_a_georeference() -> None:
    with pytest.raises(NotGeoreferenced):
        parse_region("lonlat:1,2,3,4", Scene(crs=None, transform=None))
    assert parse_region("1,2,3,4", Scene(crs=None, transform=None)) == (1, 2, 3, 4)
