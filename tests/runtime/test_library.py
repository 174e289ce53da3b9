import json
import zipfile
from dataclasses import replace

import pytest

from rsvlm_cli.errors import BundleCorrupt, BundleError, BundleNotFound, OutputExists
from rsvlm_cli.runtime import bundle as bundle_module
from rsvlm_cli.runtime.bundle import read_bundle, write_manifest
from rsvlm_cli.runtime.library import (
    install_bundle,
    install_bundle_file,
    installed_folder,
    models_home,
    read_acceptance,
    read_bundle_file,
    record_acceptance,
    remove_bundle,
    write_bundle_file,
)
from tests.bundle_factory import make_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("RSVLM_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "models"


@pytest.fixture
def file(tmp_path, bundle):
    path = tmp_path / "tiny.rsvlm"
    write_bundle_file(bundle, path, overwrite=False)
    return path


def test_a_bundle_comes_back_from_one_file_byte_by_byte(bundle, file, home):
    assert read_bundle_file(file) == bundle.manifest
    again = install_bundle_file(file, installed_folder("tiny", overwrite=False))
    assert (again.path, again.sha256) == (home / "tiny", bundle.sha256)
    for name in bundle.manifest.files:
        assert (again.path / name).read_bytes() == (bundle.path / name).read_bytes()
    assert [path.name for path in home.iterdir()] == ["tiny"]


def test_the_same_bundle_makes_the_same_file_and_any_tool_can_open_it(tmp_path, bundle, file):
    write_bundle_file(bundle, tmp_path / "again.rsvlm", overwrite=False)
    assert (tmp_path / "again.rsvlm").read_bytes() == file.read_bytes()
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        assert archive.namelist()[0] == "rsvlm.json"
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}


def test_no_single_byte_can_change_unseen(tmp_path, file):
    whole = file.read_bytes()
    altered = tmp_path / "altered.rsvlm"
    # Heads, names and dates of members, contents, the directory at the end, the seal: wherever it is.
    places = [0, 3, 11, 14, 31, len(whole) // 2, *(len(whole) - n for n in (1, 64, 65, 70, 86, 120, 400))]
    for place in places:
        content = bytearray(whole)
        content[place] ^= 1
        altered.write_bytes(content)
        with pytest.raises(BundleCorrupt, match=r"altered\.rsvlm"):
            read_bundle_file(altered)
    for end in (0, 10, 70, len(whole) // 3, len(whole) - 1):
        altered.write_bytes(whole[:end])
        with pytest.raises(BundleCorrupt, match=r"altered\.rsvlm"):
            read_bundle_file(altered)


def seal_again(path):
    """Make a foreign ZIP look like one of ours."""
    import hashlib

    content = path.read_bytes()
    path.write_bytes(content[:-64] + hashlib.sha256(content[:-64] + b"0" * 64).hexdigest().encode())


@pytest.mark.parametrize("fault", ["outside", "too many", "no manifest", "other content"])
def test_a_sealed_file_of_someone_else_leads_nowhere_else(tmp_path, bundle, home, fault):
    path = tmp_path / "foreign.rsvlm"
    data = json.loads((bundle.path / "rsvlm.json").read_text())
    if fault == "outside":
        data["files"]["../outside.bin"] = {"size": 3, "sha256": "0" * 64}
    with zipfile.ZipFile(path, "w") as archive:
        archive.comment = b"0" * 64
        if fault != "no manifest":
            archive.writestr("rsvlm.json", json.dumps(data))
        for name in bundle.manifest.files:
            content = (bundle.path / name).read_bytes()
            archive.writestr(name, content[::-1] if fault == "other content" else content)
        if fault in ("outside", "too many"):
            archive.writestr("../outside.bin", "abc")
    seal_again(path)
    if fault == "other content":
        read_bundle_file(path)
    with pytest.raises(BundleCorrupt):
        (install_bundle_file(path, home / "foreign") if fault == "other content" else read_bundle_file(path))
    assert not list(tmp_path.rglob("outside.bin"))
    assert not home.exists() or not list(home.iterdir())


def test_a_broken_bundle_is_not_put_into_a_file(tmp_path):
    broken = make_bundle(tmp_path / "broken")
    weights = broken.path / "embedding.bin"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x00")
    with pytest.raises(BundleCorrupt, match="embedding"):
        write_bundle_file(broken, tmp_path / "broken.rsvlm", overwrite=False)
    assert not list(tmp_path.glob("*.rsvlm*"))
    with pytest.raises(BundleCorrupt, match="embedding"):
        install_bundle(broken, models_home() / "broken")
    assert not list(models_home().iterdir())


def test_a_file_is_replaced_only_when_asked(bundle, file):
    with pytest.raises(OutputExists, match="--overwrite"):
        write_bundle_file(bundle, file, overwrite=False)
    file.write_bytes(b"old")
    write_bundle_file(bundle, file, overwrite=True)
    assert read_bundle_file(file) == bundle.manifest


def test_a_name_is_plain_and_taken_once(bundle, home, tmp_path, monkeypatch):
    for name in ("", ".hidden", "a/b", "..", "c:d", " x"):
        with pytest.raises(BundleError, match="plain name"):
            installed_folder(name, overwrite=True)
    install_bundle(bundle, installed_folder("tiny", overwrite=False))
    with pytest.raises(OutputExists, match="--overwrite"):
        installed_folder("tiny", overwrite=False)
    install_bundle(bundle, installed_folder("tiny", overwrite=True))
    with pytest.raises(OutputExists, match="installation's own"):
        installed_folder("nano", overwrite=True)
    monkeypatch.delenv("RSVLM_HOME")
    monkeypatch.setattr(bundle_module.platformdirs, "user_data_dir", lambda *_, **__: str(tmp_path / "data"))
    assert installed_folder("tiny", overwrite=False) == tmp_path / "data" / "models" / "tiny"


def test_what_was_accepted_is_kept_beside_the_model_it_was_said_of(bundle, home):
    installed = install_bundle(bundle, home / "tiny")
    assert read_acceptance(installed) is None
    record_acceptance(installed, "--accept-licence")
    accepted = read_acceptance(read_bundle(installed.path))
    assert (accepted["licence"], accepted["how"]) == ("CC0-1.0", "--accept-licence")
    scored = write_manifest(installed.path, replace(installed.manifest, quality={"not_learnt": []}))
    assert read_acceptance(scored) == accepted
    assert ".accepted.json" not in scored.manifest.files
    other = write_manifest(installed.path, replace(scored.manifest, licence="research alone"))
    assert read_acceptance(other) is None


def test_an_imported_model_is_removed_and_the_installations_own_is_not(bundle, home):
    install_bundle(bundle, home / "tiny")
    assert remove_bundle("tiny") == home / "tiny"
    assert not list(home.iterdir())
    with pytest.raises(BundleNotFound):
        remove_bundle("tiny")
    with pytest.raises(BundleNotFound):
        remove_bundle(f"../../{bundle.path.name}")
    with pytest.raises(BundleError, match="belongs to the installation"):
        remove_bundle("nano")
