"""The token embedding, read row by row straight from the mapped bundle file."""

from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from rsvlm_cli.errors import BundleCorrupt
from rsvlm_cli.runtime.bundle import Bundle
from rsvlm_cli.runtime.int4 import BlockScheme, QuantisedRows, dequantise_rows


class TokenEmbedding:
    """The table ``(vocab, hidden)`` of a bundle; nothing is read but the rows that are asked for.

    Args:
        bundle: whose manifest says where the table lies (docs/bundle-format.md, ``embedding``).

    Raises:
        BundleCorrupt: if the table reaches beyond its file.
    """

    def __init__(self, bundle: Bundle) -> None:
        spec, shape = bundle.manifest.embedding, (bundle.manifest.decoder.vocab, bundle.manifest.decoder.hidden)
        path = bundle.path / spec.file
        self._scheme, self._hidden = spec.scheme, shape[1]
        self._zero_points: np.ndarray | None = None
        if isinstance(spec.scheme, BlockScheme):
            n_blocks = spec.scheme.n_blocks(shape[1])
            self._values = _map(path, np.uint8, spec.offset, (shape[0], n_blocks, spec.scheme.block_bytes))
            self._scales = _map(path, np.float32, spec.scales_offset or 0, (shape[0], n_blocks))
            if spec.zero_points_offset is not None:
                width = -(-n_blocks * spec.scheme.bits // 8)
                self._zero_points = _map(path, np.uint8, spec.zero_points_offset, (shape[0], width))
        else:
            self._values = _map(path, np.dtype(spec.scheme), spec.offset, shape)

    def rows(self, ids: np.ndarray) -> np.ndarray:
        """Return the vectors of token ids.

        Args:
            ids: ``(n,)`` int64 in [0, vocab).

        Returns:
            ``(n, hidden)`` float32.
        """
        if not isinstance(self._scheme, BlockScheme):
            return np.asarray(self._values[ids], np.float32)
        zero_points = None if self._zero_points is None else self._zero_points[ids]
        return dequantise_rows(
            QuantisedRows(
                packed=self._values[ids],
                scales=self._scales[ids],
                zero_points=zero_points,
                n_columns=self._hidden,
                scheme=self._scheme,
            )
        )


def _map(path: Path, dtype: DTypeLike, offset: int, shape: tuple[int, ...]) -> np.ndarray:
    wanted = offset + int(np.prod(shape)) * np.dtype(dtype).itemsize
    if path.stat().st_size < wanted:
        raise BundleCorrupt(
            f"{path}: {path.stat().st_size} bytes, the embedding ends at {wanted} (import the model again)"
        )
    return np.memmap(path, dtype, mode="r", offset=offset, shape=shape)
