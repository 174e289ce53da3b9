"""How much memory a stage of a recipe needs in each process, before it is started.

Weights, gradients and the optimiser's state follow from the sizes alone. What the blocks keep for the backward pass is
measured: one block of each kind, of the recipe's own width, at two lengths on the CPU; the difference is the bytes a
token. Not counted are what the allocator leaves unused and the libraries' own workspace.
"""

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from rich.table import Table
from torch import Tensor, nn

from model.decoder import DecoderBlock, rotary_table
from model.vision import VisionBlock
from model.weights import expected_shapes
from train.adapters import HEADS
from train.config import Recipe, Stage

TEXT_TOKENS = 512
"""Of one sequence, beside its picture: questions and replies packed behind it, more than most sequences have."""

LENGTHS = (32, 64)
GIB = 1 << 30
LOGIT_BYTES = 14
"""Of one token and one entry of the vocabulary: the logit in bf16 and fp32, and two gradients in fp32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Bytes of one process, by what they hold.

    Attributes:
        stage: the stage's name.
        stored, trained: weights of the model, and those that get gradients.
        weights: kept, this process's share.
        copies: what is computed with: bf16 copies, and the whole of a block that is otherwise shared out.
        gradients, optimiser: of the trained weights, this process's share.
        activations: kept for the backward pass.
        logits: of the replies' tokens.
    """

    stage: str
    stored: int
    trained: int
    weights: float
    copies: float
    gradients: float
    optimiser: float
    activations: float
    logits: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.weights + self.copies + self.gradients + self.optimiser + self.activations + self.logits


def estimate(recipe: Recipe, stage: Stage, *, size: int = 1) -> Estimate:
    """Estimate one stage.

    Args:
        recipe: sizes, precision, checkpointing and adapter.
        stage: the batch, and what it trains.
        size: processes that share batch and model.
    """
    numbers = {name: math.prod(shape) for name, shape in expected_shapes(recipe.model).items()}
    stored, trained = sum(numbers.values()), trained_weights(recipe, stage)
    narrow = four_bit_weights(recipe)
    kept = 4 * (stored - narrow) + 0.516 * narrow  # 4 bits, and a scale in 8 bits for each block of 64
    used = sum(n for name, n in numbers.items() if not _is_spare_expert(name)) - narrow
    largest = max(
        sum(n for name, n in numbers.items() if name.startswith(f"{part}.layers.0.")) for part in ("vision", "decoder")
    )
    root = sum(n for name, n in numbers.items() if ".layers." not in name)
    width = 2 if recipe.precision == "bf16" else 4
    copies = width * (root + 2 * largest) if size > 1 else width * used if width == 2 else 0
    activations, logits = activation_bytes(recipe, stage, size=size)
    return Estimate(
        stage=stage.name,
        stored=stored,
        trained=trained,
        weights=kept / size,
        copies=copies,
        gradients=4 * trained / size,
        optimiser=8 * trained / size,
        activations=activations,
        logits=logits,
    )


def _is_spare_expert(name: str) -> bool:
    return re.search(r"\.experts\.[1-9]", name) is not None


def trained_weights(recipe: Recipe, stage: Stage) -> int:
    """Return how many weights a stage gives gradients to; a dense stage leaves all experts but one."""
    shapes = expected_shapes(recipe.model)
    heads = sum(math.prod(shape) for name, shape in shapes.items() if name.startswith(HEADS))
    if recipe.adapter is not None:
        linears = [
            shape
            for name, shape in shapes.items()
            if re.fullmatch(recipe.adapter.targets, name.removesuffix(".weight"))
        ]
        return heads + sum(recipe.adapter.rank * sum(shape) for shape in linears if len(shape) == 2)
    parts = ("vision.", HEADS) if stage.kind == "tower" else ("",)
    learnt = {
        name: shape
        for name, shape in shapes.items()
        if name.startswith(parts) and not name.rpartition(".")[2].startswith(("running_", "num_batches"))
    }
    return sum(math.prod(shape) for name, shape in learnt.items() if not (stage.dense and _is_spare_expert(name)))


def four_bit_weights(recipe: Recipe) -> int:
    """Return how many weights are held in 4 bits."""
    if recipe.adapter is None or not recipe.adapter.four_bit:
        return 0
    shapes = expected_shapes(recipe.model)
    return sum(
        math.prod(shape)
        for name, shape in shapes.items()
        if name.endswith(".weight") and re.fullmatch(recipe.adapter.targets, name.removesuffix(".weight"))
    )


def activation_bytes(recipe: Recipe, stage: Stage, *, size: int) -> tuple[float, float]:
    """Return the bytes that blocks keep for the backward pass, and those of the logits, of one piece of the batch."""
    vision, decoder = recipe.vision, recipe.decoder
    views = math.ceil(stage.batch / (size * stage.pieces))
    side = max(stage.sides_px(vision)) // vision.patch_size
    rotary = rotary_table(torch.arange(LENGTHS[-1])[None], decoder.head_dim, decoder.rope_theta)
    block = DecoderBlock(decoder)

    def decode(x: Tensor) -> Tensor:
        cos, sin = (table[:, :, : x.shape[1]] for table in rotary)
        return block(x, 0, (cos, sin), None, None, 0)

    width = 2 if recipe.precision == "bf16" else 4
    tower = kept_per_token(VisionBlock(vision), vision.hidden_size, recipe.precision)
    kept = views * side**2 * _over_layers(tower, vision.layers, 4 * vision.hidden_size, recipe)
    if stage.kind == "tower":
        return kept, 0.0
    text = kept_per_token(decode, decoder.hidden_size, recipe.precision)
    tokens = views * (side**2 + 1 + TEXT_TOKENS)
    kept += tokens * _over_layers(text, decoder.layers, width * decoder.hidden_size, recipe)
    return kept, LOGIT_BYTES * decoder.vocab_size * views * TEXT_TOKENS / 2


def _over_layers(inside: float, layers: int, border: float, recipe: Recipe) -> float:
    """Return the bytes a token of all blocks: of checkpointed ones their inputs, and the inside of one."""
    return layers * border + inside if recipe.checkpointing else layers * inside


def kept_per_token(block: Callable[[Tensor], Tensor], width: int, precision: str) -> float:
    """Measure the bytes that a block keeps for the backward pass, a token."""
    found = []
    for length in LENGTHS:
        x = torch.randn(1, length, width, requires_grad=True)
        with saved_bytes() as kept, torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            block(x * 1)
        found.append(sum(kept.values()))
    return (found[1] - found[0]) / (LENGTHS[1] - LENGTHS[0])


@contextmanager
def saved_bytes() -> Iterator[dict[int, int]]:
    """Collect the bytes of every storage that autograd keeps, by its address."""
    kept: dict[int, int] = {}
    alive: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        alive.append(tensor)  # or its address might be used again
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, nn.Identity()):
        yield kept


def estimate_table(recipe: Recipe, *, size: int) -> Table:
    """Return a table with a row a stage, in GiB of one process."""
    table = Table(title=f"{recipe.name}, {size} process{'es' if size > 1 else ''}, GiB in each")
    heads = ("weights", "copies", "gradients", "optimiser", "activations", "logits", "total")
    for head in ("stage", "stored", "trained", *heads):
        table.add_column(head, justify="left" if head == "stage" else "right", no_wrap=True)
    for stage in recipe.stages:
        found = estimate(recipe, stage, size=size)
        numbers = (f"{found.stored / 1e6:,.1f} M", f"{found.trained / 1e6:,.1f} M")
        table.add_row(stage.name, *numbers, *(f"{getattr(found, head) / GIB:.2f}" for head in heads))
    return table
