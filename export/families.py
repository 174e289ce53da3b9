"""The families that are imported: how each is recognised, what its tensors are called, what is known of its weights.

A family is recognised by ``model_type`` in its ``config.json``, never by a file's name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from model.config import LLAVA_WANTED, DecoderConfig, ModelConfig, VisionConfig, refuse_unknown, tower_of
from model.weights import RSUNIVLM as RSUNIVLM_LAYOUT
from model.weights import Layout
from rsvlm_cli.tasks.dialect import Granularity

TASKS = ("ask", "caption", "classify", "ground", "detect", "describe", "segment", "detect-change", "describe-change")
POST_LAYERNORM = r"post_layernorm\.(weight|bias)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A kind of checkpoint.

    Attributes:
        model_types: what ``config.json`` calls it.
        architecture: its first ``architectures``, where ``model_type`` is shared with other models; or None.
        layouts: what its tensors are called, one for each form that was published.
        wanted: values of its configuration that this network can serve.
        dropped: blocks of the tower that its configuration counts and its checkpoint leaves out.
        has_vision: whether it holds tower and projector; one that does not is completed by a SigLIP release.
        name, family, version, licence, data: for the manifest.
        not_learnt: tasks that a bundle made of it as it is cannot do.
    """

    model_types: tuple[str, ...]
    layouts: tuple[Layout, ...]
    name: str
    family: str
    version: str
    licence: str
    data: tuple[Mapping[str, Any], ...]
    architecture: str | None = None
    wanted: Mapping[str, tuple[Any, ...]]
    dropped: int = 1
    has_vision: bool = True
    not_learnt: tuple[str, ...] = ()


RSUNIVLM = Family(
    model_types=("llava_qwen_gmoe",),
    layouts=(RSUNIVLM_LAYOUT,),
    wanted={"image_aspect_ratio": ("square",), **LLAVA_WANTED},
    name="rsunivlm-1b",
    family="rsunivlm",
    version="2024-12",
    licence="Apache-2.0",
    data=(
        {
            "name": "RSUniVLM instruction data",
            "licence": "not stated by its authors, of each source set",
            "terms": "some source sets allow research alone: see arXiv:2412.05679 before commercial use",
        },
    ),
)
"""Source of licence and terms: the model card of the released weights, which states Apache-2.0 and no more."""

_ONEVISION: dict[str, Any] = {
    "name": "llava-onevision-0.5b",
    "family": "llava-onevision",
    "version": "2024-08",
    "licence": "Apache-2.0",
    "data": (
        {
            "name": "LLaVA-OneVision data",
            "licence": "of each source set",
            "terms": "some source sets allow research alone: see arXiv:2408.03326 before commercial use",
        },
    ),
    # It speaks, but has seen neither the tags nor the box and mask texts of this family.
    "not_learnt": tuple(task for task in TASKS if task not in ("ask", "caption")),
}

ONEVISION = Family(
    model_types=("llava_qwen", "llava"),
    architecture="LlavaQwenForCausalLM",
    layouts=(
        Layout(
            language="model.",
            head="lm_head.weight",
            projector=("model.mm_projector.0.", "model.mm_projector.2."),
            newline="model.image_newline",
            tower="model.vision_tower.vision_tower.vision_model.",
            unused=r"model\.vision_tower\.vision_tower\.vision_model\." + POST_LAYERNORM,
        ),
    ),
    wanted=LLAVA_WANTED,
    **_ONEVISION,
)
"""LLaVA-OneVision-Qwen2 as its authors publish it."""

_TRANSFORMERS = Layout(
    language="language_model.model.",
    head="language_model.lm_head.weight",
    projector=("multi_modal_projector.linear_1.", "multi_modal_projector.linear_2."),
    newline="image_newline",
    tower="vision_tower.vision_model.",
    unused=r"vision_tower\.vision_model\." + POST_LAYERNORM,
)

ONEVISION_TRANSFORMERS = Family(
    model_types=("llava_onevision",),
    # Written by transformers 4, by transformers 5, and as transformers 5 names it in memory.
    layouts=(
        _TRANSFORMERS,
        Layout(
            language=_TRANSFORMERS.language,
            head=_TRANSFORMERS.head,
            projector=_TRANSFORMERS.projector,
            newline=_TRANSFORMERS.newline,
            tower="vision_tower.",
            unused=r"vision_tower\." + POST_LAYERNORM,
        ),
    ),
    wanted={
        "vision_feature_layer": (-1,),
        "vision_feature_select_strategy": ("full",),
        "projector_hidden_act": ("gelu",),
        "multimodal_projector_bias": (True,),
    },
    dropped=0,
    **_ONEVISION,
)
"""The same, converted for transformers; its tower's configuration counts the blocks that are there."""

QWEN2 = Family(
    model_types=("qwen2",),
    layouts=(Layout(language="model.", head="lm_head.weight"),),
    wanted={},
    name="siglip-qwen2-0.5b",
    family="siglip-qwen2",
    version="untrained",
    licence="Apache-2.0",
    data=({"name": "pretraining data of SigLIP and Qwen2", "licence": "not published", "terms": "not published"},),
    has_vision=False,
    not_learnt=TASKS,
)
"""A language model alone; with a SigLIP tower and a fresh projector it is where training starts."""

FAMILIES = (RSUNIVLM, ONEVISION, ONEVISION_TRANSFORMERS, QWEN2)

TOWER_UNUSED = r"text_model\..*|logit_(scale|bias)|(vision_model\.)?(head\..*|" + POST_LAYERNORM + ")"
TOWER_LAYOUTS = tuple(Layout(tower=prefix, unused=TOWER_UNUSED) for prefix in ("vision_model.", ""))
"""A SigLIP release: the text side, the pooling head and the last block are not used."""

SIGLIP_BASE: dict[str, Any] = {
    "image_size": 224,
    "patch_size": 16,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
}
"""Sizes that a SigLIP configuration means where it leaves them out. Source: transformers' SiglipVisionConfig."""


def recognise(data: Mapping[str, Any]) -> Family:
    """Return the family of a ``config.json``.

    Raises:
        ValueError: if it is none of `FAMILIES`.
    """
    kind, architecture = data.get("model_type"), (data.get("architectures") or [None])[0]
    for family in FAMILIES:
        shared = family.architecture and kind not in family.model_types[:1]
        if kind in family.model_types and (not shared or architecture == family.architecture):
            return family
    known = ", ".join(family.model_types[0] for family in FAMILIES)
    raise ValueError(f"model_type is {kind!r}, wanted one of {known}")


def read_sizes(family: Family, data: Mapping[str, Any], tower: Mapping[str, Any] | None) -> ModelConfig:
    """Read the sizes of a model.

    Args:
        family: of the checkpoint.
        data: its ``config.json``.
        tower: the ``config.json`` of a SigLIP release whose tower is taken, or None.

    Raises:
        KeyError: if a size is missing.
        ValueError: if it asks for something this network does not have.
    """
    refuse_unknown(data, family.wanted)
    language = data.get("text_config", data) if family is ONEVISION_TRANSFORMERS else data
    decoder = DecoderConfig.from_qwen2(language, experts=len(Granularity))
    if tower is None:
        vision = VisionConfig.from_siglip(tower_of(data), dropped=family.dropped)
    else:
        if tower.get("model_type") not in ("siglip", "siglip_vision_model"):
            raise ValueError(f"the tower's model_type is {tower.get('model_type')!r}, wanted 'siglip'")
        vision = VisionConfig.from_siglip(SIGLIP_BASE | dict(tower.get("vision_config") or tower), dropped=1)
    return ModelConfig(vision=vision, decoder=decoder)
