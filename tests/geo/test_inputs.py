"""Every kind of raster that a field office has: what is read is what was written, in its place."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from PIL import Image
from PIL.ExifTags import GPS, IFD, Base
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.rpc import RPC
from rasterio.transform import Affine

from rsvlm_cli.geo.georef import Georeference
from rsvlm_cli.geo.raster import Raster, open_raster
from tests.factories import ONE_METRE, UTM33, draw_scene, write_geotiff

SCENE = draw_scene((200, 160), buildings=5)
RGB = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)


def seen(path: Path, **options: str) -> tuple[np.ndarray, np.ndarray]:
    """Return what is shown, ``(bands, height, width)``, and where it is valid."""
    with open_raster(path, **options) as raster:
        chip = raster.read()
    return np.moveaxis(chip.pixels, -1, 0), chip.valid


@pytest.mark.parametrize(
    "profile",
    [
        {"driver": "COG", "blocksize": 128},
        {"blockysize": 7},
        {"tiled": True, "blockxsize": 64, "blockysize": 64, "interleave": "band", "compress": "zstd"},
        {"BIGTIFF": "YES"},
        {"driver": "PNG"},
        {"driver": "JP2OpenJPEG", "REVERSIBLE": "YES", "QUALITY": "100"},
        {"driver": "HFA"},
        {"driver": "NITF", "ICORDS": "N"},
    ],
    ids=lambda profile: "-".join(map(str, profile.values())),
)
def test_the_form_of_the_file_changes_nothing(tmp_path: Path, profile: dict) -> None:
    pixels, valid = seen(write_geotiff(tmp_path / "a.img", SCENE, **profile), bands="1,2,3")
    np.testing.assert_array_equal(pixels, SCENE)
    assert valid.all()


def test_jpeg_in_tiff_is_seen_in_its_colours(tmp_path: Path) -> None:
    path = write_geotiff(tmp_path / "a.tif", SCENE, compress="jpeg", photometric="ycbcr", jpeg_quality=95,
                         interleave="pixel", tiled=True, blockxsize=64, blockysize=64)  # fmt: skip
    pixels, _ = seen(path)
    assert np.abs(pixels.astype(int) - SCENE).mean() < 3


def test_a_mosaic_is_seen_as_one(tmp_path: Path) -> None:
    for k, x in enumerate((0, 100)):
        moved = ONE_METRE @ Affine.translation(x, 0)
        write_geotiff(tmp_path / f"{k}.tif", SCENE[:, :, x : x + 100], transform=moved)
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{band}"><ColorInterp>{colour}</ColorInterp>'
        + "".join(
            f'<SimpleSource><SourceFilename relativeToVRT="1">{k}.tif</SourceFilename><SourceBand>{band}</SourceBand>'
            '<SrcRect xOff="0" yOff="0" xSize="100" ySize="160"/>'
            f'<DstRect xOff="{100 * k}" yOff="0" xSize="100" ySize="160"/></SimpleSource>'
            for k in (0, 1)
        )
        + "</VRTRasterBand>"
        for band, colour in ((1, "Red"), (2, "Green"), (3, "Blue"))
    )
    (tmp_path / "a.vrt").write_text(
        f'<VRTDataset rasterXSize="200" rasterYSize="160"><SRS>{UTM33}</SRS>'
        f"<GeoTransform>500000, 1, 0, 5000000, 0, -1</GeoTransform>{bands}</VRTDataset>"
    )
    np.testing.assert_array_equal(seen(tmp_path / "a.vrt")[0], SCENE)


@pytest.mark.parametrize("n_bands", [1, 2, 3, 4, 5, 6, 8, 10, 12, 13, 16])
def test_any_number_of_bands_is_shown(tmp_path: Path, n_bands: int) -> None:
    pixels = np.stack([SCENE[k % 3].astype(np.uint16) * 10 + k for k in range(n_bands)])
    shown, valid = seen(write_geotiff(tmp_path / "a.tif", pixels))
    assert shown.shape == (3, 160, 200)
    assert valid.all()
    assert shown.std() > 10


@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64"]
)
def test_any_real_type_shows_the_same_picture(tmp_path: Path, dtype: str) -> None:
    grey = SCENE[:1] // 2  # 0 to 127: what every type holds
    shown, _ = seen(write_geotiff(tmp_path / "a.tif", grey.astype(dtype)), stretch="0,255")
    np.testing.assert_array_equal(shown[0], grey[0])


def test_a_mask_inside_the_file_and_one_beside_it_mean_no_data(tmp_path: Path) -> None:
    left = np.repeat((np.arange(200) >= 50)[None], 160, axis=0)
    for inside in (True, False):
        path = tmp_path / f"{inside}.tif"
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=inside):
            write_geotiff(path, SCENE)
            with rasterio.open(path, "r+") as dataset:
                dataset.write_mask(left)
                assert dataset.mask_flag_enums[0] == [MaskFlags.per_dataset]
        assert path.with_name(path.name + ".msk").exists() != inside
        pixels, valid = seen(path)
        np.testing.assert_array_equal(valid, left)
        np.testing.assert_array_equal(pixels[:, left], SCENE[:, left])


def corners_crs(raster: Raster) -> np.ndarray:
    return Georeference.of(raster).px_to_crs(np.array([[0, 0], [raster.width_px, raster.height_px]]))


def test_control_points_that_no_transform_meets_place_a_raster_on_a_map_grid(tmp_path: Path) -> None:
    # The ground is the scene; the file shows it bent: its column is the scene's plus up to 20 px, by the row squared.
    def bent(row: float) -> float:
        return 20 * (row / 160) ** 2

    rows, columns = np.mgrid[:160, :200]
    source = (columns + bent(rows)).round().astype(int).clip(0, 199)
    gcps = [
        GroundControlPoint(row, col, 500_000 + col + bent(row), 5_000_000 - row)
        for row in (0, 40, 80, 120, 160)
        for col in (0, 100, 200)
    ]
    path = tmp_path / "a.tif"
    keys = {"driver": "GTiff", "width": 200, "height": 160, "count": 3, "dtype": "uint8", "photometric": "rgb"}
    with rasterio.open(path, "w", **keys, gcps=gcps, crs=UTM33) as dataset:
        dataset.write(SCENE[:, rows, source])
    with open_raster(path) as raster:
        assert raster.crs == UTM33
        assert any("placed by 15 ground control points; pixels are those of" in warning for warning in raster.warnings)
        assert raster.bands.labels == ("1 (red)", "2 (green)", "3 (blue)")
        window = Georeference.of(raster).crs_to_px(np.array([[500_040, 4_999_980], [500_180, 4_999_860]]))
        chip = raster.read(tuple(window.round().ravel()), (140, 120))
    truth = np.moveaxis(SCENE[:, 20:140, 40:180], 0, -1).astype(float)
    assert chip.valid.all()
    grey, expected = chip.pixels.mean(axis=2).ravel(), truth.mean(axis=2).ravel()
    assert np.corrcoef(grey, expected)[0, 1] > 0.85


def test_rpcs_place_a_raster_at_the_height_they_name(tmp_path: Path) -> None:
    # A camera whose line and sample are the latitude and longitude, displaced by the height above 250 m.
    zero = [0.0] * 20
    line, sample, one = ([*zero[:k], v, *zero[k + 1 :]] for k, v in ((2, -1.0), (1, 1.0), (0, 1.0)))
    rpcs = RPC(
        height_off=250, height_scale=500, lat_off=45.0, lat_scale=0.01, long_off=15.0, long_scale=0.01,
        line_off=80, line_scale=80, samp_off=100, samp_scale=100, line_num_coeff=line, line_den_coeff=one,
        samp_num_coeff=[*sample[:3], 0.5, *sample[4:]], samp_den_coeff=one,
    )  # fmt: skip
    path = tmp_path / "a.tif"
    keys = {"driver": "GTiff", "width": 200, "height": 160, "count": 1, "dtype": "uint8"}
    with rasterio.open(path, "w", **keys, rpcs=rpcs) as dataset:
        dataset.write(SCENE[:1])
    with open_raster(path) as raster:
        assert raster.crs == "EPSG:32633"
        assert any("at a height of 250 m" in warning for warning in raster.warnings)
        lonlat = Georeference.of(raster).crs_to_lonlat(corners_crs(raster))
        chip = raster.read()
    np.testing.assert_allclose(lonlat, [[14.99, 45.01], [15.01, 44.99]], atol=2e-4)
    assert 0.9 < chip.valid.mean() <= 1


XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description xmlns:drone-dji="http://www.dji.com/drone-dji/1.0/" drone-dji:RelativeAltitude="+100.0" '
    'drone-dji:GimbalYawDegree="{yaw}" drone-dji:GimbalPitchDegree="{pitch}"/></rdf:RDF></x:xmpmeta>'
)


def photograph(path: Path, *, yaw: float = 90.0, pitch: float = -90.0) -> Path:
    """Write a drone's photograph over 15 E, 45 S: 400 x 300 px, 100 m up, a lens of 24 mm."""
    exif = Image.Exif()
    exif[Base.Make] = "DJI"
    exif.get_ifd(IFD.Exif).update({Base.FocalLengthIn35mmFilm: 24, Base.DateTimeOriginal: "2023:07:04 12:01:01"})
    exif.get_ifd(IFD.GPSInfo).update({
        GPS.GPSLatitudeRef: "S", GPS.GPSLatitude: (45.0, 0.0, 0.0), GPS.GPSLongitudeRef: "E",
        GPS.GPSLongitude: (15.0, 0.0, 0.0),
    })  # fmt: skip
    picture = Image.fromarray(np.moveaxis(draw_scene((400, 300)), 0, -1))
    picture.save(path, exif=exif, xmp=XMP.format(yaw=f"{yaw:+.1f}", pitch=f"{pitch:+.1f}").encode())
    return path


def test_a_drones_photograph_is_placed_by_its_position_height_and_heading(tmp_path: Path) -> None:
    with open_raster(photograph(tmp_path / "DJI_0001.JPG")) as raster:
        gsd_m = 100 * np.hypot(24, 36) / 24 / 500
        assert raster.gsd_m == pytest.approx(gsd_m, rel=0.002)
        assert (raster.crs, raster.dated.date) == ("EPSG:32733", "2023-07-04")
        assert any("placed to some metres by the drone's position, 100 m" in warning for warning in raster.warnings)
        place = Georeference.of(raster)
        middle, above, right = place.px_to_crs(np.array([[200, 150], [200, 0], [400, 150]]))
        lon, lat = place.crs_to_lonlat(middle[None])[0]
    assert (lon, lat) == pytest.approx((15, -45), abs=1e-6)
    # It flew east: what lies above the middle of the picture lies east of it, what lies right of it lies south.
    np.testing.assert_allclose(above - middle, [150 * gsd_m, 0], atol=1e-3)
    np.testing.assert_allclose(right - middle, [0, -200 * gsd_m], atol=1e-3)


def test_a_drones_oblique_photograph_has_no_place_and_that_is_said(tmp_path: Path) -> None:
    with open_raster(photograph(tmp_path / "a.jpg", pitch=-40)) as raster:
        assert raster.crs is None
        assert any("oblique photograph (camera at -40 degrees" in warning for warning in raster.warnings)


@pytest.mark.parametrize(
    ("name", "bands"),
    [
        ("20230101_101010_12_24b1_3B_AnalyticMS_SR_8b_harmonized.tif", 8),
        ("scene_ortho_analytic_8b_sr.tif", 8),
        ("scene_ortho_analytic_4b.tif", 4),
    ],
)
def test_planetscope_products_are_known_by_their_names(tmp_path: Path, name: str, bands: int) -> None:
    pixels = np.repeat(SCENE[:1].astype(np.uint16) * 10, bands, axis=0)
    with open_raster(write_geotiff(tmp_path / name, pixels)) as raster:
        assert raster.bands.by == "sensor PlanetScope"
        assert raster.bands.indexes == ((6, 4, 2) if bands == 8 else (3, 2, 1))
