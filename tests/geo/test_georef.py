import math
from itertools import pairwise

import numpy as np
import pytest
from rasterio.warp import transform as warp_points

from rsvlm_cli.errors import NotGeoreferenced
from rsvlm_cli.geo.georef import Georeference, box_ring
from rsvlm_cli.results import Affine6


def place(crs: str, *transform: float) -> Georeference:
    return Georeference("scene.tif", crs, transform)  # type: ignore[arg-type]


def utm_to_lonlat(easting: float, northing: float, zone: int) -> tuple[float, float]:
    """Krueger's inverse series on WGS 84, three terms; independent of PROJ, good to a millimetre."""
    a, f = 6378137.0, 1 / 298.257223563
    n = f / (2 - f)
    radius = a / (1 + n) * (1 + n**2 / 4 + n**4 / 64)
    beta = (n / 2 - 2 * n**2 / 3 + 37 * n**3 / 96, n**2 / 48 + n**3 / 15, 17 * n**3 / 480)
    delta = (2 * n - 2 * n**2 / 3 - 2 * n**3, 7 * n**2 / 3 - 8 * n**3 / 5, 56 * n**3 / 15)
    xi, eta = northing / (0.9996 * radius), (easting - 500_000) / (0.9996 * radius)
    for j, b in enumerate(beta, start=1):
        x0, e0 = northing / (0.9996 * radius), (easting - 500_000) / (0.9996 * radius)
        xi -= b * math.sin(2 * j * x0) * math.cosh(2 * j * e0)
        eta -= b * math.cos(2 * j * x0) * math.sinh(2 * j * e0)
    chi = math.asin(math.sin(xi) / math.cosh(eta))
    lat = chi + sum(d * math.sin(2 * j * chi) for j, d in enumerate(delta, start=1))
    return math.degrees(math.atan2(math.sinh(eta), math.cos(xi))) + 6 * zone - 183, math.degrees(lat)


def is_anticlockwise(ring: list[tuple[float, float]]) -> bool:
    return sum((x2 - x1) * (y2 + y1) for (x1, y1), (x2, y2) in pairwise(ring)) < 0


@pytest.mark.parametrize("easting", [300_000.0, 500_000.0, 720_000.0])
@pytest.mark.parametrize("northing", [500_000.0, 5_000_000.0, 7_800_000.0])
def test_pixels_of_a_utm_raster_get_the_lonlat_of_kruegers_series(easting: float, northing: float) -> None:
    lonlat = place("EPSG:32633", 0.5, 0, easting - 50, 0, -0.5, northing + 100).px_to_lonlat(np.array([[100, 200]]))
    np.testing.assert_allclose(lonlat[0], utm_to_lonlat(easting, northing, 33), atol=2e-8)


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:4326", "EPSG:3857", "EPSG:2263"])
def test_lonlat_leads_back_to_the_pixel(crs: str) -> None:
    origin = warp_points("EPSG:4326", crs, [15.0 if crs != "EPSG:2263" else -74.0], [41.0])
    georeference = place(crs, 1e-4, 2e-5, origin[0][0], 3e-5, -1e-4, origin[1][0])
    points = np.array([[0.0, 0.0], [10.5, 3.25], [400.0, 900.0]])
    np.testing.assert_allclose(georeference.crs_to_px(georeference.px_to_crs(points)), points, atol=1e-3)
    np.testing.assert_allclose(georeference.lonlat_to_px(georeference.px_to_lonlat(points)), points, rtol=0, atol=0.05)


def test_a_box_on_a_rotated_raster_keeps_its_four_corners() -> None:
    cos, sin = 2 * math.cos(math.radians(30)), 2 * math.sin(math.radians(30))
    ring = place("EPSG:32633", cos, sin, 500_000, sin, -cos, 5_000_000).ring_crs(box_ring((10, 20, 30, 50)))
    assert len(ring) == 5
    assert ring[0] == ring[-1]
    for corner, (x, y) in zip(ring, [(10, 20), (30, 20), (30, 50), (10, 50)], strict=False):
        angle = math.radians(30)
        east, north = 2 * x, -2 * y
        expected = (
            500_000 + east * math.cos(angle) - north * math.sin(angle),
            5_000_000 + east * math.sin(angle) + north * math.cos(angle),
        )
        np.testing.assert_allclose(corner, expected)


@pytest.mark.parametrize("north_up", [1, -1])
def test_outer_rings_run_anticlockwise_and_holes_clockwise_whichever_way_the_raster_points(north_up: int) -> None:
    georeference = place("EPSG:32633", 1, 0, 500_000, 0, -north_up, 5_000_000)
    outer, hole = box_ring((0, 0, 100, 100)), box_ring((20, 20, 40, 40))[::-1]
    for rings in ([outer, hole], [outer[::-1], hole[::-1]]):
        [polygon] = georeference.polygon_lonlat(rings)
        assert [is_anticlockwise(ring) for ring in polygon] == [True, False]
        assert all(ring[0] == ring[-1] for ring in polygon)


def test_a_long_edge_is_bent_where_the_map_projection_bends_it() -> None:
    georeference = place("EPSG:3035", 1000, 0, 3_000_000, 0, -1000, 4_500_000)
    [[ring]] = georeference.box_lonlat((0, 0, 2000, 10))
    middle = georeference.px_to_lonlat(np.array([[1000, 0]]))[0]
    assert min(math.dist(middle, point) for point in ring) < 1e-9
    corners = georeference.px_to_lonlat(np.array([[0, 0], [2000, 0]]))
    assert abs(corners[:, 1].mean() - middle[1]) > 1  # degrees: what two corners alone would be wrong by


def test_a_box_across_the_antimeridian_is_cut_into_two() -> None:
    polygons = place("EPSG:4326", 0.1, 0, 179, 0, -0.1, 10).box_lonlat((0, 0, 30, 10))  # 179 E to 178 W
    spans = sorted((min(x for x, _ in ring), max(x for x, _ in ring)) for [ring] in polygons)
    np.testing.assert_allclose(spans, [(-180, -178), (179, 180)])
    assert all(is_anticlockwise(ring) for [ring] in polygons)


def test_a_box_around_the_pole_runs_along_the_pole_too() -> None:
    polygons = place("EPSG:3413", 1000, 0, -500_000, 0, -1000, 500_000).box_lonlat((0, 0, 1000, 1000))
    lats = [y for polygon in polygons for ring in polygon for _, y in ring]
    lons = [x for polygon in polygons for ring in polygon for x, _ in ring]
    assert max(lats) == 90
    assert min(lons) == -180
    assert max(lons) == 180


@pytest.mark.parametrize("lat", [0.0, 45.0, -62.0, 75.0])
def test_area_agrees_with_the_equal_area_projection(lat: float) -> None:
    georeference = place("EPSG:4326", 1e-4, 0, 20, 0, -1e-4, lat)
    outer, hole = box_ring((0, 0, 100, 80)), box_ring((10, 10, 30, 20))
    expected = [0.0, 0.0]
    for k, ring in enumerate((outer, hole)):
        lonlat = georeference.px_to_lonlat(ring)
        x, y = (np.array(v) for v in warp_points("EPSG:4326", "EPSG:6933", lonlat[:, 0], lonlat[:, 1]))
        expected[k] = abs(float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)) / 2)
    assert georeference.area_m2([outer, hole]) == pytest.approx(expected[0] - expected[1], rel=1e-6)


def test_area_does_not_mind_the_antimeridian() -> None:
    box = [box_ring((0, 0, 20, 10))]
    there = place("EPSG:4326", 0.1, 0, 179, 0, -0.1, 10).area_m2(box)
    assert there == pytest.approx(place("EPSG:4326", 0.1, 0, 20, 0, -0.1, 10).area_m2(box), rel=1e-12)


@pytest.mark.parametrize(
    ("start", "end", "metres"),
    [
        ((0.0, 0.0), (0.0, 1.0), 110_574.389),  # a degree of the meridian and of the equator, WGS 84
        ((0.0, 0.0), (1.0, 0.0), 111_319.491),
    ],
)
def test_length_agrees_with_the_ellipsoid(start: tuple, end: tuple, metres: float) -> None:
    identity: Affine6 = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    length = Georeference("scene.tif", "EPSG:4326", identity).length_m(np.array([start, end]))
    assert length == pytest.approx(metres, rel=2e-6)


@pytest.mark.parametrize("zone_edge", [500_000, 800_000])
def test_length_agrees_with_proj_on_an_oblique_line(zone_edge: int) -> None:
    georeference = place("EPSG:32633", 1, 0, zone_edge, 0, -1, 6_000_000)
    line = np.array([[0, 0], [900, 1200]])
    (lon, lat), end = georeference.px_to_lonlat(line)
    # Distances from its centre are true in the azimuthal equidistant projection.
    around = f"+proj=aeqd +lat_0={lat} +lon_0={lon} +datum=WGS84"
    (x,), (y,) = warp_points("EPSG:4326", around, [end[0]], [end[1]])
    assert georeference.length_m(line) == pytest.approx(math.hypot(x, y), rel=1e-7)


def test_length_is_true_to_the_ground_in_web_mercator() -> None:
    origin = warp_points("EPSG:4326", "EPSG:3857", [10.0], [60.0])
    georeference = place("EPSG:3857", 1, 0, origin[0][0], 0, -1, origin[1][0])
    assert georeference.length_m(np.array([[0, 0], [1000, 0]])) == pytest.approx(501.3, rel=2e-3)


def test_a_raster_without_georeference_says_so_in_one_line() -> None:
    class Bare:
        path, crs, transform = "bare.tif", None, None

    with pytest.raises(NotGeoreferenced, match=r"^bare\.tif: has no georeference.*\)$"):
        Georeference.of(Bare())


def test_a_place_beyond_the_projection_is_not_georeferenced() -> None:
    georeference = place("+proj=geos +h=35785831 +lon_0=0 +datum=WGS84", 1000, 0, -6_000_000, 0, -1000, 6_000_000)
    with pytest.raises(NotGeoreferenced, match="does not reach"):
        georeference.px_to_lonlat(np.array([[0, 0]]))  # a corner of the picture that shows space
