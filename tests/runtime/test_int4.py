import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from rsvlm_cli.runtime.int4 import BlockScheme, QuantisedRows, dequantise_rows, pack, quantise_rows, unpack

SCHEMES = [BlockScheme(bits=bits, block=block) for bits in (4, 8) for block in (16, 32, 128)]


def run_matmul_nbits(x: np.ndarray, rows: QuantisedRows) -> np.ndarray:
    n, k = rows.packed.shape[0], rows.n_columns
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)]
    weights = {"b": rows.packed, "s": rows.scales.reshape(-1)}
    if rows.zero_points is not None:
        weights["z"] = rows.zero_points.reshape(-1)
    node = helper.make_node(
        "MatMulNBits", ["x", *weights], ["y"], domain="com.microsoft", K=k, N=n, bits=rows.scheme.bits,
        block_size=rows.scheme.block, accuracy_level=1,
    )  # fmt: skip
    graph = helper.make_graph(
        [node], "g", inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, [x.shape[0], n])],
        [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


@pytest.mark.parametrize("n", [1, 2, 7, 8])
@pytest.mark.parametrize("bits", [4, 8])
def test_unpack_inverts_pack(bits: int, n: int) -> None:
    values = np.random.default_rng(n).integers(0, 1 << bits, (3, n), np.uint8)
    packed = pack(values, bits)
    assert packed.shape == (3, -(-n * bits // 8))
    assert np.array_equal(unpack(packed, bits, n), values)


def test_the_even_element_lies_in_the_low_nibble() -> None:
    assert pack(np.array([[0x3, 0xA]], np.uint8), 4).tolist() == [[0xA3]]


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_matmul_nbits_reads_the_same_weights(scheme: BlockScheme, symmetric: bool) -> None:
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(24, 256)).astype(np.float32)
    rows = quantise_rows(weights, scheme, symmetric=symmetric)
    x = rng.normal(size=(5, 256)).astype(np.float32)
    np.testing.assert_allclose(run_matmul_nbits(x, rows), x @ dequantise_rows(rows).T, atol=2e-4)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_error_is_at_most_one_step_of_the_block(scheme: BlockScheme, symmetric: bool) -> None:
    weights = np.random.default_rng(1).normal(size=(6, 200)).astype(np.float32)  # 200: the last block is padded
    rows = quantise_rows(weights, scheme, symmetric=symmetric)
    step = np.repeat(np.abs(rows.scales), scheme.block, axis=1)[:, :200]
    # Symmetric ranges have one integer less on one side, so an entry opposite the greatest may be cut by a whole step.
    assert np.all(np.abs(dequantise_rows(rows) - weights) <= step * (1.0 if symmetric else 0.5) * 1.0001 + 1e-7)


def test_a_row_of_zeros_stays_zero() -> None:
    for symmetric in (True, False):
        rows = quantise_rows(np.zeros((2, 32), np.float32), BlockScheme(bits=4, block=32), symmetric=symmetric)
        assert not dequantise_rows(rows).any()


@pytest.mark.parametrize(("bits", "block"), [(3, 32), (4, 24), (8, 8)])
def test_a_scheme_outside_the_law_is_refused(bits: int, block: int) -> None:
    with pytest.raises(ValueError, match="block"):
        BlockScheme(bits=bits, block=block)
