import pytest

from rsvlm_cli.errors import BandsMissing, UsageError
from rsvlm_cli.geo.bands import BandFacts, BandMode, choose_bands

BARE = ("gray", "undefined", "undefined", "undefined", "undefined", "undefined", "undefined", "undefined")


def facts(n: int = 4, dtype: str = "uint16", **said) -> BandFacts:
    defaults = {"path": "scene.tif", "colours": (*BARE, *["undefined"] * 9)[:n], "names": (None,) * n, "tags": {}}
    return BandFacts(**(defaults | {"dtype": dtype} | said))


def test_what_was_asked_wins_over_what_the_file_says() -> None:
    choice = choose_bands(facts(4, colours=("red", "green", "blue", "undefined")), "4,1,2")
    assert (choice.indexes, choice.by) == ((4, 1, 2), "asked")
    assert choice.labels == ("4 (unnamed)", "1 (red)", "2 (green)")


def test_bands_can_be_asked_for_by_the_names_the_file_gives() -> None:
    said = facts(4, names=("B02", "B03", "B04", "B08"), path="S2A_MSIL2A_x.tif")
    assert choose_bands(said, "nir,red,green").indexes == (4, 3, 2)
    assert choose_bands(said, "B08,B04,B03").indexes == (4, 3, 2)
    assert choose_bands(said, "nir") == choose_bands(said, "4")
    assert choose_bands(said, "4").mode is BandMode.GREY


def test_bands_can_be_asked_for_by_the_names_a_recognised_sensor_gives() -> None:
    assert choose_bands(facts(4, "uint8", path="m_4709963_se_14_1_20090818.tif"), "nir,red,green").indexes == (4, 1, 2)


@pytest.mark.parametrize("asked", ["5,1,2", "0,1,2", "nir,red,green", "7"])
def test_a_band_that_is_not_there_is_refused_with_what_is(asked: str) -> None:
    with pytest.raises(BandsMissing, match=r"^scene\.tif: 4 bands, none with a name, --bands asks for (5|0|nir|7)"):
        choose_bands(facts(4), asked)


@pytest.mark.parametrize("asked", ["", "1,2", "1,2,3,4", "1,,3", " , , "])
def test_a_malformed_choice_is_a_usage_error(asked: str) -> None:
    with pytest.raises(UsageError, match="one or three"):
        choose_bands(facts(4), asked)


def test_colour_interpretation_comes_before_names_and_a_contradiction_is_said() -> None:
    said = facts(4, colours=("red", "green", "blue", "undefined"), names=("blue", "green", "red", "nir"))
    choice = choose_bands(said)
    assert (choice.indexes, choice.by) == ((1, 2, 3), "colour interpretation")
    assert "--bands 3,2,1" in choice.warnings[0]


def test_blue_green_red_colour_interpretation_is_put_in_order() -> None:
    assert choose_bands(facts(4, colours=("blue", "green", "red", "alpha"))).indexes == (3, 2, 1)


@pytest.mark.parametrize(
    ("names", "indexes"),
    [
        (("Blue", "Green", "Red", "NIR"), (3, 2, 1)),
        (("B02", "B03", "B04", "B08"), (3, 2, 1)),
        (("SR_B2", "SR_B3", "SR_B4", "SR_B5"), (3, 2, 1)),
        (("B8A (865 nm)", "B4 (665 nm)", "B3 (560 nm)", "B2 (490 nm)"), (2, 3, 4)),
        (("red edge", "green", "blue", "red"), (4, 2, 3)),
        (("nir", "sr_red", "sr_green", "sr_blue"), (2, 3, 4)),
        (("SR_B1", "SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B7"), (3, 2, 1)),  # Landsat 5: B4 is infrared
    ],
)
def test_bands_are_found_by_their_names(names: tuple[str, ...], indexes: tuple[int, ...]) -> None:
    choice = choose_bands(facts(len(names), names=names))
    assert (choice.indexes, choice.by, choice.warnings) == (indexes, "band names", ())


@pytest.mark.parametrize(
    ("n", "dtype", "path", "tags", "sensor", "indexes"),
    [
        (13, "uint16", "S2A_MSIL1C_20200101.tif", {}, "Sentinel-2", (4, 3, 2)),
        (12, "float32", "stack.tif", {"SPACECRAFT": "Sentinel-2A"}, "Sentinel-2", (4, 3, 2)),
        (7, "uint16", "LC08_L2SP_023.tif", {}, "Landsat 8-9", (4, 3, 2)),
        (6, "uint8", "LT05_L2SP_023.tif", {}, "Landsat 4-7", (3, 2, 1)),
        (4, "uint16", "2020_3B_AnalyticMS.tif", {}, "PlanetScope", (3, 2, 1)),
        (8, "uint16", "x_SuperDove.tif", {}, "PlanetScope", (6, 4, 2)),
        (8, "uint16", "WV02_x.tif", {"SATELLITE": "WorldView-2"}, "WorldView", (5, 3, 2)),
        (4, "uint8", "m_4709963_se_14_1_20090818.tif", {}, "NAIP", (1, 2, 3)),
    ],
)
def test_a_sensor_that_the_file_names_gives_the_order(n, dtype, path, tags, sensor, indexes) -> None:
    choice = choose_bands(facts(n, dtype, path=path, tags=tags))
    assert (choice.by, choice.indexes, choice.warnings) == (f"sensor {sensor}", indexes, ())


@pytest.mark.parametrize(
    ("n", "dtype", "indexes"), [(13, "int16", (4, 3, 2)), (8, "uint16", (5, 3, 2)), (4, "uint16", (3, 2, 1))]
)
def test_a_sensor_guessed_from_the_shape_alone_is_warned_of(n: int, dtype: str, indexes: tuple[int, ...]) -> None:
    choice = choose_bands(facts(n, dtype))
    assert choice.indexes == indexes
    assert choice.by.startswith("sensor ")
    assert "--bands" in choice.warnings[0]


def test_position_is_the_last_resort_and_warned_of() -> None:
    choice = choose_bands(facts(5, "uint8"))
    assert (choice.indexes, choice.by, choice.labels[0]) == ((1, 2, 3), "position", "1 (unnamed)")
    assert "nothing says which of 5 bands is which" in choice.warnings[0]


def test_the_first_of_two_unknown_bands_is_grey_with_a_warning() -> None:
    choice = choose_bands(facts(2, "float32", names=("VV", "VH")))
    assert (choice.indexes, choice.mode, choice.labels) == ((1,), BandMode.GREY, ("1 (VV)",))
    assert choice.warnings


@pytest.mark.parametrize(
    ("colours", "mode", "indexes"),
    [
        (("gray",), BandMode.GREY, (1,)),
        (("undefined",), BandMode.GREY, (1,)),
        (("gray", "alpha"), BandMode.GREY, (1,)),
        (("alpha", "gray"), BandMode.GREY, (2,)),
        (("palette",), BandMode.PALETTE, (1,)),
        (("palette", "alpha"), BandMode.PALETTE, (1,)),
        (("cyan", "magenta", "yellow", "black"), BandMode.CMYK, (1, 2, 3, 4)),
        (("red", "green", "blue", "alpha"), BandMode.RGB, (1, 2, 3)),
    ],
)
def test_what_needs_no_guess_gives_no_warning(colours, mode, indexes) -> None:
    choice = choose_bands(facts(len(colours), colours=colours))
    assert (choice.mode, choice.indexes, choice.warnings) == (mode, indexes, ())


def test_alpha_takes_no_place_in_a_sensors_order() -> None:
    said = facts(5, path="x_AnalyticMS.tif", colours=("alpha", "gray", "undefined", "undefined", "undefined"))
    assert choose_bands(said).indexes == (4, 3, 2)


def test_a_file_of_alpha_alone_is_refused() -> None:
    with pytest.raises(BandsMissing, match="only an alpha band"):
        choose_bands(facts(1, colours=("alpha",)))
