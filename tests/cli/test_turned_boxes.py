"""Turned boxes on the whole road: what windows say in text is one outline a thing, and lies in files where it is."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pyogrio
import pytest
import shapely
from PIL import Image
from rasterio.features import rasterize, shapes
from rasterio.transform import Affine
from shapely import affinity

from rsvlm_cli import pipeline, scene
from rsvlm_cli.output.schema import build_schema
from rsvlm_cli.runtime.bundle import read_bundle, write_manifest
from rsvlm_cli.settings import Settings
from rsvlm_cli.tasks.dialect import NANO, BoxStyle
from tests.factories import write_geotiff
from tests.fake_engine import spell

TILE = 240
WIDTH, HEIGHT = 700, 600
TURNED = Affine.translation(500_000, 5_000_000) @ Affine.rotation(33) @ Affine.scale(2, -3)
SETTINGS = Settings(tile=str(TILE))


def outlines(bright, least=60):
    """Return the smallest turned rectangle around each bright patch."""
    found = [shapely.geometry.shape(ring) for ring, _ in shapes(bright.astype(np.uint8), mask=bright)]
    return [patch.minimum_rotated_rectangle for patch in found if patch.area > least]


def as_quad(outline):
    return [round(v) for v in np.ravel(shapely.get_coordinates(outline)[:4])]


def as_obb(outline):
    corners = shapely.get_coordinates(outline)[:4]
    (x, y), along, across = corners.mean(axis=0), corners[1] - corners[0], corners[2] - corners[1]
    width, height = max((along, across), key=np.linalg.norm), min((along, across), key=np.linalg.norm)
    angle = (np.degrees(np.arctan2(width[1], width[0])) + 90) % 180 - 90
    return [round(v) for v in (x, y, np.linalg.norm(width), np.linalg.norm(height), angle)]


def plainly(name):
    return lambda boxes: "".join(",".join(map(str, box)) + " ship\n" for box in boxes) or "There are none."


def in_json(name):
    def write(boxes):
        entries = ",\n\t".join(json.dumps({name: box, "label": "ship"}) for box in boxes)
        return f"```json\n[\n\t{entries}\n]\n```" if boxes else "There are none."

    return write


FORMS = {
    "quads": (BoxStyle.QUADS, as_quad, plainly("")),
    "quads in JSON": (BoxStyle.QUADS, as_quad, in_json("quadrant bbox")),
    "obbs": (BoxStyle.OBBS, as_obb, plainly("")),
    "obbs in JSON": (BoxStyle.OBBS, as_obb, in_json("oriented bbox")),
}


class Seer:
    """An engine that sees: it writes the turned boxes of what is bright in the picture it is shown."""

    def __init__(self, bundle):
        self.bundle, self.form, self.n_said = bundle, FORMS["quads"], 0

    def encode_images(self, images):
        return images

    def generate(self, features, prompt, expert, **_):
        assert prompt.endswith("find the ship<|im_end|>\n<|im_start|>assistant\n")
        self.n_said += 1
        _, measure, write = self.form
        bright = features[-1].mean(axis=2) > 150
        height, width = bright.shape
        seen = [affinity.scale(one, TILE / width, TILE / height, origin=(0, 0)) for one in outlines(bright)]
        return spell(write([measure(one) for one in seen]), 0.9)


@pytest.fixture
def seer(monkeypatch, fake_engine, as_rscovlm):
    engine = Seer(fake_engine().bundle)
    monkeypatch.setattr(scene, "open_engine", lambda *_: engine)
    return as_rscovlm(engine, (TILE, TILE))


def draw_ships():
    """Return a scene with turned bright rectangles, pairs of them side by side, some longer than windows overlap."""
    rng, bright = np.random.default_rng(4), np.zeros((HEIGHT, WIDTH), bool)
    while bright.sum() < 22_000:
        length, breadth = rng.uniform(40, 110), rng.uniform(9, 16)
        pair = [shapely.box(-length / 2, d, length / 2, d + breadth) for d in (0, breadth + 5)]
        pair = [affinity.rotate(ship, (angle := rng.uniform(-90, 90)) if k == 0 else angle, origin=(0, 0))
                for k, ship in enumerate(pair)]  # fmt: skip
        x, y = rng.uniform(70, WIDTH - 70), rng.uniform(70, HEIGHT - 70)
        pair = [affinity.translate(ship, x, y) for ship in pair]
        if not rasterize([(shapely.union_all(pair).buffer(8), 1)], bright.shape)[bright].any():
            bright |= rasterize([(ship, 1) for ship in pair], bright.shape).astype(bool)
    return bright


BRIGHT = draw_ships()


def write_scene(path, bright, **place):
    write_geotiff(path, np.repeat(np.where(bright, 200, 80)[None], 3, axis=0).astype(np.uint8), **place)


def detect(path):
    return [shapely.Polygon(box.quad_px) for box in pipeline.detect("detect", str(path), ["ship"], SETTINGS).results]


def worst_overlap(truths, found):
    """Return the least IoU of a truth with what was found of it; each is found once."""
    iou = [[p.intersection(q).area / p.union(q).area for q in found] for p in truths]
    assert len({int(np.argmax(row)) for row in iou}) == len(truths)
    return min(map(max, iou))


@pytest.mark.parametrize("form", FORMS)
def test_ships_are_found_whole_across_seams_beside_each_other_in_every_form(tmp_path, seer, as_rscovlm, form):
    seer.form = FORMS[form]
    as_rscovlm(seer, (TILE, TILE), box_style=seer.form[0])
    write_scene(tmp_path / "ships.tif", BRIGHT)
    results = pipeline.detect("detect", str(tmp_path / "ships.tif"), ["ship"], SETTINGS).results
    truths = outlines(BRIGHT)
    assert len(results) == len(truths) > 20
    assert worst_overlap(truths, [shapely.Polygon(box.quad_px) for box in results]) > 0.9
    for box in results:
        assert box.box_px == pytest.approx(shapely.Polygon(box.quad_px).bounds)
        assert 0 <= box.box_px[0] < box.box_px[2] <= WIDTH
        assert (box.score, box.score_method) == (pytest.approx(0.9), "mean p(coordinate)")


def test_a_scene_turned_by_a_quarter_gives_the_boxes_turned(tmp_path, seer):
    write_scene(tmp_path / "ships.tif", BRIGHT)
    write_scene(tmp_path / "turned.tif", np.rot90(BRIGHT, -1))
    turned = [affinity.affine_transform(p, (0, -1, 1, 0, HEIGHT, 0)) for p in detect(tmp_path / "ships.tif")]
    assert worst_overlap(turned, detect(tmp_path / "turned.tif")) > 0.9


def test_windows_at_other_places_give_the_same_boxes(tmp_path, seer):
    left, top = 37, 53
    write_scene(tmp_path / "ships.tif", BRIGHT)
    write_scene(tmp_path / "part.tif", BRIGHT[top:, left:])
    inside = shapely.box(left + 4, top + 4, WIDTH, HEIGHT)
    whole = [ship for ship in detect(tmp_path / "ships.tif") if inside.contains(ship)]
    part = [affinity.translate(ship, left, top) for ship in detect(tmp_path / "part.tif")]
    assert len(whole) > 20
    assert worst_overlap(whole, part) > 0.9


def test_a_journal_s_boxes_are_the_windows_own(tmp_path, seer):
    write_scene(tmp_path / "ships.tif", BRIGHT)
    settings = replace(SETTINGS, journal=tmp_path / "ships.journal")
    first, again = (pipeline.detect("detect", str(tmp_path / "ships.tif"), ["ship"], settings) for _ in range(2))
    assert seer.n_said == first.n_asked
    assert again.results == first.results


# --- files ------------------------------------------------------------------------------------------------------------

LINE = "90,20,150,140,120,155,60,35 ship\n"
QUAD_PX = np.array([(150.0, 25.0), (250, 175), (200, 193.75), (100, 43.75)])
"""The same in the 400 x 300 px that a picture of 240 px shows."""


@pytest.fixture
def said(fake_engine, as_rscovlm, scenes):
    """A raster on a turned grid, and a model that says one line of it."""
    write_scene(scenes / "placed.tif", np.zeros((300, 400), bool), transform=TURNED)
    return as_rscovlm(fake_engine(LINE), (TILE, TILE))


def command(*more):
    return ("detect", "placed.tif", "-c", "ship", "--tile", "whole", *more)


def test_a_geopackage_and_geojson_have_the_vertices_within_a_pixel_on_a_turned_grid(run, said):
    done = run(*command("-o", "ship.gpkg"))
    assert done.exit_code == 0, done.stderr
    assert done.stdout == "ship\t0.90\t150,25,250,175,200,194,100,44\n"
    _, _, (geometry,), _ = pyogrio.raw.read("ship.gpkg", layer="detect")
    ring_px = np.array([~TURNED @ tuple(point) for point in shapely.get_coordinates(shapely.from_wkb(geometry))])
    np.testing.assert_allclose(ring_px, [*QUAD_PX, QUAD_PX[0]], atol=1e-3)
    said.replies.append(LINE)
    assert run(*command("-o", "ship.geojson")).exit_code == 0
    _, _, (geometry,), _ = pyogrio.raw.read("ship.geojson")
    on_earth = shapely.from_wkb(geometry)
    said.replies.append(LINE)
    report = json.loads(run(*command("--json")).stdout)
    jsonschema.validate(report, build_schema())
    (box,) = report["results"]
    assert box["quad_px"] == QUAD_PX.tolist()
    assert box["box_px"] == [100, 25, 250, 193.75]
    np.testing.assert_allclose([~TURNED @ tuple(point) for point in box["ring_crs"][:4]], QUAD_PX, atol=1e-6)
    assert box["area_m2"] == pytest.approx(6 * shapely.Polygon(QUAD_PX).area, rel=2e-3)
    assert shapely.Polygon(box["ring_lonlat"]).symmetric_difference(on_earth).area < 1e-3 * on_earth.area


def test_pictures_and_pages_draw_the_outline_and_not_its_hull(run, said):
    assert run(*command("--preview", "ship.png")).exit_code == 0
    panel = np.asarray(Image.open("ship.png")).astype(int)[28:, 8:][: 300 * 512 // 400, :512]
    y, x = np.nonzero((panel != 80).any(axis=2))
    off = shapely.distance(shapely.LinearRing(QUAD_PX), shapely.points((x + 0.5) / 1.28, (y + 0.5) / 1.28))
    assert len(off) > 500
    assert off.max() < 3
    said.replies.append(LINE)
    assert run(*command("--report", "ship.html")).exit_code == 0
    page = Path("ship.html").read_text("utf-8")
    assert 'points="150,25 250,175 200,193.75 100,43.75"' in page
    assert "quad (px)" in page


def test_a_real_engine_is_held_to_the_form(run, bundle_path, tmp_path, scenes):
    folder = shutil.copytree(bundle_path, tmp_path / "turned")
    manifest = read_bundle(folder).manifest
    dialect = replace(NANO, box_style=BoxStyle.QUADS, no_boxes="There are none.")
    write_manifest(folder, replace(manifest, dialect=dialect.to_json()))
    done = run("ground", "scene.tif", "-p", "ship", "--model", folder, "--max-tokens", "150", "--json")
    (said,) = json.loads(done.stdout)["transcript"]
    line = r"-?\d{1,5}(,-?\d{1,5}){7} ship\n"
    assert re.fullmatch(rf"There are none\.|({line})*[-\d,]*( s?h?i?p?)?", said["reply"])
    assert said["reply"]
