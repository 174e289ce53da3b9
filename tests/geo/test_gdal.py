import zipfile
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.env import get_gdal_config

from rsvlm_cli.errors import RasterUnreadable
from rsvlm_cli.geo import gdal
from rsvlm_cli.geo.gdal import open_dataset
from tests.factories import ONE_METRE, UTM33, draw_scene, write_geotiff


@pytest.mark.parametrize(
    "name",
    ["https://example.com/a.tif", "HTTP://example.com/a.tif", "s3://bucket/a.tif", "/vsicurl/https://example.com/a.tif",
     "/vsizip//vsicurl/https://example.com/a.zip/a.tif"],
)  # fmt: skip
def test_nothing_remote_is_opened(name: str) -> None:
    with pytest.raises(RasterUnreadable, match="opens no network connection"):
        open_dataset(name)


def test_a_mosaic_that_names_a_remote_file_stays_offline(tmp_path: Path) -> None:
    path = tmp_path / "a.vrt"
    path.write_text(
        '<VRTDataset rasterXSize="8" rasterYSize="8"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        '<SourceFilename relativeToVRT="0">/vsicurl/http://127.0.0.1:9/a.tif</SourceFilename><SourceBand>1</SourceBand>'
        '<SrcRect xOff="0" yOff="0" xSize="8" ySize="8"/><DstRect xOff="0" yOff="0" xSize="8" ySize="8"/>'
        "</SimpleSource></VRTRasterBand></VRTDataset>"
    )
    with pytest.raises(RasterUnreadable), gdal.gdal_session(path), open_dataset(path) as dataset:
        dataset.read()


def test_a_service_description_is_no_raster(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text('<GDAL_WMS><Service name="TMS"><ServerUrl>http://127.0.0.1:9/${z}</ServerUrl></Service></GDAL_WMS>')
    with pytest.raises(RasterUnreadable, match="not recognized"):
        open_dataset(path)


@pytest.mark.parametrize(
    ("content", "said"), [(b"", "is empty"), (b"hello", "cannot be read"), (b"II*\0", "cannot be read")]
)
def test_what_is_no_raster_is_refused_in_one_line(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(content)
    with pytest.raises(RasterUnreadable, match=said) as caught:
        open_dataset(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_folder_is_refused_with_what_is_in_it(tmp_path: Path) -> None:
    with pytest.raises(RasterUnreadable, match=r"is a folder of 0 rasters and no Sentinel-2 or Landsat scene$"):
        open_dataset(tmp_path)
    product = tmp_path / "S2A_MSIL2A.SAFE" / "GRANULE"
    product.mkdir(parents=True)
    for name in ("T32_B02_10m.jp2", "T32_TCI_10m.jp2", "MTD_TL.xml"):
        (product / name).touch()
    with pytest.raises(
        RasterUnreadable, match=r"is a folder of 2 rasters and no .* \(name one, such as .*T32_TCI_10m\.jp2'"
    ):
        open_dataset(tmp_path / "S2A_MSIL2A.SAFE")


def test_the_only_raster_of_an_archive_is_opened(tmp_path: Path) -> None:
    pixels = draw_scene((64, 48))
    file, archive = write_geotiff(tmp_path / "a.tif", pixels), tmp_path / "scene 1.zip"
    with zipfile.ZipFile(archive, "w") as target:
        target.write(file, "data/a.tif")
        target.writestr("readme.txt", "a scene")
    with gdal.gdal_session(archive), open_dataset(archive) as dataset:
        np.testing.assert_array_equal(dataset.read(), pixels)
    with zipfile.ZipFile(archive, "a") as target:
        target.write(file, "data/b.tif")
    with pytest.raises(
        RasterUnreadable, match=r"archive of 2 rasters and no .* \(name one, such as '/vsizip/.*/data/a\.tif'"
    ):
        open_dataset(archive)
    archive.write_bytes(b"PK no archive")
    with pytest.raises(RasterUnreadable, match="cannot be read"):
        open_dataset(archive)


def test_complex_numbers_are_no_picture(tmp_path: Path) -> None:
    path = write_geotiff(tmp_path / "a.tif", np.ones((1, 4, 4), np.complex64))
    with pytest.raises(RasterUnreadable, match="complex"):
        open_dataset(path)


def test_a_truncated_file_is_refused_when_it_is_read(tmp_path: Path) -> None:
    path = write_geotiff(tmp_path / "a.tif", draw_scene((256, 256)))
    path.write_bytes(path.read_bytes()[:60_000])
    with (
        pytest.raises(RasterUnreadable, match="is it complete"),
        gdal.gdal_session(path),
        open_dataset(path) as dataset,
    ):
        dataset.read()


def test_a_file_that_declares_far_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    keys = {"driver": "GTiff", "width": 60_000, "height": 60_000, "count": 1, "dtype": "uint8", "sparse_ok": True}
    rasterio.open(
        path, "w", **keys, crs=UTM33, transform=ONE_METRE, tiled=True, blockxsize=8192, blockysize=8192
    ).close()
    with pytest.raises(RasterUnreadable, match=r"declares 3\.35 GiB in a file of \d+ bytes"):
        open_dataset(path)


def test_a_block_too_large_to_decode_is_refused_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_geotiff(tmp_path / "a.tif", draw_scene((64, 64)), tiled=True, blockxsize=64, blockysize=64)
    monkeypatch.setattr(gdal, "MAX_BLOCK_BYTES", 4000)
    with pytest.raises(RasterUnreadable, match=r"stored in blocks of 64 x 64 px .*TILED=YES"):
        open_dataset(path)


def test_the_block_cache_is_bounded_unless_the_user_says_how_large_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GDAL_CACHEMAX", raising=False)
    with gdal.gdal_session("a.tif"):
        assert get_gdal_config("GDAL_CACHEMAX") == gdal.CACHE_BYTES
    with gdal.gdal_session("a.tif", small=True):
        assert get_gdal_config("GDAL_CACHEMAX") == gdal.WINDOW_CACHE_BYTES
    with rasterio.Env(GDAL_CACHEMAX=40 * 2**20):
        monkeypatch.setenv("GDAL_CACHEMAX", "40")
        with gdal.gdal_session("a.tif"):
            assert get_gdal_config("GDAL_CACHEMAX") == 40 * 2**20
