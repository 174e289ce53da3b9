"""Block-quantised weights: the byte law that export writes and the engine reads.

Axes: N rows (output features, or tokens of an embedding), K columns (input features), J blocks a row.

A weight ``(N, K)`` is cut along K into ``J = ceil(K / block)`` blocks; the last one is padded with zeros. A block holds
unsigned integers ``q`` in [0, 2^bits), a float32 scale and a zero point, and stands for ``(q - zero_point) * scale``.

- packed: uint8 ``(N, J, block * bits / 8)``, row-major. With 8 bits a byte is one ``q``. With 4 bits byte i of a block
  holds element 2 i in its low nibble and element 2 i + 1 in its high nibble.
- scales: float32 ``(N, J)``, row-major.
- zero points: none, and then every one is ``2^(bits - 1)`` (symmetric); or uint8 ``(N, ceil(J * bits / 8))`` packed
  along J as the weights are along K.

Source: the layout of ONNX Runtime's operator ``com.microsoft::MatMulNBits`` (inputs B, scales, zero_points), so the
same bytes serve the output head and the token embedding that is tied to it.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockScheme:
    """How wide a quantised weight is.

    Attributes:
        bits: 4 or 8.
        block: weights that share a scale; a power of two, 16 or more (what MatMulNBits takes).
    """

    bits: int
    block: int

    def __post_init__(self) -> None:
        """Refuse what the layout cannot hold.

        Raises:
            ValueError: if bits or block is outside its range.
        """
        if self.bits not in (4, 8):
            raise ValueError(f"block quantisation holds 4 or 8 bits, not {self.bits}")
        if self.block < 16 or self.block & (self.block - 1):
            raise ValueError(f"a block is a power of two, 16 or more, not {self.block}")

    @property
    def zero_point(self) -> int:
        """Zero point of every block where none is stored."""
        return 1 << (self.bits - 1)

    @property
    def block_bytes(self) -> int:
        """Bytes of one packed block."""
        return self.block * self.bits // 8

    def n_blocks(self, n_columns: int) -> int:
        """Return J, the blocks of a row."""
        return -(-n_columns // self.block)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantisedRows:
    """A quantised weight of ``n_columns`` columns, in the byte law of this module.

    Attributes:
        packed: ``(N, J, block * bits / 8)`` uint8.
        scales: ``(N, J)`` float32.
        zero_points: ``(N, ceil(J * bits / 8))`` uint8, or None where all are ``scheme.zero_point``.
        n_columns: K.
        scheme: the block scheme.
    """

    packed: np.ndarray
    scales: np.ndarray
    n_columns: int
    scheme: BlockScheme
    zero_points: np.ndarray | None = None


def pack(values: np.ndarray, bits: int) -> np.ndarray:
    """Pack unsigned integers along the last axis, zero-padded to whole bytes.

    Args:
        values: ``(..., n)`` uint8 in [0, 2^bits).
        bits: 4 or 8.

    Returns:
        ``(..., ceil(n * bits / 8))`` uint8.
    """
    if bits == 8:
        return np.ascontiguousarray(values, np.uint8)
    if values.shape[-1] % 2:
        values = np.concatenate([values, np.zeros_like(values[..., :1])], axis=-1)
    packed: np.ndarray = values[..., 0::2] | (values[..., 1::2] << 4)
    return packed


def unpack(packed: np.ndarray, bits: int, n: int) -> np.ndarray:
    """Unpack ``n`` integers along the last axis; the inverse of `pack`.

    Returns:
        ``(..., n)`` uint8.
    """
    if bits == 8:
        return packed[..., :n]
    nibbles = np.stack([packed & 0x0F, packed >> 4], axis=-1)
    return nibbles.reshape(*packed.shape[:-1], 2 * packed.shape[-1])[..., :n]


def quantise_rows(weights: np.ndarray, scheme: BlockScheme, *, symmetric: bool = True) -> QuantisedRows:
    """Quantise a weight by rounding to nearest.

    Symmetric: the entry of greatest magnitude lands on the integer farthest from the zero point, so the whole range
    ``[-2^(bits-1), 2^(bits-1) - 1]`` is used. Otherwise the range of a block's entries and zero is spread over all of
    them.

    Args:
        weights: ``(N, K)`` float32.
        scheme: the block scheme.
        symmetric: whether to leave out the zero points.
    """
    n_rows, n_columns = weights.shape
    n_blocks = scheme.n_blocks(n_columns)
    padded = np.zeros((n_rows, n_blocks * scheme.block), np.float32)
    padded[:, :n_columns] = weights
    blocks = padded.reshape(n_rows, n_blocks, scheme.block)
    top = (1 << scheme.bits) - 1
    if symmetric:
        farthest = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=-1, keepdims=True), axis=-1)
        scales = farthest / np.float32(-scheme.zero_point)
        zeros = np.full_like(scales, scheme.zero_point)
    else:
        low = np.minimum(blocks.min(axis=-1, keepdims=True), 0)
        scales = (np.maximum(blocks.max(axis=-1, keepdims=True), 0) - low) / np.float32(top)
        zeros = np.rint(np.divide(-low, scales, out=np.zeros_like(scales), where=scales != 0))
    steps = np.divide(blocks, scales, out=np.zeros_like(blocks), where=scales != 0)
    integers = np.clip(np.rint(steps) + zeros, 0, top).astype(np.uint8)
    return QuantisedRows(
        packed=pack(integers, scheme.bits),
        scales=scales[..., 0],
        zero_points=None if symmetric else pack(zeros[..., 0].astype(np.uint8), scheme.bits),
        n_columns=n_columns,
        scheme=scheme,
    )


def dequantise_rows(rows: QuantisedRows) -> np.ndarray:
    """Return the weight that the bytes stand for.

    Returns:
        ``(N, K)`` float32.
    """
    scheme = rows.scheme
    n_rows, n_blocks = rows.scales.shape
    zeros: np.ndarray | float = float(scheme.zero_point)
    if rows.zero_points is not None:
        zeros = unpack(rows.zero_points, scheme.bits, n_blocks)[..., None].astype(np.float32)
    integers = unpack(rows.packed, scheme.bits, scheme.block).astype(np.float32)
    weights = (integers - zeros) * rows.scales[..., None]
    flat: np.ndarray = weights.reshape(n_rows, n_blocks * scheme.block)[:, : rows.n_columns]
    return flat
