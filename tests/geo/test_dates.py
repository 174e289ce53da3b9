from pathlib import Path

import numpy as np
import pytest
import rasterio

from rsvlm_cli.errors import UsageError
from rsvlm_cli.geo.align import Comparison, open_dates
from rsvlm_cli.geo.dates import find_date, order_warning, parse_dates
from tests.factories import draw_scene, write_geotiff


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("m_4709963_se_14_1_20090818.tif", "2009-08-18"),
        ("S2A_MSIL2A_20230115T101421_N0509_R022_T32TQM_20230115T141234.SAFE", "2023-01-15"),
        ("LC08_L2SP_195028_20210605_20210612_02_T1_SR_B4.TIF", "2021-06-05"),
        ("DJI_20230704120101_0001.JPG", "2023-07-04"),
        ("site-2021-06.tif", "2021-06"),
        ("2019.tif", "2019"),
        ("2024-03-01/rgb.tif", "2024-03-01"),
        ("C:\\scenes\\2018\\rgb.tif", "2018"),
        ("surveys-2018/rgb.tif", None),
        ("before.tif", None),
        ("tile_4096_2048.tif", None),
        ("m_20231345.tif", None),
    ],
)
def test_a_name_tells_the_date_where_it_holds_one(path: str, expected: str | None) -> None:
    found = find_date(path, {})
    assert (found.date, found.by) == (expected, "name" if expected else None)


def test_what_says_when_it_was_taken_comes_before_the_name_and_the_day_of_writing_after() -> None:
    assert find_date("2019.tif", {"ACQUISITIONDATETIME": "2018-07-01 10:11:12"}).date == "2018-07-01"
    assert find_date("2019.tif", {"TIFFTAG_DATETIME": "2024:01:02 03:04:05"}).date == "2019"
    written = find_date("a.tif", {"TIFFTAG_DATETIME": "2024:01:02 03:04:05"})
    assert (written.date, written.by) == ("2024-01-02", "tag TIFFTAG_DATETIME, the day of writing")


def test_dates_may_be_given_one_a_raster() -> None:
    assert parse_dates("2019, 2024-06,2024-07-01", 3) == ("2019", "2024-06", "2024-07-01")


@pytest.mark.parametrize("text", ["2019", "2019,2020,2021", "2019,soon", "2019,2024-13", "2019,20240601", ","])
def test_dates_that_are_none_or_too_few_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="wanted"):
        parse_dates(text, 2)


def test_dates_that_run_backwards_are_warned_of() -> None:
    assert order_warning(["2019", None, "2019-05", "2024-01-02"]) == ()
    assert order_warning(["2024-06", "2019"]) == ("2019 comes after 2024-06: the rasters do not run forwards in time",)


def test_every_source_says_its_date_and_on_whose_word(tmp_path: Path) -> None:
    paths = [write_geotiff(tmp_path / name, draw_scene((64, 64))) for name in ("a.tif", "b_20210605.tif", "c.tif")]
    with rasterio.open(paths[0], "r+") as dataset:
        dataset.update_tags(ns="IMAGERY", ACQUISITIONDATETIME="2020-01-02 00:00:00")
    with open_dates(paths) as dates:
        sources = [raster.read().source for raster in dates.rasters]
    assert [(s.date, s.date_by) for s in sources] == [
        ("2020-01-02", "tag ACQUISITIONDATETIME"),
        ("2021-06-05", "name"),
        (None, None),
    ]
    with open_dates(paths, Comparison(dates="2001,2002,2003")) as dates:
        assert [(r.dated.date, r.dated.by) for r in dates.rasters] == [(f"200{k}", "asked") for k in (1, 2, 3)]
    assert np.all([s.valid_frac == 1 for s in sources])
