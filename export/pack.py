"""A checkpoint to a bundle folder: both graphs, their weights, the tokenizer, the manifest.

Beside ``config.json`` and ``model.safetensors`` a checkpoint of ours holds ``tokenizer.json``, ``dialect.json``
(`Dialect.to_json`) and ``card.json`` (the fields of `Card`). Of other families' checkpoints tokenizer and decoding
settings are read (`export.text`); dialect, licence and data terms are known (`export.families`).
"""

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from export.builder import ExternalData, GraphBuilder
from export.checkpoint import CONFIG, Checkpoint, open_checkpoint
from export.graph import DecoderLayout, write_decoder, write_vision
from export.layers import LayerWriter
from export.native import to_native
from export.quantise import ErrorLog, Profile, TensorError
from export.text import check_tokenizer, read_decoding, read_json, read_tokenizer
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
from rsvlm_cli.runtime.library import replaced_folder
from rsvlm_cli.runtime.native.build import CompileError
from rsvlm_cli.runtime.ops import build_native
from rsvlm_cli.tasks.dialect import RSUNIVLM, Dialect, Granularity

CARD, DIALECT = "card.json", "dialect.json"
VISION_WEIGHTS, DECODER_WEIGHTS = "vision.bin", "decoder.bin"
NATIVE = {VISION: "vision.native.onnx", DECODER: "decoder.native.onnx"}

logger = logging.getLogger(__name__)

MAX_CONTEXT = 8192
"""Tokens of prompt and reply together, at the most, of an imported model: a picture takes 730 of them."""


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
        tta: in how many symmetries a picture is looked at.
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
    tta: int = 1

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Card":
        """Read the form of ``card.json``.

        Raises:
            TypeError: if a key is missing or unknown.
        """
        values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in data.items()}
        return cls(**values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A checkpoint with all that its bundle will say of itself."""

    checkpoint: Checkpoint
    tokenizer: Tokenizer
    card: Card
    dialect: Dialect


def open_source(
    folder: Path,
    *,
    tower: Path | None = None,
    name: str | None = None,
    granularities: Sequence[Granularity] = tuple(Granularity),
) -> Source:
    """Open and check a checkpoint; nothing is written.

    Args:
        folder: in our layout or that of a family in `export.families`.
        tower: a SigLIP release, for a checkpoint without a vision tower.
        name: of the bundle, instead of the family's.
        granularities: whose experts are kept.

    Raises:
        BundleError: if the checkpoint cannot be used.
    """
    checkpoint = open_checkpoint(folder, tower)
    tokenizer = read_tokenizer(folder)
    card, dialect = read_card(checkpoint, tokenizer), _read_dialect(checkpoint)
    check_tokenizer(tokenizer, folder, checkpoint.config.decoder.vocab_size, card.stop_tokens)
    if set(granularities) != set(Granularity):
        if checkpoint.config.decoder.experts != len(Granularity):
            raise BundleError(f"{folder}: has {checkpoint.config.decoder.experts} experts, none can be left out")
        checkpoint = checkpoint.keep_experts(sorted(map(int, granularities)))
    return Source(
        checkpoint=checkpoint, tokenizer=tokenizer, card=replace(card, name=name or card.name), dialect=dialect
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A written bundle and what quantisation cost each tensor."""

    bundle: Bundle
    errors: tuple[TensorError, ...]


def write_bundle(folder: Path, out: Path, profile: Profile, *, overwrite: bool = False) -> Packed:
    """Turn a checkpoint folder into a bundle folder: `open_source` and `pack`."""
    check_target(out, overwrite)
    return pack(open_source(folder), out, profile, overwrite=overwrite)


def pack(source: Source, out: Path, profile: Profile, *, overwrite: bool = False) -> Packed:
    """Write a bundle folder, which appears whole or not at all.

    Args:
        source: the checkpoint; its tensors are read one at a time.
        out: the folder to make.
        profile: how weights are stored.
        overwrite: whether a bundle that lies there may be replaced.

    Raises:
        OutputExists: if ``out`` exists and may not be overwritten, or is no bundle.
        BundleError: if a tensor cannot be used.
    """
    check_target(out, overwrite)
    checkpoint, card = source.checkpoint, source.card
    with replaced_folder(out) as folder:
        layout, log = write_graphs(checkpoint, folder, profile, card.max_context)
        if (checkpoint.folder / TOKENIZER).is_file():
            shutil.copyfile(checkpoint.folder / TOKENIZER, folder / TOKENIZER)
        else:
            source.tokenizer.save(str(folder / TOKENIZER), pretty=False)
        (folder / CONFIG).write_text(json.dumps(checkpoint.config.to_json(), indent=1) + "\n", encoding="utf-8")
        write_manifest(folder, build_manifest(checkpoint, card, source.dialect, profile, layout))
    if find_native(profile):
        _offer_operators()
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


def read_card(checkpoint: Checkpoint, tokenizer: Tokenizer) -> Card:
    """Read a checkpoint's card, or make that of its family.

    Raises:
        BundleError: if it is missing or malformed.
    """
    family, folder, data = checkpoint.family, checkpoint.folder, checkpoint.data
    if family is None:
        try:
            return Card.from_json(read_json(folder / CARD))
        except TypeError as error:
            raise BundleError(f"{folder / CARD}: {error} (export.pack.Card names the keys)") from error
    decoding = read_decoding(folder, data, tokenizer)
    lengths = (data.get("text_config", data).get("max_position_embeddings"), data.get("tokenizer_model_max_length"))
    return Card(
        name=family.name,
        family=family.family,
        version=family.version,
        licence=family.licence,
        data=family.data,
        stop_tokens=decoding.stop_tokens,
        repetition_penalty=decoding.repetition_penalty,
        max_context=min(MAX_CONTEXT, *(length for length in lengths if length)),
    )


def _read_dialect(checkpoint: Checkpoint) -> Dialect:
    if checkpoint.family is not None:
        return RSUNIVLM
    path = checkpoint.folder / DIALECT
    try:
        return Dialect.from_json(read_json(path))
    except (TypeError, KeyError, ValueError) as error:
        raise BundleError(f"{path}: not a dialect: {error} (wanted Dialect.to_json's form)") from error


def check_target(out: Path, overwrite: bool) -> None:
    """Refuse a bundle's target before any work is done for it.

    Raises:
        OutputExists: if it exists and may not be replaced, or is no bundle.
    """
    if not out.exists():
        return
    if not overwrite:
        raise OutputExists(f"{out}: exists (--overwrite replaces it)")
    if not (out / MANIFEST).is_file():
        raise OutputExists(f"{out}: exists and is no bundle, so it is not replaced (name another folder)")


def check_new_folder(out: Path) -> None:
    """Refuse to write a checkpoint over anything.

    Raises:
        OutputExists: if the folder exists.
    """
    if out.exists():
        raise OutputExists(f"{out}: exists, and a checkpoint is never replaced (name another folder)")


def build_manifest(
    checkpoint: Checkpoint, card: Card, dialect: Dialect, profile: Profile, layout: DecoderLayout
) -> Manifest:
    """Return the manifest of written graphs, without its files."""
    labels = checkpoint.config.labels
    vision, decoder, family = checkpoint.config.vision, checkpoint.config.decoder, checkpoint.family
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
            tta=card.tta,
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
        heads={kind: getattr(labels, kind) for kind in ("scenes", "objects") if labels},
        quality={"scores": [], "not_learnt": list(family.not_learnt)} if family and family.not_learnt else None,
        expert_names=tuple(g.name.lower() for g in Granularity) if checkpoint.kept else None,
        experts_kept=checkpoint.kept,
    )


def describe_profile(profile: Profile) -> dict[str, Any]:
    """Return the manifest's ``quantisation``."""

    def describe(scheme: BlockScheme | str | None) -> str:
        return f"int{scheme.bits} b{scheme.block}" if isinstance(scheme, BlockScheme) else scheme or "fp32"

    widths = {"bits": 16 if profile.experts == "float16" else 32}
    if isinstance(profile.experts, BlockScheme):
        widths = {"bits": profile.experts.bits, "block": profile.experts.block}
    parts = {part: describe(getattr(profile, part)) for part in ("experts", "attention", "embedding", "vision")}
    return {"profile": profile.name.value, **widths, **parts}
