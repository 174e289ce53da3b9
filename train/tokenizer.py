"""A tokenizer of our own: byte-level BPE, small, with one token for a number and one for a mask block."""

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from rsvlm_cli.tasks.grammar import QUADRANTS

STOP = "<|im_end|>"
SPECIAL = ("<|endoftext|>", "<|im_start|>", STOP, "<image>")

_WORDS = r"\d{1,3}| ?\p{L}+|[^\s\p{L}\d]+ ?|\s+"
"""Numbers stand alone; words carry the blank before them, signs the one behind, so "[12, 34" is four tokens."""


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Learn merges from ``texts``; every integer from 0 to 100 becomes one token.

    Args:
        texts: sentences, prompts and replies, as the model will read and write them.
        vocab_size: tokens in all, special and mask tokens included.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(QUADRANTS),
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    numbers = [" ".join(str(n) for n in range(101))] * 2000
    tokenizer.train_from_iterator([*texts, *numbers], trainer)
    tokenizer.add_tokens(list(QUADRANTS))
    return tokenizer


class TextCodec:
    """Texts to token ids, the way the runtime does it: a chunk at a time, special tokens recognised."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        stop = tokenizer.token_to_id(STOP)
        if stop is None:
            raise ValueError(f"the tokenizer has no {STOP}")
        self.stop = stop
        self._memo: dict[str, list[int]] = {}

    @classmethod
    def load(cls, path: Path) -> "TextCodec":
        """Read a ``tokenizer.json``."""
        return cls(Tokenizer.from_file(str(path)))

    def encode(self, text: str) -> list[int]:
        """Return the token ids of ``text``; nothing is added."""
        if text not in self._memo:
            if len(self._memo) > 200_000:
                self._memo.clear()
            self._memo[text] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return list(self._memo[text])
