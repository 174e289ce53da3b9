import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer as LibraryTokenizer
from tokenizers import models

from rsvlm_cli.errors import BundleCorrupt, BundleError
from rsvlm_cli.runtime.bundle import Bundle
from rsvlm_cli.runtime.tokenizer import TextStream, Tokenizer
from tests.bundle_factory import QUADRANTS

TEXT = "Größe 5 km²: [1, 20, 9, 30]\n▘▝▀ 船 <|im_end|> harbour"


@pytest.fixture
def tokenizer(bundle: Bundle) -> Tokenizer:
    return Tokenizer(bundle.path / "tokenizer.json")


def test_text_comes_back_without_its_special_tokens(tokenizer: Tokenizer) -> None:
    assert tokenizer.text(tokenizer.encode(TEXT)) == TEXT.replace("<|im_end|>", "")


def test_the_bytes_of_the_tokens_spell_the_text(tokenizer: Tokenizer) -> None:
    text = TEXT.replace("<|im_end|>", "")
    assert b"".join(tokenizer.vocabulary[i] for i in tokenizer.encode(text)) == text.encode()


def test_an_added_token_stands_for_its_own_text(tokenizer: Tokenizer) -> None:
    for char in QUADRANTS:
        (token,) = tokenizer.encode(char)
        assert tokenizer.vocabulary[token] == char.encode()


def test_a_special_token_has_no_bytes(tokenizer: Tokenizer) -> None:
    assert tokenizer.vocabulary[tokenizer.token_id("<|im_end|>")] == b""


def test_a_single_token_is_spelled_as_in_the_vocabulary(tokenizer: Tokenizer) -> None:
    vocabulary = Tokenizer(tokenizer.path).vocabulary
    assert [tokenizer.token_bytes(i) for i in range(len(vocabulary))] == [vocabulary[i] for i in range(len(vocabulary))]
    assert tokenizer.count_tokens(len(vocabulary) + 100) == len(vocabulary)
    assert tokenizer.count_tokens(7) == 7


def test_every_byte_is_spelled_by_some_token(tokenizer: Tokenizer) -> None:
    spelled = {tokenizer.vocabulary[i] for i in range(len(tokenizer.vocabulary))}
    assert {bytes([byte]) for byte in range(256)} <= spelled


def test_a_missing_token_is_named(tokenizer: Tokenizer) -> None:
    with pytest.raises(BundleCorrupt, match="<end>"):
        tokenizer.token_id("<end>")


def test_a_stream_holds_an_unfinished_character_back(tokenizer: Tokenizer) -> None:
    stream = TextStream(tokenizer)
    tokens = tokenizer.encode("a船")
    assert len(tokens) == 4  # the character takes one token a byte
    assert [stream.push(token) for token in tokens] == ["a", "", "", "船"]
    assert stream.finish() == ""


def test_a_stream_that_ends_within_a_character_says_so(tokenizer: Tokenizer) -> None:
    stream = TextStream(tokenizer)
    assert stream.push(tokenizer.encode("船")[0]) == ""
    assert stream.finish() == "\ufffd"


def test_a_tokenizer_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    LibraryTokenizer(models.WordLevel({"▁harbour": 0, "?": 1}, unk_token="?")).save(str(path))
    with pytest.raises(BundleError, match="byte-level"):
        _ = Tokenizer(path).vocabulary


def test_ids_between_the_tokens_have_no_bytes(tmp_path: Path, bundle: Bundle) -> None:
    data = json.loads((bundle.path / "tokenizer.json").read_text())
    last = max(token["id"] for token in data["added_tokens"])
    data["added_tokens"].append({**data["added_tokens"][-1], "id": last + 3, "content": "<|far|>"})
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(data))
    vocabulary = Tokenizer(path).vocabulary
    assert len(vocabulary) >= last + 2
    assert vocabulary[len(vocabulary) - 1] == b""
