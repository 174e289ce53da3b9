"""Sizes of the network, as frozen dataclasses; no torch here.

The same classes describe the embedded ``nano`` and RSUniVLM's 1.66 B: only the numbers differ. What other families
write into their ``config.json`` is read here too; a value that this network does not have is refused.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionConfig:
    """The vision tower.

    Attributes:
        image_size: side of the square input, pixels.
        patch_size: pixels of image a side of one visual token.
        hidden_size, intermediate_size, heads: of each block.
        layers: blocks that are run; SigLIP's last block is not among them (26 of 27 in RSUniVLM).
        layer_norm_eps: epsilon of each LayerNorm.
        stem_channels: empty for SigLIP's patch embedding, one strided convolution. Else the widths of a convolutional
            stem, each stage halving the resolution, so ``patch_size == 2 ** len(stem_channels)``; the last width
            is ``hidden_size``. Source: early convolutions help transformers see better, arXiv:2106.14881.
        stem_blocks: residual blocks after each stage of the stem.
    """

    image_size: int
    patch_size: int
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    layer_norm_eps: float = 1e-6
    stem_channels: tuple[int, ...] = ()
    stem_blocks: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.hidden_size % self.heads:
            raise ValueError(f"vision hidden size {self.hidden_size} is no multiple of its {self.heads} heads")
        if self.stem_channels:
            if 2 ** len(self.stem_channels) != self.patch_size or self.stem_channels[-1] != self.hidden_size:
                raise ValueError(
                    f"stem {self.stem_channels} does not end at patch {self.patch_size}, width {self.hidden_size}"
                )
            if len(self.stem_blocks) != len(self.stem_channels):
                raise ValueError(f"{len(self.stem_blocks)} block counts for {len(self.stem_channels)} stem stages")

    @property
    def grid(self) -> int:
        """Visual tokens a side; a border narrower than a patch is dropped."""
        return self.image_size // self.patch_size

    @property
    def tokens(self) -> int:
        """Visual tokens an image, without the newline vector."""
        return self.grid**2

    @classmethod
    def from_siglip(cls, data: Mapping[str, Any], *, dropped: int) -> "VisionConfig":
        """Read a SigLIP vision configuration.

        Args:
            data: ``vision_config`` of transformers; what it leaves out is as in so400m/14 at 384.
            dropped: blocks at the end that are counted there and not run.

        Raises:
            ValueError: if it asks for something this tower does not have.
        """
        refuse_unknown(data, {"hidden_act": ("gelu_pytorch_tanh",), "num_channels": (3,)}, "vision_config.")
        tower = SO400M | {key: value for key, value in data.items() if key in SO400M}
        return cls(
            image_size=tower["image_size"],
            patch_size=tower["patch_size"],
            hidden_size=tower["hidden_size"],
            intermediate_size=tower["intermediate_size"],
            layers=tower["num_hidden_layers"] - dropped,
            heads=tower["num_attention_heads"],
            layer_norm_eps=tower["layer_norm_eps"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderConfig:
    """The language model.

    Attributes:
        vocab_size, hidden_size, layers, heads, kv_heads: as in Qwen2.
        intermediate_size: width of one expert.
        experts: expert MLPs a layer; the request's granularity chooses one.
        rope_theta: base of the rotary embedding.
        rms_norm_eps: epsilon of each RMSNorm.
        tie_embeddings: whether the output head is the token embedding.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    kv_heads: int
    experts: int = 3
    rope_theta: float = 1e6
    rms_norm_eps: float = 1e-6
    tie_embeddings: bool = False

    def __post_init__(self) -> None:
        if self.hidden_size % self.heads:
            raise ValueError(f"decoder hidden size {self.hidden_size} is no multiple of its {self.heads} heads")
        if self.heads % self.kv_heads:
            raise ValueError(f"{self.heads} heads cannot share {self.kv_heads} key-value heads evenly")

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.heads

    @classmethod
    def from_qwen2(cls, data: Mapping[str, Any], *, experts: int = 3) -> "DecoderConfig":
        """Read a Qwen2 configuration, of transformers 4 or 5.

        Raises:
            KeyError: if a size is missing.
            ValueError: if it asks for something this decoder does not have.
        """
        rope = data.get("rope_parameters") or {}
        rope_type = {"rope_parameters.rope_type": rope.get("rope_type", "default")}
        wanted = {
            "rope_scaling": (None,),
            "rope_parameters.rope_type": ("default",),
            "hidden_act": ("silu",),
            "use_sliding_window": (False,),
        }
        refuse_unknown({**data, **rope_type}, wanted)
        return cls(
            vocab_size=data["vocab_size"],
            hidden_size=data["hidden_size"],
            intermediate_size=data["intermediate_size"],
            layers=data["num_hidden_layers"],
            heads=data["num_attention_heads"],
            kv_heads=data["num_key_value_heads"],
            experts=experts,
            rope_theta=rope.get("rope_theta", data.get("rope_theta", 1e6)),
            rms_norm_eps=data.get("rms_norm_eps", 1e-6),
            tie_embeddings=data.get("tie_word_embeddings", False),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSets:
    """Class words, in the order of the dense heads' outputs: scenes, things with boxes, stuff and shapes with masks."""

    scenes: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()
    masks: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.scenes or self.objects or self.masks)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """The whole model.

    Attributes:
        vision, decoder: sizes.
        labels: what the tower's dense heads know (`model.heads`); empty for a model without, as RSUniVLM's.
    """

    vision: VisionConfig
    decoder: DecoderConfig
    labels: LabelSets = LabelSets()

    @property
    def image_tokens(self) -> int:
        """Vectors that one image occupies in the prompt: visual tokens and the newline vector."""
        return self.vision.tokens + 1

    def to_json(self) -> dict[str, Any]:
        """Return the form of a checkpoint's ``config.json``."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "ModelConfig":
        """Read a checkpoint's ``config.json``; the inverse of `to_json`."""
        vision = dict(data["vision"])
        for key in ("stem_channels", "stem_blocks"):
            vision[key] = tuple(vision.get(key, ()))
        labels = LabelSets(**{kind: tuple(words) for kind, words in data.get("labels", {}).items()})
        return cls(vision=VisionConfig(**vision), decoder=DecoderConfig(**data["decoder"]), labels=labels)

    @classmethod
    def from_released(cls, data: dict[str, Any]) -> "ModelConfig":
        """Read the ``config.json`` of a released RSUniVLM checkpoint.

        Args:
            data: the parsed file. Where it holds no ``vision_config`` of a SigLIP tower, it means the sizes of
                ``google/siglip-so400m-patch14-384`` (one of another kind is left over from a base class and unused);
                ``num_hidden_layers`` there counts the block that is dropped.

        Raises:
            ValueError: if the file is not of that family, or asks for something the family does not have.
        """
        if data.get("model_type") != "llava_qwen_gmoe":
            raise ValueError(f"model_type is {data.get('model_type')!r}, wanted 'llava_qwen_gmoe'")
        refuse_unknown(data, {"image_aspect_ratio": ("square",), **LLAVA_WANTED})
        return cls(vision=VisionConfig.from_siglip(tower_of(data), dropped=1), decoder=DecoderConfig.from_qwen2(data))


def tower_of(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the ``vision_config`` of a LLaVA configuration, empty where it is not a SigLIP tower's."""
    tower = data.get("vision_config") or {}
    return tower if str(tower.get("model_type", "siglip")).startswith("siglip") else {}


def refuse_unknown(data: Mapping[str, Any], wanted: Mapping[str, tuple[Any, ...]], prefix: str = "") -> None:
    """Refuse a value that is there and not among those wanted."""
    for key, values in wanted.items():
        if key in data and data[key] not in values:
            raise ValueError(f"{prefix}{key} is {data[key]!r}, wanted {' or '.join(map(repr, values))}")


LLAVA_WANTED: dict[str, tuple[Any, ...]] = {
    "mm_projector_type": ("mlp2x_gelu",),
    "mm_patch_merge_type": ("spatial_unpad",),
    "mm_use_im_start_end": (False,),
    "mm_use_im_patch_token": (False,),
}
"""Of a LLaVA configuration: what this network's projector and newline vector are."""

SO400M: dict[str, Any] = {
    "image_size": 384,
    "patch_size": 14,
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "layer_norm_eps": 1e-6,
}
"""Source: google/siglip-so400m-patch14-384, the tower that a released configuration names without its sizes."""
