"""Sentinel-2 and Landsat scenes as they are delivered, made small."""

import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import rasterio

from rsvlm_cli.errors import RasterUnreadable, UsageError
from rsvlm_cli.geo.align import Comparison, open_dates
from rsvlm_cli.geo.raster import open_raster
from tests.factories import draw_scene, write_geotiff

NAME = "S2B_MSIL{level}_20230115T101421_N{baseline}_R022_T33TWN_20230115T141234.SAFE"
TILE = "T33TWN_20230115T101421"
SIZES_M = {
    "B01": 60, "B02": 10, "B03": 10, "B04": 10, "B05": 20, "B06": 20, "B07": 20, "B08": 10, "B8A": 20, "B09": 60,
    "B10": 60, "B11": 20, "B12": 20,
}  # fmt: skip
SIDE_M = 1200


def ground(size_m: int, which: int) -> np.ndarray:
    """Reflectance times 10,000 of a band, ``(1, n, n)``: brighter to the right, each band by 100 more."""
    n = SIDE_M // size_m
    x = (np.arange(n) + 0.5) / n
    return np.repeat((300 + 100 * which + 1500 * x)[None], n, axis=0)[None]


def make_safe(folder: Path, *, level: str = "2A", baseline: str = "0509") -> Path:
    """Write a Sentinel-2 product: metadata and one JPEG 2000 file a band, values with the baseline's offset."""
    root = folder / NAME.format(level=level, baseline=baseline)
    offset = 1000 if baseline >= "0400" else 0
    kind = "BOA" if level == "2A" else "RADIO"
    offsets = "".join(f'<{kind}_ADD_OFFSET band_id="{k}">-1000</{kind}_ADD_OFFSET>' for k in range(13))
    quantity = "BOA_QUANTIFICATION_VALUE" if level == "2A" else "QUANTIFICATION_VALUE"
    root.mkdir(parents=True)
    (root / f"MTD_MSIL{level}.xml").write_text(
        f"<n1:User_Product><PRODUCT_START_TIME>2023-01-15T10:14:21.024Z</PRODUCT_START_TIME>"
        f"<PROCESSING_BASELINE>{baseline[:2]}.{baseline[2:]}</PROCESSING_BASELINE>"
        f"<SPACECRAFT_NAME>Sentinel-2B</SPACECRAFT_NAME>"
        f'<{quantity} unit="none">10000</{quantity}>{offsets if offset else ""}</n1:User_Product>'
    )
    images = root / "GRANULE" / "L" / "IMG_DATA"
    masks = root / "GRANULE" / "L" / "QI_DATA"
    for path in (images, masks):
        path.mkdir(parents=True)
    for which, (code, size_m) in enumerate(SIZES_M.items()):
        if level == "2A" and code == "B10":
            continue
        stored = (ground(size_m, which) + offset).round().astype(np.uint16)
        stored[:, :1] = 0  # a row without data
        place = images / f"R{size_m}m" if level == "2A" else images
        place.mkdir(exist_ok=True)
        name = f"{TILE}_{code}_{size_m}m.jp2" if level == "2A" else f"{TILE}_{code}.jp2"
        write_geotiff(place / name, stored, driver="JP2OpenJPEG", crs="EPSG:32633", QUALITY="100", REVERSIBLE="YES",
                      transform=rasterio.Affine(size_m, 0, 499_980, 0, -size_m, 5_000_040))  # fmt: skip
        if level == "2A" and size_m == 10:  # coarser copies of the same band, which must not be taken
            (images / "R20m").mkdir(exist_ok=True)
            write_geotiff(images / "R20m" / f"{TILE}_{code}_20m.jp2", stored[:, ::2, ::2], driver="JP2OpenJPEG")
    write_geotiff(masks / "MSK_DETFOO_B04.jp2", np.ones((1, 60, 60), np.uint8), driver="JP2OpenJPEG")
    return root


def zipped(folder: Path) -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as target:
        for inner in sorted(folder.rglob("*")):
            if inner.is_file():
                target.write(inner, Path(folder.name) / inner.relative_to(folder))
    shutil.rmtree(folder)
    return path


@pytest.mark.parametrize("level", ["1C", "2A"])
@pytest.mark.parametrize("form", ["folder", "metadata", "zip"])
def test_a_sentinel_2_product_is_one_raster_of_all_its_bands(tmp_path: Path, level: str, form: str) -> None:
    root = make_safe(tmp_path, level=level)
    path = {"folder": lambda: root, "metadata": lambda: root / f"MTD_MSIL{level}.xml", "zip": lambda: zipped(root)}[
        form
    ]()
    with open_raster(path) as raster:
        assert (raster.width_px, raster.height_px, raster.gsd_m) == (120, 120, 10.0)
        assert raster.crs == "EPSG:32633"
        assert raster.dataset.count == (13 if level == "1C" else 12)
        assert raster.bands.labels == ("4 (red)", "3 (green)", "2 (blue)")
        assert raster.bands.by == "band names"
        assert (raster.dated.date, raster.dated.by) == ("2023-01-15", "tag PRODUCT_START_TIME")
        assert "(value * 0.0001 - 0.1: baseline 05.09)" in raster.stretch.text
        values, valid = raster.read_values()
        assert not raster.warnings
    np.testing.assert_allclose(
        values[:, 1:], np.concatenate([ground(10, k) for k in (3, 2, 1)])[:, 1:] + 1000, atol=0.51
    )
    assert valid.sum() == 119 * 120
    assert not valid[0].any()
    with open_raster(path, bands="swir1,nir,red") as raster:
        swir, _ = raster.read_values((20, 20, 22, 22))
    assert swir[0, 0, 0] == pytest.approx(300 + 1100 + 1500 * 20.5 / 120 + 1000, abs=1)  # between two of its own pixels


def test_two_processing_baselines_meet_in_reflectance(tmp_path: Path) -> None:
    old, new = make_safe(tmp_path / "old", baseline="0301"), make_safe(tmp_path / "new", baseline="0509")
    with open_dates([old, new], Comparison(radiometry="none")) as dates:
        one, two = (raster.read() for raster in dates.rasters)
        assert "baseline 03.01" in dates.rasters[0].stretch.text
        assert "baseline 05.09" in dates.rasters[1].stretch.text
    assert np.abs(one.pixels.astype(int) - two.pixels).max() <= 1
    assert two.pixels[5:].std() > 20


def test_a_stretch_may_be_given_as_reflectance(tmp_path: Path) -> None:
    with open_raster(make_safe(tmp_path), stretch="reflectance:0,0.3") as raster:
        assert raster.stretch.low == pytest.approx((1000,) * 3)
        assert raster.stretch.high == pytest.approx((4000,) * 3)
    plain = write_geotiff(tmp_path / "plain.tif", draw_scene((64, 64)))
    with (
        pytest.raises(UsageError, match=r"plain\.tif: .*reflectance.*not known"),
        open_raster(plain, stretch="reflectance:0,0.3"),
    ):
        pass


LANDSAT = "LC09_L2SP_195028_20210605_20210612_02_T1"


def make_landsat(folder: Path) -> Path:
    """Write a Landsat 9 scene: seven bands of surface reflectance, a thermal one, a mask, the metadata."""
    root = folder / LANDSAT
    root.mkdir(parents=True)
    for k in range(1, 8):
        write_geotiff(root / f"{LANDSAT}_SR_B{k}.TIF", np.full((1, 40, 50), 7000 + 1000 * k, np.uint16), nodata=0)
    write_geotiff(root / f"{LANDSAT}_ST_B10.TIF", np.full((1, 40, 50), 40_000, np.uint16))
    write_geotiff(root / f"{LANDSAT}_QA_PIXEL.TIF", np.full((1, 40, 50), 21_824, np.uint16))
    lines = ["DATE_ACQUIRED = 2021-06-05"]
    lines += [f"REFLECTANCE_MULT_BAND_{k} = 2.75e-05" for k in range(1, 8)]
    lines += [f"REFLECTANCE_ADD_BAND_{k} = -0.2" for k in range(1, 8)]
    (root / f"{LANDSAT}_MTL.txt").write_text("\n".join(f"    {line}" for line in lines))
    return root


@pytest.mark.parametrize("form", ["folder", "tar"])
def test_a_landsat_scene_is_one_raster_with_its_reflectance(tmp_path: Path, form: str) -> None:
    path = make_landsat(tmp_path)
    if form == "tar":
        with tarfile.open(tmp_path / "scene.tar", "w") as target:
            for inner in sorted(path.iterdir()):
                target.add(inner, inner.name)
        path = tmp_path / "scene.tar"
    with open_raster(path, stretch="reflectance:-0.2,0.2") as raster:
        assert raster.bands.labels == ("4 (red)", "3 (green)", "2 (blue)")
        assert raster.dataset.count == 7
        assert (raster.dated.date, raster.dated.by) == ("2021-06-05", "tag DATE_ACQUIRED")
        pixels = raster.read().pixels
    assert pixels[0, 0].tolist() == [round((7000 + 1000 * k) * 2.75e-5 / 0.4 * 255) for k in (4, 3, 2)]


@pytest.mark.parametrize(
    ("name", "dtype", "by"),
    [
        (f"{LANDSAT}_SR_stack.tif", np.uint16, "* 2.75e-05 - 0.2: Landsat Collection 2 Level 2"),
        ("20200601_153045_1003_3B_AnalyticMS_SR.tif", np.uint16, "* 0.0001: PlanetScope surface reflectance"),
        ("S2A_MSIL2A_20230115T101421_N0509_R022_T33TWN_20230115.tif", np.uint16, "- 0.1: baseline 05.09 in its name"),
        ("S2A_MSIL2A_20200115T101421_N0213_R022_T33TWN_20200115T141234.tif", np.uint16, "* 0.0001: baseline 02.13"),
        ("S2A_MSIL2A_20230115T101421_N0509_R022_T33TWN_rgb.tif", np.uint8, None),
        ("WV02_20200601.tif", np.uint16, None),
    ],
)  # fmt: skip
def test_a_name_that_fixes_the_law_gives_it(tmp_path: Path, name: str, dtype: type, by: str | None) -> None:
    path = write_geotiff(tmp_path / name, (draw_scene((64, 64)).astype(dtype)), crs="EPSG:32633")
    with open_raster(path, bands="1,2,3") as raster:
        assert (by in raster.stretch.text) if by else ("value *" not in raster.stretch.text)


def test_an_archive_with_one_raster_stands_for_it(tmp_path: Path) -> None:
    scene = write_geotiff(tmp_path / "scene.tif", draw_scene((64, 48)))
    with zipfile.ZipFile(tmp_path / "scene.zip", "w") as target:
        target.write(scene, "deep/scene.tif")
        target.writestr("readme.txt", "hello")
    with open_raster(tmp_path / "scene.zip") as raster:
        np.testing.assert_array_equal(raster.read().pixels, np.moveaxis(draw_scene((64, 48)), 0, -1))


def test_what_holds_no_scene_or_several_rasters_is_refused_with_a_way_out(tmp_path: Path) -> None:
    scene = write_geotiff(tmp_path / "a.tif", draw_scene((64, 48)))
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as target:
        target.write(scene, "a.tif")
        target.write(scene, "b.tif")
    with (
        pytest.raises(RasterUnreadable, match=r"archive of 2 rasters .*name one, such as '/vsizip/.*two\.zip/a\.tif'"),
        open_raster(tmp_path / "two.zip"),
    ):
        pass
    (tmp_path / "bad.zip").write_bytes(b"PK nothing")
    with pytest.raises(RasterUnreadable, match="is it complete"), open_raster(tmp_path / "bad.zip"):
        pass
    root = make_safe(tmp_path / "s2")
    for inner in root.rglob("*_B04_*"):
        inner.unlink()
    with pytest.raises(RasterUnreadable, match="without its visible bands"), open_raster(root):
        pass
