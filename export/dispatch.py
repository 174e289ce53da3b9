"""Expert dispatch in graphs by stock operators; `export.native` puts ours in their place.

docs/expert-dispatch.md is the contract, docs/adr/0004 the choice of the stock operators. Both forms read the same bytes
(`rsvlm_cli.runtime.int4`), so a bundle holds both graphs and one file of weights, and which graph runs is decided where
it runs.

Axes: B sequences, T tokens of each, D width of the model, E experts.
"""

from collections.abc import Sequence

import numpy as np

from export.builder import MICROSOFT, Attribute, GraphBuilder
from rsvlm_cli.runtime.int4 import BlockScheme

EXPERT = "expert"
"""The graph input that says which expert serves each sequence (docs/bundle-format.md)."""

ACCURACY_LEVEL = 4
"""Of MatMulNBits and QMoE: activations are rounded to int8 block by block, which the fast kernels need."""

FUSED_SWIGLU: dict[str, Attribute] = {
    "activation_type": "swiglu",
    "swiglu_fusion": 1,
    "activation_alpha": 1.0,
    "activation_beta": 0.0,
}
"""Of MoE and QMoE: silu(gate) * up, rows of gate and up alternating; the only form that runs on a CPU."""

ROUTER_LOGIT = 30.0
"""Of the chosen expert, against minus as much for the others. With one expert a token its softmax is exactly 1."""


def write_router(graph: GraphBuilder, path: str, x: str, n_experts: int) -> tuple[str, str]:
    """Turn the graph input `EXPERT` into the router logits that the stock operators choose by.

    Args:
        graph: the graph, whose input is there.
        path: of the nodes.
        x: value ``(B, T, D)``.
        n_experts: E.

    Returns:
        The values ``(B, E)``, of each sequence, and ``(B * T, E)``, of each token.
    """
    depth = graph.constant("router/experts", n_experts)
    logits = graph.constant("router/logits", [-ROUTER_LOGIT, ROUTER_LOGIT], np.float32)
    of_sequence = graph.op("OneHot", path, [EXPERT, depth, logits], axis=-1)
    batch_tokens = graph.op("Shape", path, [x], start=0, end=2)
    shape = graph.op("Concat", path, [batch_tokens, graph.constant("router/experts_axis", [n_experts])], axis=0)
    each = graph.op("Unsqueeze", path, [of_sequence, graph.constant("axis_1", [1])])
    each = graph.op("Expand", path, [each, shape])  # (B, T, E)
    return of_sequence, graph.op("Reshape", path, [each, graph.constant("router/flat", [-1, n_experts])])


def write_experts(
    graph: GraphBuilder, path: str, x: str, router: str, stored: Sequence[str], scheme: BlockScheme | None
) -> str:
    """Write the experts of one layer as one mixture-of-experts node.

    Args:
        graph: the graph.
        path: of the node.
        x: value ``(B, T, D)`` or ``(B, D)``.
        router: value ``(tokens, E)``, high at each token's expert and low elsewhere.
        stored: weights: gate and up rows in one stack, alternating, and down; each with its scales behind it.
        scheme: how they are stored.

    Returns:
        The value of the shape of ``x``.
    """
    inputs = [x, router, *stored[: len(stored) // 2], "", *stored[len(stored) // 2 :]]
    attributes: dict[str, Attribute] = {"k": 1, "normalize_routing_weights": 1, **FUSED_SWIGLU}
    if scheme is None:
        return graph.op("MoE", path, inputs, MICROSOFT, **attributes)
    attributes |= {"expert_weight_bits": scheme.bits, "block_size": scheme.block, "accuracy_level": ACCURACY_LEVEL}
    return graph.op("QMoE", path, inputs, MICROSOFT, **attributes)
