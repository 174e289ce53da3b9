"""Looking closer: which questions it can help, and the tool call by which a family names the region itself.

The tool call is Qwen2.5-VL's as RSCoVLM was trained with it: one call a question, of a box in whole pixels of the
picture that the model sees. Source: RSCoVLM, ``training/data/visual_cot_dataset.py``, byte for byte.
"""

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from rsvlm_cli.errors import ReplyMalformed
from rsvlm_cli.tasks.ask import form_of, is_count, is_yes_no
from rsvlm_cli.tasks.dialect import GRANULARITY, Dialect, PromptKind
from rsvlm_cli.tasks.exchange import Request
from rsvlm_cli.tasks.grammar import BoxFrac

TOOLS = """# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{"type": "function", "function": {"name": "image_zoom_in", "description": "Zoom in to the region of interest on the \
given image. Input the bounding box of the region of interest and return the zoomed-in image to help to focus and \
view more clearly.", "parameters": {"name": "bbox", "type": "list[int]", "description": "The bounding box of the \
region of interest as an array [x1, y1, x2, y2], where (x1, y1) and (x2, y2) indicate the positions' absolute \
coordinates of the left top and right down corners, respectively.", "required": true}}}
</tools>

For each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:
<tool_call>
{"name": <function-name>, "arguments": <args-json-object>}
</tool_call>"""

_USER = "<|im_start|>user\n<|vision_start|>{image}<|vision_end|>{text}<|im_end|>\n<|im_start|>assistant\n"
_ASK = "{question}\nZoom in to the region of interest and answer the question."
_SHOWN = "Here's the zoomed-in image. You can complete your task now."

_NAME = "image_zoom_in"
_HEAD, _TAIL = f'<tool_call>\n{{"name": "{_NAME}", "arguments": {{"bbox": [', "]}}\n</tool_call>"
_PARTS = (_HEAD, "", ", ", "", ", ", "", ", ", "", _TAIL)
"""A call's literals; the empty ones stand for its four numbers."""

CALL_TOKENS = 96
"""Budget of a call: its literals are about 30 tokens, its numbers at most one token a digit."""

MIN_SIDE_PX = 28
"""A region is widened to this many pixels of the picture: the tower's smallest input, two by two patches of 14."""


class Aim(StrEnum):
    """What a question wants of a scene, and so what windows of it can say."""

    PRESENCE = "presence"
    """Whether a thing is there at all: it is, if it is in any window."""
    COUNT = "count"
    """How many things there are: the sum over windows that do not overlap."""
    DETAIL = "detail"
    """Something about a thing: a window that shows it well answers with more certainty."""
    WHOLE = "whole"
    """Something about the scene as a whole, or about places in it: no window can say."""


_PLACES = (
    r"\b(where|part|position|located|location|left|right|top|bottom|upper|lower|cent(er|re)|middle|corner|side|edge"
    r"|(north|south|east|west)\w*|more|fewer|less|most|than)\b"
)
_WHOLE = _PLACES + (
    r"|\b(share|percent\w*|how much|dominant|common|main|mainly|scene|place|area|region|image show|picture show"
    r"|kind of|type of|describe|summar\w*|rural|urban)\b"
)
_PRESENCE = (
    r"(is|are) (there|any|.* (present|visible)$)\b|(can|could|do) you see\b"
    r"|do(es)? (the|this|these) (image|picture|scene|photo)s? (show|contain|have|include)s?\b"
    r"|ha(s|ve) (any|some)\w* .*(changed|appeared|vanished|been)\b"
)


def aim_of(question: str) -> Aim:
    """Say what a question wants, by its words."""
    text = " ".join(question.lower().strip(" ?!.").split())
    if is_yes_no(text) or is_count(text):
        if re.search(_PLACES, text):
            return Aim.WHOLE
        if is_count(text):
            return Aim.COUNT
        return Aim.PRESENCE if re.match(_PRESENCE, text) else Aim.DETAIL
    return Aim.WHOLE if re.search(_WHOLE, text) else Aim.DETAIL


def named_labels(question: str, labels: Iterable[str]) -> list[str]:
    """Return which of some class words a question names, singular or plural."""
    text = question.lower()
    return [label for label in labels if re.search(rf"\b{re.escape(label.lower())}(e?s)?\b", text)]


_ASKED_OF = (
    r"(is there|are there|do you see|can you see|could you see|is|are|how many|the number of|what is the number of"
    r"|what number of|count|please count|do(es)? (the|this) (image|picture|scene|photo) (show|contain|have|include))"
    r"( any| a| an| the| some| all)*"
)
_REST = (
    r"( (are|is) there| present| visible| here| (do|can|could) you see| are (visible|present)| in it"
    r"|,? (in|on) (the|this) (image|picture|scene|photo))*"
)


def plain_label(question: str, labels: Iterable[str]) -> str | None:
    """Return the class that a question is about, if that is all it says: neither "red ships" nor "ships at a pier"."""
    text = " ".join(question.lower().strip(" ?!.").split())
    return next(
        (label for label in labels if re.fullmatch(rf"{_ASKED_OF} {re.escape(label.lower())}(e?s)?{_REST}", text)), None
    )


# --- the tool call ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ToolCall:
    """The text of a call. Its numbers may stand in any order: `parse_call` clamps and orders them.

    A state is ``(part of _PARTS, text in it)``; behind the last part it is ``(len(_PARTS), "")``.
    """

    max_digits: int = 5

    def start(self) -> tuple[int, str]:  # noqa: D102
        return (0, "")

    def step(self, state: tuple[int, str], byte: int) -> tuple[int, str] | None:
        """Follow one byte."""
        part, text = state
        if part == len(_PARTS):
            return None
        literal, longer = _PARTS[part], text + chr(byte)
        if literal:
            return ((part + 1, "") if longer == literal else (part, longer)) if literal.startswith(longer) else None
        if 0x30 <= byte <= 0x39 and text != "0" and len(text) < self.max_digits:
            return (part, longer)
        return self.step((part + 1, ""), byte) if text else None

    def accepts(self, state: tuple[int, str]) -> bool:  # noqa: D102
        return state[0] == len(_PARTS)


def call_request(dialect: Dialect, question: str) -> Request:
    """Build the request that shows a picture and wants a region of it."""
    text = f"<|im_start|>system\n{TOOLS}<|im_end|>\n" + _turn(dialect, _ASK.replace("{question}", question))
    expert = int(GRANULARITY[PromptKind.ASK])
    return Request(prompt=text, expert=expert, grammar=ToolCall(), max_new_tokens=CALL_TOKENS)


def zoomed_request(dialect: Dialect, question: str, call: str) -> Request:
    """Build the request that shows the region as the second picture and wants the answer."""
    asked = call_request(dialect, question)
    prompt = f"{asked.prompt}{call}<|im_end|>\n" + _turn(dialect, _SHOWN)
    return form_of(question, replace(asked, prompt=prompt, grammar=None))


def _turn(dialect: Dialect, text: str) -> str:
    return _USER.replace("{image}", dialect.image_token).replace("{text}", text)


def format_call(box: BoxFrac, size_px: tuple[int, int]) -> str:
    """Write a call; pixels are truncated, as in training.

    Args:
        box: as shares of the picture.
        size_px: width and height of the picture that the model sees.
    """
    numbers = ", ".join(str(int(v * side + 1e-6)) for v, side in zip(box, size_px * 2, strict=True))
    return f"{_HEAD}{numbers}{_TAIL}"


def parse_call(text: str, size_px: tuple[int, int]) -> BoxFrac:
    """Read the region of a call: clamped to the picture, its corners ordered, at least `MIN_SIDE_PX` a side.

    Numbers and blanks may be written as JSON allows; words around the call are passed over.

    Args:
        text: the reply.
        size_px: width and height of the picture that the model sees.

    Raises:
        ReplyMalformed: if it holds no call of the tool with four numbers.
    """
    found = re.search(r"<tool_call>(.*?)</tool_call>", text, re.DOTALL)
    try:
        call = json.loads(found[1]) if found else {}
        numbers = call["arguments"]["bbox"] if call["name"] == _NAME else ()
        x1, y1, x2, y2 = (float(v) for v in numbers)
    except (ValueError, TypeError, KeyError) as error:
        raise ReplyMalformed(f"reply calls no {_NAME} with a bbox of four numbers: {text[:60]!r}", text) from error
    if not all(map(math.isfinite, (x1, y1, x2, y2))):
        raise ReplyMalformed(f"reply calls {_NAME} with a bbox that is no box: {text[:60]!r}", text)
    (left, right), (top, bottom) = _span(x1, x2, size_px[0]), _span(y1, y2, size_px[1])
    return left, top, right, bottom


def _span(a: float, b: float, side_px: int) -> tuple[float, float]:
    """Return two coordinates as shares of a side, clamped, in order, and at least `MIN_SIDE_PX` apart."""
    low, high = sorted(min(max(v, 0.0), float(side_px)) for v in (a, b))
    missing = min(MIN_SIDE_PX, side_px) - (high - low)
    if missing > 0:
        low = min(max(low - missing / 2, 0.0), side_px - (high - low) - missing)
        high = low + min(MIN_SIDE_PX, side_px)
    return low / side_px, high / side_px
