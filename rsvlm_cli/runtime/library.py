"""The user's own models: where they are kept, the one file of a model to carry, and what was agreed to.

A bundle file is a ZIP of stored members, the manifest first, so that any tool can look inside. Its comment, the last 64
bytes of the file, is the SHA-256 of the file with zeros in their place: no byte of it can change unseen. The same
bundle always makes the same file.
"""

import hashlib
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from rsvlm_cli.errors import BundleCorrupt, BundleError, BundleNotFound, OutputExists
from rsvlm_cli.runtime.bundle import MANIFEST, Bundle, Manifest, bundle_homes, read_bundle, verify_bundle

SUFFIX = ".rsvlm"
ACCEPTED = ".accepted.json"
"""Hidden, so that it is none of the files that a manifest written anew would name."""
SEAL_BYTES = 64
NO_SEAL = b"0" * SEAL_BYTES
EPOCH = (1980, 1, 1, 0, 0, 0)
"""Date of every member: the same bundle makes the same file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """What the user agreed to when a model was imported.

    Attributes:
        licence, data: as the manifest said them.
        how: ``--accept-licence`` or ``terminal``.
        at: UTC, ISO 8601.
        manifest_sha256: of the model as it was then.
    """

    licence: str
    data: tuple[Mapping[str, Any], ...]
    how: str
    at: str
    manifest_sha256: str


def models_home() -> Path:
    """Return the folder that imported models are kept in: ``$RSVLM_HOME/models``, or the user's data folder."""
    return bundle_homes()[1]


def installed_folder(name: str, *, overwrite: bool) -> Path:
    """Return where a model of this name is to be kept.

    Raises:
        BundleError: if the name is no plain name.
        OutputExists: if it is taken, by the installation itself or, without ``overwrite``, by another model.
    """
    if not name or name.startswith(".") or any(char in name for char in '/\\:*?"<>|\0') or name != name.strip():
        raise BundleError(f"name {name!r} is no plain name (give another with --name)")
    if (bundle_homes()[0] / name).exists():
        raise OutputExists(f"{name}: the installation's own model has this name (give another with --name)")
    folder = models_home() / name
    if folder.exists() and not overwrite:
        raise OutputExists(f"{name}: is installed in {folder} (--overwrite replaces it, --name NAME keeps both)")
    return folder


@contextmanager
def replaced_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder that takes a bundle's place when the block ends well, whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as workspace:
        new = Path(workspace) / "new"
        new.mkdir()
        yield new
        if folder.exists():
            folder.rename(Path(workspace) / "old")
        new.rename(folder)


def install_bundle(bundle: Bundle, folder: Path) -> Bundle:
    """Copy a bundle folder and compare every hash of the copy.

    Raises:
        BundleCorrupt: if a file is not the one that the manifest names.
    """
    with replaced_folder(folder) as new:
        for name in (MANIFEST, *bundle.manifest.files):
            shutil.copyfile(bundle.path / name, new / name)
        verify_bundle(read_bundle(new))
    return read_bundle(folder)


def write_bundle_file(bundle: Bundle, out: Path, *, overwrite: bool) -> str:
    """Write a bundle as one file, each hash compared on the way, and return the file's seal.

    Raises:
        OutputExists: if the target exists and may not be replaced.
        BundleCorrupt: if a file is not the one that the manifest names.
    """
    if out.exists() and not overwrite:
        raise OutputExists(f"{out}: exists already (replace it with --overwrite, or name another file)")
    verify_bundle(bundle)
    part = out.with_name(f".{out.name}.part")
    try:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            archive.comment = NO_SEAL
            for name in (MANIFEST, *bundle.manifest.files):
                with (bundle.path / name).open("rb") as source, archive.open(_member(bundle, name), "w") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
        with part.open("r+b") as file:
            seal = _seal(file)
            file.seek(-SEAL_BYTES, os.SEEK_END)
            file.write(seal)
            os.fsync(file.fileno())
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    return seal.decode()


def _member(bundle: Bundle, name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, EPOCH)
    info.external_attr = 0o644 << 16
    # Known before writing, so that a member of 4 GiB gets the wide header that it needs.
    info.file_size = (bundle.path / name).stat().st_size
    return info


def _seal(file: BinaryIO) -> bytes:
    """Return the SHA-256, in hexadecimal, of a bundle file with zeros for its last 64 bytes."""
    digest, left = hashlib.sha256(), os.fstat(file.fileno()).st_size - SEAL_BYTES
    file.seek(0)
    while left > 0 and (chunk := file.read(min(left, 1 << 20))):
        digest.update(chunk)
        left -= len(chunk)
    digest.update(NO_SEAL)
    return digest.hexdigest().encode()


def read_bundle_file(path: Path) -> Manifest:
    """Check a bundle file's seal and return its manifest.

    Raises:
        BundleCorrupt: if it is no bundle file, or any byte of it differs from what was written.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size <= SEAL_BYTES:
            raise BundleCorrupt(f"{path}: {size} bytes, no bundle file (rsvlm models bundle writes one)")
        seal = _seal(file)
        file.seek(-SEAL_BYTES, os.SEEK_END)
        written = file.read()
    if seal != written:
        what = "altered or cut short" if zipfile.is_zipfile(path) else "no bundle file, or altered"
        raise BundleCorrupt(f"{path}: {what}: its sha256 is not the one it ends with (copy it again)")
    try:
        with zipfile.ZipFile(path) as archive:
            manifest = Manifest.from_json(json.loads(archive.read(MANIFEST)))
            found = {info.filename: info.file_size for info in archive.infolist()}
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError, AttributeError) as error:
        raise BundleCorrupt(f"{path}: no bundle file: {error} (rsvlm models bundle writes one)") from error
    wanted = {name: entry.size for name, entry in manifest.files.items()}
    if {name: size for name, size in found.items() if name != MANIFEST} != wanted:
        raise BundleCorrupt(f"{path}: holds other files than its manifest names (bundle it again)")
    return manifest


def install_bundle_file(path: Path, folder: Path) -> Bundle:
    """Unpack a bundle file whose manifest was read, and compare every hash of what was unpacked.

    Raises:
        BundleCorrupt: if a file is not the one that the manifest names.
    """
    with replaced_folder(folder) as new, zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            # The names are the manifest's, and those are plain.
            with archive.open(info) as source, (new / info.filename).open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
        verify_bundle(read_bundle(new))
    return read_bundle(folder)


def remove_bundle(name: str) -> Path:
    """Delete an imported model and return where it lay.

    Raises:
        BundleError: if it belongs to the installation.
        BundleNotFound: if there is none of that name.
    """
    own, *homes = bundle_homes()
    for home in homes:
        folder = home / name
        if name and folder.parent == home and (folder / MANIFEST).is_file():
            # Out of sight first: what is interrupted is gone as a model, and not half a model.
            with tempfile.TemporaryDirectory(dir=home, prefix=".removed.") as workspace:
                folder.rename(Path(workspace) / "old")
            return folder
    if (own / name / MANIFEST).is_file():
        raise BundleError(f"{name}: belongs to the installation and is not removed (pip uninstall rsvlm removes all)")
    raise BundleNotFound(f"{name}: no imported model of that name (rsvlm models list shows those there are)")


def record_acceptance(bundle: Bundle, how: str) -> Acceptance:
    """Write down, beside a model, what the user agreed to."""
    accepted = Acceptance(
        licence=bundle.manifest.licence,
        data=bundle.manifest.data,
        how=how,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        manifest_sha256=bundle.sha256,
    )
    text = json.dumps(asdict(accepted), ensure_ascii=False, indent=2) + "\n"
    (bundle.path / ACCEPTED).write_text(text, encoding="utf-8")
    return accepted


def read_acceptance(bundle: Bundle) -> dict[str, Any] | None:
    """Return what was agreed to, or None where nothing was, or a model has other terms now."""
    path = bundle.path / ACCEPTED
    try:
        accepted: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    terms = {"licence": bundle.manifest.licence, "data": list(bundle.manifest.data)}
    return accepted if isinstance(accepted, dict) and terms.items() <= accepted.items() else None
