"""Text to token ids and back, and the bytes of every token: a thin layer over the ``tokenizers`` library."""

import codecs
from collections.abc import Iterable
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import tokenizers

from rsvlm_cli.errors import BundleCorrupt, BundleError


@cache
def _byte_alphabet() -> dict[int, int]:
    """Return code point -> byte of the byte-level BPE alphabet.

    Printable Latin-1 stands for itself, the other bytes for the code points from 256 on. Source: GPT-2's encoder.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: byte for byte in printable} | {256 + i: byte for i, byte in enumerate(others)}


class Tokenizer:
    """A byte-level BPE tokenizer.

    Args:
        path: a ``tokenizer.json`` whose hash was checked: for a broken one the library has only a bare ``Exception``.
    """

    def __init__(self, path: Path) -> None:
        self._tokenizer = tokenizers.Tokenizer.from_file(str(path))
        self.path = path

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text; special tokens are recognised, none is added."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def token_id(self, token: str) -> int:
        """Return the id of a token by its text.

        Raises:
            BundleCorrupt: if there is none.
        """
        token_id: int | None = self._tokenizer.token_to_id(token)
        if token_id is None:
            raise BundleCorrupt(f"{self.path}: no token {token!r}, which the manifest names (import the model again)")
        return token_id

    def count_tokens(self, most: int) -> int:
        """Return one more than the greatest token id below ``most``."""
        while most and self._tokenizer.id_to_token(most - 1) is None:
            most -= 1
        return most

    def token_bytes(self, token_id: int) -> bytes:
        """Return the bytes of one token, none of a special one; for a few tokens `vocabulary` need not be made.

        Raises:
            BundleError: if the tokenizer is not a byte-level BPE.
        """
        if "vocabulary" in self.__dict__:
            return self.vocabulary[token_id]
        if added := self._added.get(token_id):
            return b"" if added.special else added.content.encode()
        return self._spell(self._tokenizer.id_to_token(token_id) or "")

    @cached_property
    def vocabulary(self) -> "Vocabulary":
        """The bytes of every token: a quarter of a second's work for 150,000 of them.

        Raises:
            BundleError: if the tokenizer is not a byte-level BPE.
        """
        added = self._added
        ids = self._tokenizer.get_vocab(with_added_tokens=True)
        tokens = [""] * (1 + max(ids.values(), default=-1))
        for token, token_id in ids.items():
            tokens[token_id] = token
        for token_id in added:
            tokens[token_id] = ""  # stands for itself, not in the alphabet's letters
        blob = self._spell("".join(tokens))  # one translation of them all
        lengths = np.fromiter(map(len, tokens), np.int64, len(tokens))
        ends = np.cumsum(lengths)
        vocabulary = Vocabulary(blob, starts=ends - lengths, ends=ends)
        plain = {i: token.content.encode() for i, token in added.items() if not token.special}
        return vocabulary.with_tokens(plain)

    @cached_property
    def _added(self) -> dict[int, tokenizers.AddedToken]:
        """Tokens that stand for themselves, by their ids."""
        added: dict[int, tokenizers.AddedToken] = self._tokenizer.get_added_tokens_decoder()
        return added

    def _spell(self, letters: str) -> bytes:
        """Return the bytes that letters of the alphabet stand for."""
        try:
            return letters.translate(_byte_alphabet()).encode("latin-1")
        except UnicodeEncodeError as error:
            raise BundleError(f"{self.path}: not a byte-level BPE, the one kind this rsvlm reads") from error

    def text(self, ids: Iterable[int]) -> str:
        """Return the text of token ids, special tokens left out, broken UTF-8 as U+FFFD."""
        return b"".join(map(self.token_bytes, ids)).decode("utf-8", "replace")


class Vocabulary:
    """The bytes of every token, in one block.

    Special tokens have none: no text spells them. So have ids between the tokens.

    Args:
        blob: the bytes of all tokens.
        starts, ends: ``(n,)`` int64, where each token lies in ``blob``.
    """

    def __init__(self, blob: bytes, starts: np.ndarray, ends: np.ndarray) -> None:
        self.blob, self.starts, self.ends = blob, starts, ends

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, token_id: int) -> bytes:
        return self.blob[self.starts[token_id] : self.ends[token_id]]

    def with_tokens(self, tokens: dict[int, bytes]) -> "Vocabulary":
        """Return a vocabulary in which some tokens have other bytes."""
        blob, starts, ends = self.blob, self.starts.copy(), self.ends.copy()
        for token_id, text in tokens.items():
            starts[token_id], ends[token_id] = len(blob), len(blob) + len(text)
            blob += text
        return Vocabulary(blob, starts, ends)


class TextStream:
    """Turns tokens into text as they come; the bytes of an unfinished character are held back."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token_id: int) -> str:
        """Return the text that one more token completes, often the token's own."""
        return self._decoder.decode(self._tokenizer.token_bytes(token_id))

    def finish(self) -> str:
        """Return what is held back, as U+FFFD."""
        return self._decoder.decode(b"", final=True)
