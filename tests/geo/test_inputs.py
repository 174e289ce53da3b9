"""Every kind of raster that a field office has: what is read is what was written, in its place."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from PIL import Image
from PIL.ExifTags import GPS, IFD, Base
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.transform import Affine
from rasterio.warp import transform as warp_points

from rsvlm_cli.errors import InputError, NotGeoreferenced, RastersDoNotOverlap, RasterUnreadable
from rsvlm_cli.geo.align import Comparison, open_dates
from rsvlm_cli.geo.describe import describe_raster
from rsvlm_cli.geo.georef import Georeference
from rsvlm_cli.geo.raster import Raster, open_raster
from tests.factories import ONE_METRE, UTM33, draw_scene, write_geotiff, write_rpcs, write_slope

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


def spots(width: int, height: int) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Draw white spots on black, ``(1, height, width)``; return them and their middles as stored, column and row."""
    pixels, middles = np.zeros((1, height, width), np.uint8), [(c, r) for c in (40, 150, 260) for r in (30, 120, 210)]
    for column, row in middles:
        pixels[0, row - 3 : row + 3, column - 3 : column + 3] = 255
    return pixels, middles


def off_px(raster: Raster, places_crs: np.ndarray) -> float:
    """Return how far the worst spot is seen from where it should be, in pixels of the raster."""
    chip = raster.read()
    grey = np.where(chip.valid, chip.pixels[..., 0], 0).astype(float)
    off = []
    for x, y in Georeference.of(raster).crs_to_px(places_crs):
        left, top = max(0, int(x) - 9), max(0, int(y) - 9)
        near = grey[top : top + 18, left : left + 18]
        rows, columns = np.mgrid[: near.shape[0], : near.shape[1]] + 0.5
        assert near.sum() > 0
        off.append(np.hypot((near * columns).sum() / near.sum() + left - x, (near * rows).sum() / near.sum() + top - y))
    return max(off)


def bend(column: float, row: float) -> tuple[float, float]:
    """A known map: a polynomial of the second order, as of a slanting view over even ground."""
    return 500_000 + column + 20 * (row / 240) ** 2, 5_000_000 - row + 10 * column * row / (300 * 240)


def ripple(column: float, row: float) -> tuple[float, float]:
    """A known map that no polynomial of the second order meets, as of relief."""
    x, y = bend(column, row)
    return x + 5 * np.sin(column / 50), y


def write_gcps(path: Path, pixels: np.ndarray, place: Callable[[float, float], tuple[float, float]], n: int) -> Path:
    """Write a raster with ``n`` x ``n`` control points and nothing else."""
    bands, height, width = pixels.shape
    gcps = [
        GroundControlPoint(row, column, *place(column, row))
        for row in np.linspace(0, height, n)
        for column in np.linspace(0, width, n)
    ]
    keys = {"driver": "GTiff", "width": width, "height": height, "count": bands, "dtype": "uint8"}
    with rasterio.open(path, "w", **keys, gcps=gcps, crs=UTM33) as dataset:
        dataset.write(pixels)
    return path


@pytest.mark.parametrize(
    ("place", "n", "by"),
    [(bend, 4, "16 ground control points, polynomial"), (ripple, 7, "49 ground control points, thin plate spline")],
)
def test_control_points_that_no_transform_meets_place_a_raster_to_within_a_pixel(
    tmp_path: Path, place: Callable, n: int, by: str
) -> None:
    pixels, middles = spots(300, 240)
    with open_raster(write_gcps(tmp_path / "a.tif", pixels, place, n)) as raster:
        assert raster.crs == UTM33
        assert raster.gsd_m == pytest.approx(1.0, abs=0.05)
        assert raster.placed_by == f"{by}; warped to a north-up grid"
        told = f"placed by {by}; pixels are those of a north-up grid, {raster.width_px} x {raster.height_px}"
        assert [warning for warning in raster.warnings if told in warning]
        assert off_px(raster, np.array([place(c, r) for c, r in middles])) < 0.7
        chip = raster.read()
        assert chip.source.placed_by == raster.placed_by
        corner = Georeference.of(raster).crs_to_px(np.array([place(0, 239.0)]))[0]
        assert corner[0] > 10  # the bent edge leaves a corner of the grid without ground
        assert not chip.valid[int(corner[1]) - 1, 0]
    said = describe_raster(tmp_path / "a.tif")
    assert (said["driver"], said["placed_by"]) == ("GTiff", f"{by}; warped to a north-up grid")


def test_a_later_date_placed_by_control_points_comes_to_the_grid_of_the_first(tmp_path: Path) -> None:
    ground, middles = spots(340, 280)
    first = write_geotiff(tmp_path / "a.tif", ground)
    later = write_gcps(tmp_path / "b.tif", spots(300, 240)[0], bend, 4)
    with open_dates([first, later], Comparison(radiometry="none")) as dates:
        b = dates.rasters[1]
        assert (b.width_px, b.height_px, b.transform) == (340, 280, dates.rasters[0].transform)
        assert off_px(b, np.array([bend(c, r) for c, r in middles])) < 0.7
        assert "16 ground control points" in (b.read().source.placed_by or "")


def test_rpcs_place_a_raster_to_within_a_pixel_at_the_height_they_name(tmp_path: Path) -> None:
    pixels, middles = spots(300, 240)
    with open_raster(write_rpcs(tmp_path / "a.tif", pixels)) as raster:
        assert raster.crs == "EPSG:32633"
        (told,) = [warning for warning in raster.warnings if "at a height of 250 m" in warning]
        assert "\n" not in told
        assert "RPCs at a height of 250 m" in (raster.placed_by or "")
        # By the camera's own law; its lines and samples count from the middle of the first pixel.
        lon = [15 + 0.01 * (c - 0.5 - 150) / 150 for c, _ in middles]
        lat = [45 - 0.01 * (r - 0.5 - 120) / 120 for _, r in middles]
        places = np.column_stack(warp_points("EPSG:4326", "EPSG:32633", lon, lat))
        assert off_px(raster, places) < 1
        chip = raster.read()
    assert chip.valid.mean() > 0.9


def slope_places() -> np.ndarray:
    """Return where on the slope the spots lie: 10 m above 250 m move what the camera sees by 0.01 of half its width."""
    _, middles = spots(300, 240)
    lon = [15 + 0.01 * ((c - 0.5 - 150) / 150 - 0.025) / 1.0125 for c, _ in middles]
    lat = [45 - 0.01 * (r - 0.5 - 120) / 120 for _, r in middles]
    return np.column_stack(warp_points("EPSG:4326", "EPSG:32633", lon, lat))


def test_rpcs_on_a_terrain_model_place_a_raster_to_within_a_pixel(tmp_path: Path) -> None:
    scene = write_rpcs(tmp_path / "a.tif", spots(300, 240)[0])
    dem = str(write_slope(tmp_path / "Slope of 2024.tif"))
    with open_raster(scene, dem=dem) as raster:
        by = f"its RPCs on the heights of {dem} (250 m where that has none); warped to a north-up grid"
        assert raster.placed_by == by
        assert not [warning for warning in raster.warnings if "relief" in warning or "changes nothing" in warning]
        assert off_px(raster, slope_places()) < 1
        assert raster.read().source.placed_by == by
    with open_raster(scene) as raster:
        assert off_px(raster, slope_places()) > 3
    with open_dates([scene, scene], Comparison(radiometry="none", dem=dem)) as dates:
        assert off_px(dates.rasters[1], slope_places()) < 1
    assert describe_raster(scene, dem=dem)["placed_by"] == by


def test_a_terrain_model_with_gaps_leaves_none_in_the_picture(tmp_path: Path) -> None:
    scene = write_rpcs(tmp_path / "a.tif", spots(300, 240)[0])
    west_half = write_slope(tmp_path / "dem.tif", columns=50)
    with open_raster(scene, dem=str(west_half)) as raster:
        assert raster.read().valid.mean() > 0.9


def test_a_terrain_model_of_one_town_of_the_scene_is_taken(tmp_path: Path) -> None:
    scene = write_rpcs(tmp_path / "a.tif", spots(300, 240)[0])
    place = {"crs": "EPSG:4326", "transform": Affine(1e-5, 0, 15.0003, 0, -1e-5, 45.0022)}
    town = write_geotiff(tmp_path / "town.tif", np.full((1, 190, 190), 300, np.float32), **place)
    with open_raster(scene, dem=str(town)) as raster:
        assert raster.placed_by.startswith(f"its RPCs on the heights of {town} ")


@pytest.mark.parametrize(
    ("keys", "error", "told"),
    [
        ({"crs": None}, NotGeoreferenced, "has no CRS or no transform"),
        ({"west": 16.0}, RastersDoNotOverlap, r"has no height of the ground of .*a\.tif"),
    ],
)
def test_a_terrain_model_that_gives_no_height_is_refused(
    tmp_path: Path, keys: dict, error: type[InputError], told: str
) -> None:
    scene = write_rpcs(tmp_path / "a.tif", spots(300, 240)[0])
    dem = write_slope(tmp_path / "dem.tif", **keys)
    with pytest.raises(error, match=rf"dem\.tif: {told}"), open_raster(scene, dem=str(dem)):
        pass


def test_a_terrain_model_that_is_none_is_refused(tmp_path: Path) -> None:
    scene = write_rpcs(tmp_path / "a.tif", spots(300, 240)[0])
    (tmp_path / "dem.txt").write_text("heights")
    for name, told in (("nowhere.tif", "no such file"), ("dem.txt", "cannot be read")):
        with pytest.raises(RasterUnreadable, match=f"{name}: {told}"), open_raster(scene, dem=str(tmp_path / name)):
            pass


def test_a_terrain_model_for_a_raster_with_a_place_of_its_own_changes_nothing_and_that_is_said(tmp_path: Path) -> None:
    with open_raster(write_geotiff(tmp_path / "a.tif", SCENE), dem="dem.tif") as raster:
        assert raster.placed_by == "transform"
        assert raster.warnings == (f"{raster.path}: is not placed by RPCs, so --dem dem.tif changes nothing",)
    by_points = write_gcps(tmp_path / "b.tif", spots(300, 240)[0], bend, 4)
    with open_raster(by_points, dem="point") as raster:
        assert f"{raster.path}: is not placed by RPCs, so --dem point changes nothing" in raster.warnings


def test_a_white_that_is_zero_stays_white_on_a_map_grid(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    write_gcps(path, np.zeros((1, 240, 300), np.uint8), bend, 4)
    plain = tmp_path / "plain.tif"
    keys = {"driver": "GTiff", "width": 300, "height": 240, "count": 1, "dtype": "uint8", "photometric": "MINISWHITE"}
    with rasterio.open(path) as bent, rasterio.open(plain, "w", **keys, gcps=bent.gcps[0], crs=UTM33) as dataset:
        dataset.write(np.zeros((1, 240, 300), np.uint8))
    with open_raster(plain) as raster:
        chip = raster.read()
    assert "ground control points" in (raster.placed_by or "")
    assert (chip.pixels[chip.valid] == 255).all()


XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description xmlns:drone-dji="http://www.dji.com/drone-dji/1.0/" drone-dji:RelativeAltitude="+100.0" '
    'drone-dji:GimbalYawDegree="{yaw}" drone-dji:GimbalPitchDegree="{pitch}"/></rdf:RDF></x:xmpmeta>'
)


def photograph(path: Path, *, yaw: float = 90.0, pitch: float = -90.0, position: bool = True) -> Path:
    """Write a drone's photograph over 15 E, 45 S: 400 x 300 px, 100 m up, a lens of 24 mm."""
    exif = Image.Exif()
    exif[Base.Make] = "DJI"
    exif.get_ifd(IFD.Exif).update({Base.FocalLengthIn35mmFilm: 24, Base.DateTimeOriginal: "2023:07:04 12:01:01"})
    if position:
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
        assert any("placed to some metres by the drone's position" in warning for warning in raster.warnings)
        assert any("pixels of about 0.36 m, from 100 m above take-off" in warning for warning in raster.warnings)
        assert raster.placed_by == "approximate, a drone's position, height and heading"
        place = Georeference.of(raster)
        middle, above, right = place.px_to_crs(np.array([[200, 150], [200, 0], [400, 150]]))
        lon, lat = place.crs_to_lonlat(middle[None])[0]
    assert (lon, lat) == pytest.approx((15, -45), abs=1e-6)
    # It flew east: what lies above the middle of the picture lies east of it, what lies right of it lies south.
    np.testing.assert_allclose(above - middle, [150 * gsd_m, 0], atol=1e-3)
    np.testing.assert_allclose(right - middle, [0, -200 * gsd_m], atol=1e-3)


def test_a_drones_photograph_without_a_position_still_says_how_large_its_pixels_are(tmp_path: Path) -> None:
    with open_raster(photograph(tmp_path / "a.jpg", position=False)) as raster:
        assert (raster.crs, raster.transform, raster.placed_by) == (None, None, None)
        assert raster.gsd_m == pytest.approx(100 * np.hypot(24, 36) / 24 / 500)
        (told,) = raster.warnings
        assert (
            "about 0.36 m, from 100 m above take-off, by the drone, which does not say lat, lon and has no geo" in told
        )
        assert raster.read((0, 0, 100, 100), (50, 50)).source.model_gsd_m == pytest.approx(2 * raster.gsd_m)


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
