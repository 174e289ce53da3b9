"""Makes tiny bundles with random weights that honour docs/bundle-format.md, so that the engine is tested for real.

The decoder is a two-layer, three-expert transformer of GroupQueryAttention nodes; its replies are noise, but they
depend on every image vector, every earlier token and the expert, which is what the tests need.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from rsvlm_cli.runtime.bundle import Bundle, DecoderSpec, EmbeddingSpec, ImageSpec, Manifest, write_manifest
from rsvlm_cli.runtime.int4 import BlockScheme, quantise_rows

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
NUMBERS = tuple(str(n) for n in range(101))
QUADRANTS = "░▘▝▀▖▌▞▛▗▚▐▜▄▙▟█"
CORPUS = (
    "[VQA] How many ships are there? yes no rural urban harbour airport none",
    "[SEG] water. others*21, water*1, others*2\nothers*24",
    "[VG] Where is the ship? [1, 20, 9, 30] [10, 50, 68, 98] [25, 3, 74, 56]",
    "A large ship lies in the harbour. There are many buildings beside a road.",
)
DIALECT = {
    "chat_template": "<|im_start|>user\n{images}\n{text}<|im_end|>\n<|im_start|>assistant\n",
    "image_token": "<image>",
    "image_joiner": " ",
    "prompts": {"ask": "[VQA] {question}"},
    "box_scale": 100,
    "no_boxes": "none",
    "mask_style": "quadrants",
    "mask_grid": 24,
}


@dataclass(frozen=True, kw_only=True)
class BundleSize:
    """Sizes of a tiny bundle."""

    image: int = 16
    patch: int = 8
    layers: int = 2
    hidden: int = 64
    heads: int = 4
    kv_heads: int = 2
    ffn: int = 48
    experts: int = 3
    max_context: int = 512

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.hidden // self.heads

    @property
    def image_tokens(self) -> int:
        """Vectors an image becomes."""
        return (self.image // self.patch) ** 2 + 1


def make_tokenizer(corpus: Sequence[str] = CORPUS, vocab: int = 520) -> Tokenizer:
    """Train a byte-level BPE; what is read at cells, quadrants and numbers, are whole tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet, whole = sorted(pre_tokenizers.ByteLevel.alphabet()), (*QUADRANTS, *NUMBERS)
    trainer = trainers.BpeTrainer(vocab_size=vocab - len(whole), initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in whole])
    tokenizer.add_special_tokens(list(SPECIAL))
    return tokenizer


class GraphBuilder:
    """Nodes and initialisers of one graph."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initialisers: list[onnx.TensorProto] = []
        self.rng = rng

    def constant(self, name: str, value: np.ndarray) -> str:
        """Add an initialiser and return its name."""
        self.initialisers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def weight(self, name: str, *shape: int) -> str:
        """Add a random weight."""
        return self.constant(name, (self.rng.normal(size=shape) / np.sqrt(shape[-2])).astype(np.float32))

    def node(
        self, op: str, inputs: Sequence[str], output: str | Sequence[str], domain: str = "", **attributes: object
    ) -> str:
        """Add a node and return its first output."""
        outputs = [output] if isinstance(output, str) else list(output)
        self.nodes.append(helper.make_node(op, inputs, outputs, domain=domain, name=outputs[0], **attributes))
        return outputs[0]

    def save(self, path: Path, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto]) -> None:
        """Write the model."""
        graph = helper.make_graph(self.nodes, path.stem, inputs, outputs, self.initialisers)
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)


def write_vision(path: Path, size: BundleSize, rng: np.random.Generator) -> None:
    """Write a vision graph: patches, one projection, the newline vector."""
    g = GraphBuilder(rng)
    fan_in = 3 * size.patch**2
    kernel = rng.normal(size=(size.hidden, 3, size.patch, size.patch)) / np.sqrt(fan_in)
    g.constant("patch.weight", kernel.astype(np.float32))
    g.constant("newline", rng.normal(size=(1, 1, size.hidden)).astype(np.float32))
    g.constant("flat", np.array([0, size.hidden, -1]))
    g.constant("zero_row", np.zeros((1, 1, size.hidden), np.float32))
    patch = [size.patch, size.patch]
    g.node("Conv", ["pixel_values", "patch.weight"], "patches", kernel_shape=patch, strides=patch)
    g.node("Reshape", ["patches", "flat"], "columns")
    g.node("Transpose", ["columns"], "rows", perm=[0, 2, 1])
    g.node("ReduceMean", ["rows", g.constant("axis", np.array([1]))], "mean", keepdims=1)
    g.node("Mul", ["mean", "zero_row"], "zeros")
    g.node("Add", ["zeros", "newline"], "newlines")
    g.node("Concat", ["rows", "newlines"], "image_features", axis=1)
    g.save(
        path,
        [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["N", 3, size.image, size.image])],
        [helper.make_tensor_value_info("image_features", TensorProto.FLOAT, ["N", size.image_tokens, size.hidden])],
    )


def write_decoder(path: Path, size: BundleSize, head: np.ndarray, rng: np.random.Generator) -> None:
    """Write a decoder graph; ``head`` is ``(vocab, hidden)``."""
    g = GraphBuilder(rng)
    angles = np.arange(size.max_context)[:, None] * 10000.0 ** (-np.arange(0, size.head_dim, 2) / size.head_dim)
    g.constant("cos", np.cos(angles).astype(np.float32))
    g.constant("sin", np.sin(angles).astype(np.float32))
    kv, stack = size.kv_heads * size.head_dim, (size.experts, size.hidden, size.ffn)
    x = "inputs_embeds"
    for i in range(size.layers):
        layer = f"layers.{i}"
        normed = _norm(g, x, f"{layer}.input_norm", size.hidden)
        q = g.node("MatMul", [normed, g.weight(f"{layer}.wq", size.hidden, size.hidden)], f"{layer}.q")
        k = g.node("MatMul", [normed, g.weight(f"{layer}.wk", size.hidden, kv)], f"{layer}.k")
        v = g.node("MatMul", [normed, g.weight(f"{layer}.wv", size.hidden, kv)], f"{layer}.v")
        past = [f"past_key_values.{i}.key", f"past_key_values.{i}.value"]
        g.node(
            "GroupQueryAttention",
            [q, k, v, *past, "seqlens_k", "total_sequence_length", "cos", "sin"],
            [f"{layer}.attention", f"present.{i}.key", f"present.{i}.value"],
            domain="com.microsoft", num_heads=size.heads, kv_num_heads=size.kv_heads, do_rotary=1,
        )  # fmt: skip
        wo = g.weight(f"{layer}.wo", size.hidden, size.hidden)
        x = g.node("Add", [x, g.node("MatMul", [f"{layer}.attention", wo], f"{layer}.o")], f"{layer}.mid")
        normed = _norm(g, x, f"{layer}.mlp_norm", size.hidden)
        up = g.node("Gather", [g.weight(f"{layer}.w_up", *stack), "expert"], f"{layer}.expert_up")
        down_weight = g.weight(f"{layer}.w_down", size.experts, size.ffn, size.hidden)
        down = g.node("Gather", [down_weight, "expert"], f"{layer}.expert_down")
        hidden = g.node("Tanh", [g.node("MatMul", [normed, up], f"{layer}.up")], f"{layer}.act")
        x = g.node("Add", [x, g.node("MatMul", [hidden, down], f"{layer}.down")], f"{layer}.out")
    start = g.node("Reshape", [g.node("Neg", ["n_logits"], "minus_n"), g.constant("one_axis", np.array([1]))], "from")
    ends = [g.constant(name, np.array([v])) for name, v in (("to", np.iinfo(np.int64).max), ("time", 1))]
    last = g.node("Slice", [_norm(g, x, "norm", size.hidden), start, *ends], "last")
    g.node("MatMul", [last, g.constant("lm_head", head.T * 0.4)], "logits")
    cache = ["B", size.kv_heads, "S", size.head_dim]
    pairs = [f"{i}.{kind}" for i in range(size.layers) for kind in ("key", "value")]
    info = helper.make_tensor_value_info
    g.save(
        path,
        [
            info("inputs_embeds", TensorProto.FLOAT, ["B", "T", size.hidden]),
            info("expert", TensorProto.INT64, ["B"]),
            info("seqlens_k", TensorProto.INT32, ["B"]),
            info("total_sequence_length", TensorProto.INT32, []),
            info("n_logits", TensorProto.INT64, []),
            *(info(f"past_key_values.{pair}", TensorProto.FLOAT, cache) for pair in pairs),
        ],
        [
            info("logits", TensorProto.FLOAT, ["B", "n_logits", head.shape[0]]),
            *(info(f"present.{pair}", TensorProto.FLOAT, cache) for pair in pairs),
        ],
    )


def _norm(g: GraphBuilder, x: str, name: str, hidden: int) -> str:
    scale = g.constant(f"{name}.weight", np.ones(hidden, np.float32))
    return g.node("SimplifiedLayerNormalization", [x, scale], name, axis=-1, epsilon=1e-6, stash_type=1)


def make_bundle(
    folder: Path,
    *,
    size: BundleSize | None = None,
    seed: int = 0,
    tokenizer: Tokenizer | None = None,
    scheme: str | BlockScheme = "float32",
    repetition_penalty: float = 1.0,
    padding: int = 0,
) -> Bundle:
    """Write a bundle with random weights into a new folder.

    Args:
        folder: is made.
        size: of the networks.
        seed: of the weights.
        tokenizer: a byte-level BPE; by default `make_tokenizer`.
        scheme: how the token embedding is stored.
        repetition_penalty: the manifest's.
        padding: rows of embedding and head beyond the tokenizer's tokens.
    """
    size, tokenizer = size or BundleSize(), tokenizer or make_tokenizer()
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    vocab = tokenizer.get_vocab_size() + padding
    embedding = rng.normal(size=(vocab, size.hidden)).astype(np.float32)
    tokenizer.save(str(folder / "tokenizer.json"))
    write_vision(folder / "vision.onnx", size, rng)
    write_decoder(folder / "decoder.onnx", size, rng.normal(size=(vocab, size.hidden)).astype(np.float32), rng)
    manifest = Manifest(
        name=folder.name,
        family="nano",
        version="0",
        licence="CC0-1.0",
        image=ImageSpec(size=(size.image,) * 2, mean=(0.5,) * 3, std=(0.5,) * 3, tokens=size.image_tokens),
        decoder=DecoderSpec(
            layers=size.layers, hidden=size.hidden, heads=size.heads, kv_heads=size.kv_heads, head_dim=size.head_dim,
            vocab=vocab, experts=size.experts,
        ),
        embedding=write_embedding(folder / "embedding.bin", embedding, scheme),
        dialect=DIALECT,
        stop_tokens=("<|im_end|>", "<|endoftext|>"),
        max_context=size.max_context,
        repetition_penalty=repetition_penalty,
        quantisation={"profile": "fp32"},
    )  # fmt: skip
    return write_manifest(folder, manifest)


def write_embedding(path: Path, embedding: np.ndarray, scheme: str | BlockScheme) -> EmbeddingSpec:
    """Write the token embedding behind 64 bytes of something else."""
    head = b"\x7f" * 64
    if isinstance(scheme, str):
        path.write_bytes(head + embedding.astype(scheme).tobytes())
        return EmbeddingSpec(file=path.name, offset=64, scheme=scheme)
    rows = quantise_rows(embedding, scheme)
    path.write_bytes(head + rows.scales.tobytes() + rows.packed.tobytes())
    return EmbeddingSpec(file=path.name, offset=64 + rows.scales.nbytes, scheme=scheme, scales_offset=64)
