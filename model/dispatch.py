"""``ExpertMLP`` for PyTorch: the experts of one layer on packed int4 or int8 weights (docs/expert-dispatch.md).

The weights are frozen; gradients flow to the activations, so what lies below a quantised layer can be trained. On the
CPU, and wherever a gradient is wanted, the chosen experts are dequantised and multiplied in the activations' type. On a
GPU the forward pass is a Triton kernel that reads the packed bytes (`model.dispatch_triton`).

Axes: B sequences, D width, E experts, F width of an expert, J blocks of a row.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

NAME = "rsvlm::expert_mlp"


@torch.library.custom_op(NAME, mutates_args=())
def expert_mlp(
    x: Tensor,
    expert: Tensor,
    gate_up: Tensor,
    gate_up_scales: Tensor,
    down: Tensor,
    down_scales: Tensor,
    bits: int,
) -> Tensor:
    """Send each sequence through its own expert: ``down(silu(gate(x)) * up(x))``.

    Args:
        x: ``(B, ..., D)``.
        expert: ``(B,)`` int64 in [0, E).
        gate_up: ``(E, 2 F, D * bits / 8)`` uint8, rows of gate and up alternating.
        gate_up_scales: ``(E, 2 F, D / block)`` float32.
        down: ``(E, D, F * bits / 8)`` uint8.
        down_scales: ``(E, D, F / block)`` float32.
        bits: 4 or 8.

    Returns:
        The shape and type of ``x``.
    """
    return run_eager(x, expert, gate_up, gate_up_scales, down, down_scales, bits)


@expert_mlp.register_kernel("cuda")
def _(
    x: Tensor,
    expert: Tensor,
    gate_up: Tensor,
    gate_up_scales: Tensor,
    down: Tensor,
    down_scales: Tensor,
    bits: int,
) -> Tensor:
    from model.dispatch_triton import run_triton

    return run_triton(x, expert, (gate_up, gate_up_scales), (down, down_scales), bits)


@expert_mlp.register_fake
def _(
    x: Tensor,
    expert: Tensor,
    gate_up: Tensor,
    gate_up_scales: Tensor,
    down: Tensor,
    down_scales: Tensor,
    bits: int,
) -> Tensor:
    torch._check(bits in (4, 8), lambda: f"{bits} bits, wanted 4 or 8")
    torch._check(expert.ndim == 1 and len(expert) == len(x), lambda: "wanted one expert for each sequence")
    torch._check(x.shape[-1] == down.shape[1], lambda: f"x is {x.shape[-1]} wide, the experts {down.shape[1]}")
    return torch.empty_like(x)


def _keep_inputs(ctx: Any, inputs: tuple, output: Tensor) -> None:  # noqa: ANN401, torch's own
    *tensors, ctx.bits = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
    x, expert, gate_up, gate_up_scales, down, down_scales = ctx.saved_tensors
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        y = run_eager(x, expert, gate_up, gate_up_scales, down, down_scales, ctx.bits)
        (of_x,) = torch.autograd.grad(y, x, gradient)
    return (of_x, *[None] * 6)


expert_mlp.register_autograd(_backward, setup_context=_keep_inputs)


def run_eager(
    x: Tensor,
    expert: Tensor,
    gate_up: Tensor,
    gate_up_scales: Tensor,
    down: Tensor,
    down_scales: Tensor,
    bits: int,
) -> Tensor:
    """Compute `expert_mlp` by dequantising; differentiable in ``x`` and in the scales."""
    chosen = expert.unique().tolist()
    if chosen and not 0 <= chosen[0] <= chosen[-1] < len(gate_up):
        raise ValueError(f"experts {expert.tolist()}, this layer has {len(gate_up)}")
    parts = torch.empty_like(x)
    for e in chosen:
        rows = (expert == e).nonzero()[:, 0]
        both = F.linear(x[rows], dequantise(gate_up[e], gate_up_scales[e], bits).to(x.dtype))
        inner = F.silu(both[..., 0::2]) * both[..., 1::2]
        y = F.linear(inner, dequantise(down[e], down_scales[e], bits).to(x.dtype))
        parts = parts.index_copy(0, rows, y)
    return parts


def dequantise(packed: Tensor, scales: Tensor, bits: int) -> Tensor:
    """Return the weight that packed rows stand for.

    Args:
        packed: ``(N, K * bits / 8)`` uint8; with 4 bits the even columns lie in the low nibbles.
        scales: ``(N, K / block)`` float32.
        bits: 4 or 8.

    Returns:
        ``(N, K)`` float32.
    """
    integers = packed if bits == 8 else torch.stack([packed & 15, packed >> 4], -1).flatten(-2)
    blocks = integers.unflatten(-1, (scales.shape[-1], -1)).float() - (1 << (bits - 1))
    return (blocks * scales[..., None]).flatten(-2)
