"""How a model family is spoken to: its prompts, tags, scales and reply forms.

A dialect is data. It travels in the bundle manifest (key ``dialect``), so nothing about a family is guessed at run
time; training writes its texts with the same object, so both sides share one law.
"""

from dataclasses import asdict, dataclass, field
from enum import IntEnum, StrEnum
from typing import Any


class Granularity(IntEnum):
    """Which of the three expert sets serves a request; the value is the expert index."""

    IMAGE = 0
    REGION = 1
    PIXEL = 2


class MaskStyle(StrEnum):
    """How a mask is said: as text (`rsvlm_cli.tasks.grammar`), or read cell by cell (`rsvlm_cli.tasks.cells`)."""

    RUNS = "runs"
    QUADRANTS = "quadrants"
    CELLS = "cells"


class BoxStyle(StrEnum):
    """How a box is said: its corners as text (`rsvlm_cli.tasks.grammar`), or its reach, read at its cells.

    A turned box is a line of text (`rsvlm_cli.tasks.quads`): its vertices, or its middle, sides and angle.
    """

    CORNERS = "corners"
    REACH = "reach"
    QUADS = "quads"
    OBBS = "obbs"


class ZoomStyle(StrEnum):
    """How a family looks closer at a scene: it is asked window by window, or calls a tool with a region."""

    SEARCH = "search"
    TOOL_CALL = "tool_call"


class PromptKind(StrEnum):
    """Each kind of question that a family knows, and the key of its template."""

    ASK = "ask"
    CAPTION = "caption"
    CLASSIFY = "classify"
    GROUND = "ground"
    DESCRIBE = "describe"
    SEGMENT = "segment"
    DETECT_CHANGE = "detect_change"
    DESCRIBE_CHANGE = "describe_change"


GRANULARITY = {
    PromptKind.ASK: Granularity.IMAGE,
    PromptKind.CAPTION: Granularity.IMAGE,
    PromptKind.CLASSIFY: Granularity.IMAGE,
    PromptKind.GROUND: Granularity.REGION,
    PromptKind.DESCRIBE: Granularity.REGION,
    PromptKind.SEGMENT: Granularity.PIXEL,
    PromptKind.DETECT_CHANGE: Granularity.PIXEL,
    PromptKind.DESCRIBE_CHANGE: Granularity.IMAGE,
}
"""Source: RSUniVLM's tag table: [SEG] 2, [VG] and [REF] 1, all others 0."""


HELPFUL = "You are a helpful assistant."


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One family's prompts and reply forms.

    Attributes:
        chat_template: the whole prompt of a single turn, with ``{images}`` and ``{text}``, and ``{system}`` where that
            depends on the kind.
        image_token: the placeholder that the engine replaces by one image's feature vectors.
        image_joiner: what stands between the placeholders of several images.
        prompts: template of the user text for each kind; fields ``{question}``, ``{phrase}``, ``{box}``, ``{label}``.
        systems: what stands for ``{system}``, of kinds that want another text than `HELPFUL`.
        box_scale: boxes are integers in [0, box_scale], a share of the image's width (x) or height (y); turned ones are
            in pixels of the picture that the model sees.
        no_boxes: the reply that says "nothing found", or None where the family has none.
        box_style: how boxes are said in replies; in prompts they are always text.
        mask_style: how masks are said.
        mask_grid: cells on each side of a mask.
        zoom: how it looks closer; `rsvlm_cli.tasks.zoom` holds the tool call's text.
    """

    chat_template: str
    image_token: str = "<image>"
    image_joiner: str = " "
    prompts: dict[PromptKind, str] = field(default_factory=dict)
    systems: dict[PromptKind, str] = field(default_factory=dict)
    box_scale: int = 100
    no_boxes: str | None = None
    box_style: BoxStyle = BoxStyle.CORNERS
    mask_style: MaskStyle = MaskStyle.RUNS
    mask_grid: int = 24
    zoom: ZoomStyle = ZoomStyle.SEARCH

    def prompt(self, kind: PromptKind, *, n_images: int = 1, **fields: str) -> str:
        """Return the whole prompt string, image placeholders included."""
        system = self.systems.get(kind, HELPFUL)
        return self.wrap(self.prompts[kind].format(**fields), n_images=n_images, system=system)

    def wrap(self, text: str, *, n_images: int = 1, system: str = HELPFUL) -> str:
        """Put a user text into the chat template."""
        images = self.image_joiner.join([self.image_token] * n_images)
        # Not str.format: a question may hold braces.
        template = self.chat_template.replace("{system}", system).replace("{images}", images)
        return template.replace("{text}", text)

    def to_json(self) -> dict[str, Any]:
        """Return the manifest form."""
        texts = {"prompts": self.prompts, "systems": self.systems}
        return asdict(self) | {key: {kind.value: text for kind, text in of.items()} for key, of in texts.items()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Dialect":
        """Read the manifest form; the inverse of `to_json`."""
        closed = {
            key: {PromptKind(kind): text for kind, text in data.get(key, {}).items()} for key in ("prompts", "systems")
        } | {
            "box_style": BoxStyle(data.get("box_style", BoxStyle.CORNERS)),
            "mask_style": MaskStyle(data["mask_style"]),
            "zoom": ZoomStyle(data.get("zoom", ZoomStyle.SEARCH)),
        }
        return cls(**(data | closed))


RSUNIVLM = Dialect(
    chat_template=(
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\n{images}\n{text}<|im_end|>\n<|im_start|>assistant\n"
    ),
    prompts={
        PromptKind.ASK: "[VQA] {question}",
        PromptKind.CAPTION: "[CAP] Describe this image briefly.",
        PromptKind.CLASSIFY: "[CLS] What is the scene class of this image?",
        PromptKind.GROUND: "[VG] Where is the {phrase}?",
        PromptKind.DESCRIBE: "[REF] what is {box}?",
        PromptKind.SEGMENT: "[SEG] {label}.",
        PromptKind.DETECT_CHANGE: "[SEG] Please segment the {label} area that have changed in the second image.",
        PromptKind.DESCRIBE_CHANGE: "[CCD] Please briefly describe the changes in these two images.",
    },
)
"""Source: the released RSUniVLM demo, byte for byte where it shows an example; it shows none for [CLS]."""

NANO = Dialect(
    chat_template="<|im_start|>user\n{images}\n{text}<|im_end|>\n<|im_start|>assistant\n",
    prompts=RSUNIVLM.prompts,
    box_style=BoxStyle.REACH,
    mask_style=MaskStyle.CELLS,
    mask_grid=16,
)
"""The embedded model: RSUniVLM's prompts, no system turn, masks and boxes read cell by cell (docs/adr/0006)."""

RSCOVLM = Dialect(
    chat_template=(
        "<|im_start|>system\n{system}<|im_end|>\n"
        "<|im_start|>user\n<|vision_start|>{images}<|vision_end|>{text}<|im_end|>\n<|im_start|>assistant\n"
    ),
    image_token="<|image_pad|>",
    image_joiner="<|vision_end|><|vision_start|>",
    prompts={
        PromptKind.ASK: "{question} Answer the question using a single word or a short phrase.",
        PromptKind.GROUND: "find the {phrase}",
    },
    systems={
        PromptKind.GROUND: (
            "As an AI assistant, you specialize in accurate oriented object detection, delivering coordinates of the "
            "polygon vertices in plain text format 'x1,y1,x2,y2,x3,y3,x4,y4 object'."
        )
    },
    no_boxes="There are none.",
    box_style=BoxStyle.QUADS,
    zoom=ZoomStyle.TOOL_CALL,
)
"""RSCoVLM (Qwen2.5-VL): questions, and things by the vertices of their turned boxes, as it was trained on both."""
