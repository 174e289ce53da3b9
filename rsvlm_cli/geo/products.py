"""Scenes that come as a folder or an archive with a file for each band: Sentinel-2 and Landsat, as one raster.

The bands become a virtual raster (VRT) on the grid of the finest, with their names, their date and the law that makes
reflectance of stored values. An archive with a single raster stands for that raster.

Source: Sentinel-2 Products Specification Document, issue 14.9, chapter 4 (names, ``BOA_ADD_OFFSET``); Landsat 8-9
Collection 2 Level 2 Science Product Guide, section 5 (names, ``REFLECTANCE_MULT_BAND_n``).
"""

import re
import tarfile
import zipfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from xml.etree.ElementTree import Element, SubElement, tostring

import rasterio
from rasterio.io import DatasetReader

from rsvlm_cli.errors import RasterUnreadable

S2_BANDS = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B10", "B11", "B12")
"""By ``band_id`` of the product's metadata, which is also the order that bands get here."""

S2_BAND_FILE = re.compile(r"_(B\d\d|B8A)(?:_(10|20|60)m)?\.(?:jp2|tiff?)$", re.IGNORECASE)
LANDSAT_BAND_FILE = re.compile(r"L[COTEM]0[4-9]_.*_(?:SR_)?(B\d{1,2})\.(?:tiff?)$", re.IGNORECASE)
RASTER_FILE = re.compile(r"\.(tiff?|jp2|jpe?g|png|img|vrt|nc|ntf)$", re.IGNORECASE)
ARCHIVES = {".zip": "/vsizip/", ".tar": "/vsitar/", ".tgz": "/vsitar/"}

DRIVERS = ["GTiff", "JP2OpenJPEG"]
KINDS = {"uint8": "Byte", "uint16": "UInt16", "int16": "Int16", "float32": "Float32"}
"""Data types that bands come in, and their names in a VRT."""

OFFSET_BASELINE = (4, 0)
"""From this processing baseline on Sentinel-2 values carry an offset, so that nothing is cut off at zero."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Law:
    """What makes a physical value of a stored one: ``scale * stored + offset``."""

    scale: float
    offset: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """The files of a scene.

    Attributes:
        bands: name of a band -> GDAL's name of its file.
        laws: name of a band -> its law, where the product gives one.
        tags: of the whole.
        nodata: what marks a pixel without data.
    """

    bands: dict[str, str]
    laws: dict[str, Law]
    tags: dict[str, str]
    nodata: float


def find_product(name: str) -> str | None:
    """Return what GDAL opens for a folder, an archive or a product's metadata file; None for any other path.

    Raises:
        RasterUnreadable: if it holds no raster, or several that are no scene.
    """
    path = Path(name)
    is_metadata = bool(re.fullmatch(r"MTD_MSIL[12][AC]\.xml", path.name))
    archive = ARCHIVES.get(path.suffix.lower())
    if is_metadata:
        path = path.parent
    elif not (path.is_dir() or (archive and path.is_file())):
        return None
    files = _list(path, archive)
    scene = _sentinel2(path, files, archive) or _landsat(path, files, archive)
    if scene is not None:
        return _virtual(scene)
    rasters = [inner for inner in files if RASTER_FILE.search(inner)]
    if path.is_dir() or len(rasters) != 1:
        found = f"{len(rasters)} raster{'' if len(rasters) == 1 else 's'}"
        best = next((inner for inner in rasters if "_TCI" in inner), next(iter(rasters), None))
        example = f" (name one, such as {_gdal_name(path, best, archive)!r})" if best else ""
        kind = "folder" if path.is_dir() else "archive"
        raise RasterUnreadable(f"{name}: is a {kind} of {found} and no Sentinel-2 or Landsat scene{example}")
    return _gdal_name(path, rasters[0], archive)


def _list(path: Path, archive: str | None) -> list[str]:
    """Return the files inside, with ``/`` between folders."""
    try:
        if path.is_dir():
            return sorted(str(inner.relative_to(path).as_posix()) for inner in path.rglob("*") if inner.is_file())
        if archive == "/vsizip/":
            with zipfile.ZipFile(path) as opened:
                return sorted(inner for inner in opened.namelist() if not inner.endswith("/"))
        with tarfile.open(path) as opened_tar:
            return sorted(member.name.removeprefix("./") for member in opened_tar if member.isfile())
    except (OSError, zipfile.BadZipFile, tarfile.TarError) as error:
        raise RasterUnreadable(f"{path}: cannot be read: {error} (is it complete?)") from error


def _read_text(path: Path, inner: str, archive: str | None) -> str:
    if path.is_dir():
        return (path / inner).read_text("utf-8", "replace")
    if archive == "/vsizip/":
        with zipfile.ZipFile(path) as opened:
            return opened.read(inner).decode("utf-8", "replace")
    with tarfile.open(path) as opened_tar:
        found = next(member for member in opened_tar if member.name.removeprefix("./") == inner)
        stream = opened_tar.extractfile(found)
        return stream.read().decode("utf-8", "replace") if stream else ""


def _gdal_name(path: Path, inner: str, archive: str | None) -> str:
    return str(path / inner) if path.is_dir() else f"{archive}{path.absolute()}/{inner}"


def _sentinel2(path: Path, files: list[str], archive: str | None) -> Scene | None:
    metadata = [inner for inner in files if re.fullmatch(r"MTD_MSIL[12][AC]\.xml", PurePosixPath(inner).name)]
    if not metadata:
        return None
    if len(metadata) > 1:
        raise RasterUnreadable(f"{path}: holds {len(metadata)} Sentinel-2 products (name one: {metadata[0]})")
    text = _read_text(path, metadata[0], archive)
    best: dict[str, tuple[int, str]] = {}
    for inner in files:
        match = S2_BAND_FILE.search(inner)
        if match and "/IMG_DATA/" in f"/{inner}":
            code = _plain_code(match[1])
            size_m = int(match[2] or 0)
            if code not in best or size_m < best[code][0]:
                best[code] = (size_m, inner)
    if not {"B2", "B3", "B4"} <= best.keys():
        raise RasterUnreadable(f"{path}: a Sentinel-2 product without its visible bands (is it complete?)")
    bands = {code: _gdal_name(path, best[code][1], archive) for code in S2_BANDS if code in best}
    level = "2A" if "MSIL2A" in PurePosixPath(metadata[0]).name else "1C"
    tags = {"SPACECRAFT": _value(text, "SPACECRAFT_NAME") or "Sentinel-2", "PROCESSING_LEVEL": f"Level-{level}"}
    for tag in ("PROCESSING_BASELINE", "PRODUCT_START_TIME", "PRODUCT_URI"):
        if _value(text, tag):
            tags[tag] = str(_value(text, tag))
    whole = float(_value(text, "BOA_QUANTIFICATION_VALUE") or _value(text, "QUANTIFICATION_VALUE") or 10_000)
    offsets = {
        S2_BANDS[int(k)]: float(v)
        for k, v in re.findall(r'<(?:BOA|RADIO)_ADD_OFFSET band_id="(\d+)">\s*([-\d.]+)\s*<', text)
        if int(k) < len(S2_BANDS)
    }
    late = parse_baseline(tags.get("PROCESSING_BASELINE", "")) >= OFFSET_BASELINE
    laws = {code: Law(scale=1 / whole, offset=offsets.get(code, -1000.0 if late else 0.0) / whole) for code in bands}
    return Scene(bands=bands, laws=laws, tags=tags, nodata=0)


def _landsat(path: Path, files: list[str], archive: str | None) -> Scene | None:
    found = {_plain_code(match[1]): inner for inner in files if (match := LANDSAT_BAND_FILE.search(inner))}
    names = {PurePosixPath(inner).name[:40] for inner in found.values()}
    # Thermal and panchromatic bands have another unit and another grid.
    found = {
        code: inner for code, inner in found.items() if int(code[1:]) <= 7 and not (code == "B6" and _is_tm(names))
    }
    if len(found) < 3 or len(names) != 1:
        return None
    metadata = next((inner for inner in files if inner.upper().endswith("_MTL.TXT")), None)
    text = _read_text(path, metadata, archive) if metadata else ""
    laws = {}
    for code in found:
        pair = [re.search(rf"REFLECTANCE_{kind}_BAND_{code[1:]} = ([-+.\deE]+)", text) for kind in ("MULT", "ADD")]
        if pair[0] and pair[1]:
            laws[code] = Law(scale=float(pair[0][1]), offset=float(pair[1][1]))
    tags = {"LANDSAT_SCENE": names.pop()}
    date = re.search(r"DATE_ACQUIRED = ([-\d]+)", text)
    if date:
        tags["DATE_ACQUIRED"] = date[1]
    bands = {code: _gdal_name(path, found[code], archive) for code in sorted(found, key=lambda code: int(code[1:]))}
    return Scene(bands=bands, laws=laws, tags=tags, nodata=0)


def _is_tm(names: set[str]) -> bool:
    """Say whether band 6 is thermal, as on Landsat 4 to 7."""
    return any(re.match(r"L[TE]0[457]", name) for name in names)


def parse_baseline(text: str) -> tuple[int, int]:
    """Read a processing baseline, ``05.09`` or ``0509``; nothing known is before all."""
    match = re.fullmatch(r"(\d\d)\.?(\d\d)", text.strip())
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _plain_code(code: str) -> str:
    """Return a band's code without leading zeros, upper case."""
    return re.sub(r"^B0", "B", code.upper())


def _value(text: str, tag: str) -> str | None:
    match = re.search(rf"<{tag}(?: [^>]*)?>\s*([^<]+?)\s*</{tag}>", text)
    return match[1] if match else None


def _virtual(scene: Scene) -> str:
    """Return the scene as VRT, on the grid of its finest band; coarser bands are repeated on it."""
    with ExitStack() as stack:
        files = {
            code: stack.enter_context(DatasetReader(rasterio._parse_path(name), driver=DRIVERS, sharing=False))
            for code, name in scene.bands.items()
        }
        grid = max(files.values(), key=lambda dataset: dataset.width)
        whole = {"xOff": "0", "yOff": "0"}
        root = Element("VRTDataset", rasterXSize=str(grid.width), rasterYSize=str(grid.height))
        if grid.crs:
            SubElement(root, "SRS").text = grid.crs.to_wkt()
        SubElement(root, "GeoTransform").text = ", ".join(repr(float(v)) for v in grid.transform.to_gdal())
        metadata = SubElement(root, "Metadata")
        for key, value in scene.tags.items():
            SubElement(metadata, "MDI", key=key).text = value
        for k, (code, dataset) in enumerate(files.items(), start=1):
            kind, size = KINDS[dataset.dtypes[0]], (str(dataset.width), str(dataset.height))
            band = SubElement(root, "VRTRasterBand", dataType=kind, band=str(k))
            SubElement(band, "Description").text = code
            SubElement(band, "NoDataValue").text = f"{scene.nodata:g}"
            if code in scene.laws:
                SubElement(band, "Offset").text = repr(scene.laws[code].offset)
                SubElement(band, "Scale").text = repr(scene.laws[code].scale)
            source = SubElement(band, "SimpleSource")
            SubElement(source, "SourceFilename", relativeToVRT="0").text = scene.bands[code]
            SubElement(source, "SourceBand").text = "1"
            SubElement(source, "SourceProperties", RasterXSize=size[0], RasterYSize=size[1], DataType=kind)
            SubElement(source, "SrcRect", whole, xSize=size[0], ySize=size[1])
            SubElement(source, "DstRect", whole, xSize=str(grid.width), ySize=str(grid.height))
        return tostring(root, encoding="unicode")
