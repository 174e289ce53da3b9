"""The native graphs: the stock graphs' numbers from the same bytes, with only the asked expert in memory."""

import logging
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from export.checkpoint import open_checkpoint
from export.pack import NATIVE, find_native, write_bundle, write_graphs
from export.quantise import ProfileName, make_profile
from rsvlm_cli.runtime import ops
from rsvlm_cli.runtime.bundle import DECODER, VISION, Bundle
from rsvlm_cli.runtime.dispatch import pack_experts
from rsvlm_cli.runtime.engine import Engine
from rsvlm_cli.runtime.int4 import BlockScheme
from rsvlm_cli.runtime.native import build
from tests.dispatch_graphs import open_graph, random_experts, write_experts

MAX_CONTEXT = 64


@pytest.fixture(scope="module", params=[ProfileName.INT8, ProfileName.INT4, ProfileName.INT4_DECODER])
def graphs(request, tmp_path_factory, checkpoint_folder) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    write_graphs(open_checkpoint(checkpoint_folder), folder, make_profile(request.param), MAX_CONTEXT)
    return folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, checkpoint_folder) -> Bundle:
    out = tmp_path_factory.mktemp("bundles") / "tiny"
    return write_bundle(checkpoint_folder, out, make_profile(ProfileName.INT4)).bundle


@pytest.fixture(scope="module")
def library() -> Path:
    if build.find_compiler() is None:
        pytest.skip("no C++ compiler")
    return ops.build_native()


def graph_of(path: Path) -> onnx.GraphProto:
    return onnx.load(path, load_external_data=False).graph


@pytest.mark.native
def test_the_native_decoder_gives_the_stock_decoders_numbers(library, graphs):
    rng = np.random.default_rng(0)
    inputs = {"inputs_embeds": rng.standard_normal((2, 24, 96)).astype(np.float32), "expert": np.array([2, 0])}
    inputs |= {
        "seqlens_k": np.array([23, 16], np.int32),
        "total_sequence_length": np.array(24, np.int32),
        "n_logits": np.array(1),
    }
    stock, ours = (open_graph(graphs / name) for name in (DECODER, NATIVE[DECODER]))
    for value in stock.get_inputs():
        if value.name.startswith("past"):
            inputs[value.name] = np.zeros((2, 2, MAX_CONTEXT, 16), np.float32)
    expected, given, again = (session.run(["logits"], inputs)[0] for session in (stock, ours, ours))
    np.testing.assert_array_equal(given, again)
    # Equal to the last bits, until one of them tips a value to its neighbour among 255, which later layers round again.
    assert np.linalg.norm(given - expected) < 0.01 * np.linalg.norm(expected)


@pytest.mark.native
def test_the_native_tower_gives_the_stock_towers_numbers(library, graphs):
    pixels = np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32)
    stock, ours = (
        open_graph(graphs / name).run(["image_features"], {"pixel_values": pixels})[0]
        for name in (VISION, NATIVE[VISION])
    )
    assert np.abs(ours - stock).max() < 5e-3 * np.abs(stock).max()


@pytest.mark.parametrize("name", [DECODER, VISION])
def test_a_native_graph_reads_the_stock_graphs_bytes(graphs, name):
    stock, ours = graph_of(graphs / name), graph_of(graphs / NATIVE[name])
    left = {node.op_type for node in ours.node if node.domain != "rsvlm"}
    ours_alone = {"MatMulNBits", "QMoE", "GroupQueryAttention", "Attention"}
    assert not {"OneHot", *ours_alone} & left
    replaced = sum(node.op_type in ours_alone for node in stock.node)
    stands_for = {"QKVLinear": 3}
    assert sum(stands_for.get(node.op_type, 1) for node in ours.node if node.domain == "rsvlm") == replaced > 0
    attentions = sum(node.op_type in ("GroupQueryAttention", "Attention") for node in stock.node)
    assert sum(node.op_type == "QKVLinear" for node in ours.node) == attentions

    def places(graph: onnx.GraphProto) -> dict[str, list[tuple[str, str]]]:
        external = [t for t in graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL]
        return {t.name: [(entry.key, entry.value) for entry in t.external_data] for t in external}

    assert places(ours) == places(stock)
    assert [v.SerializeToString() for v in (*ours.input, *ours.output)] == [
        v.SerializeToString() for v in (*stock.input, *stock.output)
    ]
    for node in ours.node:
        assert re.fullmatch(rf"/.*/{node.op_type}(_\d+)?", node.name), node.name


def test_a_float32_profile_has_no_native_graph_and_a_dynamic_tower_none_of_its_own():
    assert find_native(make_profile(ProfileName.FP32)) is None
    assert find_native(make_profile(ProfileName.INT4, vision="dynamic")).graphs == {DECODER: NATIVE[DECODER]}


@pytest.mark.native
def test_a_bundle_runs_natively_where_it_can_and_on_stock_operators_elsewhere(library, bundle, caplog, monkeypatch):
    picture = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    prompt = f"{bundle.manifest.image_token} Is there a ship?"

    def answer() -> np.ndarray:
        caplog.clear()
        engine = Engine(bundle, device="cpu", threads=1)
        return engine.score(engine.encode_images([picture]), prompt, 1, ["yes", "no"])

    with caplog.at_level(logging.INFO):
        ours = answer()
        assert [record.args[0] for record in caplog.records if "native" in record.message] == [*NATIVE.values()]
        monkeypatch.setenv(ops.SWITCH, "0")
        stock = answer()
        assert not caplog.records
    np.testing.assert_allclose(ours, stock, atol=0.05)
    newer = replace(bundle.manifest, native=replace(bundle.manifest.native, ops={"rsvlm": 99}))
    monkeypatch.delenv(ops.SWITCH)
    assert ops.can_serve(bundle.manifest.native.ops)
    assert ops.can_serve({"rsvlm": 1})  # what older bundles ask for
    assert not ops.can_serve(newer.native.ops)


@pytest.mark.native
def test_the_tower_is_closed_as_the_decoder_opens_and_opened_again_once(library, bundle, caplog):
    picture = np.zeros((32, 32, 3), np.uint8)
    engine = Engine(bundle, device="cpu", threads=1)
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            engine.score(engine.encode_images([picture]), bundle.manifest.image_token, 1, ["yes"])
    opened = [record.args[0] for record in caplog.records if "native" in record.message]
    assert opened == [NATIVE[VISION], NATIVE[DECODER], NATIVE[VISION]]


@pytest.mark.native
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_only_the_experts_that_were_asked_are_in_memory(library, tmp_path):
    scheme = BlockScheme(bits=8, block=32)
    weights = pack_experts(*random_experts(np.random.default_rng(0), 3, 512, 2048), scheme)
    of_expert = sum(a[0].nbytes for a in (weights.gate_up, weights.gate_up_scales, weights.down, weights.down_scales))
    session = open_graph(write_experts(tmp_path, weights)[1])
    x = np.ones((1, 1, 512), np.float32)

    def resident() -> int:
        """Return the bytes of the weights' file that are in this process's memory."""
        entries = re.split(r"\n(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text())
        mapped = [entry for entry in entries if str(tmp_path / "weights.bin") in entry]
        return sum(int(re.search(r"Rss: +(\d+) kB", entry)[1]) for entry in mapped) * 1024

    before = resident()
    assert before < of_expert / 2  # what the kernel maps around the first bytes read
    session.run(None, {"x": x, "expert": np.array([1])})
    once = resident()
    # Around each page that is touched the kernel maps others that its cache holds; another expert would be far more.
    assert of_expert <= once < 1.6 * of_expert + before
    session.run(None, {"x": x, "expert": np.array([1])})
    assert resident() < 1.6 * of_expert + before
    session.run(None, {"x": x, "expert": np.array([2])})
    assert 2 * of_expert <= resident() < 2.6 * of_expert + before
