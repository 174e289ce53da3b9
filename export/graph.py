"""The two graphs of a bundle, written node by node from configuration and weights; no tracing, no torch.

docs/bundle-format.md is their contract, `export.builder` the law of their names, docs/adr/0004 the choice of operators.

Axes: N images, P visual tokens an image, B sequences, T tokens of this call, D width, G key-value heads, S cache slots,
K head width, E experts, L layers.
"""

from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from export.builder import MICROSOFT, StoredTensor
from export.dispatch import EXPERT, write_router
from export.layers import LayerWriter, node_path
from export.quantise import Profile, VisionScheme, narrow, quantise_blocks
from rsvlm_cli.runtime.bundle import EmbeddingSpec
from rsvlm_cli.runtime.int4 import BlockScheme, QuantisedRows

LAYER_NORM_EPS = 1e-5
"""Of torch's LayerNorm, which the tower's heads use."""

HEAD_MULTIPLE = 16
"""GroupQueryAttention turns only heads of whole multiples of this; narrower ones are padded with zeros."""


def write_vision(writer: LayerWriter, scheme: VisionScheme) -> None:
    """Write pictures -> vectors: tower, projector, newline vector, and what the tower's heads add to both."""
    graph, config = writer.graph, writer.checkpoint.config
    v, width = config.vision, config.decoder.hidden_size
    pixels = graph.input("pixel_values", TensorProto.FLOAT, ["N", 3, v.image_size, v.image_size])
    grid = _stem(writer, pixels, scheme)
    shape = graph.constant("vision/tokens_shape", [0, v.hidden_size, -1])
    x = graph.op("Transpose", "vision", [graph.op("Reshape", "vision", [grid, shape])], perm=[0, 2, 1])
    x = graph.op("Add", "vision/position_embedding", [x, writer.vector("vision.position_embedding.weight")])
    for i in range(v.layers):
        x = _vision_block(writer, f"vision.layers.{i}", x, scheme)
    tokens = x
    x = graph.op("Gelu", "projector.1", [writer.linear("projector.0", x, scheme)])
    x = writer.linear("projector.2", x, scheme)
    images = graph.op("Shape", "image_newline", [pixels], start=0, end=1)
    one_row = graph.op("Concat", "image_newline", [images, graph.constant("image_newline/row", [1, width])], axis=0)
    newline = graph.op("Expand", "image_newline", [writer.vector("image_newline"), one_row])
    if config.labels:
        in_cells, of_scene = _evidence(writer, tokens)
        x = graph.op("Add", "evidence", [x, in_cells])
        if of_scene:
            newline = graph.op("Add", "evidence", [newline, of_scene])
    output = graph.output("image_features", TensorProto.FLOAT, ["N", config.image_tokens, width])
    graph.node("Concat", "image_newline", [x, newline], [output], axis=1)


def _evidence(writer: LayerWriter, tokens: str) -> tuple[str, str | None]:
    """Write the tower's heads, and return what they add to visual tokens, and to newline vectors if to them.

    All of it in float32, for it is little, and probabilities are what thresholds stand on. A head without labels is
    left out: no tensor of a bundle is empty.
    """
    graph, labels, n_tokens = writer.graph, writer.checkpoint.config.labels, writer.checkpoint.config.vision.tokens
    x = writer.layer_norm("heads.norm", tokens, LAYER_NORM_EPS)

    def add(part: str, told: str) -> str:
        module = f"evidence.{part}"
        return writer.linear_of(module, told, writer.checkpoint.read(f"{module}.weight"), None, None)

    cells, of_scene = list[str](), None
    if labels.masks:
        cells.append(graph.op("Sigmoid", "heads", [writer.linear("heads.coverage", x, None)]))
    if labels.objects:
        cells.append(graph.output("centres", TensorProto.FLOAT, ["N", n_tokens, 4 * len(labels.objects)]))
        graph.node("Sigmoid", "heads", [writer.linear("heads.centres", x, None)], cells[-1:])
    boxes = writer.linear("heads.boxes", x, None)
    if labels.objects:
        graph.node("Identity", "heads", [boxes], [graph.output("boxes", TensorProto.FLOAT, ["N", n_tokens, 16])])
    cells.append(boxes)
    if labels.scenes:
        mean = graph.op("ReduceMean", "heads", [x, graph.constant("heads/axes", [1])], keepdims=1)
        scene = graph.output("scene", TensorProto.FLOAT, ["N", 1, len(labels.scenes)])
        graph.node("Softmax", "heads", [writer.linear("heads.scene", mean, None)], [scene], axis=-1)
        of_scene = add("scene", scene)
    return add("cells", graph.op("Concat", "evidence", cells, axis=-1)), of_scene


def _stem(writer: LayerWriter, x: str, scheme: VisionScheme) -> str:
    """Write the patch embedding or the convolutional stem; returns ``(N, C, grid, grid)``."""
    v, graph = writer.checkpoint.config.vision, writer.graph
    if not v.stem_channels:
        return writer.conv("vision.patch_embedding", x, stride=v.patch_size, padding=0, scheme=scheme)
    for s, blocks in enumerate(v.stem_blocks):
        stage = f"vision.stem.stages.{s}"
        x = graph.op("Relu", node_path(f"{stage}.1"), [writer.conv_norm(f"{stage}.0", x, stride=2, scheme=scheme)])
        for block in (f"{stage}.{b + 2}" for b in range(blocks)):
            y = writer.conv_norm(f"{block}.conv1", x, stride=1, scheme=scheme)
            y = graph.op("Relu", node_path(block), [y])
            y = writer.conv_norm(f"{block}.conv2", y, stride=1, scheme=scheme)
            x = graph.op("Relu", node_path(block), [graph.op("Add", node_path(block), [x, y])])
    return x


def _vision_block(writer: LayerWriter, layer: str, x: str, scheme: VisionScheme) -> str:
    v, graph = writer.checkpoint.config.vision, writer.graph
    normed = writer.layer_norm(f"{layer}.layer_norm1", x, v.layer_norm_eps)
    qkv = [writer.linear(f"{layer}.attention.{name}_proj", normed, scheme) for name in "qkv"]
    y = graph.op("Attention", node_path(f"{layer}.attention"), qkv, q_num_heads=v.heads, kv_num_heads=v.heads)
    x = graph.op("Add", node_path(layer), [x, writer.linear(f"{layer}.attention.out_proj", y, scheme)])
    y = writer.linear(f"{layer}.mlp.fc1", writer.layer_norm(f"{layer}.layer_norm2", x, v.layer_norm_eps), scheme)
    y = graph.op("Gelu", node_path(f"{layer}.mlp"), [y], approximate="tanh")
    return graph.op("Add", node_path(layer), [x, writer.linear(f"{layer}.mlp.fc2", y, scheme)])


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderLayout:
    """What a reader must know of a written decoder.

    Attributes:
        head_dim: width of one head in the cache, padding included.
        embedding: where the token embedding lies.
    """

    head_dim: int
    embedding: EmbeddingSpec


def write_decoder(writer: LayerWriter, profile: Profile, max_context: int) -> DecoderLayout:
    """Write vectors -> logits.

    Args:
        writer: into which graph, from which checkpoint.
        profile: how weights are stored.
        max_context: rows of the rotary table: the greatest ``total_sequence_length``.
    """
    decoder = _DecoderWriter(writer, profile, max_context)
    graph, d = writer.graph, writer.checkpoint.config.decoder
    embedding, head = decoder.embedding_and_head()
    residual = graph.input("inputs_embeds", TensorProto.FLOAT, ["B", "T", d.hidden_size])
    decoder.routing_and_lengths(residual)
    branch = None
    for i in range(d.layers):
        residual, branch = decoder.block(i, residual, branch)
    x, _ = decoder.add_norm("decoder.norm", residual, branch)
    decoder.lm_head(x, head, graph.output("logits", TensorProto.FLOAT, ["B", "n_logits", d.vocab_size]))
    return DecoderLayout(head_dim=decoder.head_dim, embedding=embedding)


class _DecoderWriter:
    """The parts of the decoder graph, in the order in which `write_decoder` calls them."""

    def __init__(self, writer: LayerWriter, profile: Profile, max_context: int) -> None:
        self.writer, self.graph, self.profile = writer, writer.graph, profile
        self.config = writer.checkpoint.config.decoder
        self.head_dim = -(-self.config.head_dim // HEAD_MULTIPLE) * HEAD_MULTIPLE
        self.rotary = self._rotary_table(max_context)

    def _rotary_table(self, max_context: int) -> list[str]:
        """Store cosine and sine ``(max_context, K / 2)``; padded dimensions do not turn."""
        d = self.config
        frequency = np.zeros(self.head_dim // 2)
        frequency[: d.head_dim // 2] = d.rope_theta ** (-np.arange(0, d.head_dim, 2) / d.head_dim)
        angle = np.arange(max_context)[:, None] * frequency
        parts = {"cos": np.cos(angle), "sin": np.sin(angle)}
        return [self.graph.weight(f"decoder.rotary.{name}", part.astype(np.float32)) for name, part in parts.items()]

    def embedding_and_head(self) -> tuple[EmbeddingSpec, "_Table"]:
        """Store the token embedding, and the output head unless it is the same bytes."""
        embedding = head = self._store_table("decoder.embed_tokens.weight")
        if not self.config.tie_embeddings:
            head = self._store_table("decoder.lm_head.weight")
        spec = EmbeddingSpec(
            file=self.graph.data.name,
            offset=embedding.parts[0].offset,
            scheme=self.profile.embedding or "float32",
            scales_offset=embedding.parts[1].offset if embedding.rows else None,
            tied=self.config.tie_embeddings,
        )
        return spec, head

    def _store_table(self, name: str) -> "_Table":
        table, scheme = self._read(name), self.profile.embedding
        if not isinstance(scheme, BlockScheme):
            stored = narrow(name, table, self.writer.log) if scheme == "float16" else table.astype(np.float32)
            return _Table([self.graph.store(name, stored)], None)
        rows = quantise_blocks(name, table, scheme, self.writer.log)
        return _Table([self.graph.store(name, rows.packed), self.graph.store(f"{name}.scales", rows.scales)], rows)

    def routing_and_lengths(self, embeds: str) -> None:
        """Declare the inputs of control; make the router's logits and the rows of each sequence's last tokens.

        Every token of sequence b goes to expert ``expert[b]``. With an empty cache sequence b ends at row
        ``seqlens_k[b]`` of this call, before the padding on its right; with T = 1 it ends at row 0; with one sequence
        at row T - 1. All three are ``max(0, seqlens_k[b] - (total_sequence_length - T))``. Logits are made for that row
        and the ``n_logits - 1`` before it.
        """
        graph = self.graph
        graph.input(EXPERT, TensorProto.INT64, ["B"])
        self.seqlens = graph.input("seqlens_k", TensorProto.INT32, ["B"])
        self.total = graph.input("total_sequence_length", TensorProto.INT32, [])
        n_logits = graph.input("n_logits", TensorProto.INT64, [])
        of_sequence, self.router = write_router(graph, "decoder/router", embeds, self.config.experts)
        path, one = "decoder/last_token", graph.constant("axis_1", [1])
        n_tokens = graph.op("Cast", path, [graph.op("Shape", path, [embeds], start=1, end=2)], to=TensorProto.INT32)
        before = graph.op("Sub", path, [self.total, n_tokens])
        row = graph.op("Sub", path, [self.seqlens, before])
        row = graph.op("Cast", path, [graph.op("Relu", path, [row])], to=TensorProto.INT64)
        row = graph.op("Unsqueeze", path, [row, one])  # (B, 1)
        step = graph.constant("last_token/one", 1)
        back = graph.op("Range", path, [graph.op("Sub", path, [step, n_logits]), step, step])
        rows = graph.op("Add", path, [row, back])  # (B, n_logits)
        self.last_rows = graph.op("Unsqueeze", path, [rows, graph.constant("axis_2", [2])])
        heard = graph.op("Concat", path, [one, graph.op("Reshape", path, [n_logits, one]), one], axis=0)
        each = graph.op("Expand", path, [graph.op("Unsqueeze", path, [of_sequence, one]), heard])
        self.router_last = graph.op(
            "Reshape", path, [each, graph.constant("last_token/router", [-1, self.config.experts])]
        )

    def block(self, index: int, residual: str, branch: str | None) -> tuple[str, str]:
        """Write one decoder block; returns the residual stream and the branch still to be added to it.

        After the last block's attention only the last ``n_logits`` tokens of each sequence are needed, so the rest is
        computed for those rows alone, ``(B, n_logits, D)``.
        """
        layer, last = f"decoder.layers.{index}", index == self.config.layers - 1
        normed, residual = self.add_norm(f"{layer}.input_layernorm", residual, branch)
        heads = self._attend(index, normed)
        if last:
            heads, residual = (
                self.graph.op("GatherND", "decoder/last_token", [x, self.last_rows], batch_dims=1)
                for x in (heads, residual)
            )
        weight = _pad_heads(self._read(f"{layer}.attention.o_proj.weight").T, self.config.heads, self.head_dim).T
        attended = self.writer.linear_of(f"{layer}.attention.o_proj", heads, weight, None, self.profile.attention)
        normed, residual = self.add_norm(f"{layer}.post_attention_layernorm", residual, attended)
        router = self.router_last if last else self.router
        return residual, self.writer.experts(f"{layer}.experts", normed, router, self.profile.experts)

    def _attend(self, index: int, x: str) -> str:
        graph, d, module = self.graph, self.config, f"decoder.layers.{index}.attention"
        qkv = []
        for name, heads in (("q_proj", d.heads), ("k_proj", d.kv_heads), ("v_proj", d.kv_heads)):
            weight, bias = (
                _pad_heads(self._read(f"{module}.{name}.{part}"), heads, self.head_dim) for part in ("weight", "bias")
            )
            qkv.append(self.writer.linear_of(f"{module}.{name}", x, weight, bias, self.profile.attention))
        cache: list[int | str] = ["B", d.kv_heads, "S", self.head_dim]
        past = [graph.input(f"past_key_values.{index}.{kv}", TensorProto.FLOAT, cache) for kv in ("key", "value")]
        present = [graph.output(f"present.{index}.{kv}", TensorProto.FLOAT, cache) for kv in ("key", "value")]
        path = node_path(module)
        return graph.node(
            "GroupQueryAttention",
            path,
            [*qkv, *past, self.seqlens, self.total, *self.rotary],
            [f"/{path}/GroupQueryAttention/output_0", *present],
            MICROSOFT,
            num_heads=d.heads,
            kv_num_heads=d.kv_heads,
            do_rotary=1,
            scale=float(d.head_dim**-0.5),
        )[0]

    def add_norm(self, module: str, residual: str, branch: str | None) -> tuple[str, str]:
        """Add the branch to the residual stream and norm the sum; returns the norm and the sum."""
        epsilon, weight, path = self.config.rms_norm_eps, self.writer.vector(f"{module}.weight"), node_path(module)
        if branch is None:
            return self.graph.op(
                "SimplifiedLayerNormalization", path, [residual, weight], axis=-1, epsilon=epsilon
            ), residual
        op = "SkipSimplifiedLayerNormalization"
        outputs = [f"/{path}/{op}/output_0", "", "", f"/{path}/{op}/output_3"]
        names = self.graph.node(op, path, [residual, branch, weight], outputs, MICROSOFT, epsilon=epsilon)
        return names[0], names[3]

    def lm_head(self, x: str, head: "_Table", output: str) -> None:
        """Turn ``(B, n_logits, D)`` into the output ``(B, n_logits, vocab)``."""
        path, names, d = "decoder/lm_head", [self.graph.use(part) for part in head.parts], self.config
        if head.rows is None:
            if head.parts[0].dtype == np.float16:
                names = [self.graph.op("Cast", path, names, to=TensorProto.FLOAT)]
            flat = self.graph.op("Reshape", path, [x, self.graph.constant("lm_head/flat", [-1, d.hidden_size])])
            logits = self.graph.op("Gemm", path, [flat, *names], transB=1)
        else:
            logits = self.writer.matmul_blocks(path, x, head.rows, names)
        rows = self.graph.op("Shape", path, [x], start=0, end=2)
        shape = self.graph.op("Concat", path, [rows, self.graph.constant("lm_head/vocab", [d.vocab_size])], axis=0)
        self.graph.node("Reshape", path, [logits, shape], [output])

    def _read(self, name: str) -> np.ndarray:
        return self.writer.checkpoint.read(name)


@dataclass(frozen=True, slots=True)
class _Table:
    """A table ``(vocab, D)`` in the external data, and its rows where it is quantised."""

    parts: list[StoredTensor]
    rows: QuantisedRows | None


def _pad_heads(rows: np.ndarray, heads: int, head_dim: int) -> np.ndarray:
    """Widen each head of ``(heads * K, ...)`` to ``head_dim`` rows of zeros at the end of each half of it.

    The halves stay halves, so that dimension i still turns with dimension i + K / 2.
    """
    width = rows.shape[0] // heads
    if width == head_dim:
        return rows
    padded = np.zeros((heads, 2, head_dim // 2, *rows.shape[1:]), rows.dtype)
    padded[:, :, : width // 2] = rows.reshape(heads, 2, width // 2, *rows.shape[1:])
    return padded.reshape(heads * head_dim, *rows.shape[1:])
