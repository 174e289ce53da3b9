"""One contract, four implementations: docs/expert-dispatch.md on a grid of shapes."""

import itertools

import numpy as np
import onnx
import pytest
import torch

from model.dispatch import expert_mlp, run_eager
from rsvlm_cli.runtime.dispatch import DOMAIN, multiply, pack_experts, round_activations, run_experts
from rsvlm_cli.runtime.int4 import BlockScheme, quantise_rows
from tests.dispatch_graphs import open_graph, random_experts, write_experts, write_linear, write_projections

EXPERTS = 4
SCHEMES = [BlockScheme(bits=bits, block=block) for bits, block in itertools.product((4, 8), (16, 32, 64, 128))]
SIZES = [(128, 128), (384, 200)]  # 200 is in no whole blocks, so it is padded
BATCHES = {
    "one token": (1, 1, [2]),
    "one sequence": (1, 5, [0]),
    "a prompt": (1, 101, [3]),
    "a step of mixed experts": (6, 1, [3, 0, 0, 3, 1, 0]),
    "prompts of mixed experts": (3, 9, [1, 3, 1]),
    "no token": (2, 0, [0, 1]),
}


def relative(value: np.ndarray, reference: np.ndarray) -> float:
    return float(np.linalg.norm(value - reference) / max(np.linalg.norm(reference), 1e-30))


def cases(scheme: BlockScheme):
    """Yield packed experts with every batch that they take: tokens, experts, and what numpy makes of them."""
    rng = np.random.default_rng(0)
    for hidden, width in SIZES:
        weights = pack_experts(*random_experts(rng, EXPERTS, hidden, width), scheme)
        batches = []
        for n_sequences, n_tokens, expert in BATCHES.values():
            x = rng.standard_normal((n_sequences, n_tokens, hidden)).astype(np.float32)
            batches.append((x, np.array(expert, np.int64)))
        yield weights, batches


def test_the_numpy_reference_is_a_swiglu_of_the_dequantised_experts():
    gate, up, down = random_experts(np.random.default_rng(0), EXPERTS, 64, 48)
    x = np.random.default_rng(1).standard_normal((3, 2, 64)).astype(np.float32)
    expert = np.array([3, 0, 3])
    weights = pack_experts(gate, up, down, BlockScheme(bits=8, block=16))
    for b, e in enumerate(expert):
        g, u = x[b] @ gate[e].T, x[b] @ up[e].T
        exact = (g / (1 + np.exp(-g)) * u) @ down[e].T
        assert relative(run_experts(x, expert, weights, rounded=False)[b], exact) < 0.01  # 8 bits a weight
        assert relative(run_experts(x, expert, weights)[b], exact) < 0.02  # and a value


def test_activations_are_rounded_to_the_nearest_of_255_levels_of_their_block():
    x = np.random.default_rng(0).standard_normal((5, 40)).astype(np.float32)
    rounded = round_activations(x, 16)
    for start in (0, 16, 32):
        block, result = x[:, start : start + 16], rounded[:, start : start + 16]
        step = np.abs(block).max(1, keepdims=True) / 127
        assert np.abs(result - block).max() <= step.max() / 2 * 1.001
        np.testing.assert_allclose(result / step, np.rint(result / step), atol=1e-4)
        np.testing.assert_allclose(np.abs(result).max(1), np.abs(block).max(1), rtol=1e-6)
    assert not round_activations(np.full((1, 16), 1e-35, np.float32), 16).any()


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_torch_computes_the_contract_without_rounding(scheme):
    for weights, batches in cases(scheme):
        parts = [torch.from_numpy(a) for a in packed_arrays(weights)]
        for x, expert in batches:
            y = expert_mlp(torch.from_numpy(x), torch.from_numpy(expert), *parts, scheme.bits).numpy()
            assert relative(y, run_experts(x, expert, weights, rounded=False)) < 1e-5


@pytest.mark.native
@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_native_kernels_compute_the_contract_with_rounded_activations(tmp_path, kernels, scheme):
    for weights, batches in cases(scheme):
        session = open_graph(write_experts(tmp_path, weights)[1], threads=2)
        for x, expert in batches:
            y = session.run(None, {"x": x, "expert": expert})[0]
            # Sums in another order now and then tip a value of the inner layer to the next of its 255 levels.
            assert relative(y, run_experts(x, expert, weights)) < 1e-3
            assert relative(y, run_experts(x, expert, weights, rounded=False)) < 0.025


@pytest.mark.native
@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
@pytest.mark.parametrize(("n_rows", "n_columns"), [(37, 100), (1, 16), (160, 384)])
def test_native_linear_layers_compute_the_contract(tmp_path, kernels, scheme, n_rows, n_columns):
    rng = np.random.default_rng(0)
    rows = quantise_rows(rng.standard_normal((n_rows, n_columns)).astype(np.float32), scheme)
    bias = rng.standard_normal(n_rows).astype(np.float32)
    session = open_graph(write_linear(tmp_path, rows, bias), threads=2)
    for n_tokens in (1, 3, 4, 17, 100):
        x = rng.standard_normal((n_tokens, n_columns)).astype(np.float32)
        y = session.run(None, {"x": x})[0]
        np.testing.assert_allclose(y, multiply(x, rows, bias), atol=1e-5 * n_columns)


@pytest.mark.native
@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
@pytest.mark.parametrize("n_rows", [37, 48, 240])
def test_the_three_projections_of_an_attention_are_one_node(tmp_path, kernels, scheme, n_rows):
    rng = np.random.default_rng(0)
    weights = [quantise_rows(rng.standard_normal((n_rows, 200)).astype(np.float32), scheme) for _ in range(3)]
    biases = [rng.standard_normal(n_rows).astype(np.float32) for _ in range(3)]
    path = write_projections(tmp_path, weights, biases)
    assert [node.op_type for node in onnx.load(path).graph.node if node.domain == DOMAIN] == [
        "QKVLinear",
        "MultiHeadAttention",
    ]
    session = open_graph(path, threads=2)
    for n_tokens in (1, 4, 17, 100):
        x = rng.standard_normal((1, n_tokens, 200)).astype(np.float32)
        for y, rows, bias in zip(session.run(["query", "key", "value"], {"x": x}), weights, biases, strict=True):
            np.testing.assert_allclose(y, multiply(x, rows, bias), atol=1e-5 * 200)


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_stock_operators_compute_the_contract_with_rounded_activations(tmp_path, scheme):
    for weights, batches in cases(scheme):
        session = open_graph(write_experts(tmp_path, weights)[0])
        for x, expert in batches:
            if x.size:  # QMoE refuses an empty batch
                y = session.run(None, {"x": x, "expert": expert})[0]
                assert relative(y, run_experts(x, expert, weights, rounded=False)) < 0.025


def test_gradients_flow_through_torch_to_the_activations():
    weights = pack_experts(*random_experts(np.random.default_rng(0), EXPERTS, 64, 48), BlockScheme(bits=4, block=16))
    parts = [torch.from_numpy(a) for a in packed_arrays(weights)]
    expert = torch.tensor([2, 0, 2])
    x = torch.randn(3, 5, 64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    towards = torch.randn(3, 5, 64, generator=torch.Generator().manual_seed(1))
    (of_operator,) = torch.autograd.grad(expert_mlp(x, expert, *parts, 4), x, towards)
    (of_eager,) = torch.autograd.grad(run_eager(x, expert, *parts, 4), x, towards)
    torch.testing.assert_close(of_operator, of_eager)
    step = 1e-2 * towards / towards.norm()
    with torch.no_grad():
        ends = [(expert_mlp(x + sign * step, expert, *parts, 4) * towards).sum() for sign in (1, -1)]
    assert float((of_operator * step).sum() * 2) == pytest.approx(float(ends[0] - ends[1]), rel=1e-2)


def test_torch_knows_the_operators_shape_without_running_it():
    weights = pack_experts(*random_experts(np.random.default_rng(0), 2, 32, 32), BlockScheme(bits=4, block=16))
    parts = [torch.from_numpy(a) for a in packed_arrays(weights)]
    torch.library.opcheck(expert_mlp, (torch.randn(2, 3, 32), torch.tensor([1, 0]), *parts, 4))
    with pytest.raises(ValueError, match="this layer has 2"):
        expert_mlp(torch.randn(1, 3, 32), torch.tensor([2]), *parts, 4)


@pytest.mark.native
@pytest.mark.parametrize("expert", [-1, EXPERTS])
def test_an_expert_that_is_not_there_is_refused(tmp_path, library, expert):
    weights = pack_experts(*random_experts(np.random.default_rng(0), EXPERTS, 64, 48), BlockScheme(bits=4, block=16))
    session = open_graph(write_experts(tmp_path, weights)[1])
    with pytest.raises(Exception, match="ExpertMLP: expert index out of range"):
        session.run(None, {"x": np.zeros((1, 1, 64), np.float32), "expert": np.array([expert])})
    with pytest.raises(ValueError, match="this layer has 4"):
        run_experts(np.zeros((1, 1, 64), np.float32), np.array([expert]), weights)


def packed_arrays(weights) -> list[np.ndarray]:
    return [weights.gate_up, weights.gate_up_scales, weights.down, weights.down_scales]
