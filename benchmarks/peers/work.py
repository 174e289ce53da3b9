"""The least time that the work needs on a machine: what must be read, what must be computed."""

from collections.abc import Mapping

from benchmarks.peers.contenders import Contender
from benchmarks.peers.plan import PROMPT, REPLY
from model.config import DecoderConfig, VisionConfig


def mlp_weights(c: DecoderConfig) -> int:
    """Return the weights of one expert in all layers."""
    return c.layers * 3 * c.hidden_size * c.intermediate_size


def attention_weights(c: DecoderConfig) -> int:
    """Return the weights of the four projections in all layers."""
    return c.layers * 2 * c.hidden_size * (c.hidden_size + c.kv_heads * c.head_dim)


def token_bytes(c: DecoderConfig, contender: Contender) -> float:
    """Return what is read for one token in the middle of the reply: one expert, attention, head, and the cache."""
    weights = (mlp_weights(c), attention_weights(c), c.vocab_size * c.hidden_size)
    in_weights = sum(n * bits for n, bits in zip(weights, contender.bits, strict=True))
    in_cache = (PROMPT + REPLY / 2) * c.layers * 2 * c.kv_heads * c.head_dim * contender.cache_bits
    return (in_weights + in_cache) / 8


def prefill_operations(c: DecoderConfig) -> float:
    """Return multiplications and additions of a prompt: each weight with each token, half the square of scores."""
    products = PROMPT * (mlp_weights(c) + attention_weights(c)) + c.vocab_size * c.hidden_size
    return 2 * products + c.layers * 2 * PROMPT**2 * c.hidden_size


def tile_operations(v: VisionConfig, hidden: int) -> float:
    """Return multiplications and additions of a tile, projector included."""
    block = 4 * v.hidden_size**2 + 2 * v.hidden_size * v.intermediate_size
    around = 3 * v.patch_size**2 * v.hidden_size + (v.hidden_size + hidden) * hidden
    return 2 * v.tokens * (v.layers * block + around) + v.layers * 4 * v.tokens**2 * v.hidden_size


def least_seconds(
    contender: Contender, machine: Mapping[str, float], decoder: DecoderConfig, vision: VisionConfig, *, matrix: bool
) -> dict[str, float]:
    """Return the limit of each measured time: a token by memory, prompt and tile by arithmetic.

    Args:
        contender: whose bytes and arithmetic.
        machine: what ``limits.cpp`` prints.
        decoder: sizes.
        vision: sizes.
        matrix: whether matrix units count, where the machine has them.
    """
    units = [contender.arithmetic, *([f"{contender.arithmetic}_matrix"] if matrix else [])]
    speed = max(machine.get(unit, 0) for unit in units)
    if contender.part == "tower":
        return {"tile_s": tile_operations(vision, decoder.hidden_size) / speed}
    token_s = token_bytes(decoder, contender) / machine["read"]
    return {"token_s": token_s, "prefill_s": prefill_operations(decoder) / speed}
