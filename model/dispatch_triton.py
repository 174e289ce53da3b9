"""``ExpertMLP`` on a GPU: two Triton kernels that read the packed weights, gate-up-SiLU and down.

Activations stay in their own type (no rounding to int8, unlike the CPU's kernels): a GPU is short of memory bandwidth
for weights, not of arithmetic. Every tile of tokens belongs to one expert, whose index the kernel reads, so the experts
without tokens are never touched.

Axes: M tokens, sorted by expert and padded to whole tiles, N rows and K columns of a weight.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

TILE_TOKENS, TILE_ROWS, TILE_BYTES = 16, 64, 32
"""Of one program: tokens, rows of a weight, packed bytes of a row at a time."""


@triton.jit
def _dot_tile(x_ptr, packed_ptr, scales_ptr, tokens, is_token, rows, is_row, K, block, BITS: tl.constexpr,
              TOKENS: tl.constexpr, ROWS: tl.constexpr, BYTES: tl.constexpr):  # fmt: skip
    """Multiply (TOKENS, K) by the packed rows; float32 sums (TOKENS, ROWS)."""
    per_byte: tl.constexpr = 8 // BITS
    sums = tl.zeros((TOKENS, ROWS), tl.float32)
    row_bytes = K // per_byte
    for start in range(0, row_bytes, BYTES):
        at = start + tl.arange(0, BYTES)
        inside = at < row_bytes
        both = is_row[:, None] & inside[None, :]
        packed = tl.load(packed_ptr + rows[:, None] * row_bytes + at[None, :], mask=both, other=0).to(tl.int32)
        scale_at = rows[:, None] * (K // block) + (at * per_byte // block)[None, :]
        scale = tl.load(scales_ptr + scale_at, mask=both, other=0.0)
        for part in tl.static_range(per_byte):
            weight = packed if BITS == 8 else (packed >> (4 * part)) & 15
            weight = (weight.to(tl.float32) - (1 << (BITS - 1))) * scale
            x_at = tokens[:, None] * K + (at * per_byte + part)[None, :]
            x = tl.load(x_ptr + x_at, mask=is_token[:, None] & inside[None, :], other=0.0)
            sums += tl.dot(x, tl.trans(weight).to(x.dtype), input_precision="ieee")
    return sums


@triton.jit
def _gate_up_kernel(x_ptr, tile_expert_ptr, packed_ptr, scales_ptr, out_ptr, order_ptr, K, F, block,
                    BITS: tl.constexpr, TOKENS: tl.constexpr, ROWS: tl.constexpr, BYTES: tl.constexpr):  # fmt: skip
    """Out (M, F) = silu(gate x) * up x; row 2 f is gate f, row 2 f + 1 up f."""
    expert = tl.load(tile_expert_ptr + tl.program_id(0)).to(tl.int64)
    place = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
    token = tl.load(order_ptr + place)
    f = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    packed_ptr += expert * 2 * F * (K * BITS // 8)
    scales_ptr += expert * 2 * F * (K // block)
    gate = _dot_tile(
        x_ptr, packed_ptr, scales_ptr, token, token >= 0, 2 * f, f < F, K, block, BITS, TOKENS, ROWS, BYTES
    )
    up = _dot_tile(
        x_ptr, packed_ptr, scales_ptr, token, token >= 0, 2 * f + 1, f < F, K, block, BITS, TOKENS, ROWS, BYTES
    )
    inner = gate * tl.sigmoid(gate) * up
    tl.store(out_ptr + place[:, None] * F + f[None, :], inner.to(out_ptr.dtype.element_ty), mask=(f < F)[None, :])


@triton.jit
def _down_kernel(h_ptr, tile_expert_ptr, packed_ptr, scales_ptr, out_ptr, order_ptr, K, N, block,
                 BITS: tl.constexpr, TOKENS: tl.constexpr, ROWS: tl.constexpr, BYTES: tl.constexpr):  # fmt: skip
    """out[token] (N) = down h, back at the token's own place."""
    expert = tl.load(tile_expert_ptr + tl.program_id(0)).to(tl.int64)
    place = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
    token = tl.load(order_ptr + place)
    n = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    packed_ptr += expert * N * (K * BITS // 8)
    scales_ptr += expert * N * (K // block)
    y = _dot_tile(h_ptr, packed_ptr, scales_ptr, place, token >= 0, n, n < N, K, block, BITS, TOKENS, ROWS, BYTES)
    mask = (token >= 0)[:, None] & (n < N)[None, :]
    tl.store(out_ptr + token[:, None] * N + n[None, :], y.to(out_ptr.dtype.element_ty), mask=mask)


def run_triton(
    x: Tensor, expert: Tensor, gate_up: tuple[Tensor, Tensor], down: tuple[Tensor, Tensor], bits: int
) -> Tensor:
    """Compute `model.dispatch.expert_mlp` on the GPU that the tensors are on.

    Args:
        x: ``(B, ..., D)``, float32, bfloat16 or float16.
        expert: ``(B,)`` int64 in [0, E).
        gate_up: packed rows and their scales.
        down: packed rows and their scales.
        bits: 4 or 8.
    """
    hidden, width = x.shape[-1], gate_up[0].shape[1] // 2
    block = hidden // gate_up[1].shape[-1]
    flat = x.reshape(-1, hidden).contiguous()
    order, tile_expert = sort_into_tiles(expert.repeat_interleave(len(flat) // max(len(expert), 1)), TILE_TOKENS)
    inner = torch.empty((len(order), width), dtype=x.dtype, device=x.device)
    y = torch.empty_like(flat)
    sizes = {"BITS": bits, "TOKENS": TILE_TOKENS, "ROWS": TILE_ROWS, "BYTES": TILE_BYTES}
    n_tiles = len(tile_expert)
    _gate_up_kernel[n_tiles, triton.cdiv(width, TILE_ROWS)](
        flat, tile_expert, *gate_up, inner, order, hidden, width, block, **sizes
    )
    _down_kernel[n_tiles, triton.cdiv(hidden, TILE_ROWS)](
        inner, tile_expert, *down, y, order, width, hidden, block, **sizes
    )
    return y.view(x.shape)


def sort_into_tiles(expert: Tensor, tile: int) -> tuple[Tensor, Tensor]:
    """Sort tokens by expert into tiles of one expert each.

    Args:
        expert: ``(M,)`` int64, of each token.
        tile: tokens of a tile.

    Returns:
        The token at each place, -1 where a tile is not full, ``(tiles * tile,)`` int64; and each tile's expert.
    """
    counts = torch.bincount(expert)
    tiles = (counts + tile - 1) // tile
    first_place = (tiles.cumsum(0) - tiles) * tile
    first_token = counts.cumsum(0) - counts
    order = expert.argsort(stable=True)
    sorted_expert = expert[order]
    rank = torch.arange(len(expert), device=expert.device) - first_token[sorted_expert]
    places = torch.full((int(tiles.sum()) * tile,), -1, dtype=torch.int64, device=expert.device)
    places[first_place[sorted_expert] + rank] = order
    return places, torch.arange(len(counts), device=expert.device).repeat_interleave(tiles)
