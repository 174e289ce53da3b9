"""Styles for QGIS; that QGIS 3.22 draws them was looked at by hand."""

from xml.etree import ElementTree

from rsvlm_cli.geo.write import COLOURS
from rsvlm_cli.output.style import style_qml

LABELS = ("water", 'reed & "mud"', "<b>\x1b[2J")


def test_a_mask_s_values_have_the_colours_of_its_own_table():
    root = ElementTree.fromstring(style_qml(dict(zip(LABELS, COLOURS, strict=False))))
    entries = root.findall("./pipe/rasterrenderer/colorPalette/paletteEntry")
    assert [(e.get("value"), e.get("label")) for e in entries] == [("1", "water"), ("2", LABELS[1]), ("3", "<b>[2J")]
    assert [bytes.fromhex(e.get("color")[1:]) for e in entries] == [bytes(colour) for colour in COLOURS[:3]]


def test_polygons_are_told_apart_by_label_and_every_category_has_its_symbol():
    root = ElementTree.fromstring(style_qml(dict(zip(LABELS, COLOURS, strict=False))))
    renderer = root.find("renderer-v2")
    assert renderer.get("attr") == "label"
    fills = {
        symbol.get("name"): symbol.find(".//Option[@name='outline_color']").get("value")
        for symbol in renderer.findall("./symbols/symbol")
    }
    drawn = {c.get("value"): fills[c.get("symbol")] for c in renderer.findall("./categories/category")}
    assert drawn[LABELS[1]] == "{},{},{},255".format(*COLOURS[1])
    assert drawn.keys() == {"water", LABELS[1], "<b>[2J", ""}
