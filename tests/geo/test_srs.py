import pytest
from rasterio.crs import CRS

from rsvlm_cli.geo.srs import describe_srs, name_crs

ALBERS = "+proj=aea +lat_0=-32 +lon_0=-60 +lat_1=-5 +lat_2=-42 +x_0=0 +y_0=0 +ellps=aust_SA +units=m +no_defs"


@pytest.mark.parametrize("name", ["EPSG:32633", "EPSG:4326", "ESRI:102033"])
def test_a_listed_system_is_named_by_its_authority(name):
    assert name_crs(CRS.from_user_input(name)) == name
    srs = describe_srs(name)
    assert f"{srs.authority}:{srs.code}" == name
    assert CRS.from_wkt(srs.wkt) == CRS.from_user_input(name)


def test_a_system_that_is_only_like_a_listed_one_keeps_its_own_definition():
    assert CRS.from_user_input(ALBERS).to_string() == "ESRI:102033"  # what rasterio would call it
    text = name_crs(CRS.from_user_input(ALBERS))
    assert CRS.from_user_input(text) == CRS.from_user_input(ALBERS)
    srs = describe_srs(text)
    assert (srs.authority, srs.code) == (None, None)
    assert CRS.from_wkt(srs.wkt) == CRS.from_user_input(ALBERS)
