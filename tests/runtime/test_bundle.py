import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rsvlm_cli.errors import BundleCorrupt, BundleNotFound, BundleTooNew
from rsvlm_cli.runtime import bundle as bundle_module
from rsvlm_cli.runtime.bundle import (
    MANIFEST,
    Bundle,
    Manifest,
    find_bundle,
    list_bundles,
    read_bundle,
    verify_bundle,
    write_manifest,
)
from tests.bundle_factory import make_bundle


def edit(bundle: Bundle, change: Callable[[dict[str, Any]], object]) -> Path:
    path = bundle.path / MANIFEST
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    return bundle.path


@pytest.fixture
def homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """An RSVLM_HOME and a user data folder, both empty, behind the installation's own bundles."""
    monkeypatch.setenv("RSVLM_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(bundle_module.platformdirs, "user_data_dir", lambda *_, **__: str(tmp_path / "user"))
    return tmp_path / "home" / "models", tmp_path / "user" / "models"


def test_what_was_written_is_read(bundle: Bundle) -> None:
    read = read_bundle(bundle.path)
    assert read == bundle
    assert Manifest.from_json(read.manifest.to_json()) == read.manifest
    assert set(read.manifest.files) == {"vision.onnx", "decoder.onnx", "embedding.bin", "tokenizer.json"}


def test_unknown_keys_are_ignored(bundle_copy: Bundle) -> None:
    edit(bundle_copy, lambda data: data.update(colour="green"))
    assert read_bundle(bundle_copy.path).manifest == bundle_copy.manifest


def test_the_hash_of_the_manifest_changes_with_any_file(bundle_copy: Bundle) -> None:
    with (bundle_copy.path / "decoder.onnx").open("ab") as file:
        file.write(b"\0")
    assert write_manifest(bundle_copy.path, bundle_copy.manifest).sha256 != bundle_copy.sha256


def test_a_folder_without_manifest_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleNotFound, match=r"no rsvlm\.json"):
        read_bundle(tmp_path)


def test_a_newer_format_is_refused_with_both_numbers(bundle_copy: Bundle) -> None:
    with pytest.raises(BundleTooNew, match="format 3, this rsvlm reads up to 2"):
        read_bundle(edit(bundle_copy, lambda data: data.update(format=3)))


def test_a_model_read_at_its_cells_is_refused_in_the_format_that_fed_them_in_another_way(bundle_copy: Bundle) -> None:
    def age(data: dict, style: str) -> None:
        data.update(format=1)
        data["dialect"]["mask_style"] = style

    assert read_bundle(edit(bundle_copy, lambda data: age(data, "runs"))).manifest.format == 1
    with pytest.raises(BundleCorrupt, match="in format 1 cells were read in another way, wanted format 2"):
        read_bundle(edit(bundle_copy, lambda data: age(data, "cells")))


def test_a_missing_file_is_named(bundle_copy: Bundle) -> None:
    (bundle_copy.path / "vision.onnx").unlink()
    with pytest.raises(BundleCorrupt, match=r"vision\.onnx: missing, wanted \d+ bytes"):
        read_bundle(bundle_copy.path)


def test_a_wrong_size_is_named_with_both_figures(bundle_copy: Bundle) -> None:
    path = bundle_copy.path / "decoder.onnx"
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(BundleCorrupt, match=rf"decoder\.onnx: {size - 10} bytes, wanted {size}"):
        read_bundle(bundle_copy.path)


def test_a_changed_byte_in_a_small_file_is_found_on_opening(bundle_copy: Bundle) -> None:
    path = bundle_copy.path / "embedding.bin"
    path.write_bytes(b"\0" + path.read_bytes()[1:])
    with pytest.raises(BundleCorrupt, match=r"embedding\.bin: sha256 .* wanted"):
        read_bundle(bundle_copy.path)


def test_a_changed_byte_in_a_large_file_is_found_by_verify(
    bundle_copy: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle_module, "HASHED_ON_LOAD_BYTES", 1000)
    verify_bundle(bundle_copy)
    path = bundle_copy.path / "embedding.bin"
    path.write_bytes(b"\0" + path.read_bytes()[1:])
    opened = read_bundle(bundle_copy.path)
    with pytest.raises(BundleCorrupt, match=r"embedding\.bin: sha256"):
        verify_bundle(opened)


def test_the_tokenizer_is_hashed_on_opening_whatever_its_size(
    bundle_copy: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle_module, "HASHED_ON_LOAD_BYTES", 0)
    path = bundle_copy.path / "tokenizer.json"
    path.write_text(path.read_text().replace("harbour", "harvour"))
    with pytest.raises(BundleCorrupt, match=r"tokenizer\.json: sha256"):
        read_bundle(bundle_copy.path)


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "a/b", "..", "", "C:x", "a\\b"])
def test_a_file_name_that_leads_elsewhere_is_refused(bundle_copy: Bundle, name: str) -> None:
    folder = edit(bundle_copy, lambda data: data["files"].update({name: {"size": 1, "sha256": "0"}}))
    with pytest.raises(BundleCorrupt, match="not a plain name"):
        read_bundle(folder)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda data: data.pop("stop_tokens"), "'stop_tokens' is missing"),
        (lambda data: data.update(stop_tokens=[]), "stop_tokens is empty"),
        (lambda data: data["image"].update(resample="nearest"), "'nearest' is unknown, wanted bicubic"),
        (lambda data: data["image"].update(size=[16, 24]), "no square"),
        (lambda data: data["embedding"].update(shape=[3, 4]), "not \\[decoder.vocab, decoder.hidden\\]"),
        (lambda data: data["embedding"].update(scheme="float8"), "'float8' is unknown"),
        (lambda data: data["embedding"].update(scheme={"bits": 4, "block": 32}), "no scales_offset"),
        (lambda data: data["embedding"].update(file="other.bin"), "no entry for other.bin"),
        (lambda data: data["files"].pop("vision.onnx"), "no entry for vision.onnx"),
        (lambda data: data["dialect"].pop("image_token"), "'image_token' is missing"),
        (lambda data: data.update(format="one"), "malformed"),
        (lambda data: data.update(image=[]), "malformed"),
        (lambda data: data["decoder"].pop("layers"), "malformed.*layers"),
    ],
)
def test_a_malformed_manifest_says_what_is_wrong(
    bundle_copy: Bundle, change: Callable[[dict[str, Any]], object], says: str
) -> None:
    with pytest.raises(BundleCorrupt, match=says):
        read_bundle(edit(bundle_copy, change))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", b"\xff\xfe".decode("latin-1")])
def test_a_manifest_that_is_no_manifest_is_refused(bundle_copy: Bundle, text: str) -> None:
    (bundle_copy.path / MANIFEST).write_text(text, encoding="latin-1")
    with pytest.raises(BundleCorrupt):
        read_bundle(bundle_copy.path)


def test_bundles_are_found_by_name_the_first_home_winning(homes: tuple[Path, Path]) -> None:
    first, second = homes
    make_bundle(second / "port-model")
    assert find_bundle("port-model") == second / "port-model"
    make_bundle(first / "port-model")
    assert find_bundle("port-model") == first / "port-model"
    assert list_bundles()["port-model"] == first / "port-model"


def test_a_bundle_is_found_by_its_path(homes: tuple[Path, Path], bundle: Bundle) -> None:
    assert find_bundle(bundle.path) == bundle.path


def test_an_unknown_name_lists_what_there_is_and_the_way_out(homes: tuple[Path, Path]) -> None:
    make_bundle(homes[0] / "port-model")
    with pytest.raises(BundleNotFound, match=r"nono: .*port-model.*rsvlm models import") as error:
        find_bundle("nono")
    assert "\n" not in str(error.value)
