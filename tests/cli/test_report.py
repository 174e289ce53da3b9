"""``--report``: what the page holds, and what a real browser makes of it (skipped where there is no Chromium)."""

import base64
import hashlib
import html
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rasterio.transform import Affine
from rasterio.warp import transform as warp

from rsvlm_cli.geo.write import COLOURS
from rsvlm_cli.tasks.grammar import format_mask
from tests.browser import CHROMIUM, start_browser
from tests.factories import write_geotiff
from tests.fake_engine import WRITTEN

in_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

PLACES = {
    "south": ("EPSG:32736", Affine(0.5, 0, 523_000, 0, -0.5, 9_252_000)),
    "rotated": ("EPSG:32633", Affine.translation(500_000, 5_000_000) @ Affine.rotation(33) @ Affine.scale(2, -3)),
    "degrees": ("EPSG:4326", Affine(1e-4, 0, -70.5, 0, -1e-4, -33.4)),
    "antimeridian": ("EPSG:32760", Affine(30, 0, 830_000, 0, -30, 7_900_000)),
    "pole": ("EPSG:3031", Affine(500, 0, -60_000, 0, -500, 110_000)),
}  # fmt: skip
EVIL = '"\'><img src=x onerror="window.pwned=1"></script><script>window.pwned=1</script>'
HALF = np.repeat([[True], [False]], 12, axis=0).repeat(24, axis=1)


@pytest.fixture
def browser(tmp_path_factory):
    with start_browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


def plain_scene(path: Path, value: int, **place) -> None:
    write_geotiff(path, np.full((3, 300, 400), value, np.uint8), **place)


def frame(browser) -> tuple[float, float, float]:
    """Return where the 400 x 300 px raster is drawn: left, top, and screen pixels a raster pixel."""
    script = "(() => { const r = document.querySelector('#dates image').getBoundingClientRect();"
    left, top, width, height = browser.run(script + " return [r.x, r.y, r.width, r.height]; })()")
    assert width / height == pytest.approx(400 / 300, rel=1e-3)
    return left, top, width / 400


def centre(browser, selector: str) -> tuple[float, float]:
    script = f"(() => {{ const r = document.querySelector({selector!r}).getBoundingClientRect();"
    return tuple(browser.run(script + " return [r.x + r.width / 2, r.y + r.height / 2]; })()"))


def colour_at(browser, x_px: float, y_px: float) -> np.ndarray:
    """Return what is seen at a pixel of the raster."""
    left, top, zoom = frame(browser)
    seen = np.asarray(Image.open(io.BytesIO(browser.screenshot())).convert("RGB")).astype(int)
    return seen[int(top + y_px * zoom), int(left + x_px * zoom)]


# --- the file ---------------------------------------------------------------------------------------------------------


def test_the_page_allows_itself_and_nothing_else(run, fake_engine, scenes):
    fake_engine("[10, 20, 30, 40]")
    assert run("ground", "scene.tif", "-p", "ship", "--report", "out.html").exit_code == 0
    page = Path("out.html").read_text("utf-8")
    policy = html.unescape(re.search(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)"', page).group(1))
    rules = dict(rule.strip().partition(" ")[::2] for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    for name, element in (("script-src", "script"), ("style-src", "style")):
        (content,) = re.findall(rf"<{element}>(.*?)</{element}>", page, re.DOTALL)
        assert rules[name] == f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
    assert not re.search(r"\s(on\w+|style)=", page.partition("<body>")[2].rpartition('<script type="')[0])
    assert not re.search(r"(?:href|src)=\"(?!data:)", page)


def test_the_page_says_what_was_asked_and_how_to_do_it_again(run, fake_engine, scenes):
    engine = fake_engine([-0.25, -1.5], "a port & a pier")
    asked = ("ask", "scene.tif", "Is there water?", "What is it?", "--window", "0,0,256,128")
    assert run(*asked, "--report", "out.html").exit_code == 0
    page = Path("out.html").read_text("utf-8")
    for call in engine.calls:
        assert f"<pre>{html.escape(call['prompt'])}</pre>" in page
    for text in ("a port &amp; a pier", "yes: log-likelihood -0.2500", engine.bundle.sha256, "0, 0, 256, 128"):
        assert text in page
    assert re.search(r"<th scope=.row.>gsd \(m\)</th><td>1</td>", page)
    assert re.search(r"<th scope=.row.>path</th><td>scene.tif</td>", page)


def test_the_command_is_in_the_page(rsvlm, scenes):
    done = rsvlm("caption", "scene.tif", "--report", "my report.html")
    assert done.returncode == 0, done.stderr
    page = (scenes / "my report.html").read_text("utf-8")
    assert "<td>rsvlm caption scene.tif --report &#x27;my report.html&#x27;</td>" in page


def test_a_page_is_refused_before_any_work(run, fake_engine, scenes):
    engine = fake_engine()
    assert run("caption", "scene.tif", "--report", "out.pdf").exit_code == 2
    (scenes / "out.html").write_text("mine")
    assert run("caption", "scene.tif", "--report", "out.html").exit_code == 3
    assert run("caption", "before.tif", "after.tif", "--report", "new.html").exit_code == 2
    assert (engine.calls, (scenes / "out.html").read_text()) == ([], "mine")


def test_a_page_without_a_place_tells_pixels(run, fake_engine, scenes):
    Image.new("RGB", (400, 300), (90, 90, 90)).save(scenes / "plain.png")
    fake_engine("[10, 20, 30, 40]")
    assert run("ground", "plain.png", "-p", "ship", "--report", "out.html").exit_code == 0
    page = Path("out.html").read_text("utf-8")
    assert '"transform": null, "directions": null' in page
    assert "40.0, 60.0, 120.0, 120.0" in page


# --- in a browser -----------------------------------------------------------------------------------------------------


@in_browser
def test_the_pointer_tells_the_place_within_a_pixel(run, fake_engine, scenes, browser):
    for name, (crs, transform) in PLACES.items():
        plain_scene(scenes / f"{name}.tif", 90, crs=crs, transform=transform)
        fake_engine("none")
        assert run("ground", f"{name}.tif", "-p", "ship", "--report", f"{name}.html").exit_code == 0
        browser.open(scenes / f"{name}.html")
        left, top, zoom = frame(browser)
        for x, y in ((0.02, 0.03), (0.5, 0.5), (0.97, 0.2), (0.3, 0.98)):
            screen = round(left + x * 400 * zoom), round(top + y * 300 * zoom)
            x_px, y_px = (screen[0] - left) / zoom, (screen[1] - top) / zoom
            browser.mouse("mouseMoved", *screen)
            told = browser.run("document.getElementById('pointer').textContent")
            parts = re.fullmatch(r"pixel (\S+), (\S+)   \S+ (\S+), (\S+)   lon (\S+), lat (\S+)", told)
            numbers = [float(v) for v in parts.groups()]
            assert numbers[:2] == pytest.approx([x_px, y_px], abs=0.1), (name, told)
            assert ~transform @ numbers[2:4] == pytest.approx((x_px, y_px), abs=0.2), (name, told)
            assert -180 <= numbers[4] <= 180
            (map_x,), (map_y,) = warp("EPSG:4326", crs, *([v] for v in numbers[4:]))
            assert ~transform @ (map_x, map_y) == pytest.approx((x_px, y_px), abs=1), (name, told)
        assert browser.complaints() == []


@in_browser
def test_dates_are_swiped_and_layers_switched(run, fake_engine, scenes, browser):
    plain_scene(scenes / "old.tif", 60)
    plain_scene(scenes / "new.tif", 200)
    fake_engine(format_mask(HALF, WRITTEN.mask_style, "building"))
    done = run("detect-change", "old.tif", "new.tif", "--label", "building", "--tile", "whole", "--report", "out.html")
    assert done.exit_code == 0, done.stderr
    browser.open(scenes / "out.html")
    old, new = np.full(3, 60), np.full(3, 200)
    np.testing.assert_allclose(colour_at(browser, 150, 250), old, atol=4)
    np.testing.assert_allclose(colour_at(browser, 250, 250), new, atol=4)
    np.testing.assert_allclose(colour_at(browser, 250, 50), (new + COLOURS[0]) / 2, atol=4)
    x, y = centre(browser, "#swipe")
    browser.click(x + 0.45 * browser.run("document.getElementById('swipe').offsetWidth"), y)
    np.testing.assert_allclose(colour_at(browser, 250, 250), old, atol=4)
    browser.click(*centre(browser, "input[data-layer]"))
    np.testing.assert_allclose(colour_at(browser, 250, 50), old, atol=4)
    assert browser.complaints() == []


@in_browser
def test_a_row_marks_its_box_and_a_heading_sorts(run, fake_engine, scenes, browser):
    plain_scene(scenes / "grey.tif", 90)
    fake_engine("[10, 20, 30, 40] [50, 50, 60, 60]", "[70, 10, 80, 90]")
    assert run("ground", "grey.tif", "-p", "ship", "-p", "pier", "--report", "out.html").exit_code == 0
    browser.open(scenes / "out.html")
    np.testing.assert_allclose(colour_at(browser, 40, 90), COLOURS[0], atol=60)  # the edge of the first box
    rows = "[...document.querySelectorAll('tr[data-box]')].map((row) => row.cells[0].textContent)"
    assert browser.run(rows) == ["ship", "ship", "pier"]
    browser.run("document.querySelector('section th button').scrollIntoView()")
    browser.click(*centre(browser, "section th button"))
    assert browser.run(rows) == ["pier", "ship", "ship"]
    browser.click(*centre(browser, "tr[data-box]"))
    marked = "['x', 'y', 'width', 'height'].map((name) => Number(document.getElementById('marked').getAttribute(name)))"
    assert browser.run(marked) == pytest.approx([280, 30, 40, 240])
    assert browser.complaints() == []


@in_browser
def test_words_of_a_model_stay_words(run, fake_engine, scenes, browser):
    plain_scene(scenes / "<b>&'.tif", 90)
    fake_engine(f"a port {EVIL}", "[10, 20, 30, 40]")
    assert run("ask", "<b>&'.tif", f"What {EVIL} is it", "--report", "words.html").exit_code == 0
    assert run("ground", "<b>&'.tif", "-p", EVIL, "--report", "boxes.html").exit_code == 0
    for name in ("words.html", "boxes.html"):
        browser.open(scenes / name)
        assert browser.run("typeof window.pwned") == "undefined"
        assert browser.run("document.querySelectorAll('img').length") == 0
        assert EVIL in browser.run("document.body.textContent")
        assert browser.run("document.title").endswith("<b>&'.tif")
        assert (browser.complaints(), browser.requested()) == ([], [(scenes / name).as_uri()])


@in_browser
def test_what_slips_into_the_page_is_not_run_and_not_fetched(run, fake_engine, scenes, browser):
    fake_engine("a port")
    assert run("caption", "scene.tif", "--report", "out.html").exit_code == 0
    page = Path("out.html").read_text("utf-8")
    slipped = (
        '<script>window.pwned = 1</script><p id="slip" onclick="window.pwned = 2">x</p>'
        '<img src="https://example.invalid/a.png"><link rel="stylesheet" href="https://example.invalid/a.css">'
    )
    Path("out.html").write_text(page.replace("<main>", "<main>" + slipped), "utf-8")
    browser.open(scenes / "out.html")
    browser.run("document.getElementById('slip').click()")
    assert browser.run("typeof window.pwned") == "undefined"
    refused = [text for text in browser.complaints() if "Content Security Policy" in text]
    assert len(refused) >= 4
    browser.mouse("mouseMoved", *centre(browser, "#map"))
    assert "pixel" in browser.run("document.getElementById('pointer').textContent")  # our own script runs
