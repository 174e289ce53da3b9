"""docs/attention.md on a grid of shapes: every kernel and the stock operator against numpy."""

import numpy as np
import onnxruntime as ort
import pytest

from tests.attention_graphs import attend, write_attention, write_tower_attention
from tests.dispatch_graphs import open_graph

SIZES = [(4, 2, 64), (14, 2, 64), (6, 3, 16), (3, 3, 48), (2, 1, 128)]
"""Query heads, key-value heads, width."""

CALLS = {
    "the first token": (1, [1]),
    "one token behind 1": (1, [2]),
    "one token at the end of a block of keys": (1, [64]),
    "one token behind it": (1, [65]),
    "one token behind 299": (1, [300]),
    "tokens of sequences of different lengths": (1, [300, 17, 1]),
    "a prompt of a few": (5, [5]),
    "a prompt": (130, [130]),
    "prompts of different lengths": (70, [70, 33]),
    "a prompt behind another": (40, [300]),
    "a few behind a prompt": (3, [131]),
}
"""Tokens of the call, and each sequence's length with them."""

SLOTS_LEFT = 3


def draw(heads: int, kv_heads: int, head_dim: int, tokens: int, lengths: list[int]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(tokens + sum(lengths))
    widths = {"query": heads, "key": kv_heads, "value": kv_heads}
    inputs = {name: rng.standard_normal((len(lengths), tokens, n * head_dim), np.float32) for name, n in widths.items()}
    cache = (len(lengths), kv_heads, max(lengths) + SLOTS_LEFT, head_dim)
    inputs |= {f"past_{name}": rng.standard_normal(cache, np.float32) for name in ("key", "value")}
    inputs["query"] *= 3  # so that some keys weigh much more than others
    return inputs | {"seqlens_k": np.array(lengths, np.int32) - 1, "total": np.array(max(lengths), np.int32)}


def check(session: ort.InferenceSession, inputs: dict[str, np.ndarray], heads: int, head_dim: int) -> None:
    y, keys, values = session.run(None, inputs)
    for b, (expected, all_keys, all_values) in enumerate(attend(inputs, heads, head_dim)):
        np.testing.assert_allclose(y[b, : len(expected)], expected, atol=3e-5)
        length = all_keys.shape[1]
        np.testing.assert_allclose(keys[b, :, :length], all_keys, atol=3e-6)
        np.testing.assert_array_equal(values[b, :, :length], all_values.astype(np.float32))


@pytest.mark.native
@pytest.mark.parametrize(("heads", "kv_heads", "head_dim"), SIZES)
def test_native_kernels_compute_the_contract(tmp_path, kernels, heads, kv_heads, head_dim):
    _, native = write_attention(tmp_path, heads, kv_heads, head_dim)
    session = open_graph(native, threads=2)
    for tokens, lengths in CALLS.values():
        check(session, draw(heads, kv_heads, head_dim, tokens, lengths), heads, head_dim)


@pytest.mark.native
def test_sequences_may_go_on_from_different_lengths(tmp_path, kernels):
    session = open_graph(write_attention(tmp_path, 4, 2, 16)[1])
    check(session, draw(4, 2, 16, 20, [200, 57, 20]), 4, 16)  # the stock operator refuses this


@pytest.mark.parametrize(("heads", "kv_heads", "head_dim"), SIZES[:3])
def test_the_stock_operator_computes_the_contract(tmp_path, heads, kv_heads, head_dim):
    stock, _ = write_attention(tmp_path, heads, kv_heads, head_dim)
    session = open_graph(stock)
    for tokens, lengths in CALLS.values():
        check(session, draw(heads, kv_heads, head_dim, tokens, lengths), heads, head_dim)


@pytest.mark.native
def test_every_length_of_a_growing_cache_in_place(tmp_path, kernels):
    """As the decoder goes: one buffer is past and present, and each token sees all before it."""
    heads, kv_heads, head_dim, longest = 6, 3, 16, 150
    session = open_graph(write_attention(tmp_path, heads, kv_heads, head_dim)[1])
    whole = draw(heads, kv_heads, head_dim, longest, [longest])
    expected = attend(whole, heads, head_dim)[0][0]
    buffers = {name: ort.OrtValue.ortvalue_from_numpy(whole[f"past_{name}"].copy()) for name in ("key", "value")}
    for position in range(longest):
        binding = session.io_binding()
        for name in ("query", "key", "value"):
            binding.bind_cpu_input(name, np.ascontiguousarray(whole[name][:, position : position + 1]))
        for name, buffer in buffers.items():
            binding.bind_ortvalue_input(f"past_{name}", buffer)
            binding.bind_ortvalue_output(f"present_{name}", buffer)
        binding.bind_cpu_input("seqlens_k", np.array([position], np.int32))
        binding.bind_cpu_input("total", np.array(position + 1, np.int32))
        binding.bind_output("y")
        session.run_with_iobinding(binding)
        np.testing.assert_allclose(binding.get_outputs()[-1].numpy()[0, 0], expected[position], atol=3e-5)


@pytest.mark.native
def test_a_cache_elsewhere_is_carried_over_and_grows(tmp_path, kernels):
    session = open_graph(write_attention(tmp_path, 4, 2, 16)[1])
    inputs = draw(4, 2, 16, 1, [30])
    expected = attend(inputs, 4, 16)[0]
    for name in ("key", "value"):
        inputs[f"past_{name}"] = inputs[f"past_{name}"][:, :, :29].copy()
    y, keys, values = session.run(None, inputs)
    np.testing.assert_allclose(y[0], expected[0], atol=3e-5)
    np.testing.assert_allclose(keys[0], expected[1], atol=3e-6)
    np.testing.assert_allclose(values[0], expected[2], atol=0)


@pytest.mark.native
def test_what_does_not_fit_is_refused(tmp_path, library):
    session = open_graph(write_attention(tmp_path, 4, 2, 16)[1])
    inputs = draw(4, 2, 16, 4, [9])
    for change, message in (
        ({"seqlens_k": np.array([1], np.int32)}, "length is out of range"),
        ({"seqlens_k": np.array([9], np.int32)}, "length is out of range"),
        ({"total": np.array(600, np.int32), "seqlens_k": np.array([599], np.int32)}, "length is out of range"),
        ({"seqlens_k": np.array([8, 8], np.int32)}, "do not fit each other"),
        ({"past_key": inputs["past_key"][:, :, :5].copy()}, "do not fit each other"),
    ):
        with pytest.raises(Exception, match=f"GroupQueryAttention: .*{message}"):
            session.run(None, inputs | change)


@pytest.mark.native
@pytest.mark.parametrize(("heads", "head_dim"), [(4, 72), (3, 16), (2, 5), (1, 256)])
def test_a_towers_tokens_attend_to_all(tmp_path, kernels, heads, head_dim):
    stock, native = (open_graph(path, threads=2) for path in write_tower_attention(tmp_path, heads, head_dim))
    rng = np.random.default_rng(0)
    for n_sequences, n_tokens in ((1, 1), (2, 64), (1, 65), (2, 230), (1, 0)):
        shape = (n_sequences, n_tokens, heads * head_dim)
        inputs = {name: rng.standard_normal(shape, np.float32) for name in ("query", "key", "value")}
        y = native.run(None, inputs)[0]
        query, key, value = (
            part.astype(np.float64).reshape(n_sequences, n_tokens, heads, head_dim).transpose(0, 2, 1, 3)
            for part in inputs.values()
        )
        scores = query @ key.transpose(0, 1, 3, 2) * head_dim**-0.5
        weights = np.exp(scores - scores.max(-1, keepdims=True, initial=-np.inf))
        expected = (weights / weights.sum(-1, keepdims=True)) @ value
        np.testing.assert_allclose(y, expected.transpose(0, 2, 1, 3).reshape(shape), atol=3e-5)
        if n_tokens:
            np.testing.assert_allclose(y, stock.run(None, inputs)[0], atol=3e-5)


@pytest.mark.native
def test_a_towers_inputs_that_do_not_fit_are_refused(tmp_path, library):
    session = open_graph(write_tower_attention(tmp_path, 4, 16)[1])
    good, bad = np.zeros((1, 3, 64), np.float32), np.zeros((1, 2, 64), np.float32)
    with pytest.raises(Exception, match="MultiHeadAttention: wanted query, key and value of one shape"):
        session.run(None, {"query": good, "key": bad, "value": good})
