"""Tensor names: which tensors a model has, and what the released checkpoints call them. No torch here.

Canonical names are those of ``model.vlm.VLM``'s state dict. A released RSUniVLM checkpoint maps onto them by
`canonical_name`; what it holds beside (the norm after the vision tower, which the network does not use) maps to None.
"""

import re
from collections.abc import Mapping

from model.config import ModelConfig, VisionConfig

_TOWER = "model.vision_tower.vision_tower.vision_model."

_RELEASED = (
    (r"model\.embed_tokens\.weight", r"decoder.embed_tokens.weight"),
    (r"model\.image_newline", r"image_newline"),
    (r"model\.norm\.weight", r"decoder.norm.weight"),
    (r"lm_head\.weight", r"decoder.lm_head.weight"),
    (r"model\.layers\.(\d+)\.self_attn\.(.+)", r"decoder.layers.\1.attention.\2"),
    (r"model\.layers\.(\d+)\.mlp\.(\d+)\.(.+)", r"decoder.layers.\1.experts.\2.\3"),
    (r"model\.layers\.(\d+)\.((?:input|post_attention)_layernorm\.weight)", r"decoder.layers.\1.\2"),
    (r"model\.mm_projector\.([02]\..+)", r"projector.\1"),
    (re.escape(_TOWER) + r"embeddings\.((?:patch|position)_embedding\..+)", r"vision.\1"),
    (re.escape(_TOWER) + r"encoder\.layers\.(\d+)\.self_attn\.(.+)", r"vision.layers.\1.attention.\2"),
    (re.escape(_TOWER) + r"encoder\.layers\.(\d+)\.((?:layer_norm|mlp).+)", r"vision.layers.\1.\2"),
)

_UNUSED = re.compile(re.escape(_TOWER) + r"post_layernorm\.(weight|bias)")


def canonical_name(released: str) -> str | None:
    """Map a released tensor name, or return None for a tensor that the network does not use.

    Raises:
        KeyError: if the name belongs to no released RSUniVLM checkpoint.
    """
    if _UNUSED.fullmatch(released):
        return None
    for pattern, template in _RELEASED:
        match = re.fullmatch(pattern, released)
        if match:
            return match.expand(template)
    raise KeyError(released)


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
    if not d.tie_embeddings:
        shapes["decoder.lm_head.weight"] = (d.vocab_size, width)
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


def _conv_norm_shapes(prefix: str, inp: int, out: int) -> dict[str, tuple[int, ...]]:
    norm = {f"{prefix}1.{name}": (out,) for name in ("weight", "bias", "running_mean", "running_var")}
    return {f"{prefix}0.weight": (out, inp, 3, 3), f"{prefix}1.num_batches_tracked": (), **norm}


def check_shapes(found: Mapping[str, tuple[int, ...]], config: ModelConfig) -> None:
    """Compare the tensors of a checkpoint, by canonical name, with what the configuration asks for.

    A head stored beside a tied embedding is accepted: the flag decides, as it does in the reference loader.

    Raises:
        ValueError: naming the first missing, unexpected or misshapen tensor.
    """
    expected = expected_shapes(config)
    optional = {"decoder.lm_head.weight"} if config.decoder.tie_embeddings else set()
    missing = sorted(expected.keys() - found.keys())
    unexpected = sorted(found.keys() - expected.keys() - optional)
    if missing:
        raise ValueError(f"{len(missing)} tensors are missing, the first is {missing[0]}")
    if unexpected:
        raise ValueError(f"{len(unexpected)} tensors are unexpected, the first is {unexpected[0]}")
    for name, shape in expected.items():
        if tuple(found[name]) != shape:
            raise ValueError(f"{name} has shape {list(found[name])}, wanted {list(shape)}")
