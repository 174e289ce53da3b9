"""Tensor names: which tensors a model has, and what each family's checkpoints call them. No torch here.

Canonical names are those of ``model.vlm.VLM``'s state dict; our own checkpoints hold them as they are. `Layout` says
what another family's folder calls them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from model.config import LabelSets, ModelConfig, VisionConfig

HEAD = "decoder.lm_head.weight"
"""The output head, which a tied model may leave out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What a checkpoint calls the tensors of a model; None for a part that it does not hold.

    Attributes:
        language: before ``embed_tokens``, ``layers`` and ``norm``.
        head: name of the output head's weight.
        expert: before the matrices of expert ``{e}`` within its layer; without ``{e}`` all experts read the same MLP.
        projector: before the weight and bias of its two linears.
        newline: name of the vector after each image.
        tower: before the vision tower's ``embeddings`` and ``encoder``.
        unused: pattern of names that the network has no use for.
    """

    language: str | None = None
    head: str | None = None
    expert: str = "mlp."
    projector: tuple[str, str] | None = None
    newline: str | None = None
    tower: str | None = None
    unused: str = r"(?!)"

    def stored_name(self, canonical: str) -> str | None:
        """Return what the checkpoint calls a tensor, or None if it does not hold it."""
        part, _, rest = canonical.partition(".")
        if part == "image_newline":
            return self.newline
        if part == "projector":
            linear, _, leaf = rest.partition(".")
            return self.projector and self.projector[linear == "2"] + leaf
        rest = re.sub(r"^(layers\.\d+\.)attention\.", r"\1self_attn.", rest)
        if part == "vision":
            return self.tower and self.tower + ("encoder." if rest.startswith("layers.") else "embeddings.") + rest
        if rest == "lm_head.weight":
            return self.head
        expert = re.fullmatch(r"(layers\.\d+\.)experts\.(\d+)\.(.+)", rest)
        if expert:
            rest = expert[1] + self.expert.format(e=expert[2]) + expert[3]
        return None if self.language is None else self.language + rest

    def stored_names(self, config: ModelConfig) -> dict[str, str]:
        """Return canonical name -> name in the checkpoint, for every tensor that it holds, a tied head's too."""
        names = {name: self.stored_name(name) for name in (*expected_shapes(config), HEAD)}
        return {name: stored for name, stored in names.items() if stored is not None}


RSUNIVLM = Layout(
    language="model.",
    head="lm_head.weight",
    expert="mlp.{e}.",
    projector=("model.mm_projector.0.", "model.mm_projector.2."),
    newline="model.image_newline",
    tower="model.vision_tower.vision_tower.vision_model.",
    unused=r"model\.vision_tower\.vision_tower\.vision_model\.post_layernorm\.(weight|bias)",
)
"""The released RSUniVLM; the norm after its tower is computed there and not used."""


def expected_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Return every tensor of a model by canonical name, with its shape; a tied head is not listed."""
    d = config.decoder
    width, kv = d.hidden_size, d.kv_heads * d.head_dim
    shapes: dict[str, tuple[int, ...]] = {
        **_vision_shapes(config.vision),
        "projector.0.weight": (width, config.vision.hidden_size),
        "projector.0.bias": (width,),
        "projector.2.weight": (width, width),
        "projector.2.bias": (width,),
        "image_newline": (width,),
        "decoder.embed_tokens.weight": (d.vocab_size, width),
        "decoder.norm.weight": (width,),
    }
    if config.labels:
        shapes |= _heads_shapes(config.labels, config.vision.hidden_size, width)
    if not d.tie_embeddings:
        shapes[HEAD] = (d.vocab_size, width)
    for i in range(d.layers):
        layer = f"decoder.layers.{i}."
        shapes[layer + "input_layernorm.weight"] = shapes[layer + "post_attention_layernorm.weight"] = (width,)
        for name, rows in (("q", width), ("k", kv), ("v", kv)):
            shapes[f"{layer}attention.{name}_proj.weight"] = (rows, width)
            shapes[f"{layer}attention.{name}_proj.bias"] = (rows,)
        shapes[layer + "attention.o_proj.weight"] = (width, width)
        for e in range(d.experts):
            expert = f"{layer}experts.{e}."
            shapes[expert + "gate_proj.weight"] = shapes[expert + "up_proj.weight"] = (d.intermediate_size, width)
            shapes[expert + "down_proj.weight"] = (width, d.intermediate_size)
    return shapes


def _vision_shapes(v: VisionConfig) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"vision.position_embedding.weight": (v.tokens, v.hidden_size)}
    if v.stem_channels:
        for s, (inp, out) in enumerate(zip((3, *v.stem_channels), v.stem_channels, strict=False)):
            shapes |= _conv_norm_shapes(f"vision.stem.stages.{s}.0.", inp, out)
            for b in range(v.stem_blocks[s]):
                for conv in ("conv1", "conv2"):
                    shapes |= _conv_norm_shapes(f"vision.stem.stages.{s}.{b + 2}.{conv}.", out, out)
    else:
        shapes["vision.patch_embedding.weight"] = (v.hidden_size, 3, v.patch_size, v.patch_size)
        shapes["vision.patch_embedding.bias"] = (v.hidden_size,)
    for i in range(v.layers):
        layer = f"vision.layers.{i}."
        for name in ("layer_norm1", "layer_norm2"):
            shapes[f"{layer}{name}.weight"] = shapes[f"{layer}{name}.bias"] = (v.hidden_size,)
        for name in ("q", "k", "v", "out"):
            shapes[f"{layer}attention.{name}_proj.weight"] = (v.hidden_size, v.hidden_size)
            shapes[f"{layer}attention.{name}_proj.bias"] = (v.hidden_size,)
        shapes[layer + "mlp.fc1.weight"], shapes[layer + "mlp.fc1.bias"] = (
            (v.intermediate_size, v.hidden_size),
            (v.intermediate_size,),
        )
        shapes[layer + "mlp.fc2.weight"], shapes[layer + "mlp.fc2.bias"] = (
            (v.hidden_size, v.intermediate_size),
            (v.hidden_size,),
        )
    return shapes


def _heads_shapes(labels: LabelSets, tower_width: int, width: int) -> dict[str, tuple[int, ...]]:
    n_scenes, n_covering, n_centred = len(labels.scenes), 4 * len(labels.masks), 4 * len(labels.objects)
    shapes: dict[str, tuple[int, ...]] = {
        "heads.norm.weight": (tower_width,),
        "heads.norm.bias": (tower_width,),
        "evidence.cells.weight": (width, n_covering + n_centred + 16),
        "evidence.scene.weight": (width, n_scenes),
    }
    for name, rows in (("scene", n_scenes), ("coverage", n_covering), ("centres", n_centred), ("boxes", 16)):
        shapes[f"heads.{name}.weight"], shapes[f"heads.{name}.bias"] = (rows, tower_width), (rows,)
    return shapes


def _conv_norm_shapes(prefix: str, inp: int, out: int) -> dict[str, tuple[int, ...]]:
    norm = {f"{prefix}1.{name}": (out,) for name in ("weight", "bias", "running_mean", "running_var")}
    return {f"{prefix}0.weight": (out, inp, 3, 3), f"{prefix}1.num_batches_tracked": (), **norm}


def check_shapes(
    found: Mapping[str, tuple[int, ...]], config: ModelConfig, names: Mapping[str, str] | None = None
) -> None:
    """Compare the tensors of a checkpoint with what the configuration asks for.

    A head stored beside a tied embedding is accepted: the flag decides, as it does in the reference loader.

    Args:
        found: shapes by the checkpoint's own names.
        config: sizes.
        names: canonical name -> the checkpoint's, where it holds other names than ours, or not all of them.

    Raises:
        ValueError: naming the first missing, unexpected or misshapen tensor as the checkpoint calls it.
    """
    shapes = expected_shapes(config)
    if names is None:
        names = {name: name for name in (*shapes, HEAD)}
    expected = {names[name]: shape for name, shape in shapes.items() if name in names}
    optional = {names.get(HEAD)} if config.decoder.tie_embeddings else set()
    missing = sorted(expected.keys() - found.keys())
    unexpected = sorted(found.keys() - expected.keys() - optional)
    differing = (("missing", missing), ("unexpected", unexpected))
    faults = [f"{len(which)} tensors are {what}, the first is {which[0]}" for what, which in differing if which]
    if faults:
        raise ValueError("; ".join(faults))
    for name, shape in expected.items():
        if tuple(found[name]) != shape:
            raise ValueError(f"{name} has shape {list(found[name])}, wanted {list(shape)}")
