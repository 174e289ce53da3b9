"""Which tensors are stored how, and what that costs each of them.

A profile names a scheme for each part. Everything else (norms, biases, position embeddings, the image newline) stays
float32: together they are less than 1 % of the bytes.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

import numpy as np

from rsvlm_cli.errors import BundleError, UsageError
from rsvlm_cli.runtime.int4 import BlockScheme, QuantisedRows, dequantise_rows, quantise_rows

ROWS_AT_ONCE = 8192
"""Rows that are quantised together, so that an embedding of 150 000 tokens needs no second float32 copy of itself."""


class ProfileName(StrEnum):
    """The profiles, by the width of the experts; the last one's other weights in the decoder are as narrow."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"
    INT4 = "int4"
    INT4_DECODER = "int4-decoder"


Scheme = BlockScheme | Literal["float16"] | None
"""Block-quantised weights; or float16 on disk and float32 in use; or float32."""

VisionScheme = Scheme | Literal["dynamic", "tokens"]
"""Or int8 weights and activations, these with one scale for a picture (``dynamic``) or one for each of its tokens."""

VisionName = Literal["blocks", "tokens", "dynamic", "fp32"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How each part of the model is stored.

    Attributes:
        name: the profile's name.
        experts: scheme of the expert MLPs.
        attention: scheme of the decoder's attention linears.
        embedding: scheme of the token embedding and the output head.
        vision: scheme of the vision tower's linears and the projector. Where it is quantised, the convolutions of a
            stem are stored as int8 with a scale for each output channel, and computed in float32.
    """

    name: ProfileName
    experts: Scheme
    attention: Scheme
    embedding: Scheme
    vision: VisionScheme


def make_profile(name: ProfileName, *, block: int = 32, vision: VisionName = "blocks") -> Profile:
    """Return a profile.

    What the name narrows is the experts, which are most of the bytes. Attention, token embedding, output head and
    vision tower keep 8 bits in the quantised profiles: attention at 4 bits alone is off by more than all experts at 4
    bits (docs/adr/0004 has the figures). ``int4-decoder`` narrows every linear layer of the decoder, the embedding and
    the head all the same: the smallest file, for whoever has measured what it costs. ``fp16`` is what weights are
    released in: half the file of ``fp32`` and the same numbers, for it is computed in float32.

    Args:
        name: width of the experts.
        block: weights that share a scale; 128 is faster, 32 more exact.
        vision: how the vision tower is stored in a quantised profile (docs/adr/0004 has time and error of each).

    Raises:
        UsageError: if the block is not one that the operators take.
    """
    if block not in (16, 32, 64, 128):
        raise UsageError(f"block {block}, wanted 16, 32, 64 or 128")
    if name is ProfileName.FP32:
        return Profile(name=name, experts=None, attention=None, embedding=None, vision=None)
    if name is ProfileName.FP16:
        return Profile(name=name, experts="float16", attention="float16", embedding="float16", vision="float16")
    bits = 8 if name is ProfileName.INT8 else 4
    others = 4 if name is ProfileName.INT4_DECODER else 8
    towers: dict[VisionName, VisionScheme] = {
        "blocks": BlockScheme(bits=8, block=block),
        "tokens": "tokens",
        "dynamic": "dynamic",
        "fp32": None,
    }
    return Profile(
        name=name,
        experts=BlockScheme(bits=bits, block=block),
        attention=BlockScheme(bits=others, block=block),
        embedding=BlockScheme(bits=others, block=block),
        vision=towers[vision],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorError:
    """What quantisation did to one tensor.

    Attributes:
        name: canonical tensor name, or that of a stack of experts.
        scheme: such as ``int4 b32``.
        relative: Frobenius norm of the difference over that of the tensor.
    """

    name: str
    scheme: str
    relative: float


@dataclass(slots=True)
class ErrorLog:
    """Collects the error of every quantised tensor."""

    errors: list[TensorError] = field(default_factory=list)

    def add(self, name: str, scheme: str, difference_sq: float, norm_sq: float) -> None:
        """Note one tensor by its sums of squares."""
        self.errors.append(
            TensorError(name=name, scheme=scheme, relative=float(np.sqrt(difference_sq / max(norm_sq, 1e-30))))
        )


def quantise_blocks(name: str, weight: np.ndarray, scheme: BlockScheme, log: ErrorLog) -> QuantisedRows:
    """Quantise ``(N, K)`` weights symmetrically in blocks along K, and note the error.

    Args:
        name: for the log.
        weight: float32 or float16.
        scheme: bits and block.
        log: gets the tensor's error.
    """
    parts, difference, norm = [], 0.0, 0.0
    for start in range(0, len(weight), ROWS_AT_ONCE):
        rows = weight[start : start + ROWS_AT_ONCE].astype(np.float32)
        part = quantise_rows(rows, scheme)
        difference += float(np.square(dequantise_rows(part) - rows).sum())
        norm += float(np.square(rows).sum())
        parts.append(part)
    log.add(name, f"int{scheme.bits} b{scheme.block}", difference, norm)
    return QuantisedRows(
        packed=np.concatenate([part.packed for part in parts]),
        scales=np.concatenate([part.scales for part in parts]),
        n_columns=weight.shape[1],
        scheme=scheme,
    )


def narrow(name: str, weight: np.ndarray, log: ErrorLog) -> np.ndarray:
    """Round a weight to float16, and note the error; released weights are float16 and do not change.

    Raises:
        BundleError: if a value is beyond float16.
    """
    limit = float(np.finfo(np.float16).max)
    if max(float(weight.max()), -float(weight.min())) > limit:
        raise BundleError(f"{name}: holds values beyond float16's {limit:.0f} (--profile fp32, int8 or int4)")
    narrowed = weight.astype(np.float16)
    difference = float(np.square(narrowed.astype(np.float32) - weight.astype(np.float32)).sum())
    log.add(name, "fp16", difference, float(np.square(weight.astype(np.float32)).sum()))
    return narrowed


def quantise_channels(name: str, weight: np.ndarray, log: ErrorLog) -> tuple[np.ndarray, np.ndarray]:
    """Quantise a weight to int8 with one scale for each output channel (axis 0), and note the error.

    Returns:
        Values in [-127, 127], int8, of the weight's shape, and scales ``(N,)`` float32.
    """
    rows = weight.astype(np.float32).reshape(len(weight), -1)
    scales = np.maximum(np.abs(rows).max(1), np.finfo(np.float32).tiny) / np.float32(127)
    values = np.rint(rows / scales[:, None]).astype(np.int8)
    difference = float(np.square(values * scales[:, None] - rows).sum())
    log.add(name, "int8 channel", difference, float(np.square(rows).sum()))
    return values.reshape(weight.shape), scales


def experts_scheme(scheme: BlockScheme, hidden: int) -> BlockScheme:
    """Return the scheme of the stacked experts: QMoE takes only blocks that divide the hidden size.

    Raises:
        UsageError: if no block of 16 or more does.
    """
    block = scheme.block
    while hidden % block:
        block //= 2
    if block < 16:
        raise UsageError(
            f"hidden size {hidden} is no multiple of 16, so its experts cannot be quantised (--profile fp32)"
        )
    return BlockScheme(bits=scheme.bits, block=block)
