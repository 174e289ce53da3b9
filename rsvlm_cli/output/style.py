"""How QGIS draws a result: one style that serves the mask and the polygons of the same labels.

QGIS reads ``NAME.qml`` beside ``NAME.tif`` and ``NAME.geojson``, and of a GeoPackage the table ``layer_styles``. A
raster takes the ``pipe`` of a style, a vector layer its ``renderer-v2``; each passes over the other's part.
"""

from collections.abc import Mapping
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

Colour = tuple[int, int, int]

FILL_ALPHA = 90
"""Of 255: the imagery shows through a polygon."""
DOCTYPE = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"


def style_qml(colours: Mapping[str, Colour]) -> str:
    """Return a QGIS style: each label its colour, in the order of a mask's values 1, 2, ...; others drawn grey."""
    # XML has no place for control characters, and some labels are a model's words.
    colours = {"".join(char for char in label if char.isprintable()): colour for label, colour in colours.items()}
    root = Element("qgis", styleCategories="Symbology", version="3.22.0")
    _add_raster(root, colours)
    _add_polygons(root, colours)
    return DOCTYPE + ElementTree.tostring(root, encoding="unicode") + "\n"


def _add_raster(root: Element, colours: Mapping[str, Colour]) -> None:
    renderer = SubElement(
        SubElement(root, "pipe"), "rasterrenderer", type="paletted", band="1", opacity="1", alphaBand="-1"
    )
    palette = SubElement(renderer, "colorPalette")
    for value, (label, colour) in enumerate(colours.items(), start=1):
        entry = {"value": str(value), "color": "#{:02x}{:02x}{:02x}".format(*colour), "alpha": "255", "label": label}
        SubElement(palette, "paletteEntry", entry)


def _add_polygons(root: Element, colours: Mapping[str, Colour]) -> None:
    renderer = SubElement(root, "renderer-v2", type="categorizedSymbol", attr="label", enableorderby="0")
    categories, symbols = SubElement(renderer, "categories"), SubElement(renderer, "symbols")
    rest: dict[str, Colour] = {"": (128, 128, 128)}  # The empty value is QGIS's word for all others.
    for k, (label, colour) in enumerate((dict(colours) | rest).items()):
        SubElement(categories, "category", symbol=str(k), value=label, label=label or "other", render="true")
        symbol = SubElement(symbols, "symbol", type="fill", name=str(k), alpha="1", clip_to_extent="1")
        layer = SubElement(symbol, "layer", {"class": "SimpleFill", "enabled": "1", "pass": "0", "locked": "0"})
        rgb = ",".join(map(str, colour))
        properties = {
            "color": f"{rgb},{FILL_ALPHA}",
            "style": "solid",
            "outline_color": f"{rgb},255",
            "outline_style": "solid",
            "outline_width": "0.5",
            "outline_width_unit": "MM",
        }
        options = SubElement(layer, "Option", type="Map")
        for name, value in properties.items():
            SubElement(options, "Option", type="QString", name=name, value=value)
