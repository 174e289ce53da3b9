import json

import pytest
from tokenizers import Tokenizer

from export.text import read_decoding, read_tokenizer
from rsvlm_cli.errors import BundleError
from tests.bundle_factory import make_tokenizer

TEXTS = (
    "<|im_start|>user\n<image>\n[VG] Where is the ship?<|im_end|>\n",
    "It's 2024: 1234 m²,\r\n\r\n  ÅNGSTRÖM naïve e\u0301 — 東京 🚢\t\n x",
)


@pytest.fixture
def old_files(tmp_path):
    """``vocab.json`` and ``merges.txt`` as Qwen2's slow tokenizer is published, special tokens beside them."""
    model = json.loads(make_tokenizer().to_str())["model"]
    base = {token: number for token, number in model["vocab"].items() if number < 340}
    merges = [pair for pair in model["merges"] if "".join(pair) in base]
    (tmp_path / "vocab.json").write_text(json.dumps(base))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    added = {token: 340 + k for k, token in enumerate(("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>"))}
    (tmp_path / "added_tokens.json").write_text(json.dumps(added))
    return tmp_path


def test_vocabulary_and_merges_make_the_tokenizer_that_transformers_makes(old_files):
    from transformers import Qwen2Tokenizer

    ours = read_tokenizer(old_files)
    vocab = json.loads((old_files / "vocab.json").read_text())
    lines = (old_files / "merges.txt").read_text().splitlines()[1:]
    theirs = Qwen2Tokenizer(vocab=vocab, merges=[tuple(line.split(" ")) for line in lines])
    theirs.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>", "<image>"]})
    for text in TEXTS:
        ids = ours.encode(text, add_special_tokens=False).ids
        assert ids == theirs.encode(text, add_special_tokens=False)
    assert ours.token_to_id("<image>") == 343


def test_a_tokenizer_json_is_the_same_after_saving(old_files, tmp_path):
    built = read_tokenizer(old_files)
    built.save(str(tmp_path / "tokenizer.json"))
    again = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in TEXTS:
        assert again.encode(text).ids == built.encode(text).ids


def test_flags_of_added_tokens_come_from_the_tokenizers_configuration(old_files):
    entries = {"340": {"content": "<|endoftext|>", "special": True}, "341": {"content": "<box>", "special": False}}
    (old_files / "added_tokens.json").unlink()
    (old_files / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": entries}))
    added = read_tokenizer(old_files).get_added_tokens_decoder()
    assert {number: (token.content, token.special) for number, token in added.items()} == {
        340: ("<|endoftext|>", True),
        341: ("<box>", False),
    }


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("merges.txt", "q zz\n", "'q zz' does not fit"),
        ("vocab.json", "[]", r"vocab\.json: no JSON object"),
        ("merges.txt", None, r"no tokenizer\.json in it, nor vocab\.json with merges\.txt"),
        ("added_tokens.json", json.dumps({"<|im_end|>": 999}), "should be token 999"),
    ],
)
def test_files_that_do_not_fit_together_are_one_line(old_files, name, content, says):
    (old_files / name).unlink()
    if content is not None:
        (old_files / name).write_text(content)
    with pytest.raises(BundleError, match=says):
        read_tokenizer(old_files)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"eos_token_id": 9999}, "eos_token_id 9999 is not in its tokenizer"),
        ({"eos_token_id": [341], "repetition_penalty": 0}, "repetition_penalty 0, wanted"),
        ({"eos_token_id": [341], "repetition_penalty": "x"}, "repetition_penalty 'x', wanted"),
    ],
)
def test_settings_that_cannot_be_followed_are_refused(old_files, settings, says):
    tokenizer = read_tokenizer(old_files)
    (old_files / "generation_config.json").write_text(json.dumps(settings))
    with pytest.raises(BundleError, match=says):
        read_decoding(old_files, {}, tokenizer)
