"""Grammar-constrained decoding: which tokens may follow, and which must (docs/adr/0003).

A grammar is an automaton over UTF-8 bytes (`Grammar`); a token may follow where every one of its bytes does. The
vocabulary is held as a byte trie that grows where it is walked, so that opening it costs next to nothing with 2
thousand tokens or 150 thousand, and what a state admits is computed once and kept.
"""

from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar

import numpy as np

from rsvlm_cli.runtime.tokenizer import Vocabulary

LONGEST_FORCED_BYTES = 256

S = TypeVar("S", bound=Hashable)


class Grammar(Protocol[S]):
    """A set of byte strings, as an automaton; itself hashable, as its states are.

    From every state that `step` returns, some text that the grammar accepts must still be within reach.
    """

    def __hash__(self) -> int: ...

    def start(self) -> S:
        """Return the state before the first byte."""

    def step(self, state: S, byte: int) -> S | None:
        """Return the state after one more byte, or None where that byte cannot follow."""

    def accepts(self, state: S) -> bool:
        """Say whether the text may end here."""


class ByteTrie:
    """A node of a vocabulary's byte trie; its children are made when they are first asked for.

    Args:
        vocabulary: the bytes of every token.
        ids: the tokens that pass through this node.
        depth: bytes before this node.
    """

    __slots__ = ("_children", "_depth", "_vocabulary", "here", "through")

    def __init__(self, vocabulary: Vocabulary, ids: np.ndarray, depth: int = 0) -> None:
        longer = vocabulary.ends[ids] - vocabulary.starts[ids] > depth
        self.here: np.ndarray = ids[~longer]
        """Tokens that end at this node."""
        self.through: np.ndarray = ids[longer]
        """Tokens that go on."""
        self._vocabulary, self._depth = vocabulary, depth
        self._children: dict[int, ByteTrie] | None = None

    @classmethod
    def root(cls, vocabulary: Vocabulary) -> "ByteTrie":
        """Return the root over every token that has bytes."""
        return cls(vocabulary, np.flatnonzero(vocabulary.ends > vocabulary.starts))

    @property
    def children(self) -> dict[int, "ByteTrie"]:
        """Byte -> node."""
        if self._children is None:
            blob = np.frombuffer(self._vocabulary.blob, np.uint8)
            following = blob[self._vocabulary.starts[self.through] + self._depth]
            order = np.argsort(following, kind="stable")  # stable: ids stay in rising order
            values, first = np.unique(following[order], return_index=True)
            groups = np.split(self.through[order], first[1:]) if len(values) else []
            self._children = {
                int(value): ByteTrie(self._vocabulary, ids, self._depth + 1)
                for value, ids in zip(values, groups, strict=True)
            }
        return self._children


class Constraint(Generic[S]):
    """One grammar over one vocabulary.

    Args:
        grammar: the automaton.
        vocabulary: the bytes of every token.
        trie: the root of the vocabulary's trie, shared by all grammars.
        stop_ids: tokens that end a reply; admissible exactly where the grammar accepts.
        encode: the tokenizer's own encoding of a text.
    """

    def __init__(
        self,
        grammar: Grammar[S],
        vocabulary: Vocabulary,
        trie: ByteTrie,
        stop_ids: tuple[int, ...],
        encode: Callable[[str], list[int]],
    ) -> None:
        self.grammar, self.stop_ids = grammar, stop_ids
        self._vocabulary, self._trie, self._encode = vocabulary, trie, encode
        self._stops = np.array(sorted(stop_ids))
        self._admissible: dict[S, np.ndarray] = {}
        self._following: dict[S, tuple[int, ...]] = {}
        self._forced: dict[S, tuple[int, ...]] = {}

    def admissible(self, state: S) -> np.ndarray:
        """Return the ids that may follow, ``(n,)`` int64, stop tokens last; none where the vocabulary lacks a byte."""
        ids = self._admissible.get(state)
        if ids is None:
            found = self._walk(state)
            if self.grammar.accepts(state):
                found.append(self._stops)
            ids = self._admissible[state] = np.concatenate(found) if found else np.empty(0, np.int64)
        return ids

    def advance(self, state: S, token_id: int) -> S:
        """Return the state after an admissible token."""
        for byte in self._vocabulary[token_id]:
            state = self._step(state, byte)
        return state

    def forced(self, state: S) -> tuple[int, ...]:
        """Return the tokens that follow whatever the model says; empty where it has a choice.

        Where only the bytes are certain and several tokens spell them, the tokenizer's own encoding of those bytes is
        taken, as that is what the model was trained on. It ends before a token that could reach past the certain bytes,
        because there the model may mean the longer one.
        """
        tokens = self._forced.get(state)
        if tokens is None:
            tokens = self._forced[state] = self._canonical(state) or self._single(state)
        return tokens

    def must_stop(self, state: S) -> bool:
        """Say whether nothing but the end may follow."""
        return self.grammar.accepts(state) and not self._bytes_after(state)

    def _walk(self, state: S) -> list[np.ndarray]:
        # The root has up to 256 children: ask which bytes the grammar takes. Further down there are few.
        children = self._trie.children
        open_nodes = [
            (children[byte], self._step(state, byte)) for byte in self._bytes_after(state) if byte in children
        ]
        found = []
        while open_nodes:
            node, reached = open_nodes.pop()
            if len(node.here):
                found.append(node.here)
            if len(node.through):
                steps = ((child, self.grammar.step(reached, byte)) for byte, child in node.children.items())
                open_nodes.extend((child, after) for child, after in steps if after is not None)
        return found

    def _step(self, state: S, byte: int) -> S:
        after = self.grammar.step(state, byte)
        assert after is not None, "only bytes that the grammar takes are stepped"
        return after

    def _bytes_after(self, state: S) -> tuple[int, ...]:
        following = self._following.get(state)
        if following is None:
            following = tuple(byte for byte in range(256) if self.grammar.step(state, byte) is not None)
            self._following[state] = following
        return following

    def _canonical(self, state: S) -> tuple[int, ...]:
        run, reached = bytearray(), state
        while len(run) < LONGEST_FORCED_BYTES and not self.grammar.accepts(reached):
            following = self._bytes_after(reached)
            if len(following) != 1:
                break
            run.append(following[0])
            reached = self._step(reached, following[0])
        tokens: list[int] = []
        done = 0
        for token_id in self._encode(run.decode("utf-8", "ignore")) if run else ():
            spelled = self._vocabulary[token_id]
            ids = self.admissible(state)
            longest = (self._vocabulary.ends[ids] - self._vocabulary.starts[ids]).max(initial=0)
            if not spelled or not run.startswith(spelled, done) or longest > len(run) - done:
                break
            tokens.append(token_id)
            done += len(spelled)
            state = self.advance(state, token_id)
        return tuple(tokens)

    def _single(self, state: S) -> tuple[int, ...]:
        ids = self.admissible(state)
        return (int(ids[0]),) if len(ids) == 1 and ids[0] not in self.stop_ids else ()
