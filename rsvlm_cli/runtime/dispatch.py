"""The expert-dispatch contract in numpy: the reference that every implementation is compared with.

docs/expert-dispatch.md is the contract. Here its arithmetic is spelt out: slow, plain, and free of any engine.

Axes: B sequences, T tokens of each, D width of the model, E experts, F width of an expert, N rows and K columns of a
weight, J blocks of a row.
"""

from dataclasses import dataclass

import numpy as np

from rsvlm_cli.runtime.int4 import BlockScheme, QuantisedRows, dequantise_rows, quantise_rows

DOMAIN, VERSION = "rsvlm", 4
"""Of the native operators; docs/expert-dispatch.md says what each version added."""

BLOCKS = (16, 32, 64, 128)
"""Weights that may share a scale."""

SMALLEST_SCALED = np.float32(1e-30)
"""A block of activations whose greatest magnitude is below this is rounded to zeros."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedExperts:
    """The experts of one layer, in the byte law of `rsvlm_cli.runtime.int4`.

    Attributes:
        gate_up: ``(E, 2 F, J * block * bits / 8)`` uint8, J = D / block; row 2 f is gate f and row 2 f + 1 is up f.
        gate_up_scales: ``(E, 2 F, J)`` float32.
        down: ``(E, D, J * block * bits / 8)`` uint8, J = F / block.
        down_scales: ``(E, D, J)`` float32.
        scheme: bits and block.
    """

    gate_up: np.ndarray
    gate_up_scales: np.ndarray
    down: np.ndarray
    down_scales: np.ndarray
    scheme: BlockScheme

    @property
    def n_experts(self) -> int:
        """E."""
        return len(self.gate_up)

    def rows(self, expert: int) -> tuple[QuantisedRows, QuantisedRows]:
        """Return one expert's gate-and-up rows and its down rows."""
        pairs = ((self.gate_up, self.gate_up_scales), (self.down, self.down_scales))
        first, second = (_as_rows(packed[expert], scales[expert], self.scheme) for packed, scales in pairs)
        return first, second


def stack_gate_up(gate: np.ndarray, up: np.ndarray, padded: int) -> np.ndarray:
    """Let the rows of gate and up ``(E, F, D)`` alternate, zeros behind them up to a width of ``padded``.

    Zeros add nothing: silu(0) * 0 = 0.

    Returns:
        ``(E, 2 * padded, D)`` float32.
    """
    n_experts, width, hidden = gate.shape
    stack = np.zeros((n_experts, padded, 2, hidden), np.float32)
    stack[:, :width, 0], stack[:, :width, 1] = gate, up
    return stack.reshape(n_experts, 2 * padded, hidden)


def pack_experts(gate: np.ndarray, up: np.ndarray, down: np.ndarray, scheme: BlockScheme) -> PackedExperts:
    """Quantise the experts of one layer.

    Args:
        gate: ``(E, F, D)`` float32; D in whole blocks.
        up: as gate.
        down: ``(E, D, F)`` float32.
        scheme: bits and block.

    Raises:
        ValueError: if D is not in whole blocks.
    """
    width, hidden = gate.shape[1:]
    if hidden % scheme.block:
        raise ValueError(f"hidden size {hidden} is not in whole blocks of {scheme.block}")
    padded = scheme.n_blocks(width) * scheme.block
    stacks = [stack_gate_up(gate, up, padded), np.pad(down, ((0, 0), (0, 0), (0, padded - width)))]
    rows = [quantise_rows(np.asarray(s, np.float32).reshape(-1, s.shape[-1]), scheme) for s in stacks]
    packed = [r.packed.reshape(*s.shape[:2], -1) for r, s in zip(rows, stacks, strict=True)]
    scales = [r.scales.reshape(*s.shape[:2], -1) for r, s in zip(rows, stacks, strict=True)]
    return PackedExperts(
        gate_up=packed[0], gate_up_scales=scales[0], down=packed[1], down_scales=scales[1], scheme=scheme
    )


def run_experts(x: np.ndarray, expert: np.ndarray, weights: PackedExperts, *, rounded: bool = True) -> np.ndarray:
    """``ExpertMLP``: each sequence through its own expert, ``down(silu(gate(x)) * up(x))``.

    Args:
        x: ``(B, ..., D)`` float32.
        expert: ``(B,)`` int64 in [0, E).
        weights: of all experts.
        rounded: whether each product's activations are rounded by `round_activations`, as the fast kernels do, or left
            as they are.

    Returns:
        ``(B, ..., D)`` float32.

    Raises:
        ValueError: if there is not one expert for each sequence, or an expert is out of range.
    """
    if expert.shape != x.shape[:1]:
        raise ValueError(f"{expert.size} experts for {len(x)} sequences")
    if len(expert) and not 0 <= expert.min() <= expert.max() < weights.n_experts:
        raise ValueError(f"experts {expert.tolist()}, this layer has {weights.n_experts}")
    y = np.empty(x.shape, np.float32)
    for e in np.unique(expert):
        gate_up, down = weights.rows(int(e))
        both = multiply(x[expert == e], gate_up, rounded=rounded)
        gate, up = both[..., 0::2], both[..., 1::2]
        inner = (gate * up / (1 + np.exp(-gate))).astype(np.float32)
        y[expert == e] = multiply(inner, down, rounded=rounded)
    return y


def multiply(
    x: np.ndarray, weight: QuantisedRows, bias: np.ndarray | None = None, *, rounded: bool = True
) -> np.ndarray:
    """``BlockLinear``: ``(..., K)`` times ``(N, K)``, plus a bias ``(N,)``.

    Returns:
        ``(..., N)`` float32.
    """
    if rounded:
        x = round_activations(x, weight.scheme.block)
    y = x.astype(np.float64) @ dequantise_rows(weight).T.astype(np.float64)
    return (y if bias is None else y + bias).astype(np.float32)


def round_activations(x: np.ndarray, block: int) -> np.ndarray:
    """Round each block of the last axis to 255 levels, symmetric to zero.

    A block's scale is its greatest magnitude over 127, and a value becomes the nearest multiple of it, the even one of
    two; the last block may be short.

    Args:
        x: ``(..., K)`` float32.
        block: values that share a scale.

    Returns:
        ``(..., K)`` float32.
    """
    columns = x.shape[-1]
    padded = np.pad(x.astype(np.float32), [(0, 0)] * (x.ndim - 1) + [(0, -columns % block)])
    blocks = padded.reshape(*x.shape[:-1], padded.shape[-1] // block, block)
    top = np.abs(blocks).max(-1, keepdims=True)
    inverse = np.divide(np.float32(127), top, out=np.zeros_like(top), where=top > SMALLEST_SCALED)
    rounded: np.ndarray = np.rint(blocks * inverse) * (top / np.float32(127))
    return rounded.reshape(padded.shape)[..., :columns]


def _as_rows(packed: np.ndarray, scales: np.ndarray, scheme: BlockScheme) -> QuantisedRows:
    n_rows, n_blocks = scales.shape
    return QuantisedRows(
        packed=packed.reshape(n_rows, n_blocks, scheme.block_bytes),
        scales=scales,
        n_columns=n_blocks * scheme.block,
        scheme=scheme,
    )
