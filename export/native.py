"""Native graphs: the stock graphs with our operators in the place of ONNX Runtime's, over the same weights.

docs/expert-dispatch.md and docs/attention.md are the operators' contracts.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from onnx import NodeProto, helper

from export.builder import MICROSOFT
from export.dispatch import EXPERT
from rsvlm_cli.runtime.dispatch import DOMAIN

ATTENTION_ATTRIBUTES = {"num_heads", "kv_num_heads", "scale", "do_rotary"}
"""All that a GroupQueryAttention may have to be replaced; ours turns always."""

ATTENTIONS = {"GroupQueryAttention", "MultiHeadAttention"}
"""Of ours; their first three inputs are query, key and value."""

TOWER_ATTRIBUTES = {"q_num_heads", "kv_num_heads"}
"""All that an Attention may have."""


def to_native(nodes: Sequence[NodeProto], outputs: Iterable[str]) -> list[NodeProto]:
    """Replace each MatMulNBits, QMoE, GroupQueryAttention and Attention, and drop the nodes that nobody asks any more.

    The three projections before an attention become one node.

    Args:
        nodes: of the stock graph, in order.
        outputs: of the graph.

    Returns:
        The nodes of the native graph, in order; where nothing was replaced, as many as there were.

    Raises:
        ValueError: if one of them is not as `export.layers` and `export.graph` write it.
    """
    replaced = _join_projections([_replace(node) for node in nodes])
    wanted, kept = set(outputs), []
    for node in reversed(replaced):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    return kept[::-1]


def _replace(node: NodeProto) -> NodeProto:
    given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    if node.op_type == "MatMulNBits":
        inputs = [*node.input[:3], *node.input[5:6]]
        return _our_node(node, "BlockLinear", inputs, bits=given["bits"], block_size=given["block_size"])
    if node.op_type == "QMoE":
        x, _, gate_up, gate_up_scales, _, down, down_scales = node.input[:7]
        inputs = [x, EXPERT, gate_up, gate_up_scales, down, down_scales]
        return _our_node(node, "ExpertMLP", inputs, bits=given["expert_weight_bits"], block_size=given["block_size"])
    if node.op_type == "GroupQueryAttention":
        if given.keys() != ATTENTION_ATTRIBUTES or not given.pop("do_rotary") or len(node.input) != 9:
            raise ValueError(f"{node.name}: no native operator does what it asks for")
        return _our_node(node, "GroupQueryAttention", node.input, **given)
    if node.op_type == "Attention":
        heads = given.get("q_num_heads")
        if given.keys() != TOWER_ATTRIBUTES or heads != given["kv_num_heads"] or len(node.input) != 3:
            raise ValueError(f"{node.name}: no native operator does what it asks for")
        return _our_node(node, "MultiHeadAttention", node.input, num_heads=heads)
    return node


def _join_projections(nodes: Sequence[NodeProto]) -> list[NodeProto]:
    """Put one QKVLinear before each attention whose query, key and value are linear layers of one value."""
    made_by = {output: node for node in nodes for output in node.output}
    qkv = dict[str, NodeProto]()  # by the attention that it comes before
    for node in nodes:
        if node.domain == DOMAIN and node.op_type in ATTENTIONS:
            parts = [made_by[value] for value in node.input[:3] if value in made_by]
            kinds = {(part.op_type, part.input[0], str(part.attribute)) for part in parts}
            if len(parts) == 3 and len(kinds) == 1 and [len(part.input) for part in parts] == [4, 4, 4]:
                inputs = [parts[0].input[0], *(name for part in parts for name in part.input[1:])]
                name = node.name.replace(node.op_type, "QKVLinear")
                qkv[node.name] = helper.make_node("QKVLinear", inputs, node.input[:3], name=name, domain=DOMAIN)
                qkv[node.name].attribute.extend(parts[0].attribute)
    gone = {output for node in qkv.values() for output in node.output}
    joined = list[NodeProto]()
    for node in nodes:
        if node.name in qkv:
            joined.append(qkv[node.name])
        if gone.isdisjoint(node.output):
            joined.append(node)
    return joined


def _our_node(stock: NodeProto, op: str, inputs: Sequence[str], **attributes: Any) -> NodeProto:
    if stock.domain != ("" if stock.op_type == "Attention" else MICROSOFT):
        raise ValueError(f"{stock.name}: {stock.domain}::{stock.op_type} is not the operator that {op} stands in for")
    module, _, own = stock.name.rpartition("/")
    name = f"{module}/{own.replace(stock.op_type, op)}"
    # Outputs keep their names: what reads them stays as it is.
    return helper.make_node(op, inputs, list(stock.output), name=name, domain=DOMAIN, **attributes)
