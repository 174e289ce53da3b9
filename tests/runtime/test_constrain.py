"""The admissible tokens, against the plain definition: every token, byte by byte."""

import numpy as np
import pytest

from rsvlm_cli.runtime.bundle import Bundle
from rsvlm_cli.runtime.constrain import ByteTrie, Constraint, Grammar
from rsvlm_cli.runtime.tokenizer import Tokenizer, Vocabulary
from rsvlm_cli.tasks.grammar import BoxList, Choice, Count, QuadrantMask, RunMask

GRAMMARS = [
    (Choice(("yes", "no", "not sure")), "not sure"),
    (Count(), "1204"),
    (BoxList(scale=100, no_boxes="none"), "[1, 20, 9, 100] [10, 50, 68, 98]"),
    (BoxList(scale=100, no_boxes="none"), "none"),
    (QuadrantMask(4), "▘█\n▟░"),
    (RunMask(8, ("water", "waterway")), "\n".join(["others*3, water*5", "waterway*8"] * 4)),
]


@pytest.fixture(scope="session")
def tokenizer(bundle: Bundle) -> Tokenizer:
    return Tokenizer(bundle.path / "tokenizer.json")


def constrain(grammar: Grammar, tokenizer: Tokenizer) -> Constraint:
    vocabulary, stop = tokenizer.vocabulary, tokenizer.token_id("<|im_end|>")
    return Constraint(grammar, vocabulary, ByteTrie.root(vocabulary), (stop,), tokenizer.encode)


def admissible_by_definition(grammar: Grammar, state: object, tokenizer: Tokenizer) -> set[int]:
    ids = {tokenizer.token_id("<|im_end|>")} if grammar.accepts(state) else set()
    for token_id in range(len(tokenizer.vocabulary)):
        after = state
        for byte in tokenizer.vocabulary[token_id]:
            after = grammar.step(after, byte) if after is not None else None
        if after is not None and tokenizer.vocabulary[token_id]:
            ids.add(token_id)
    return ids


@pytest.mark.parametrize(("grammar", "text"), GRAMMARS)
def test_exactly_the_tokens_that_the_grammar_takes_are_admissible(
    grammar: Grammar, text: str, tokenizer: Tokenizer
) -> None:
    constraint, state = constrain(grammar, tokenizer), grammar.start()
    for token in [*tokenizer.encode(text), None]:
        ids = constraint.admissible(state).tolist()
        assert len(ids) == len(set(ids))
        assert set(ids) == admissible_by_definition(grammar, state, tokenizer)
        state = constraint.advance(state, token) if token is not None else state
    assert grammar.accepts(state)


@pytest.mark.parametrize(("grammar", "text"), GRAMMARS)
def test_forced_tokens_are_those_of_the_tokenizers_own_encoding(
    grammar: Grammar, text: str, tokenizer: Tokenizer
) -> None:
    constraint, state, given = constrain(grammar, tokenizer), grammar.start(), []
    canonical = tokenizer.encode(text)
    while len(given) < len(canonical):
        forced = constraint.forced(state) or (canonical[len(given)],)
        given.extend(forced)
        for token in forced:
            state = constraint.advance(state, token)
    assert given == canonical


def test_a_forced_token_is_the_only_way_on(tokenizer: Tokenizer) -> None:
    constraint = constrain(RunMask(8, ("water",)), tokenizer)
    state = constraint.grammar.start()
    assert constraint.forced(state) == ()  # others or water
    for byte in b"o":
        state = constraint.grammar.step(state, byte)
    assert tokenizer.text(constraint.forced(state)) == "thers*"


def test_forcing_ends_before_a_token_that_reaches_past_the_certain_bytes() -> None:
    class Fixed:
        """``ab`` and then ``c`` or ``d``."""

        def start(self) -> bytes:
            return b""

        def step(self, state: bytes, byte: int) -> bytes | None:
            longer = state + bytes([byte])
            return longer if b"abc".startswith(longer) or b"abd".startswith(longer) else None

        def accepts(self, state: bytes) -> bool:
            return len(state) == 3

    def over(tokens: list[bytes]) -> Constraint:
        ends = np.cumsum([len(token) for token in tokens])
        starts = ends - [len(token) for token in tokens]
        vocabulary = Vocabulary(b"".join(tokens), starts, ends)
        return Constraint(Fixed(), vocabulary, ByteTrie.root(vocabulary), (), lambda text: [tokens.index(b"a"), 1])

    assert over([b"a", b"b", b"c", b"d"]).forced(b"") == (0, 1)
    assert over([b"a", b"b", b"c", b"d", b"bc"]).forced(b"") == (0,)  # "b" is certain, but "bc" may be meant
    assert over([b"a", b"b", b"c", b"d", b"abd"]).forced(b"") == ()


def test_nothing_but_the_end_follows_a_whole_mask(tokenizer: Tokenizer) -> None:
    constraint = constrain(QuadrantMask(2), tokenizer)
    state = constraint.advance(constraint.grammar.start(), tokenizer.encode("█")[0])
    assert constraint.must_stop(state)
    assert constraint.admissible(state).tolist() == [tokenizer.token_id("<|im_end|>")]
    assert constraint.forced(state) == ()


def test_a_vocabulary_without_the_bytes_admits_nothing() -> None:
    vocabulary = Vocabulary(b"x", np.array([0]), np.array([1]))
    constraint = Constraint(Count(), vocabulary, ByteTrie.root(vocabulary), (), lambda _: [])
    assert constraint.admissible(b"").tolist() == []
