"""The one road to GDAL: local drivers only, sizes checked before anything is read, its faults as our errors."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader

from rsvlm_cli.errors import InputError, RasterUnreadable
from rsvlm_cli.geo.products import find_product

OPTIONS = {
    "CPL_VSIL_CURL_ALLOWED_FILENAME": "none",  # a VRT may name a remote file; nothing remote is ever opened
    "GDAL_VRT_ENABLE_PYTHON": "NO",  # nor does a raster run code
}

CACHE_BYTES = 96 * 2**20
"""GDAL's block cache, unless the user's environment has GDAL_CACHEMAX; its own default is a share of the memory."""

WINDOW_CACHE_BYTES = 64 * 2**20
"""The same while windows are read one beside the other: a scene's size must not show in the memory."""

DRIVERS = [
    *("GTiff", "VRT", "JPEG", "PNG", "JP2OpenJPEG", "NITF", "HFA", "ENVI", "netCDF", "HDF5", "HDF5Image", "GPKG"),
    *("MBTiles", "WEBP", "BMP", "GIF", "AAIGrid", "EHdr", "ERS", "SENTINEL2", "SAFE", "DIMAP", "PCIDSK", "PDS4"),
    *("MRF", "RMF", "SRTMHGT", "USGSDEM", "GRIB", "Zarr", "ISIS3", "BIGGIF"),
]
"""What may be opened: file formats of imagery. Web services (WMS, STACIT, ...) are drivers too, and stay out."""

MAX_BLOCK_BYTES = 256 * 2**20
"""A block is decoded whole, so a larger one cannot be read in bounded memory."""

MAX_PIXELS_WITHOUT_OVERVIEWS = 10**11
"""A quarter of an hour of decoding; beyond, only overviews give an answer in time."""

MAX_INFLATION = 20_000
"""Uncompressed over stored bytes; the codecs' own limit for real data is about 1,400 (a sparse file may exceed it)."""


@contextmanager
def gdal_session(path: str | Path, doing: Literal["read", "write"] = "read", *, small: bool = False) -> Iterator[None]:
    """Run GDAL calls with `OPTIONS` and a bounded block cache; GDAL's faults come out as one line.

    Args:
        path: for messages.
        doing: which kind of error a fault is.
        small: whether little is read, so that `WINDOW_CACHE_BYTES` are enough to remember.

    Raises:
        RasterUnreadable: for any fault while reading.
        InputError: for any fault while writing.
    """
    try:
        with rasterio.Env(**OPTIONS, **_cache(small=small)), warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            yield
    except (RasterioError, CPLE_BaseError, CRSError, OSError, MemoryError) as error:
        cause = _root_cause(error, path)
        if doing == "read":
            raise RasterUnreadable(
                f"{path}: cannot be read: {cause} (is it complete? gdalinfo -checksum reads all)"
            ) from error
        raise InputError(f"{path}: cannot be written: {cause}") from error


def _cache(*, small: bool) -> dict[str, int]:
    # In bytes, whatever their number; the environment variable means megabytes where it is below 100,000.
    return {} if "GDAL_CACHEMAX" in os.environ else {"GDAL_CACHEMAX": WINDOW_CACHE_BYTES if small else CACHE_BYTES}


def open_dataset(path: str | Path) -> DatasetReader:
    """Open a raster for reading, or refuse what cannot be read in bounded memory and time.

    ``path`` may also be a scene as `products.find_product` knows it, or a GDAL name of a local file, such as
    ``/vsizip/scenes.zip/a.tif`` or ``NETCDF:a.nc:red``.

    Raises:
        RasterUnreadable: if it is missing, remote, no raster, a container of several rasters, complex, or too large.
    """
    name = os.fspath(path)
    lower = name.lower()
    if lower.startswith(("http:", "https:", "ftp:", "s3:", "gs:", "az:")) or "/vsicurl" in lower or "/vsis3" in lower:
        raise RasterUnreadable(f"{name}: is remote, and rsvlm opens no network connection (download it first)")
    plain = not lower.startswith("/vsi") and ":" not in name[2:]
    if plain and not Path(name).exists():
        raise RasterUnreadable(f"{name}: no such file")
    if plain and Path(name).is_file() and Path(name).stat().st_size == 0:
        raise RasterUnreadable(f"{name}: is empty (0 bytes)")
    with gdal_session(path):
        product = find_product(name) if plain else None
        opened = rasterio._parse_path(product or name)
        dataset = DatasetReader(opened, driver=DRIVERS, sharing=False)
        try:
            _check(dataset, name)
        except BaseException:
            dataset.close()
            raise
    return dataset


def _check(dataset: DatasetReader, name: str) -> None:
    """Refuse what would end in a traceback, in all of the memory, or never."""
    if dataset.count == 0:
        parts = dataset.subdatasets
        hint = f" of {len(parts)} rasters (name one, such as {parts[0]!r})" if parts else " without a raster"
        raise RasterUnreadable(f"{name}: is a container{hint}")
    if any("complex" in dtype for dtype in dataset.dtypes):
        raise RasterUnreadable(f"{name}: holds complex numbers, no picture (convert it to amplitude first)")
    n_bytes = max(_item_bytes(dtype) for dtype in dataset.dtypes)
    rows, columns = dataset.block_shapes[0]
    in_block = dataset.count if dataset.profile.get("interleave") == "pixel" else 1
    block_bytes = rows * columns * n_bytes * in_block
    if block_bytes > MAX_BLOCK_BYTES:
        raise RasterUnreadable(
            f"{name}: stored in blocks of {columns} x {rows} px ({_gib(block_bytes)}); up to "
            f"{_gib(MAX_BLOCK_BYTES)} can be read (tile it: gdal_translate -co TILED=YES -co BIGTIFF=IF_SAFER)"
        )
    n_pixels = dataset.width * dataset.height
    file = Path(name)
    declared = n_pixels * dataset.count * n_bytes
    if dataset.driver == "GTiff" and file.is_file() and declared > max(2**30, MAX_INFLATION * file.stat().st_size):
        raise RasterUnreadable(
            f"{name}: declares {_gib(declared)} in a file of {file.stat().st_size} bytes; truncated or forged"
        )
    if n_pixels > MAX_PIXELS_WITHOUT_OVERVIEWS and not dataset.overviews(1):
        raise RasterUnreadable(
            f"{name}: {dataset.width} x {dataset.height} px without overviews (build them: gdaladdo FILE)"
        )


def _item_bytes(dtype: str) -> int:
    digits = dtype.lstrip("abcdefghijklmnopqrstuvwxyz_")
    return int(digits) // 8 if digits else 1


def _gib(n_bytes: int) -> str:
    return f"{n_bytes / 2**30:,.2f} GiB"


def _root_cause(error: BaseException, path: str | Path) -> str:
    """Return GDAL's first message in one line, without the path that our own message begins with."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = " ".join(str(error).split())
    for name in (str(path), Path(path).name):
        text = text.replace(f"'{name}'", "").removeprefix(name).lstrip(" :,")
    return text[:160] or type(error).__name__
