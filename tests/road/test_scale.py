"""The law of docs/resolution.md: how large a window is, and what is warned of."""

import pytest

from rsvlm_cli.errors import UsageError
from rsvlm_cli.road.scale import choose_shrink, count_halvings, plan_lattice
from rsvlm_cli.scene import open_scene
from rsvlm_cli.settings import Settings
from tests.factories import draw_scene, write_geotiff

SIDE = 16
"""Of the picture that the test bundle's model sees."""


@pytest.fixture
def lattice_of(scenes, fake_engine, monkeypatch):
    """Return the lattice and the warnings of settings on a raster of 512 x 512 px, 1 m each."""
    monkeypatch.chdir(scenes)
    fake_engine()

    def plan(kind="masks", labels=(), path="scene.tif", **settings):
        with open_scene([path], Settings(**{"tile": "auto"} | settings)) as scene:
            lattice = plan_lattice(scene, kind, labels)
            return lattice, count_halvings(scene, lattice), scene.warnings

    return plan


@pytest.mark.parametrize(
    ("settings", "tile_px"),
    [
        ({"tile": "whole"}, 512),
        ({"tile": "whole", "window": "0,0,40,40"}, 40),
        ({"tile": "auto"}, 2 * SIDE),
        ({"tile": "auto", "window": "0,0,40,40"}, 2 * SIDE),
        ({"tile": "128"}, 128),
        ({"tile": "600"}, 512),
        ({"scale": "native"}, SIDE),
        ({"scale": "4"}, 4 * SIDE),
        ({"scale": "2m", "tile": "whole"}, 2 * SIDE),
    ],
    ids=str,
)
def test_a_window_is_as_large_as_was_asked(lattice_of, settings, tile_px):
    lattice, n_halvings, _ = lattice_of(**settings)
    assert lattice.tile_px == pytest.approx(tile_px, rel=0.03)
    assert n_halvings == 0


def test_the_lattice_is_the_raster_s_whatever_part_is_asked_for(lattice_of):
    assert lattice_of(window="7,9,300,200")[0] == lattice_of()[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tile": "12"}, "--tile 12: wanted auto"),
        ({"tile": "x"}, "--tile x"),
        ({"tile": "64", "scale": "2"}, "--scale and --tile"),
        ({"scale": "fine"}, "wanted native, or metres"),
        ({"scale": "0.1"}, "pixels of 1 m; wanted at least 1"),
        ({"cell": "two"}, "wanted a length"),
        ({"cell": "0.1m"}, "wanted at least"),
    ],
    ids=str,
)
def test_what_is_no_scale_is_refused(lattice_of, settings, message):
    with pytest.raises(UsageError, match=message):
        lattice_of(**settings)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_metres_of_a_raster_without_a_place_are_refused(lattice_of, scenes):
    write_geotiff(scenes / "nowhere.tif", draw_scene((512, 512)), crs=None, transform=None)
    assert lattice_of(path="nowhere.tif", scale="native")[0].tile_px == SIDE
    for settings in ({"scale": "2"}, {"cell": "2m"}):
        with pytest.raises(UsageError, match="how large its pixels are"):
            lattice_of(path="nowhere.tif", **settings)


@pytest.mark.parametrize(
    ("cell", "tile", "n_halvings"), [("1m", "96", 2), ("1px", "96", 2), ("3m", "96", 1), ("9m", "96", 0)]
)
def test_cells_are_halved_until_they_are_as_fine_as_asked(lattice_of, cell, tile, n_halvings):
    assert lattice_of(cell=cell, tile=tile)[1] == n_halvings


def test_the_cell_asked_for_is_met_exactly_where_the_tile_is_free(lattice_of):
    lattice, n_halvings, _ = lattice_of(cell="0.7px")
    assert max(lattice.finer(n_halvings).cell_px) == pytest.approx(0.7, rel=0.03)
    assert lattice.tile_px == pytest.approx(2 * SIDE, rel=0.5)


@pytest.mark.parametrize(
    ("gsd_m", "ranges", "shrink"),
    [
        (None, [(0.5, 1)], 2),
        (0.5, [], 2),
        (0.1, [(0.3, 1.0)], 4),
        (0.5, [(0.4, 0.6), (0.4, 0.7), (3, 5)], 1),
        (10.0, [(0.3, 1.0)], 1),
    ],
)
def test_the_pyramid_level_is_the_one_at_which_most_classes_fit(gsd_m, ranges, shrink):
    assert choose_shrink(gsd_m, ranges) == shrink


def test_a_class_out_of_its_scale_is_warned_of_and_one_within_is_not(lattice_of, fake_engine, monkeypatch):
    from rsvlm_cli.scene import Scene

    monkeypatch.setattr(Scene, "trained_gsd_m", lambda *_: {"ship": (0.5, 1.4), "car": (0.1, 0.3)})
    (warning,) = lattice_of("objects", ("ship", "car"), tile="auto")[2]
    assert warning.startswith("the model sees 1 m of ground a pixel; it was trained for car 0.1 to 0.3 m")
    assert "ship" not in warning
