"""Cuts against shapely's, and mask polygons across the antimeridian."""

import numpy as np
import pytest
from shapely.geometry import MultiPolygon, Polygon, box
from shapely.ops import unary_union

from rsvlm_cli.geo.antimeridian import cut_polygon
from rsvlm_cli.geo.georef import Georeference
from rsvlm_cli.geo.write import polygonise_mask
from rsvlm_cli.results import Mask


def star(rng: np.random.Generator, scale: float, n: int) -> np.ndarray:
    """Return a closed ring around the origin, deeply concave."""
    angle = np.linspace(0, 2 * np.pi, n, endpoint=False)
    ring = scale * rng.uniform(0.3, 1, n)[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    return np.vstack([ring, ring[:1]])


def whole(polygons: list[list[np.ndarray]]) -> MultiPolygon:
    made = [Polygon(rings[0], rings[1:]) for rings in polygons]
    assert all(polygon.is_valid for polygon in made)
    return unary_union(made)


@pytest.mark.parametrize("seed", range(40))
def test_a_concave_polygon_with_holes_is_cut_as_shapely_cuts_it(seed):
    rng = np.random.default_rng(seed)
    rings = [star(rng, 10, 60)]
    rings += [star(rng, 0.8, 20) + centre for centre in ((0.3, 0.0), (-1.6, 1.0), (1.5, -1.4))]
    polygon = Polygon(rings[0], rings[1:])
    assert polygon.is_valid
    meridian = rng.uniform(-3, 3)
    west, east = cut_polygon(rings, meridian)
    for found, side in ((west, box(-20, -20, meridian, 20)), (east, box(meridian, -20, 20, 20))):
        assert whole(found).symmetric_difference(polygon.intersection(side)).area < 1e-9


def test_the_teeth_of_a_comb_become_polygons_of_their_own():
    comb = [
        (-1, 0),
        (2, 0),
        (2, 1),
        (-0.5, 1),
        (-0.5, 2),
        (2, 2),
        (2, 3),
        (-0.5, 3),
        (-0.5, 4),
        (2, 4),
        (2, 5),
        (-1, 5),
    ]
    west, east = cut_polygon([np.array([*comb, comb[0]], float)], 0)
    assert [Polygon(rings[0]).area for rings in east] == [2, 2, 2]
    assert [Polygon(rings[0]).area for rings in west] == [1 * 5 - 2 * 0.5]


def test_what_only_touches_the_meridian_is_not_cut():
    ring = np.array([(-1, 0), (0, 1), (-1, 2), (-1, 0)], float)
    west, east = cut_polygon([ring], 0)
    assert (len(west), east) == (1, [])
    assert Polygon(west[0][0]).area == 1


def test_patches_across_the_antimeridian_are_valid_and_keep_their_ground():
    # UTM 60 south near its eastern edge, where 180 degrees runs through the mask about column 8.
    cells = np.zeros((24, 24), np.uint8)
    cells[2:22, 2:22] = 1
    for hole in ((slice(4, 6), slice(4, 6)), (slice(4, 9), slice(7, 14)), (slice(4, 6), slice(16, 19))):
        cells[hole] = 0
    cells[11:13, 5:22] = cells[15:17, 2:12] = 0  # bays from the east and from the west
    mask = Mask(labels=("water",), cells=cells, area_px=(0, 0, 480, 480))
    reference = Georeference("a.tif", "EPSG:32760", (30.0, 0.0, 811_000.0, 0.0, -30.0, 7_905_000.0))
    n_cut = 0
    for patch in polygonise_mask(mask):
        polygons = reference.polygon_lonlat(patch.rings_px)
        made = [Polygon(rings[0], rings[1:]) for rings in polygons]
        assert all(polygon.is_valid and polygon.exterior.is_ccw for polygon in made)
        lon = np.concatenate([np.array(ring)[:, 0] for rings in polygons for ring in rings])
        assert np.abs(lon).max() <= 180
        n_cut += len(polygons)
        back_px = 0.0
        for polygon in made:
            rings = [reference.lonlat_to_px(np.array(ring.coords)) for ring in (polygon.exterior, *polygon.interiors)]
            back_px += Polygon(rings[0], rings[1:]).area
        assert back_px == pytest.approx(Polygon(patch.rings_px[0], patch.rings_px[1:]).area, rel=1e-4)
    assert n_cut == 4  # each bay reaches across the meridian and leaves two parts on either side
