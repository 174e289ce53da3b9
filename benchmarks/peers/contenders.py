"""Who is measured."""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

Part = Literal["decoder", "tower"]
Arithmetic = Literal["int8", "bf16", "fp32"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One of those who are measured.

    Attributes:
        name: in the tables.
        part: what it runs.
        module: of this package; its function ``open_decoder`` or ``open_tower`` opens it.
        model: what it opens, in the folder of the made models.
        option: what its module must know beyond that.
        needs: packages that it imports, and those that make its model.
        arithmetic: what its matrix products are computed in.
        bits: of a decoder's weight, scales included: in MLPs, in attention, in the head.
        cache_bits: of a number in a decoder's cache.
    """

    name: str
    part: Part
    module: str
    model: str
    option: str = ""
    needs: tuple[str, ...] = ()
    arithmetic: Arithmetic = "int8"
    bits: tuple[float, float, float] = (32, 32, 32)
    cache_bits: int = 32

    @property
    def missing(self) -> list[str]:
        """Packages that are not installed."""
        return [name for name in self.needs if find_spec(name) is None]


OURS = {
    "int4-128": "ours, int4 b128",
    "int4-32": "ours, int4 b32",
    "int4-decoder-128": "ours, int4-decoder b128",
}
"""Bundle -> name; the last has 4 bits in attention and head too, as onnxruntime-genai has."""

LLAMA = "llama.cpp Q4_0"
OURS_TOWER, ORT_TOWER = "ours, int8 tower", "ONNX Runtime fp32 tower"
PROTOTYPE, PROTOTYPE_TOWER = "vector units alone, int4 b128", "ONNX Runtime int8 tower"
"""What the first prototype was made of: an operator for VNNI, here our own without matrix units, and a stock tower."""

REFERENCE: dict[Part, str] = {"decoder": "transformers fp32", "tower": "transformers fp32 tower"}
"""Whom the others' answers are compared with."""

LLAMA_NEEDS, GENAI_NEEDS, EAGER_NEEDS = (
    ("llama_cpp", "gguf"),
    ("onnxruntime_genai", "onnx_ir"),
    ("torch", "transformers"),
)

DECODERS = (
    Contender(name=OURS["int4-128"], part="decoder", module="ours", model="int4-128", bits=(4.25, 8.25, 8.25)),
    Contender(name=OURS["int4-32"], part="decoder", module="ours", model="int4-32", bits=(5, 9, 9)),
    Contender(
        name=OURS["int4-decoder-128"],
        part="decoder",
        module="ours",
        model="int4-decoder-128",
        bits=(4.25, 4.25, 4.25),
    ),
    Contender(
        name=PROTOTYPE, part="decoder", module="ours", model="int4-128", option="avx512-vnni", bits=(4.25, 8.25, 8.25)
    ),
    # What llama.cpp's own quantiser makes of these widths: they are in no blocks of 256, so the head gets Q8_0.
    Contender(
        name=LLAMA,
        part="decoder",
        module="llama",
        model="q4_0.gguf",
        needs=LLAMA_NEEDS,
        bits=(4.5, 4.5, 8.5),
        cache_bits=16,
    ),
    Contender(
        name="llama.cpp Q4_0, head too",
        part="decoder",
        module="llama",
        model="q4_0-pure.gguf",
        needs=LLAMA_NEEDS,
        bits=(4.5, 4.5, 4.5),
        cache_bits=16,
    ),
    *(
        Contender(
            name=f"onnxruntime-genai int4 b{block}",
            part="decoder",
            module="genai",
            model=f"genai-{block}",
            needs=GENAI_NEEDS,
            bits=(4 + 32 / block,) * 3,
        )
        for block in (128, 32)
    ),
    Contender(
        name=REFERENCE["decoder"],
        part="decoder",
        module="eager",
        model="hf",
        option="float32",
        needs=EAGER_NEEDS,
        arithmetic="fp32",
    ),
    Contender(
        name="transformers bf16",
        part="decoder",
        module="eager",
        model="hf",
        option="bfloat16",
        needs=EAGER_NEEDS,
        arithmetic="bf16",
        bits=(16, 16, 16),
        cache_bits=16,
    ),
)

TOWERS = (
    Contender(name=OURS_TOWER, part="tower", module="ours", model="int4-128"),
    Contender(name=ORT_TOWER, part="tower", module="plain", model="tower-fp32", arithmetic="fp32"),
    Contender(name=PROTOTYPE_TOWER, part="tower", module="plain", model="tower-int8"),
    Contender(
        name=REFERENCE["tower"],
        part="tower",
        module="eager",
        model="hf-tower",
        option="float32",
        needs=EAGER_NEEDS,
        arithmetic="fp32",
    ),
    Contender(
        name="transformers bf16 tower",
        part="tower",
        module="eager",
        model="hf-tower",
        option="bfloat16",
        needs=EAGER_NEEDS,
        arithmetic="bf16",
    ),
)
