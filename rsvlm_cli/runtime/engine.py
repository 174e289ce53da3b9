"""The engine: pictures and a prompt in, a reply out. It knows no task.

A reply under a grammar is decoded among the admissible tokens alone. Where the grammar leaves no choice, its tokens are
appended unasked and computed in one pass with the next ones.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import onnxruntime as ort

from rsvlm_cli.errors import BundleError, InputError
from rsvlm_cli.runtime.bundle import DECODER, TOKENIZER, VISION, Bundle
from rsvlm_cli.runtime.constrain import ByteTrie, Constraint, Grammar
from rsvlm_cli.runtime.decoder import Decoder
from rsvlm_cli.runtime.embedding import TokenEmbedding
from rsvlm_cli.runtime.experts import find_expert
from rsvlm_cli.runtime.features import HEADS, MARK_TOKENS, ImageFeatures, Key, Spot, spot_vector
from rsvlm_cli.runtime.preprocess import prepare
from rsvlm_cli.runtime.reply import Generation, ReplyBuilder
from rsvlm_cli.runtime.sampling import Sampler, Sampling, log_softmax
from rsvlm_cli.runtime.sessions import Device, choose_device, count_cores, find_native, open_graph
from rsvlm_cli.runtime.tokenizer import Tokenizer

CONSTRAINTS_KEPT = 16
"""Grammars whose admissible tokens are kept, the last ones used."""

GREEDY = Sampling()


@dataclass
class _TokenTree:
    """Candidates by their tokens; ``ends`` are the positions of those that end here."""

    branches: dict[int, "_TokenTree"] = field(default_factory=dict)
    ends: list[int] = field(default_factory=list)

    def add(self, tokens: Sequence[int], position: int) -> None:
        node = self
        for token in tokens:
            node = node.branches.setdefault(token, _TokenTree())
        node.ends.append(position)


class Engine:
    """One model. Graphs are opened when they are first needed. Not for several threads at once.

    Args:
        bundle: the model.
        device: ``auto`` takes a GPU where this model can run on it.
        threads: of the CPU; None for one each physical core.

    Attributes:
        tokens_fed: what was computed so far: tokens of pictures, prompts and replies, less what the cache still held.
    """

    def __init__(self, bundle: Bundle, *, device: Device = "auto", threads: int | None = None) -> None:
        self.bundle, self.manifest = bundle, bundle.manifest
        self.tokens_fed = 0
        self._device = choose_device(device, in_blocks="int" in self.manifest.quantisation.get("experts", ""))
        self._threads = threads or count_cores()
        self._constraints: OrderedDict[Grammar[Any], Constraint[Any]] = OrderedDict()

    def encode_images(self, images: Sequence[np.ndarray]) -> ImageFeatures:
        """Turn pictures into vectors.

        Args:
            images: each ``(H, W, 3)`` uint8, RGB, of any size.

        Raises:
            BundleError: if the vision graph cannot be opened.
        """
        tokens, hidden = self.manifest.image.tokens, self.manifest.decoder.hidden
        vectors = np.empty((len(images), tokens, hidden), np.float32)
        names = [name for kind, outputs in HEADS.items() if self.manifest.heads.get(kind) for name in outputs]
        seen: dict[str, list[np.ndarray]] = {name: [] for name in names}
        # One at a time: a batch gains 5 % and holds every picture's activations at once.
        for row, pixels in zip(vectors, images, strict=True):
            feeds = {"pixel_values": prepare(pixels, self.manifest.image)[None]}
            (row[:],), *told = self._vision.run(["image_features", *names], feeds)
            for name, (values,) in zip(names, told, strict=True):
                seen[name].append(values)
        return ImageFeatures.of(vectors, {name: np.stack(values) for name, values in seen.items()})

    def generate(
        self,
        features: ImageFeatures,
        prompt: str,
        expert: int,
        *,
        grammar: Grammar[Any] | None = None,
        sampling: Sampling = GREEDY,
        max_new_tokens: int,
        on_text: Callable[[str], None] | None = None,
    ) -> Generation:
        """Decode a reply.

        Args:
            features: the pictures, one for each placeholder of the prompt, in order.
            prompt: the whole prompt.
            expert: which expert serves it.
            grammar: what the reply must follow; None for free text.
            sampling: how tokens are chosen.
            max_new_tokens: the budget; a reply that needs more has ``finish == "length"``.
            on_text: is given each piece of text as soon as it is certain.

        Raises:
            InputError: if placeholders and pictures do not match, or the prompt leaves no room in the context.
            BundleError: if the decoder graph cannot be opened.
        """
        keys = self._prompt_keys(features, prompt)
        budget = min(max_new_tokens, self.manifest.max_context - len(keys))
        reply = ReplyBuilder(self.tokenizer, self._stop_ids, on_text)
        constraint = self._constraint(grammar) if grammar is not None else None
        state = grammar.start() if grammar is not None else None
        sampler = Sampler(sampling, self._penalty(sampling, constraint))
        unfed = self._begin(keys, expert)
        while len(reply.steps) < budget:
            forced = constraint.forced(state)[: budget - len(reply.steps)] if constraint else ()
            if constraint and forced:
                for token in forced:
                    state = constraint.advance(state, token)
                    reply.append(token, np.zeros(1), 0, np.array([token]))
                    sampler.record(token)
                unfed.extend(forced)
                continue
            if constraint and constraint.must_stop(state):
                return reply.close("stop")
            logits = self._feed(unfed, features)[-1]
            ids = constraint.admissible(state) if constraint else None
            if ids is not None and not len(ids):
                raise BundleError(f"{self.bundle.path}: its tokenizer lacks bytes that a reply needs (import it again)")
            index, logprobs = sampler.choose(logits, ids)
            token = index if ids is None else int(ids[index])
            if token in self._stop_ids:
                return reply.close("stop")
            state = constraint.advance(state, token) if constraint else None
            reply.append(token, logprobs, index, ids)
            sampler.record(token)
            unfed = [token]
        # A text that is whole and needs no further token is not cut short.
        return reply.close("stop" if constraint and constraint.must_stop(state) else "length")

    def score(self, features: ImageFeatures, prompt: str, expert: int, candidates: Sequence[str]) -> np.ndarray:
        """Return how likely each text is as the whole reply.

        The log-probability of its tokens and of a stop token after them, among all tokens, without penalty. What
        candidates share at their beginning is computed once.

        Args:
            features: the pictures.
            prompt: the whole prompt.
            expert: which expert serves it.
            candidates: the texts.

        Returns:
            ``(n_candidates,)`` float64, natural logarithms; their softmax is the distribution over what was offered.

        Raises:
            InputError: if placeholders and pictures do not match, or a candidate does not fit into the context.
            BundleError: if the decoder graph cannot be opened.
        """
        keys = self._prompt_keys(features, prompt)
        tree, longest = _TokenTree(), 0
        for position, candidate in enumerate(candidates):
            tokens = self.tokenizer.encode(candidate)
            tree.add(tokens, position)
            longest = max(longest, len(tokens))
        self._check_context(len(keys) + longest)
        scores = np.empty(len(candidates))
        stops = list(self._stop_ids)

        def visit(node: _TokenTree, logits: np.ndarray, so_far: float) -> None:
            logprobs = log_softmax(logits)
            scores[node.ends] = so_far + np.logaddexp.reduce(logprobs[stops])
            length = self._decoder.length
            for token, branch in node.branches.items():
                self._decoder.roll_back(length)
                visit(branch, self._feed([token], features)[-1], so_far + logprobs[token])

        if candidates:
            visit(tree, self._feed(self._begin(keys, expert), features)[-1], 0.0)
        return scores

    def read(
        self, features: ImageFeatures, prompt: str, expert: int, spots: Sequence[Spot], choices: Sequence[str], n: int
    ) -> np.ndarray:
        """Feed visual tokens once more after a prompt and return what the decoder says at the last ``n`` of them.

        Args:
            features: the pictures; of two, the difference of their visual tokens is fed.
            prompt: the whole prompt.
            expert: which expert serves it.
            spots: what is fed, in order; each sees the prompt and the spots before it.
            choices: what can be said, texts of one token each.
            n: how many are read, at most all; the earlier ones are computed once for calls that share them.

        Returns:
            ``(n, n_choices)`` float64, each row a distribution over the choices.

        Raises:
            InputError: if placeholders and pictures do not match, or the spots do not fit into the context.
            BundleError: if a choice is more than one token, or the decoder graph cannot be opened.
        """
        ids = [self._single(text) for text in choices]
        keys: list[Key] = [*self._prompt_keys(features, prompt)]
        for spot in spots:
            keys.append((*features.keys[:, spot.token].tolist(), *self._mark_tokens(spot)))
        self._check_context(len(keys))
        unfed = self._begin(keys, expert, n)
        logits = self._feed(unfed, features, n)[:, ids].astype(np.float64)
        shares: np.ndarray = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        return shares

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The bundle's tokenizer."""
        return Tokenizer(self.bundle.path / TOKENIZER)

    @cached_property
    def _vision(self) -> ort.InferenceSession:
        return open_graph(self.bundle, VISION, self._device, self._threads)

    @cached_property
    def _decoder(self) -> Decoder:
        # A command that looks once needs no tower any more. One that looks again opens it again, in milliseconds.
        if find_native(self.bundle, VISION, self._device):
            self.__dict__.pop("_vision", None)
        session = open_graph(self.bundle, DECODER, self._device, self._threads)
        return Decoder(session, self.manifest.decoder, self.manifest.max_context, self._device)

    @cached_property
    def _embedding(self) -> TokenEmbedding:
        return TokenEmbedding(self.bundle)

    @cached_property
    def _stop_ids(self) -> tuple[int, ...]:
        return tuple(self.tokenizer.token_id(token) for token in self.manifest.stop_tokens)

    @cached_property
    def _n_tokens(self) -> int:
        """Logits that stand for a token: weights may have more rows than the tokenizer has tokens."""
        return self.tokenizer.count_tokens(self.manifest.decoder.vocab)

    @cached_property
    def _trie(self) -> ByteTrie:
        return ByteTrie.root(self.tokenizer.vocabulary)

    def _constraint(self, grammar: Grammar[Any]) -> Constraint[Any]:
        constraint = self._constraints.pop(grammar, None)
        if constraint is None:
            tokenizer = self.tokenizer
            constraint = Constraint(grammar, tokenizer.vocabulary, self._trie, self._stop_ids, tokenizer.encode)
        self._constraints[grammar] = constraint
        if len(self._constraints) > CONSTRAINTS_KEPT:
            self._constraints.popitem(last=False)
        return constraint

    def _penalty(self, sampling: Sampling, constraint: Constraint[Any] | None) -> float:
        if sampling.repetition_penalty is not None:
            return sampling.repetition_penalty
        return 1.0 if constraint else self.manifest.repetition_penalty

    def _prompt_keys(self, features: ImageFeatures, prompt: str) -> list[int]:
        """Return the prompt as keys of the decoder's cache; each part around an image is tokenised by itself."""
        placeholder = self.manifest.image_token
        first, *parts = prompt.split(placeholder)
        if len(parts) != len(features):
            raise InputError(
                f"the prompt has {len(parts)} {placeholder} placeholders for {len(features)} images "
                f"(a question may not hold {placeholder!r})"
            )
        keys = self.tokenizer.encode(first)
        for image_keys, part in zip(features.keys, parts, strict=True):
            keys.extend(image_keys.tolist())
            keys.extend(self.tokenizer.encode(part))
        self._check_context(len(keys))
        return keys

    def _check_context(self, n_tokens: int) -> None:
        limit = self.manifest.max_context
        if n_tokens >= limit:
            raise InputError(
                f"the prompt takes {n_tokens} of {self.manifest.name}'s {limit} tokens and leaves none for the reply "
                "(ask with fewer images or words)"
            )

    def _mark_tokens(self, spot: Spot) -> list[int]:
        return [token for mark in spot.marks for token in self.tokenizer.encode(mark)[:MARK_TOKENS]]

    def _single(self, text: str) -> int:
        tokens = self.tokenizer.encode(text)
        if len(tokens) != 1:
            raise BundleError(
                f"{self.bundle.path}: {text!r} is {len(tokens)} tokens, wanted 1 (import the model again)"
            )
        return tokens[0]

    def _begin(self, keys: Sequence[Key], expert: int, n: int = 1) -> list[Key]:
        """Roll the cache back to what it shares with a prompt, all but its last n tokens; return what is to be fed."""
        row = find_expert(self.manifest, expert)
        return list(keys[self._decoder.keep_prefix(keys, row, len(keys) - n) :])

    def _feed(self, keys: Sequence[Key], features: ImageFeatures, n: int = 1) -> np.ndarray:
        """Feed tokens, image vectors and spots; return the last n logits ``(n, V)``, of tokens with a text."""
        ids = np.array([key if isinstance(key, int) else 0 for key in keys], np.int64)
        vectors = np.empty((len(ids), self.manifest.decoder.hidden), np.float32)
        is_text = ids >= 0
        vectors[is_text] = self._embedding.rows(ids[is_text])
        if not is_text.all():
            vectors[~is_text] = features.rows(ids[~is_text])
        for row, key in enumerate(keys):
            if not isinstance(key, int):
                vectors[row] = self._spot_vector(key, features)
        self.tokens_fed += len(ids)
        return self._decoder.feed(keys, vectors, n)[:, : self._n_tokens]

    def _spot_vector(self, key: tuple[int, ...], features: ImageFeatures) -> np.ndarray:
        """Return the vector ``(hidden,)`` of a spot: a visual token, of two pictures the difference, and its marks."""
        seen = features.rows(np.array([part for part in key if part < 0], np.int64))
        marks = self._embedding.rows(np.array([part for part in key if part >= 0], np.int64))
        return spot_vector(seen[-1] if len(seen) == 1 else seen[-1] - seen[0], marks.sum(axis=0))
