"""The tokenizer and the decoding settings of a checkpoint folder.

A folder has ``tokenizer.json``, or the older ``vocab.json`` and ``merges.txt`` of a byte-level BPE in Qwen2's form,
with ``added_tokens.json`` or ``tokenizer_config.json`` for what was added to them.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from rsvlm_cli.errors import BundleError
from rsvlm_cli.runtime.bundle import TOKENIZER

VOCAB, MERGES, ADDED = "vocab.json", "merges.txt", "added_tokens.json"
TOKENIZER_CONFIG, GENERATION = "tokenizer_config.json", "generation_config.json"
TURN_END = "<|im_end|>"

QWEN2_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How text is cut before merging; each digit stands alone. Source: transformers' Qwen2Tokenizer."""


@dataclass(frozen=True, slots=True)
class Decoding:
    """How replies are decoded.

    Attributes:
        stop_tokens: texts of the tokens that end one.
        repetition_penalty: 1 for none.
    """

    stop_tokens: tuple[str, ...]
    repetition_penalty: float


def read_tokenizer(folder: Path) -> Tokenizer:
    """Read or build a folder's tokenizer.

    Raises:
        BundleError: if its files are missing, broken or contradict each other.
    """
    path = folder / TOKENIZER
    if path.is_file():
        read_json(path)  # of a broken file the library says only `Exception`
        return Tokenizer.from_file(str(path))
    if not (folder / VOCAB).is_file() or not (folder / MERGES).is_file():
        raise BundleError(f"{folder}: no {TOKENIZER} in it, nor {VOCAB} with {MERGES} (wanted the model's tokenizer)")
    vocab = {str(token): int(number) for token, number in read_json(folder / VOCAB).items()}
    lines = (folder / MERGES).read_text(encoding="utf-8").splitlines()
    merges = []
    for line in (line for line in lines if line and not line.startswith("#version")):
        first, _, second = line.partition(" ")
        if not {first, second, first + second} <= vocab.keys():  # of such a pair the library says only `Exception`
            raise BundleError(f"{folder / MERGES}: {line!r} does not fit {VOCAB} (wanted files of one model)")
        merges.append((first, second))
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    _add_tokens(tokenizer, folder)
    return tokenizer


def _add_tokens(tokenizer: Tokenizer, folder: Path) -> None:
    """Add what lies beyond the vocabulary, each token at its own number."""
    added: dict[int, AddedToken] = {}
    if (folder / ADDED).is_file():
        added = {int(n): AddedToken(t, normalized=False, special=True) for t, n in read_json(folder / ADDED).items()}
    if (folder / TOKENIZER_CONFIG).is_file():
        flags = ("content", "single_word", "lstrip", "rstrip", "normalized", "special")
        for number, entry in (read_json(folder / TOKENIZER_CONFIG).get("added_tokens_decoder") or {}).items():
            added[int(number)] = AddedToken(**{key: entry[key] for key in flags if key in entry})
    for number, token in sorted(added.items()):
        (tokenizer.add_special_tokens if token.special else tokenizer.add_tokens)([token])
        if tokenizer.token_to_id(token.content) != number:
            raise BundleError(
                f"{folder}: {token.content!r} should be token {number}, but the vocabulary puts it at "
                f"{tokenizer.token_to_id(token.content)} (wanted a whole {TOKENIZER})"
            )


def check_tokenizer(tokenizer: Tokenizer, folder: Path, vocab_size: int, stop_tokens: Iterable[str]) -> None:
    """Refuse a tokenizer that knows more tokens than the model, or that has no stop token.

    Raises:
        BundleError: naming the token or the number.
    """
    highest = max(tokenizer.get_vocab().values(), default=-1)
    if highest >= vocab_size:
        raise BundleError(
            f"{folder}: token ids up to {highest}, the model has {vocab_size} (wanted the model's own tokenizer)"
        )
    for token in stop_tokens:
        if tokenizer.token_to_id(token) is None:
            raise BundleError(f"{folder}: stop token {token!r} is not in its tokenizer (wanted the model's own)")


def read_decoding(folder: Path, config: Mapping[str, Any], tokenizer: Tokenizer) -> Decoding:
    """Read how replies are decoded: ``generation_config.json``, and what it leaves out from ``config.json``.

    Raises:
        BundleError: if no token ends a reply, or one of them is not in the tokenizer.
    """
    path = folder / GENERATION
    data = {**config, **(read_json(path) if path.is_file() else {})}
    numbers = data.get("eos_token_id")
    ids = [] if numbers is None else [numbers] if isinstance(numbers, int) else list(numbers)
    texts: list[str] = []
    for number in ids:
        text = tokenizer.id_to_token(number)
        if text is None:
            raise BundleError(f"{folder}: eos_token_id {number} is not in its tokenizer (wanted the model's own)")
        texts.append(text)
    # The chat template ends each turn with it, whatever the configuration lists.
    if tokenizer.token_to_id(TURN_END) is not None and TURN_END not in texts:
        texts.append(TURN_END)
    if not texts:
        raise BundleError(f"{folder}: no token ends a reply (wanted eos_token_id in {GENERATION})")
    penalty = data.get("repetition_penalty", 1.0)
    if not isinstance(penalty, int | float) or penalty <= 0:
        raise BundleError(f"{path}: repetition_penalty {penalty!r}, wanted a number above 0 (1 is none)")
    return Decoding(tuple(texts), float(penalty))


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of a checkpoint.

    Raises:
        BundleError: if it is missing or no JSON object.
    """
    if not path.is_file():
        raise BundleError(f"{path.parent}: no {path.name} in it, wanted beside the checkpoint's weights")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BundleError(f"{path}: no JSON: {error}") from error
    if not isinstance(data, dict):
        raise BundleError(f"{path}: no JSON object")
    return data
