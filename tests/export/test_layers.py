from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto

from export.builder import ExternalData, GraphBuilder
from export.layers import LayerWriter, node_path
from export.quantise import ErrorLog, experts_scheme
from model.config import DecoderConfig, ModelConfig, VisionConfig
from rsvlm_cli.errors import UsageError
from rsvlm_cli.runtime.int4 import BlockScheme, dequantise_rows, quantise_rows


class Weights:
    """A checkpoint of arrays."""

    def __init__(self, hidden: int, width: int, experts: int) -> None:
        vision = VisionConfig(image_size=8, patch_size=8, hidden_size=8, intermediate_size=8, layers=0, heads=1)
        decoder = DecoderConfig(
            vocab_size=8, hidden_size=hidden, intermediate_size=width, layers=1, heads=2, kv_heads=1, experts=experts
        )
        self.config = ModelConfig(vision=vision, decoder=decoder)
        self.rng = np.random.default_rng(0)
        self.arrays: dict[str, np.ndarray] = {}

    def read(self, name: str) -> np.ndarray:
        decoder = self.config.decoder
        shape = (decoder.intermediate_size, decoder.hidden_size)
        shape = shape[::-1] if "down_proj" in name else shape[:1] if name.endswith("bias") else shape
        drawn = self.rng.standard_normal(shape).astype(np.float32) * np.float32(shape[-1] ** -0.5)
        return self.arrays.setdefault(name, drawn)


def run(folder: Path, weights: Weights, write, **inputs: np.ndarray) -> np.ndarray:
    """Run the graph of one layer; ``write`` gets the writer and returns the output's name."""
    with (folder / "weights.bin").open("wb") as file:
        graph = GraphBuilder("layer", ExternalData(file, "weights.bin"))
        for name, value in inputs.items():
            graph.input(name, TensorProto.FLOAT, value.shape)
        output = write(LayerWriter(graph, weights, ErrorLog()))
        graph.node("Identity", "layer", [output], [graph.output("y", TensorProto.FLOAT, [])])
        graph._outputs[0].type.tensor_type.ClearField("shape")
        graph.save(folder / "layer.onnx")
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(folder / "layer.onnx", options, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)[0]


def stored(weight: np.ndarray, scheme: BlockScheme | str | None) -> np.ndarray:
    if scheme == "float16":
        return weight.astype(np.float16).astype(np.float32)
    return weight if scheme is None else dequantise_rows(quantise_rows(weight, scheme))


def relative(value: np.ndarray, reference: np.ndarray) -> float:
    return float(np.linalg.norm(value - reference) / np.linalg.norm(reference))


SCHEMES = [
    *(None, "float16"),
    *(BlockScheme(bits=8, block=32), BlockScheme(bits=4, block=32), BlockScheme(bits=4, block=128)),
]


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
@pytest.mark.parametrize("n_tokens", [1, 7, 70])
@pytest.mark.parametrize(("hidden", "width"), [(64, 80), (128, 256), (896, 64)])
def test_the_experts_node_computes_each_tokens_own_swiglu(tmp_path, scheme, n_tokens, hidden, width):
    weights = Weights(hidden, width, experts=4)
    rng = np.random.default_rng(1)
    x = rng.standard_normal((n_tokens, hidden)).astype(np.float32)
    expert = rng.integers(0, 4, n_tokens)
    router = np.where(np.arange(4) == expert[:, None], 30, -30).astype(np.float32)
    y = run(tmp_path, weights, lambda w: w.experts("experts", "x", "router", scheme), x=x, router=router)

    used = experts_scheme(scheme, hidden) if isinstance(scheme, BlockScheme) else scheme
    gate, up, down = (
        np.stack([stored(weights.arrays[f"experts.{e}.{part}_proj.weight"], used) for e in range(4)]).astype(np.float64)
        for part in ("gate", "up", "down")
    )
    g, u = (np.einsum("tik,tk->ti", part[expert], x) for part in (gate, up))
    reference = np.einsum("tki,ti->tk", down[expert], g / (1 + np.exp(-g)) * u)
    # The quantised kernels round activations to int8 block by block: under 1 % of each product.
    assert relative(y, reference) < (0.03 if isinstance(scheme, BlockScheme) else 1e-5)


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_a_linear_layer_multiplies_by_what_is_stored(tmp_path, scheme):
    weights = Weights(96, 40, experts=1)
    x = np.random.default_rng(1).standard_normal((2, 5, 96)).astype(np.float32)
    y = run(tmp_path, weights, lambda w: w.linear("fc", "x", scheme), x=x)
    reference = x @ stored(weights.arrays["fc.weight"], scheme).T + weights.arrays["fc.bias"]
    assert relative(y, reference) < (0.02 if isinstance(scheme, BlockScheme) else 1e-6)


def test_a_dynamic_linear_layer_is_within_two_percent(tmp_path):
    weights = Weights(96, 40, experts=1)
    x = np.random.default_rng(1).standard_normal((2, 5, 96)).astype(np.float32)
    y = run(tmp_path, weights, lambda w: w.linear("fc", "x", "dynamic"), x=x)
    assert relative(y, x @ weights.arrays["fc.weight"].T + weights.arrays["fc.bias"]) < 0.02


def test_a_loud_token_costs_the_others_nothing_where_each_has_its_own_scale(tmp_path):
    x = np.random.default_rng(1).standard_normal((1, 20, 96)).astype(np.float32)
    x[0, 7] *= 500
    x[0, 9] = 0
    quiet, errors = [t for t in range(20) if t not in (7, 9)], {}
    for scheme in ("dynamic", "tokens"):
        weights = Weights(96, 40, experts=1)
        y = run(tmp_path, weights, lambda w, scheme=scheme: w.linear("fc", "x", scheme), x=x)
        reference = x @ weights.arrays["fc.weight"].T + weights.arrays["fc.bias"]
        errors[scheme] = relative(y[0, quiet], reference[0, quiet])
        assert relative(y[0, 7], reference[0, 7]) < 0.02
        np.testing.assert_allclose(y[0, 9], weights.arrays["fc.bias"], atol=1e-6)
    assert errors["tokens"] < 0.02
    assert errors["dynamic"] > 0.5


def test_layers_that_read_the_same_tokens_round_them_once(tmp_path):
    weights = Weights(96, 40, experts=1)

    def write(writer):
        a, b = (writer.linear(name, "x", "tokens") for name in ("a", "b"))
        assert sum(node.op_type == "QuantizeLinear" for node in writer.graph._nodes) == 1
        return writer.graph.op("Concat", "both", [a, b], axis=-1)

    x = np.random.default_rng(1).standard_normal((2, 5, 96)).astype(np.float32)
    y = run(tmp_path, weights, write, x=x)
    reference = [x @ weights.arrays[f"{n}.weight"].T + weights.arrays[f"{n}.bias"] for n in "ab"]
    assert relative(y, np.concatenate(reference, -1)) < 0.02


def test_experts_of_an_awkward_width_are_refused_with_the_way_out(tmp_path):
    with pytest.raises(UsageError, match=r"hidden size 72 .*--profile fp32"):
        run(tmp_path, Weights(72, 40, experts=1), lambda w: w.experts("experts", "x", "router", SCHEMES[2]))


@pytest.mark.parametrize(
    ("module", "path"),
    [
        ("decoder.layers.11.attention.q_proj", "decoder/layers.11/attention/q_proj"),
        ("vision.stem.stages.2.3.conv1.0", "vision/stem/stages.2.3/conv1.0"),
        ("projector.0", "projector.0"),
    ],
)
def test_a_modules_path_keeps_each_index_with_its_list(module, path):
    assert node_path(module) == path
