"""Whether a window is worth reading."""

from rasterio.enums import MaskFlags
from rasterio.windows import Window

from rsvlm_cli.geo.gdal import gdal_session
from rsvlm_cli.geo.raster import Raster, clip_window
from rsvlm_cli.results import BoxPx

GLANCE_PX = 32
"""Columns and rows of a window that tell whether it holds data."""


def holds_data(raster: Raster, window_px: BoxPx) -> bool:
    """Say whether a window holds any data, as far as a few of its pixels tell; no colour is read.

    Raises:
        WindowOutside: if the window shares no pixel with the raster.
        RasterUnreadable: if GDAL cannot read it.
    """
    indexes = list(raster.bands.indexes)
    if all(raster.dataset.mask_flag_enums[k - 1] == [MaskFlags.all_valid] for k in indexes):
        return True
    x1, y1, x2, y2 = clip_window(window_px, raster)
    shape = (len(indexes), min(y2 - y1, GLANCE_PX), min(x2 - x1, GLANCE_PX))
    with gdal_session(raster.path, small=True):
        masks = raster.dataset.read_masks(indexes, window=Window(x1, y1, x2 - x1, y2 - y1), out_shape=shape)
    return bool(masks.any())
