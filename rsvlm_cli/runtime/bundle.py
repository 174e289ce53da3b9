"""The bundle: a folder that describes itself (docs/bundle-format.md), read, checked and written.

Opening a bundle checks the manifest, that every file is there with its size, and the hash of the tokenizer and of files
up to 1 MiB: that finds a half-finished copy, a mixed-up folder, an edited file. It does not hash gigabytes of weights
at every start (at 1.5 GB/s): bit rot in a large file is found by `verify_bundle` (``rsvlm models verify``), which does.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import platformdirs

import rsvlm_cli
from rsvlm_cli.errors import BundleCorrupt, BundleNotFound, BundleTooNew
from rsvlm_cli.runtime.int4 import BlockScheme

FORMAT = 2
MANIFEST = "rsvlm.json"
VISION, DECODER, TOKENIZER = "vision.onnx", "decoder.onnx", "tokenizer.json"
HASHED_ON_LOAD_BYTES = 1 << 20

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSpec:
    """How a picture becomes the vision graph's input.

    Attributes:
        size: width and height in pixels; a square.
        mean, std: of each channel, for values in [0, 1].
        tokens: vectors that an image becomes, the newline vector included.
        resample, tta: the filter, Pillow's; in how many symmetries a picture is best looked at, 1 to 8.
    """

    size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    tokens: int
    resample: str = "bicubic"
    tta: int = 1

    def __post_init__(self) -> None:
        """Refuse what the preprocessing does not know.

        Raises:
            ValueError: if the filter or the shape is unknown.
        """
        if self.resample != "bicubic":
            raise ValueError(f"image.resample {self.resample!r} is unknown, wanted bicubic")
        if len(self.size) != 2 or self.size[0] != self.size[1] or self.size[0] < 1:
            raise ValueError(f"image.size {list(self.size)} is no square")
        scaled = len(self.mean) == len(self.std) == 3 and min(self.std) > 0
        if not (scaled and self.tokens >= 1 and 1 <= self.tta <= 8):
            raise ValueError("image wants three means, three positive deviations, a token and a tta of 1 to 8")


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderSpec:
    """Sizes of the decoder graph."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    experts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingSpec:
    """Where the token embedding ``(vocab, hidden)`` lies; offsets in bytes from the start of the file.

    Attributes:
        file: a file of the bundle.
        offset: of the values, or of the packed integers.
        scheme: ``float32``, ``float16``, or the block scheme of `rsvlm_cli.runtime.int4`.
        scales_offset: of the float32 scales (block schemes).
        zero_points_offset: of the zero points, or None where the scheme is symmetric.
        tied: whether the output head reads the same bytes.
    """

    file: str
    offset: int
    scheme: str | BlockScheme
    scales_offset: int | None = None
    zero_points_offset: int | None = None
    tied: bool = False

    def __post_init__(self) -> None:
        """Refuse what the reader does not know.

        Raises:
            ValueError: if the scheme is unknown or block-quantised without scales.
        """
        if isinstance(self.scheme, str) and self.scheme not in ("float32", "float16"):
            raise ValueError(f"embedding.scheme {self.scheme!r} is unknown")
        if isinstance(self.scheme, BlockScheme) and self.scales_offset is None:
            raise ValueError("embedding.scheme has no scales_offset")


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeSpec:
    """Graphs that the native operators serve, over the weights of the graphs that they stand in for.

    Attributes:
        graphs: stock graph -> native graph, files of the bundle.
        ops: operator domain -> version that the native graphs need.
    """

    graphs: Mapping[str, str]
    ops: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """What the manifest says of one file."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """``rsvlm.json``; docs/bundle-format.md says what each key means. What is raw JSON here is read by the tasks."""

    name: str
    family: str
    version: str
    licence: str
    image: ImageSpec
    decoder: DecoderSpec
    embedding: EmbeddingSpec
    dialect: Mapping[str, Any]
    stop_tokens: tuple[str, ...]
    max_context: int
    repetition_penalty: float = 1.0
    data: tuple[Mapping[str, Any], ...] = ()
    languages: tuple[str, ...] = ("en",)
    quantisation: Mapping[str, Any] = field(default_factory=dict)
    ops: Mapping[str, int] = field(default_factory=dict)
    native: NativeSpec | None = None
    classes: Mapping[str, Any] | None = None
    heads: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    quality: Mapping[str, Any] | None = None
    expert_names: tuple[str, ...] | None = None
    experts_kept: tuple[int, ...] | None = None
    files: Mapping[str, FileEntry] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def image_token(self) -> str:
        """Placeholder of one image in a prompt."""
        return str(self.dialect["image_token"])

    def to_json(self) -> dict[str, Any]:
        """Return the manifest form, without the keys that are None."""
        data = {key: value for key, value in asdict(self).items() if value is not None}
        vocab, hidden = self.decoder.vocab, self.decoder.hidden
        embedding = {key: value for key, value in data["embedding"].items() if value is not None}
        if isinstance(self.embedding.scheme, BlockScheme):
            offsets = {key: embedding.pop(key) for key in ("scales_offset", "zero_points_offset") if key in embedding}
            embedding["scheme"] = {**embedding["scheme"], **offsets}
        return data | {"embedding": embedding | {"shape": [vocab, hidden]}}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Manifest":
        """Read the manifest form; the inverse of `to_json`. Keys that this version does not know are ignored.

        Raises:
            KeyError, TypeError, ValueError: if a key is missing or its value cannot be read.
        """
        decoder = _build(DecoderSpec, data["decoder"])
        embedding = dict(data["embedding"])
        if list(embedding["shape"]) != [decoder.vocab, decoder.hidden]:
            raise ValueError(f"embedding.shape {embedding['shape']} is not [decoder.vocab, decoder.hidden]")
        if isinstance(embedding["scheme"], Mapping):
            scheme = embedding["scheme"]
            embedding |= {key: scheme.get(key) for key in ("scales_offset", "zero_points_offset")}
            embedding["scheme"] = _build(BlockScheme, scheme)
        if not data["stop_tokens"]:
            raise ValueError("stop_tokens is empty")
        native = data.get("native")
        str(data["dialect"]["image_token"])
        values = dict(data) | {
            "decoder": decoder,
            "embedding": _build(EmbeddingSpec, embedding),
            "image": _build(ImageSpec, data["image"]),
            "native": native and NativeSpec(**{key: dict(native[key]) for key in ("graphs", "ops")}),
            "heads": {kind: tuple(words) for kind, words in data.get("heads", {}).items()},
            "files": {_plain_name(name): _build(FileEntry, entry) for name, entry in data["files"].items()},
        }
        return _build(cls, values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """An opened bundle.

    Attributes:
        path: the folder.
        manifest: what it says of itself.
        sha256: of the manifest's bytes, and so, through the hashes within, of the whole bundle.
    """

    path: Path
    manifest: Manifest
    sha256: str


def read_bundle(path: Path) -> Bundle:
    """Open a bundle folder and check it as far as the head of this module says.

    Raises:
        BundleNotFound: if the folder holds no manifest.
        BundleTooNew: if its format is newer than `FORMAT`.
        BundleCorrupt: if the manifest is malformed, or a file is missing or not the one it names.
    """
    manifest_path = path / MANIFEST
    if not manifest_path.is_file():
        raise BundleNotFound(f"{path}: no {MANIFEST} in it, so no model bundle (rsvlm models list shows which are)")
    text = manifest_path.read_bytes()
    try:
        data = json.loads(text)
        if int(data["format"]) > FORMAT:
            reads = f"this rsvlm reads up to {FORMAT} (update it)"
            raise BundleTooNew(f"{manifest_path}: bundle format {data['format']}, {reads}")
        if int(data["format"]) < 2 and data["dialect"].get("mask_style") == "cells":
            raise ValueError(f"in format {data['format']} cells were read in another way, wanted format {FORMAT}")
        manifest = Manifest.from_json(data)
    except KeyError as error:
        raise BundleCorrupt(f"{manifest_path}: key {error} is missing (import or install the model again)") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise BundleCorrupt(f"{manifest_path}: malformed: {error} (import or install the model again)") from error
    stand_ins = manifest.native.graphs.values() if manifest.native else ()
    for name in (VISION, DECODER, TOKENIZER, manifest.embedding.file, *stand_ins):
        if name not in manifest.files:
            raise BundleCorrupt(f"{manifest_path}: no entry for {name} under files (import or install the model again)")
    bundle = Bundle(path=path, manifest=manifest, sha256=hashlib.sha256(text).hexdigest())
    _check_files(bundle, HASHED_ON_LOAD_BYTES)
    return bundle


def verify_bundle(bundle: Bundle) -> None:
    """Hash every file of a bundle.

    Raises:
        BundleCorrupt: for the first file that is not the one the manifest names.
    """
    _check_files(bundle, None)


def write_manifest(folder: Path, manifest: Manifest) -> Bundle:
    """Write ``rsvlm.json`` for the files that lie in a folder, sizes and hashes taken from them.

    Args:
        folder: holds the graphs, their weights and the tokenizer, and nothing else but hidden files.
        manifest: ``files`` is replaced.

    Returns:
        The bundle, read back and checked.
    """
    visible = (path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    paths = sorted(path for path in visible if path.name != MANIFEST)
    files = {_plain_name(path.name): FileEntry(size=path.stat().st_size, sha256=_sha256(path)) for path in paths}
    text = json.dumps(replace(manifest, files=files).to_json(), ensure_ascii=False, indent=2) + "\n"
    beside = folder / f".{MANIFEST}.part"
    beside.write_text(text, encoding="utf-8")
    beside.replace(folder / MANIFEST)
    return read_bundle(folder)


def bundle_homes() -> tuple[Path, ...]:
    """Return the folders where bundles are looked for by name, the first match winning."""
    home = os.environ.get("RSVLM_HOME")
    return (
        Path(rsvlm_cli.__file__).parent / "bundles",
        *((Path(home).expanduser() / "models",) if home else ()),
        Path(platformdirs.user_data_dir("rsvlm", appauthor=False)) / "models",
    )


def list_bundles() -> dict[str, Path]:
    """Return name -> folder of every bundle in `bundle_homes`; folders are not opened."""
    found: dict[str, Path] = {}
    for home in bundle_homes():
        for manifest in sorted(home.glob(f"*/{MANIFEST}")):
            found.setdefault(manifest.parent.name, manifest.parent)
    return found


def find_bundle(name_or_path: str | Path) -> Path:
    """Return the folder of a bundle, by its name in `bundle_homes` or else by its path.

    Raises:
        BundleNotFound: with the names there are.
    """
    bundles = list_bundles()
    if str(name_or_path) in bundles:
        return bundles[str(name_or_path)]
    path = Path(name_or_path).expanduser()
    if (path / MANIFEST).is_file():
        return path
    names = ", ".join(bundles) or "none"
    raise BundleNotFound(
        f"{name_or_path}: no model of that name or path; installed: {names} (rsvlm models import DIR adds one)"
    )


def _build(cls: type[T], data: Mapping[str, Any]) -> T:
    """Make a dataclass of the keys it knows, lists as tuples (JSON has none)."""
    known = {f.name for f in fields(cls)}  # type: ignore[arg-type]
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items() if key in known}
    return cls(**values)


def _plain_name(name: str) -> str:
    """Return a file name that names a file of the bundle's own folder.

    Raises:
        ValueError: if it leads elsewhere.
    """
    if not name or name in (".", "..") or any(char in name for char in "/\\:\0"):
        raise ValueError(f"file name {name!r} is not a plain name")
    return name


def _check_files(bundle: Bundle, hash_up_to: int | None) -> None:
    for name, entry in bundle.manifest.files.items():
        path, way_out = bundle.path / name, "(import or install the model again)"
        if not path.is_file():
            raise BundleCorrupt(f"{path}: missing, wanted {entry.size} bytes {way_out}")
        size = path.stat().st_size
        if size != entry.size:
            raise BundleCorrupt(f"{path}: {size} bytes, wanted {entry.size} {way_out}")
        if hash_up_to is None or size <= hash_up_to or name == TOKENIZER:
            sha256 = _sha256(path)
            if sha256 != entry.sha256:
                raise BundleCorrupt(f"{path}: sha256 {sha256[:12]}..., wanted {entry.sha256[:12]}... {way_out}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
