"""STAC items as pystac reads them, against the schemas of STAC 1.1 that it carries."""

import hashlib
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from rasterio.warp import transform as warp
from shapely.geometry import shape

from rsvlm_cli.output.deliver import Targets, write_files
from rsvlm_cli.results import Box, Mask, Report, Source

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import pystac
    from pystac.validation import set_validator, validate_dict
    from pystac.validation.stac_validator import JsonSchemaSTACValidator

PLACES = {
    "south": ("EPSG:32736", (0.5, 0.0, 523_000.0, 0.0, -0.5, 9_252_000.0)),
    "rotated": ("EPSG:32633", (1.7, 1.6, 500_000.0, 1.1, -2.5, 5_000_000.0)),
    "antimeridian": ("EPSG:32760", (30.0, 0.0, 811_000.0, 0.0, -30.0, 7_905_000.0)),
}


def make_report(crs: str | None, transform, *dates: str | None) -> Report:
    sources = tuple(
        Source(
            path=f"{k}.tif", width_px=400, height_px=300, window_px=(0.0, 0.0, 400.0, 300.0), crs=crs,
            transform=transform, gsd_m=0.5, model_px=(192, 192), model_gsd_m=1.0, bands=("1 (red)",), bands_by="asked",
            stretch="none (uint8)", valid_frac=1.0, date=date,
        )
        for k, date in enumerate(dates)
    )  # fmt: skip
    mask = Mask(labels=("water & reed",), cells=np.ones((3, 4), np.uint8), area_px=(0, 0, 400, 300))
    box = Box(label="ship", box_px=(10, 20, 30, 40))
    return Report(task="segment", model=("nano", "ab" * 32), sources=sources, results=(mask, box))


def write_item(folder: Path, report: Report, *out: str) -> dict:
    for name in out:
        write_files(report, Targets(out=folder / name, stac=folder / "item.json", overwrite=True, command="rsvlm x"))
    item = json.loads((folder / "item.json").read_text("utf-8"))
    core_only = item | {"stac_extensions": []}  # their schemas are on the network
    set_validator(JsonSchemaSTACValidator())
    validate_dict(core_only)
    return item


@pytest.mark.parametrize("place", PLACES)
def test_an_item_is_valid_and_lies_where_the_window_lies(tmp_path, place):
    crs, transform = PLACES[place]
    item = write_item(tmp_path, make_report(crs, transform, "2024-06-01"), "mask.tif")
    read = pystac.Item.from_dict(item)
    a, b, c, d, e, f = transform
    corners = [(0, 0), (400, 0), (400, 300), (0, 300)]
    lons, lats = warp(
        crs, "EPSG:4326", *zip(*[(a * x + b * y + c, d * x + e * y + f) for x, y in corners], strict=True)
    )
    footprint = shape(read.geometry)
    assert footprint.is_valid
    points = np.array([p for part in getattr(footprint, "geoms", [footprint]) for p in part.exterior.coords])
    for corner in zip(lons, lats, strict=True):
        assert np.abs(points - corner).max(axis=1).min() < 1e-6
    west, south, east, north = read.bbox
    assert (west > east) == (place == "antimeridian")
    assert (south, north) == pytest.approx((min(lats), max(lats)), abs=1e-4)
    assert (item["properties"]["proj:code"], item["properties"]["proj:transform"]) == (crs, list(transform))
    assert item["properties"]["proj:shape"] == [300, 400]


def test_the_assets_are_the_files_with_their_checksums(tmp_path):
    item = write_item(tmp_path, make_report(*PLACES["south"], None), "mask.tif")
    asset = item["assets"]["tif"]
    assert asset["href"] == "mask.tif"
    content = (tmp_path / "mask.tif").read_bytes()
    assert asset["file:checksum"] == "1220" + hashlib.sha256(content).hexdigest()
    assert asset["file:size"] == len(content)
    classes = [(c["value"], c["name"], c["title"]) for c in asset["classification:classes"]]
    assert classes == [(0, "background", "background"), (1, "water___reed", "water & reed")]
    assert item["properties"]["processing:lineage"] == "rsvlm x"


@pytest.mark.parametrize(
    ("dates", "start", "end"),
    [
        (("2024-06-01",), "2024-06-01T00:00:00Z", "2024-06-01T23:59:59Z"),
        (("2019", "2024-02"), "2019-01-01T00:00:00Z", "2024-02-29T23:59:59Z"),
    ],
)
def test_the_time_is_that_of_the_imagery(tmp_path, dates, start, end):
    properties = write_item(tmp_path, make_report(*PLACES["south"], *dates), "out.json")["properties"]
    assert (properties["datetime"], properties["start_datetime"], properties["end_datetime"]) == (None, start, end)


def test_without_date_or_place_the_item_says_so(tmp_path):
    item = write_item(tmp_path, make_report(None, None, None), "out.json")
    assert (item["geometry"], "bbox" in item) == (None, False)
    assert item["properties"]["datetime"] == item["properties"]["created"]
    assert "no date" in item["properties"]["description"]
