"""A checkpoint to a bundle folder: both graphs, their weights, the tokenizer, the manifest.

Beside ``config.json`` and ``model.safetensors`` a checkpoint of ours holds ``tokenizer.json``, ``dialect.json``
(`Dialect.to_json`) and ``card.json`` (the fields of `Card`). Of a released RSUniVLM checkpoint only ``tokenizer.json``
is read; its dialect and its card are known.
"""

import json
import logging
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from export.builder import ExternalData, GraphBuilder
from export.checkpoint import Checkpoint, open_checkpoint
from export.dispatch import to_native
from export.graph import DecoderLayout, write_decoder, write_vision
from export.layers import LayerWriter
from export.quantise import ErrorLog, Profile, TensorError
from rsvlm_cli.errors import BundleError, OutputExists
from rsvlm_cli.runtime.bundle import (
    DECODER,
    MANIFEST,
    TOKENIZER,
    VISION,
    Bundle,
    DecoderSpec,
    ImageSpec,
    Manifest,
    NativeSpec,
    read_bundle,
    write_manifest,
)
from rsvlm_cli.runtime.dispatch import DOMAIN, VERSION
from rsvlm_cli.runtime.int4 import BlockScheme
from rsvlm_cli.runtime.native.build import CompileError
from rsvlm_cli.runtime.ops import build_native
from rsvlm_cli.tasks.dialect import RSUNIVLM, Dialect

CARD, DIALECT = "card.json", "dialect.json"
VISION_WEIGHTS, DECODER_WEIGHTS = "vision.bin", "decoder.bin"
NATIVE = {VISION: "vision.native.onnx", DECODER: "decoder.native.onnx"}

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What a manifest says that neither weights nor configuration hold; docs/bundle-format.md explains each key.

    Attributes:
        name, family, version, licence: of the weights.
        stop_tokens: texts of the tokens that end a reply.
        data: the training sets and their terms.
        languages: of prompts and replies.
        mean, std: of the picture's channels, for values in [0, 1].
        max_context: tokens of prompt and reply together.
        repetition_penalty: 1 for none.
        classes: what the model was taught.
    """

    name: str
    family: str
    version: str
    licence: str
    stop_tokens: tuple[str, ...]
    data: tuple[Mapping[str, Any], ...] = ()
    languages: tuple[str, ...] = ("en",)
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    max_context: int = 4096
    repetition_penalty: float = 1.0
    classes: Mapping[str, Any] | None = None

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Card":
        """Read the form of ``card.json``.

        Raises:
            TypeError: if a key is missing or unknown.
        """
        values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in data.items()}
        return cls(**values)


RELEASED_CARD = Card(
    name="rsunivlm-1b",
    family="rsunivlm",
    version="2024-12",
    licence="Apache-2.0",
    stop_tokens=("<|im_end|>", "<|endoftext|>"),
    data=({"name": "RSUniVLM instruction data", "licence": "of each source set", "terms": "see arXiv:2412.05679"},),
    max_context=8192,
    repetition_penalty=1.1,
)
"""Of the released RSUniVLM weights. Source: their model card; the penalty is what their demo decodes with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A written bundle and what quantisation cost each tensor."""

    bundle: Bundle
    errors: tuple[TensorError, ...]


def write_bundle(checkpoint_folder: Path, out: Path, profile: Profile, *, overwrite: bool = False) -> Packed:
    """Turn a checkpoint into a bundle folder, which appears whole or not at all.

    Args:
        checkpoint_folder: in our layout or the released RSUniVLM layout.
        out: the folder to make.
        profile: how weights are stored.
        overwrite: whether a bundle that lies there may be replaced.

    Raises:
        OutputExists: if ``out`` exists and may not be overwritten, or is no bundle.
        BundleError: if the checkpoint cannot be used.
    """
    _check_target(out, overwrite)
    checkpoint = open_checkpoint(checkpoint_folder)
    card, dialect = read_card(checkpoint), _read_dialect(checkpoint)
    _check_tokenizer(checkpoint, card)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as workspace:
        folder = Path(workspace) / "new"
        folder.mkdir()
        layout, log = write_graphs(checkpoint, folder, profile, card.max_context)
        shutil.copyfile(checkpoint.folder / TOKENIZER, folder / TOKENIZER)
        write_manifest(folder, build_manifest(checkpoint, card, dialect, profile, layout))
        if out.exists():
            out.rename(Path(workspace) / "old")
        folder.rename(out)
    if find_native(profile):
        _offer_operators()
    logger.info("wrote %s, %.1f MB", out, sum(path.stat().st_size for path in out.iterdir()) / 1e6)
    return Packed(bundle=read_bundle(out), errors=tuple(log.errors))


def _offer_operators() -> None:
    """Compile the native operators where they are missing: a model has just been made that runs faster with them."""
    try:
        build_native()
    except CompileError as error:
        logger.warning("this model runs on stock operators, without the faster native ones: %s", error)


def write_graphs(
    checkpoint: Checkpoint, folder: Path, profile: Profile, max_context: int
) -> tuple[DecoderLayout, ErrorLog]:
    """Write both graphs and their weights into a folder."""
    log = ErrorLog()
    with (folder / VISION_WEIGHTS).open("wb") as file:
        graph = GraphBuilder("vision", ExternalData(file, VISION_WEIGHTS))
        write_vision(LayerWriter(graph, checkpoint, log), profile.vision)
        _save(graph, folder, VISION, profile)
    with (folder / DECODER_WEIGHTS).open("wb") as file:
        graph = GraphBuilder("decoder", ExternalData(file, DECODER_WEIGHTS))
        layout = write_decoder(LayerWriter(graph, checkpoint, log), profile, max_context)
        _save(graph, folder, DECODER, profile)
    return layout, log


def _save(graph: GraphBuilder, folder: Path, name: str, profile: Profile) -> None:
    """Write a graph, and its native stand-in where the profile has one."""
    graph.save(folder / name)
    native = find_native(profile)
    if native and name in native.graphs:
        graph.save(folder / native.graphs[name], to_native(graph.nodes, graph.outputs), native.ops)


def find_native(profile: Profile) -> NativeSpec | None:
    """Return which graphs of a profile have a native stand-in: those with weights in blocks."""
    in_blocks = {DECODER: profile.experts, VISION: profile.vision}
    graphs = {name: NATIVE[name] for name, scheme in in_blocks.items() if isinstance(scheme, BlockScheme)}
    return NativeSpec(graphs=graphs, ops={DOMAIN: VERSION}) if graphs else None


def read_card(checkpoint: Checkpoint) -> Card:
    """Read a checkpoint's card.

    Raises:
        BundleError: if it is missing or malformed.
    """
    if checkpoint.released:
        return RELEASED_CARD
    try:
        return Card.from_json(_read_json(checkpoint.folder / CARD))
    except TypeError as error:
        raise BundleError(f"{checkpoint.folder / CARD}: {error} (export.pack.Card names the keys)") from error


def _read_dialect(checkpoint: Checkpoint) -> Dialect:
    if checkpoint.released:
        return RSUNIVLM
    path = checkpoint.folder / DIALECT
    try:
        return Dialect.from_json(_read_json(path))
    except (TypeError, KeyError, ValueError) as error:
        raise BundleError(f"{path}: not a dialect: {error} (wanted Dialect.to_json's form)") from error


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise BundleError(f"{path.parent}: no {path.name} in it, wanted beside the checkpoint's weights")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BundleError(f"{path}: no JSON: {error}") from error


def _check_tokenizer(checkpoint: Checkpoint, card: Card) -> None:
    """Refuse a tokenizer that is missing, that knows more tokens than the model, or that has no stop token."""
    path = checkpoint.folder / TOKENIZER
    _read_json(path)  # of a broken file the library says only `Exception`
    tokenizer = Tokenizer.from_file(str(path))
    highest, vocab = max(tokenizer.get_vocab().values()), checkpoint.config.decoder.vocab_size
    if highest >= vocab:
        raise BundleError(
            f"{path}: token ids up to {highest}, the model has {vocab} (wanted the model's own tokenizer)"
        )
    for token in card.stop_tokens:
        if tokenizer.token_to_id(token) is None:
            raise BundleError(f"{path}: stop token {token!r} is not in it (wanted the model's own tokenizer)")


def _check_target(out: Path, overwrite: bool) -> None:
    if not out.exists():
        return
    if not overwrite:
        raise OutputExists(f"{out}: exists (--overwrite replaces it)")
    if not (out / MANIFEST).is_file():
        raise OutputExists(f"{out}: exists and is no bundle, so it is not replaced (name another folder)")


def build_manifest(
    checkpoint: Checkpoint, card: Card, dialect: Dialect, profile: Profile, layout: DecoderLayout
) -> Manifest:
    """Return the manifest of written graphs, without its files."""
    vision, decoder = checkpoint.config.vision, checkpoint.config.decoder
    return Manifest(
        name=card.name,
        family=card.family,
        version=card.version,
        licence=card.licence,
        data=card.data,
        languages=card.languages,
        image=ImageSpec(
            size=(vision.image_size, vision.image_size),
            mean=card.mean,
            std=card.std,
            tokens=checkpoint.config.image_tokens,
        ),
        dialect=dialect.to_json(),
        stop_tokens=card.stop_tokens,
        repetition_penalty=card.repetition_penalty,
        max_context=card.max_context,
        decoder=DecoderSpec(
            layers=decoder.layers,
            hidden=decoder.hidden_size,
            heads=decoder.heads,
            kv_heads=decoder.kv_heads,
            head_dim=layout.head_dim,
            vocab=decoder.vocab_size,
            experts=decoder.experts,
        ),
        embedding=layout.embedding,
        quantisation=describe_profile(profile),
        native=find_native(profile),
        classes=card.classes,
    )


def describe_profile(profile: Profile) -> dict[str, Any]:
    """Return the manifest's ``quantisation``."""

    def describe(scheme: BlockScheme | str | None) -> str:
        return f"int{scheme.bits} b{scheme.block}" if isinstance(scheme, BlockScheme) else scheme or "fp32"

    widths = {"bits": profile.experts.bits, "block": profile.experts.block} if profile.experts else {"bits": 32}
    parts = {part: describe(getattr(profile, part)) for part in ("experts", "attention", "embedding", "vision")}
    return {"profile": profile.name.value, **widths, **parts}
