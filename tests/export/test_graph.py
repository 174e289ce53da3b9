import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from export.builder import ALIGNMENT
from export.checkpoint import open_checkpoint
from export.pack import write_graphs
from export.quantise import ProfileName, make_profile
from rsvlm_cli.runtime.bundle import DECODER, VISION
from rsvlm_cli.runtime.int4 import BlockScheme
from tests.export.conftest import VOCAB_SIZE

MAX_CONTEXT = 64
NODE_NAME = re.compile(r"/(?:[a-z]+[a-z0-9_]*(?:\.\d+)*/)+[A-Z]\w*")


class Graphs:
    """Both graphs of a profile, and calls of the decoder over a cache of plain arrays."""

    def __init__(self, folder: Path, checkpoint_folder: Path, profile: ProfileName) -> None:
        self.folder, self.checkpoint = folder, open_checkpoint(checkpoint_folder)
        self.layout, self.log = write_graphs(self.checkpoint, folder, make_profile(profile), MAX_CONTEXT)
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 4
        self.decoder = ort.InferenceSession(folder / DECODER, options, providers=["CPUExecutionProvider"])

    def cache(self, batch: int) -> dict[str, np.ndarray]:
        d = self.checkpoint.config.decoder
        shape = (batch, d.kv_heads, MAX_CONTEXT, self.layout.head_dim)
        names = [f"{i}.{kv}" for i in range(d.layers) for kv in ("key", "value")]
        # What is beyond seqlens_k must not matter, so it is not zero.
        return {name: np.full(shape, 9, np.float32) for name in names}

    def call(
        self, embeds: np.ndarray, expert: list[int], lengths: list[int], cache: dict[str, np.ndarray], n_logits: int = 1
    ) -> np.ndarray:
        """Feed ``(B, T, D)``; ``lengths`` are the tokens in the cache afterwards. Returns the last ``(B, vocab)``."""
        inputs = {
            "inputs_embeds": embeds,
            "expert": np.array(expert),
            "seqlens_k": np.array(lengths, np.int32) - 1,
            "total_sequence_length": np.array(max(lengths), np.int32),
            "n_logits": np.array(n_logits),
        }
        names = [output.name for output in self.decoder.get_outputs()]
        past = {f"past_key_values.{name}": values for name, values in cache.items()}
        outputs = dict(zip(names, self.decoder.run(None, inputs | past), strict=True))
        for name in cache:
            cache[name] = outputs[f"present.{name}"]
        assert outputs["logits"].shape[1] == n_logits
        return outputs["logits"][:, -1] if n_logits == 1 else outputs["logits"]


@pytest.fixture(scope="module", params=list(ProfileName))
def graphs(request, tmp_path_factory, checkpoint_folder):
    return Graphs(tmp_path_factory.mktemp(request.param), checkpoint_folder, request.param)


@pytest.fixture
def embeds():
    return np.random.default_rng(0).standard_normal((3, 24, 96)).astype(np.float32)


def test_node_names_follow_the_law(graphs):
    for file in (VISION, DECODER):
        nodes = onnx.load(graphs.folder / file, load_external_data=False).graph.node
        names = [node.name for node in nodes]
        assert len(set(names)) == len(names)
        for node in nodes:
            assert NODE_NAME.fullmatch(node.name), node.name
            assert re.fullmatch(rf"{node.op_type}(_\d+)?", node.name.rpartition("/")[2])
    quantised = "MatMulNBits" if isinstance(graphs.layout.embedding.scheme, BlockScheme) else "MatMul"
    assert {f"/decoder/layers.2/attention/q_proj/{quantised}", "/decoder/layers.0/attention/GroupQueryAttention"} <= {
        *names
    }


def test_every_weight_lies_aligned_in_the_external_file(graphs):
    for file in (VISION, DECODER):
        model = onnx.load(graphs.folder / file, load_external_data=False)
        used = {name for node in model.graph.node for name in node.input}
        assert {tensor.name for tensor in model.graph.initializer} <= used
        for tensor in model.graph.initializer:
            where = {entry.key: entry.value for entry in tensor.external_data}
            if tensor.data_location != onnx.TensorProto.EXTERNAL:
                assert tensor.ByteSize() < 100, tensor.name
                continue
            assert int(where["offset"]) % ALIGNMENT == 0
            size = (graphs.folder / where["location"]).stat().st_size
            assert int(where["offset"]) + int(where["length"]) <= size


def test_inputs_and_outputs_are_those_of_the_contract(graphs):
    vision = onnx.load(graphs.folder / VISION, load_external_data=False).graph
    decoder = onnx.load(graphs.folder / DECODER, load_external_data=False).graph

    def shapes(values):
        return {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}

    cache = ["B", 2, "S", 16]
    layers = [f"{i}.{kv}" for i in range(3) for kv in ("key", "value")]
    assert shapes(vision.input) == {"pixel_values": ["N", 3, 32, 32]}
    # Two scenes and one object (`tests.export.conftest`), in four cells a token.
    heads = {"scene": ["N", 1, 2], "centres": ["N", 16, 4], "boxes": ["N", 16, 16]}
    assert shapes(vision.output) == {"image_features": ["N", 17, 96], **heads}
    assert shapes(decoder.input) == {
        "inputs_embeds": ["B", "T", 96],
        "expert": ["B"],
        "seqlens_k": ["B"],
        "total_sequence_length": [],
        "n_logits": [],
        **{f"past_key_values.{name}": cache for name in layers},
    }
    logits = {"logits": ["B", "n_logits", VOCAB_SIZE]}
    assert shapes(decoder.output) == logits | {f"present.{name}": cache for name in layers}


def test_a_batch_of_mixed_experts_and_lengths_equals_its_sequences_one_by_one(graphs, embeds):
    lengths, experts = [24, 17, 9], [2, 0, 1]
    together = graphs.cache(3)
    prompts = graphs.call(embeds, experts, lengths, together)
    token = embeds[:, :1]
    steps = graphs.call(token, experts, [n + 1 for n in lengths], together)
    for b, (length, expert) in enumerate(zip(lengths, experts, strict=True)):
        alone = graphs.cache(1)
        prompt = graphs.call(embeds[b : b + 1, :length], [expert], [length], alone)
        np.testing.assert_allclose(prompts[b], prompt[0], atol=2e-5)
        step = graphs.call(token[b : b + 1], [expert], [length + 1], alone)
        np.testing.assert_allclose(steps[b], step[0], atol=2e-5)


def test_each_expert_answers_differently(graphs, embeds):
    logits = [graphs.call(embeds[:1], [expert], [24], graphs.cache(1))[0] for expert in range(3)]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(logits[a] - logits[b]).max() > 0.1


def test_a_prompt_in_chunks_and_a_rewound_cache_equal_the_whole_prompt(graphs, embeds):
    whole = graphs.call(embeds[:1], [1], [24], graphs.cache(1))
    cache = graphs.cache(1)
    graphs.call(embeds[:1, :10], [1], [10], cache)
    graphs.call(embeds[1:2, :12], [1], [22], cache)  # another continuation, to be forgotten
    np.testing.assert_allclose(graphs.call(embeds[:1, 10:], [1], [24], cache), whole, atol=2e-5)
