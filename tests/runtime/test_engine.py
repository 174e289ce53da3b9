"""The engine against the graphs themselves, run whole and without a cache."""

import itertools
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as LibraryTokenizer

from rsvlm_cli.errors import InputError
from rsvlm_cli.runtime.bundle import Bundle
from rsvlm_cli.runtime.embedding import TokenEmbedding
from rsvlm_cli.runtime.engine import Engine
from rsvlm_cli.runtime.features import ImageFeatures
from rsvlm_cli.runtime.int4 import BlockScheme
from rsvlm_cli.runtime.preprocess import prepare
from rsvlm_cli.runtime.sampling import Sampling, log_softmax
from rsvlm_cli.tasks.grammar import QUADRANTS, BoxList, Choice, Count, QuadrantMask, RunMask, matches
from tests.bundle_factory import BundleSize, make_bundle

PROMPT = "<|im_start|>user\n<image>\n[VQA] How many ships are there?<|im_end|>\n<|im_start|>assistant\n"
FIRST_BYTE = "â"
"""The token of the byte 0xE2, with which every quadrant's UTF-8 begins: another way to spell them all."""
PAIR = PROMPT.replace("<image>", "<image> <image>")


class Reference:
    """A bundle's graphs without a cache: the whole sequence anew for every token."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.tokenizer = LibraryTokenizer.from_file(str(bundle.path / "tokenizer.json"))
        self.embedding = TokenEmbedding(bundle)
        self.vision = ort.InferenceSession(bundle.path / "vision.onnx")
        self.decoder = ort.InferenceSession(bundle.path / "decoder.onnx")

    def embed(self, text: str) -> np.ndarray:
        return self.embedding.rows(np.array(self.tokenizer.encode(text, add_special_tokens=False).ids, np.int64))

    def prompt(self, prompt: str, pictures: list[np.ndarray]) -> np.ndarray:
        first, *parts = prompt.split("<image>")
        rows = [self.embed(first)]
        for picture, part in zip(pictures, parts, strict=True):
            pixels = prepare(picture, self.bundle.manifest.image)[None]
            rows += [self.vision.run(None, {"pixel_values": pixels})[0][0], self.embed(part)]
        return np.concatenate(rows)

    def logits(self, vectors: np.ndarray, expert: int) -> np.ndarray:
        spec, n = self.bundle.manifest.decoder, len(vectors)
        empty = np.zeros((1, spec.kv_heads, n, spec.head_dim), np.float32)
        feeds = {
            "inputs_embeds": vectors[None],
            "expert": np.array([expert]),
            "seqlens_k": np.array([n - 1], np.int32),
            "total_sequence_length": np.array(n, np.int32),
            "n_logits": np.array(1),
        }
        caches = {f"past_key_values.{i}.{kind}": empty for i in range(spec.layers) for kind in ("key", "value")}
        return self.decoder.run(["logits"], feeds | caches)[0][0, 0]

    def after(self, vectors: np.ndarray, tokens: list[int], expert: int) -> np.ndarray:
        rows = self.embedding.rows(np.array(tokens, np.int64))
        return self.logits(np.concatenate([vectors, rows]), expert)


@pytest.fixture(scope="session")
def reference(bundle: Bundle) -> Reference:
    return Reference(bundle)


@pytest.fixture
def features(engine: Engine, picture: np.ndarray) -> ImageFeatures:
    return engine.encode_images([picture])


@pytest.fixture(scope="session")
def shared_engine(bundle: Bundle) -> Engine:
    return Engine(bundle, threads=1)


@pytest.fixture(scope="session")
def shared_features(shared_engine: Engine, picture: np.ndarray) -> ImageFeatures:
    return shared_engine.encode_images([picture])


def test_image_vectors_are_those_of_the_vision_graph(
    reference: Reference, features: ImageFeatures, picture: np.ndarray
) -> None:
    pixels = prepare(picture, reference.bundle.manifest.image)[None]
    assert np.array_equal(features.vectors, reference.vision.run(None, {"pixel_values": pixels})[0])


@pytest.mark.parametrize("expert", [0, 1, 2])
@pytest.mark.parametrize("prompt", [PROMPT, PAIR])
def test_greedy_equals_the_whole_sequence_computed_anew(
    engine: Engine, reference: Reference, picture: np.ndarray, prompt: str, expert: int
) -> None:
    pictures = [picture, picture[::-1].copy()][: prompt.count("<image>")]
    reply = engine.generate(engine.encode_images(pictures), prompt, expert, max_new_tokens=24)
    vectors, tokens = reference.prompt(prompt, pictures), []
    for step in reply.steps:
        logits = reference.after(vectors, tokens, expert)
        assert step.token_id == logits.argmax()
        assert step.logprob == pytest.approx(log_softmax(logits)[step.token_id], abs=1e-4)
        tokens.append(step.token_id)
    assert len(tokens) == 24 or reply.finish == "stop"


@pytest.mark.parametrize("scheme", ["float16", BlockScheme(bits=8, block=32), BlockScheme(bits=4, block=32)])
def test_every_way_to_store_the_embedding_decodes(
    tmp_path: Path, picture: np.ndarray, scheme: str | BlockScheme
) -> None:
    bundle = make_bundle(tmp_path / "tiny", scheme=scheme)
    engine, reference = Engine(bundle), Reference(bundle)
    reply = engine.generate(engine.encode_images([picture]), PROMPT, 1, max_new_tokens=4)
    vectors = reference.prompt(PROMPT, [picture])
    assert list(reply.token_ids) == [
        int(reference.after(vectors, list(reply.token_ids[:n]), 1).argmax()) for n in range(len(reply.token_ids))
    ]


def test_a_second_question_computes_only_what_differs(
    engine: Engine, features: ImageFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    fed: list[int] = []
    feed = engine._decoder.feed
    monkeypatch.setattr(engine._decoder, "feed", lambda keys, *more: (fed.append(len(keys)), feed(keys, *more))[1])
    other = PROMPT.replace("How many ships", "Where is a road")
    fresh = Engine(engine.bundle)
    wanted = fresh.generate(fresh.encode_images([np.zeros((4, 4, 3), np.uint8)]), other, 0, max_new_tokens=8)
    engine.generate(features, PROMPT, 0, max_new_tokens=8)
    whole = fed[0]
    fed.clear()
    reply = engine.generate(features, other, 0, max_new_tokens=8)
    assert 1 <= fed[0] < whole - engine.manifest.image.tokens
    assert reply.token_ids != wanted.token_ids  # the picture matters
    fed.clear()
    again = engine.generate(features, other, 0, max_new_tokens=8)
    assert fed[0] == 1
    assert again.token_ids == reply.token_ids
    np.testing.assert_allclose([s.logprob for s in again.steps], [s.logprob for s in reply.steps], atol=1e-4)


def test_reuse_of_the_cache_changes_nothing(engine: Engine, reference: Reference, picture: np.ndarray) -> None:
    one, two = engine.encode_images([picture]), engine.encode_images([picture[:, ::-1].copy()])
    asked = [(one, PROMPT, 0), (one, PROMPT[:-20] + "x" + PROMPT[-20:], 0), (one, PROMPT, 2), (two, PROMPT, 2)]
    asked += [(one, PROMPT, 2), (one, PROMPT, 2)]
    for features, prompt, expert in asked:
        used = [picture] if features is one else [picture[:, ::-1].copy()]
        reply = engine.generate(features, prompt, expert, max_new_tokens=3)
        logits = reference.logits(reference.prompt(prompt, used), expert)
        assert reply.steps[0].logprob == pytest.approx(log_softmax(logits).max(), abs=1e-4)


def test_the_cache_grows_with_a_long_reply_and_keeps_what_it_holds(
    tmp_path: Path, picture: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rsvlm_cli.runtime.decoder.SLOTS_STEP", 8)
    bundle = make_bundle(tmp_path / "tiny")
    engine, reference = Engine(bundle), Reference(bundle)
    grammar = QuadrantMask(24)
    reply = engine.generate(engine.encode_images([picture]), PROMPT, 0, grammar=grammar, max_new_tokens=400)
    vectors, last = reference.prompt(PROMPT, [picture]), reply.steps[-1]
    logits = reference.after(vectors, list(reply.token_ids[:-1]), 0)
    admitted = [reference.tokenizer.token_to_id(char) for char in (*QUADRANTS, FIRST_BYTE)]
    assert dict(last.choices or ())[last.text] == pytest.approx(
        np.exp(log_softmax(logits[admitted]))[admitted.index(last.token_id)], abs=1e-4
    )


def test_a_cache_that_finds_no_room_to_grow_is_as_it_was(
    tmp_path: Path, picture: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rsvlm_cli.runtime.decoder.SLOTS_STEP", 8)
    engine = Engine(make_bundle(tmp_path / "tiny"))
    features = engine.encode_images([picture])
    ask = partial(engine.generate, features, PROMPT, 0, grammar=QuadrantMask(24), max_new_tokens=100)
    before, n_made = ask().token_ids, itertools.count(1)
    engine = Engine(engine.bundle)
    engine.generate(features, PROMPT, 0, max_new_tokens=1)
    make = np.zeros

    def fail_at_third(*args: Any, **kwargs: Any) -> np.ndarray:
        if np.ndim(args[0]) and len(args[0]) == 4 and next(n_made) == 3:
            raise MemoryError
        return make(*args, **kwargs)

    monkeypatch.setattr("rsvlm_cli.runtime.decoder.np.zeros", fail_at_third)
    ask = partial(engine.generate, features, PROMPT, 0, grammar=QuadrantMask(24), max_new_tokens=100)
    with pytest.raises(MemoryError):
        ask()
    assert ask().token_ids == before


# --- grammars ---------------------------------------------------------------------------------------------------------

GRAMMARS = [
    BoxList(scale=100, no_boxes="none", max_boxes=3),
    BoxList(scale=1000, no_boxes=None, max_boxes=2),
    QuadrantMask(8),
    RunMask(8, ("water", "building")),
    Choice(("rural", "urban", "urban area")),
    Count(),
]


@settings(max_examples=40, deadline=None)
@given(
    grammar=st.sampled_from(GRAMMARS),
    temperature=st.sampled_from([0.0, 1.0, 20.0]),
    expert=st.integers(0, 2),
    seed=st.integers(0, 2**32),
)
def test_no_reply_leaves_its_grammar(
    shared_engine: Engine,
    shared_features: ImageFeatures,
    grammar: BoxList | QuadrantMask | RunMask | Choice | Count,
    temperature: float,
    expert: int,
    seed: int,
) -> None:
    sampling = Sampling(temperature=temperature, seed=seed)
    options = {"grammar": grammar, "sampling": sampling, "max_new_tokens": 400}
    reply = shared_engine.generate(shared_features, PROMPT, expert, **options)
    assert reply.finish == "stop"
    assert matches(grammar, reply.text)


def test_a_blocks_sixteen_shapes_share_its_probability(
    engine: Engine, reference: Reference, features: ImageFeatures, picture: np.ndarray
) -> None:
    reply = engine.generate(features, PROMPT, 2, grammar=QuadrantMask(4), max_new_tokens=20)
    vectors = reference.prompt(PROMPT, [picture])
    ids = [reference.tokenizer.token_to_id(char) for char in QUADRANTS]
    for n, step in enumerate(reply.steps):
        if step.text == "\n":
            assert (step.logprob, step.choices) == (0.0, (("\n", 1.0),))
            continue
        logits = reference.after(vectors, list(reply.token_ids[:n]), 2)
        shapes = {char: p for char, p in step.choices or () if char in QUADRANTS}
        assert len(step.choices or ()) == 17
        wanted = np.exp(log_softmax(logits[[*ids, reference.tokenizer.token_to_id(FIRST_BYTE)]]))[:16]
        np.testing.assert_allclose([shapes[char] for char in QUADRANTS], wanted, atol=1e-5)
        assert sum(p for _, p in step.choices or ()) == pytest.approx(1)
        assert [p for _, p in step.choices or ()] == sorted((p for _, p in step.choices or ()), reverse=True)


def test_forced_tokens_are_fed_together_with_the_next(
    engine: Engine, features: ImageFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    feed = engine._decoder.feed
    monkeypatch.setattr(engine._decoder, "feed", lambda keys, *more: (calls.append(len(keys)), feed(keys, *more))[1])
    reply = engine.generate(features, PROMPT, 2, grammar=RunMask(8, ("building",)), max_new_tokens=400)
    free = [step for step in reply.steps if step.choices != ((step.text, 1.0),)]
    assert len(calls) <= len(free) + 1 < len(reply.steps)


def test_a_budget_that_ends_first_is_said(engine: Engine, features: ImageFeatures) -> None:
    whole = engine.generate(features, PROMPT, 2, grammar=QuadrantMask(8), max_new_tokens=100)
    cut = engine.generate(features, PROMPT, 2, grammar=QuadrantMask(8), max_new_tokens=len(whole.steps) - 1)
    assert (whole.finish, cut.finish) == ("stop", "length")
    assert cut.token_ids == whole.token_ids[:-1]
    exact = engine.generate(features, PROMPT, 2, grammar=QuadrantMask(8), max_new_tokens=len(whole.steps))
    assert (exact.token_ids, exact.finish) == (whole.token_ids, "stop")


# --- scores -----------------------------------------------------------------------------------------------------------

CANDIDATES = ["yes", "no", "urban", "urban area", "urban area", "rural", "", "harbour airport none"]


@pytest.mark.parametrize("expert", [0, 2])
def test_scores_equal_each_candidate_computed_by_itself(
    engine: Engine, reference: Reference, features: ImageFeatures, picture: np.ndarray, expert: int
) -> None:
    vectors = reference.prompt(PROMPT, [picture])
    stops = [reference.tokenizer.token_to_id(token) for token in ("<|im_end|>", "<|endoftext|>")]
    wanted = []
    for candidate in CANDIDATES:
        tokens = reference.tokenizer.encode(candidate, add_special_tokens=False).ids
        steps = [log_softmax(reference.after(vectors, tokens[:n], expert)) for n in range(len(tokens) + 1)]
        spelled = sum(logprobs[token] for logprobs, token in zip(steps, tokens, strict=False))
        wanted.append(spelled + np.log(np.exp(steps[-1][stops]).sum()))
    np.testing.assert_allclose(engine.score(features, PROMPT, expert, CANDIDATES), wanted, atol=1e-3)


def test_scoring_leaves_the_cache_sound(engine: Engine, reference: Reference, features: ImageFeatures) -> None:
    before = engine.generate(features, PROMPT, 1, max_new_tokens=6)
    scores = engine.score(features, PROMPT, 1, CANDIDATES)
    assert engine.generate(features, PROMPT, 1, max_new_tokens=6).token_ids == before.token_ids
    np.testing.assert_allclose(engine.score(features, PROMPT, 1, CANDIDATES[::-1])[::-1], scores, atol=1e-4)


def test_no_candidates_have_no_scores(engine: Engine, features: ImageFeatures) -> None:
    assert engine.score(features, PROMPT, 0, []).shape == (0,)


# --- text, limits, seeds ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_streamed_pieces_are_the_text(engine: Engine, features: ImageFeatures, seed: int) -> None:
    pieces: list[str] = []
    sampling = Sampling(temperature=3.0, seed=seed)
    reply = engine.generate(features, PROMPT, 0, sampling=sampling, max_new_tokens=60, on_text=pieces.append)
    assert "".join(pieces) == reply.text == engine.tokenizer.text(reply.token_ids)
    assert reply.text.startswith("".join(step.text for step in reply.steps))


def test_a_seed_gives_the_same_reply_again(engine: Engine, features: ImageFeatures) -> None:
    first, again, other = (
        engine.generate(features, PROMPT, 0, sampling=Sampling(temperature=2.0, seed=seed), max_new_tokens=20)
        for seed in (1, 1, 2)
    )
    assert first.token_ids == again.token_ids != other.token_ids


def test_the_bundles_penalty_holds_for_free_text_alone(tmp_path: Path, picture: np.ndarray) -> None:
    plain, penal = (Engine(make_bundle(tmp_path / f"p{penalty}", repetition_penalty=penalty)) for penalty in (1.0, 1e6))
    with_features = [(engine, engine.encode_images([picture])) for engine in (plain, penal)]
    free = [engine.generate(f, PROMPT, 1, max_new_tokens=60).token_ids for engine, f in with_features]
    assert len(set(free[0])) < 60
    assert len(set(free[1])) == len(free[1]) >= 20
    masks = [engine.generate(f, PROMPT, 0, grammar=QuadrantMask(12), max_new_tokens=60) for engine, f in with_features]
    assert masks[0].token_ids == masks[1].token_ids


def test_rows_beyond_the_tokenizers_vocabulary_are_never_chosen(tmp_path: Path, picture: np.ndarray) -> None:
    padded = make_bundle(tmp_path / "padded", padding=400)
    engine = Engine(padded)
    n = len(engine.tokenizer.vocabulary)
    assert padded.manifest.decoder.vocab == n + 400
    sampling = Sampling(temperature=50.0, seed=0)
    reply = engine.generate(engine.encode_images([picture]), PROMPT, 0, sampling=sampling, max_new_tokens=50)
    assert max(reply.token_ids) < n


@pytest.mark.parametrize("prompt", [PROMPT.replace("<image>", ""), PAIR])
def test_placeholders_and_pictures_must_match(engine: Engine, features: ImageFeatures, prompt: str) -> None:
    with pytest.raises(InputError, match=r"the prompt has [02] <image> placeholders for 1 images"):
        engine.generate(features, prompt, 0, max_new_tokens=5)


def test_a_prompt_that_fills_the_context_is_refused(engine: Engine, features: ImageFeatures) -> None:
    with pytest.raises(InputError, match=r"takes \d+ of tiny's 512 tokens"):
        engine.generate(features, PROMPT.replace("ships", "ships " * 600), 0, max_new_tokens=5)
    with pytest.raises(InputError, match="tokens"):
        engine.score(features, PROMPT, 0, ["ships " * 600])


def test_the_context_ends_a_reply_that_would_leave_it(tmp_path: Path, picture: np.ndarray) -> None:
    engine = Engine(make_bundle(tmp_path / "short", size=BundleSize(max_context=150)))
    features = engine.encode_images([picture])
    reply = engine.generate(features, PROMPT, 0, grammar=QuadrantMask(24), max_new_tokens=1000)
    assert reply.finish == "length"
    assert 0 < len(reply.steps) < 150


def test_an_unknown_expert_is_refused(engine: Engine, features: ImageFeatures) -> None:
    with pytest.raises(InputError, match="expert 3, tiny has 3"):
        engine.generate(features, PROMPT, 3, max_new_tokens=5)


def test_text_without_a_picture_is_answered(engine: Engine, reference: Reference) -> None:
    prompt = PROMPT.replace("<image>\n", "")
    reply = engine.generate(engine.encode_images([]), prompt, 0, max_new_tokens=3)
    assert reply.token_ids[0] == reference.logits(reference.embed(prompt), 0).argmax()
