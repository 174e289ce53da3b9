import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch

from export.convert import write_checkpoint
from export.pack import find_native, open_source, pack, write_bundle
from export.quantise import ProfileName, make_profile
from model.checkpoint import load_checkpoint, save_checkpoint
from model.config import ModelConfig
from model.vlm import IMAGE_SLOT, expand_image_slots
from rsvlm_cli.errors import BundleCorrupt, BundleError, InputError, OutputExists
from rsvlm_cli.runtime.bundle import read_bundle, verify_bundle
from rsvlm_cli.runtime.embedding import TokenEmbedding
from rsvlm_cli.runtime.engine import Engine
from rsvlm_cli.runtime.features import MARK_EPS, MARK_GAIN, Spot
from rsvlm_cli.runtime.int4 import BlockScheme, dequantise_rows, quantise_rows
from rsvlm_cli.runtime.preprocess import prepare
from rsvlm_cli.tasks.dialect import NANO, RSUNIVLM, Dialect, Granularity, PromptKind
from tests.export.conftest import CARD, CONFIG, VOCAB_SIZE, random_model
from tests.released import DECODER, VISION, write_released

INT8 = make_profile(ProfileName.INT8)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, checkpoint_folder):
    return write_bundle(checkpoint_folder, tmp_path_factory.mktemp("bundles") / "tiny", INT8).bundle


@pytest.fixture
def copy(tmp_path, checkpoint_folder):
    return shutil.copytree(checkpoint_folder, tmp_path / "copy")


def test_a_bundle_is_verified_and_a_flipped_byte_is_found(tmp_path, bundle):
    verify_bundle(bundle)
    shutil.copytree(bundle.path, tmp_path / "altered")
    weights = tmp_path / "altered" / "decoder.bin"
    content = bytearray(weights.read_bytes())
    content[5000] ^= 1
    weights.write_bytes(content)
    with pytest.raises(BundleCorrupt, match=r"decoder\.bin"):
        verify_bundle(dataclasses.replace(bundle, path=tmp_path / "altered"))


def test_the_manifest_says_what_was_packed(bundle):
    manifest = read_bundle(bundle.path).manifest
    assert (manifest.name, manifest.licence, manifest.stop_tokens) == ("tiny", "CC-BY-4.0", ("<|im_end|>",))
    assert (manifest.classes, manifest.max_context) == (CARD["classes"], 256)
    assert (manifest.image.size, manifest.image.tokens) == ((32, 32), 17)
    assert dataclasses.astuple(manifest.decoder) == (3, 96, 8, 2, 16, VOCAB_SIZE, 3)
    assert manifest.quantisation["profile"] == "int8"
    assert manifest.quantisation["experts"] == manifest.quantisation["vision"] == "int8 b32"
    assert Dialect.from_json(manifest.dialect) == NANO
    assert manifest.native == find_native(INT8)
    graphs = {"vision.onnx", "vision.native.onnx", "decoder.onnx", "decoder.native.onnx"}
    assert set(manifest.files) == {*graphs, "vision.bin", "decoder.bin", "tokenizer.json", "config.json"}


@pytest.mark.parametrize(
    "profile", [make_profile(ProfileName.FP32), make_profile(ProfileName.FP16), INT8], ids=lambda profile: profile.name
)
@pytest.mark.parametrize("tied", [True, False])
def test_the_engine_finds_the_token_embedding_where_the_manifest_says(tmp_path, checkpoint_folder, profile, tied):
    config = dataclasses.replace(CONFIG, decoder=dataclasses.replace(CONFIG.decoder, tie_embeddings=tied))
    model = random_model(config, seed=5)
    folder = shutil.copytree(checkpoint_folder, tmp_path / "checkpoint")
    save_checkpoint(model, folder)
    bundle = write_bundle(folder, tmp_path / "bundle", profile).bundle
    table = model.decoder.embed_tokens.weight.detach().numpy()
    if profile.embedding == "float16":
        table = table.astype(np.float16).astype(np.float32)
    elif profile.embedding:
        table = dequantise_rows(quantise_rows(table, BlockScheme(bits=8, block=32)))
    ids = np.array([0, VOCAB_SIZE - 1, 7, 7])
    np.testing.assert_array_equal(TokenEmbedding(bundle).rows(ids), table[ids])
    assert bundle.manifest.embedding.tied is tied


@pytest.mark.parametrize("expert", [0, 1, 2])
def test_the_engine_says_on_a_packed_bundle_what_torch_says(tmp_path, checkpoint_folder, expert):
    bundle = write_bundle(checkpoint_folder, tmp_path / "b", make_profile(ProfileName.FP32)).bundle
    engine = Engine(bundle, device="cpu", threads=1)
    pictures = [np.random.default_rng(k).integers(0, 256, (40 + k, 70, 3), dtype=np.uint8) for k in range(2)]
    prompt = NANO.prompt(PromptKind.DESCRIBE_CHANGE, n_images=2)
    reply = engine.generate(engine.encode_images(pictures), prompt, expert, max_new_tokens=12)

    first, *parts = prompt.split(NANO.image_token)
    ids = engine.tokenizer.encode(first)
    for part in parts:
        ids += [IMAGE_SLOT, *engine.tokenizer.encode(part)]
    pixels = torch.from_numpy(np.stack([prepare(picture, bundle.manifest.image) for picture in pictures]))
    greedy, _ = load_checkpoint(checkpoint_folder).generate_greedy(torch.tensor(ids), pixels, expert, 12)
    assert len(reply.token_ids) > 0
    assert list(reply.token_ids) == greedy[: len(reply.token_ids)]
    assert len(reply.token_ids) == 12 or greedy[len(reply.token_ids)] == engine.tokenizer.token_id("<|im_end|>")


@pytest.mark.parametrize("n_images", [1, 2])
def test_the_engine_reads_at_cells_what_torch_reads(tmp_path, checkpoint_folder, n_images):
    bundle = write_bundle(checkpoint_folder, tmp_path / "b", make_profile(ProfileName.FP32)).bundle
    engine, model = Engine(bundle, device="cpu", threads=1), load_checkpoint(checkpoint_folder)
    pictures = [np.random.default_rng(k).integers(0, 256, (40, 70, 3), dtype=np.uint8) for k in range(n_images)]
    features, prompt = engine.encode_images(pictures), NANO.prompt(PromptKind.SEGMENT, n_images=n_images, label="ship")
    cells, marked = [Spot(token) for token in range(16)], [Spot(3, ("[", "a")), Spot(7, ("]",))]
    choices = ("a", "b", "e", "[")

    first, *parts = prompt.split(NANO.image_token)
    ids = engine.tokenizer.encode(first)
    for part in parts:
        ids += [IMAGE_SLOT, *engine.tokenizer.encode(part)]
    pixels = torch.from_numpy(np.stack([prepare(picture, bundle.manifest.image) for picture in pictures]))
    marks = torch.full((1, 18, 2), -1)
    marks[0, 16:] = torch.tensor([[engine._single("["), engine._single("a")], [engine._single("]"), -1]])
    with torch.no_grad():
        encoded = model.encode_images(pixels)
        prefix = model.embed(expand_image_slots(torch.tensor(ids), 17)[None], encoded)
        seen = torch.tensor([[0, n_images - 1]])
        fed = model.spots(encoded, seen, torch.tensor([[*range(16), 3, 7]]), marks, MARK_GAIN, MARK_EPS)
        hidden = model.decoder(torch.cat([prefix, fed], 1), torch.tensor([2]))[0, -18:]
        logits = model.decoder.lm_head(hidden)[:, [engine._single(text) for text in choices]]
    expected = logits.softmax(-1).numpy()
    for _ in range(2):  # The second time the cache holds all of it.
        np.testing.assert_allclose(engine.read(features, prompt, 2, cells, choices, 16), expected[:16], atol=1e-3)
        np.testing.assert_allclose(
            engine.read(features, prompt, 2, cells + marked, choices, 2), expected[16:], atol=1e-3
        )
    with pytest.raises(BundleError, match="wanted 1"):
        engine.read(features, prompt, 2, cells, ("a long text",), 1)


@pytest.mark.parametrize("without", ["", "scenes", "objects", "masks"])
def test_the_engine_sees_what_the_heads_of_torch_see(tmp_path, checkpoint_folder, without):
    """Also where no set taught a kind of label, as of open sets alone none teaches scenes."""
    labels = dataclasses.replace(CONFIG.labels, **{without: ()} if without else {})
    folder = tmp_path / "checkpoint"
    shutil.copytree(checkpoint_folder, folder)
    save_checkpoint(random_model(dataclasses.replace(CONFIG, labels=labels)), folder)
    bundle = write_bundle(folder, tmp_path / "b", make_profile(ProfileName.FP32)).bundle
    assert bundle.manifest.heads == {"scenes": labels.scenes, "objects": labels.objects}
    picture = np.random.default_rng(0).integers(0, 256, (40, 70, 3), dtype=np.uint8)
    features = Engine(bundle, device="cpu", threads=1).encode_images([picture])
    model = load_checkpoint(folder)
    with torch.no_grad():
        pixels = torch.from_numpy(prepare(picture, bundle.manifest.image))[None]
        expected = model.heads(model.vision(pixels))
        np.testing.assert_allclose(features.vectors, model.encode_images(pixels), atol=1e-3)
    seen = features.seen
    assert set(seen) == {"scene", "centres", "boxes"} - {"scenes": {"scene"}, "objects": {"centres", "boxes"}}.get(
        without, set()
    )
    if labels.scenes:
        np.testing.assert_allclose(seen["scene"][:, 0], expected.scene.softmax(-1), atol=1e-4)
    if labels.objects:
        np.testing.assert_allclose(seen["centres"], expected.centres.sigmoid(), atol=1e-4)
        np.testing.assert_allclose(seen["boxes"], expected.boxes, atol=1e-3)


def test_quantisation_is_reported_for_every_matrix(tmp_path, checkpoint_folder):
    errors = write_bundle(checkpoint_folder, tmp_path / "b", make_profile(ProfileName.INT4)).errors
    by_name = {error.name: error for error in errors}
    # Stem convolutions 1 + (1 + 2) + (1 + 4), blocks of six, projector, q k v o and two stacks a layer, the embedding.
    assert len(errors) == len(by_name) == 9 + 2 * 6 + 2 + 3 * 6 + 1
    assert {e.scheme for e in errors if ".experts." in e.name} == {"int4 b32"}
    assert all(0.04 < e.relative < 0.15 for e in errors if e.scheme.startswith("int4"))
    assert all(0.001 < e.relative < 0.02 for e in errors if e.scheme.startswith("int8"))


def test_a_bundle_is_replaced_only_when_asked(tmp_path, checkpoint_folder):
    out = tmp_path / "b"
    first = write_bundle(checkpoint_folder, out, INT8).bundle
    with pytest.raises(OutputExists, match="--overwrite"):
        write_bundle(checkpoint_folder, out, INT8)
    assert read_bundle(out) == first
    write_bundle(checkpoint_folder, out, make_profile(ProfileName.INT4), overwrite=True)
    assert read_bundle(out).manifest.quantisation["profile"] == "int4"
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_a_folder_that_is_no_bundle_is_never_replaced(tmp_path, checkpoint_folder):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.tif").write_bytes(b"precious")
    with pytest.raises(OutputExists, match="no bundle"):
        write_bundle(checkpoint_folder, tmp_path / "photos", INT8, overwrite=True)
    assert (tmp_path / "photos" / "one.tif").read_bytes() == b"precious"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokenizer.json", None, r"no tokenizer\.json"),
        ("tokenizer.json", '{"version": ', r"tokenizer\.json: no JSON"),
        ("card.json", None, r"no card\.json"),
        ("card.json", "{", "no JSON"),
        ("card.json", json.dumps(CARD | {"colour": "red"}), "colour"),
        ("card.json", json.dumps(CARD | {"stop_tokens": ["<|never|>"]}), r"stop token '<\|never\|>'"),
        ("dialect.json", "{}", "not a dialect"),
    ],
)
def test_a_checkpoint_that_lacks_something_leaves_nothing_behind(tmp_path, copy, name, content, message):
    (copy / name).unlink()
    if content is not None:
        (copy / name).write_text(content)
    with pytest.raises(BundleError, match=message):
        write_bundle(copy, tmp_path / "out" / "b", INT8)
    assert not list(tmp_path.glob("out/*"))


def test_a_tokenizer_that_knows_more_than_the_model_is_refused(tmp_path, copy):
    tokenizer = json.loads((copy / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["zzz"] = 9999
    (copy / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(BundleError, match=f"token ids up to 9999, the model has {VOCAB_SIZE}"):
        write_bundle(copy, tmp_path / "b", INT8)


def test_an_interrupted_export_leaves_the_old_bundle_alone(tmp_path, checkpoint_folder, monkeypatch):
    out = tmp_path / "b"
    first = write_bundle(checkpoint_folder, out, INT8).bundle

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("export.pack.write_decoder", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_bundle(checkpoint_folder, out, INT8, overwrite=True)
    verify_bundle(read_bundle(out))
    assert read_bundle(out) == first
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    model = random_model(ModelConfig(vision=VISION, decoder=DECODER))
    return write_released(tmp_path_factory.mktemp("released") / "checkpoint", model)


def test_what_a_released_checkpoint_says_of_decoding_is_read_and_not_assumed(tmp_path, released):
    manifest = write_bundle(released, tmp_path / "a", INT8).bundle.manifest
    assert (manifest.name, manifest.family, manifest.licence) == ("rsunivlm-1b", "rsunivlm", "Apache-2.0")
    assert (manifest.repetition_penalty, manifest.max_context, manifest.image.tokens) == (1.1, 8192, 17)
    assert manifest.stop_tokens == ("<|im_end|>", "<|endoftext|>")
    assert Dialect.from_json(manifest.dialect) == RSUNIVLM

    folder = shutil.copytree(released, tmp_path / "other")
    settings = json.loads((folder / "generation_config.json").read_text()) | {"repetition_penalty": 1.25}
    (folder / "generation_config.json").write_text(json.dumps(settings | {"eos_token_id": settings["eos_token_id"][1]}))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"tokenizer_model_max_length": 600}))
    card = open_source(folder).card
    assert (card.repetition_penalty, card.max_context) == (1.25, 600)
    assert card.stop_tokens == ("<|endoftext|>", "<|im_end|>")  # the chat template's own end is one of them
    (folder / "generation_config.json").unlink()
    card = open_source(folder).card
    assert (card.repetition_penalty, card.stop_tokens) == (1.0, ("<|im_end|>",))


def test_a_bundle_of_some_tasks_has_their_experts_alone_and_refuses_the_others(tmp_path, released):
    granularities = (Granularity.PIXEL, Granularity.IMAGE)
    whole = pack(open_source(released), tmp_path / "whole", make_profile(ProfileName.FP32)).bundle
    some = pack(
        open_source(released, name="some", granularities=granularities),
        tmp_path / "some",
        make_profile(ProfileName.FP32),
    ).bundle
    assert (some.manifest.decoder.experts, some.manifest.experts_kept) == (2, (0, 2))
    one = 2 * 3 * 96 * 64 * 4  # bytes of an expert: layers, matrices, widths
    assert whole.manifest.files["decoder.bin"].size - some.manifest.files["decoder.bin"].size >= one

    picture = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    engines = [Engine(bundle, device="cpu", threads=1) for bundle in (whole, some)]
    features = [engine.encode_images([picture]) for engine in engines]
    prompt = RSUNIVLM.prompt(PromptKind.SEGMENT, label="water")
    for expert in (0, 2):
        replies = [
            engine.generate(feature, prompt, expert, max_new_tokens=12).token_ids
            for engine, feature in zip(engines, features, strict=True)
        ]
        assert replies[0] == replies[1]
    with pytest.raises(BundleError, match=r"some: made for image and pixel tasks alone, and this is .* region kind"):
        engines[1].generate(features[1], prompt, 1, max_new_tokens=1)
    with pytest.raises(InputError, match="expert 3"):
        engines[1].generate(features[1], prompt, 3, max_new_tokens=1)


def test_a_checkpoint_of_another_family_becomes_one_of_ours_value_by_value(tmp_path, released):
    source = open_source(released)
    write_checkpoint(source, tmp_path / "start")
    again = load_checkpoint(tmp_path / "start")
    assert again.config == source.checkpoint.config
    for name, tensor in again.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), source.checkpoint.read(name))
    assert open_source(tmp_path / "start").card == source.card
    with pytest.raises(OutputExists, match="never replaced"):
        write_checkpoint(source, tmp_path / "start")


def test_a_decoder_of_4_bits_throughout_is_smaller_and_still_answers(tmp_path, checkpoint_folder):
    profiles = (ProfileName.INT8, ProfileName.INT4, ProfileName.INT4_DECODER)
    bundles = {name: write_bundle(checkpoint_folder, tmp_path / name, make_profile(name)).bundle for name in profiles}
    sizes = [bundles[name].manifest.files["decoder.bin"].size for name in profiles]
    attention = 3 * 2 * (8 * 16 + 2 * 16) * 96  # heads of 12 padded to 16, in q and o, k and v of three layers
    assert sizes[1] - sizes[2] == pytest.approx((attention + VOCAB_SIZE * 96) / 2, abs=2048)  # but for alignment
    assert sizes[0] > sizes[1] > sizes[2]
    narrow = bundles[ProfileName.INT4_DECODER]
    parts = {part: narrow.manifest.quantisation[part] for part in ("experts", "attention", "embedding", "vision")}
    assert parts == {"experts": "int4 b32", "attention": "int4 b32", "embedding": "int4 b32", "vision": "int8 b32"}
    table = load_checkpoint(checkpoint_folder).state_dict()["decoder.embed_tokens.weight"].numpy()
    rows = TokenEmbedding(narrow).rows(np.arange(VOCAB_SIZE))
    np.testing.assert_array_equal(rows, dequantise_rows(quantise_rows(table, BlockScheme(bits=4, block=32))))
    engine = Engine(narrow, device="cpu", threads=1)
    picture = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    prompt = f"{narrow.manifest.image_token} Is there a ship?"
    assert np.isfinite(engine.score(engine.encode_images([picture]), prompt, 1, ["yes", "no"])).all()
