"""Adapters: LoRA and QLoRA beside a model's frozen linears, and what they come to in the end.

peft holds the matrices, bitsandbytes the 4 bit weights. Merging adds the learnt product to the weights that the run
started from, in full precision, so that nothing of the 4 bit rounding stays in the result.

The tower's dense heads are small and answer for the words they know (docs/adr/0018), so they are trained whole: or
nobody's own corrections would reach `detect` and `classify`.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from model.vlm import VLM
from rsvlm_cli.errors import UsageError
from train.config import Adapter

NAME = "default"
BLOCK = 64
HEADS = "heads."


def add_adapter(model: VLM, adapter: Adapter, *, seed: int) -> None:
    """Freeze a model but for its heads, and put a pair of matrices beside each target.

    What it computes does not change yet.

    Raises:
        UsageError: if a library is missing, or no linear has a target's name.
    """
    try:
        import peft
    except ImportError as error:
        raise UsageError("peft is not installed, and an adapter needs it: pip install 'rsvlm[train]'") from error
    targets = [name for name, part in model.named_modules() if _is_target(name, part, adapter)]
    if not targets:
        raise UsageError(
            f"no linear of the model is called {adapter.targets!r} (adapter.targets, names of model.weights)"
        )
    model.requires_grad_(False)
    if adapter.four_bit:
        _narrow(model, targets)
    torch.manual_seed(seed)
    config = peft.LoraConfig(
        r=adapter.rank, lora_alpha=adapter.alpha, lora_dropout=adapter.dropout, target_modules=adapter.targets
    )
    peft.inject_adapter_in_model(config, model, adapter_name=NAME)
    if model.heads is not None:
        model.heads.requires_grad_(True)


def _is_target(name: str, part: nn.Module, adapter: Adapter) -> bool:
    return isinstance(part, nn.Linear) and re.fullmatch(adapter.targets, name) is not None


def _narrow(model: VLM, targets: list[str]) -> None:
    """Hold these linears in 4 bit NormalFloat, blocks of 64, with the scales quantised once more.

    Those whose rows are no whole blocks stay as they are: on CPUs bitsandbytes 0.50 reads some of them back wrongly.
    """
    try:
        from bitsandbytes.nn.modules import Linear4bit, Params4bit
    except ImportError as error:
        raise UsageError("bitsandbytes is not installed, and four_bit needs it: pip install bitsandbytes") from error
    for name in targets:
        whole = model.get_submodule(name)
        assert isinstance(whole, nn.Linear)
        if whole.in_features % BLOCK:
            continue
        narrow = Linear4bit(
            whole.in_features,
            whole.out_features,
            bias=whole.bias is not None,
            compute_dtype=torch.bfloat16,
            quant_type="nf4",
        )
        narrow.weight = Params4bit(whole.weight.data, requires_grad=False, quant_type="nf4", compress_statistics=True)
        narrow.bias = whole.bias
        parent, _, own = name.rpartition(".")
        # The move is what narrows.
        setattr(model.get_submodule(parent), own, narrow.to(whole.weight.device))
    model.is_loaded_in_4bit = True  # type: ignore[assignment]  # peft's sign


def trained_state(model: VLM, adapter: Adapter | None) -> dict[str, Any]:
    """Return what a run has to remember of a model: all of it, or its adapter and its heads."""
    state = model.state_dict()
    if adapter is None:
        return state
    return {name: tensor for name, tensor in state.items() if ".lora_" in name or name.startswith(HEADS)}


@torch.no_grad()
def merge_adapter(learnt: Mapping[str, Tensor], adapter: Adapter, start: VLM) -> None:
    """Add what an adapter learnt to the weights that it started from, and take over the heads, in place.

    Args:
        learnt: as `trained_state` gives it, whole and on the CPU.
        adapter: its rank and scale.
        start: the model without adapter, in full precision.
    """
    for key, down in learnt.items():
        if key.startswith(HEADS):
            start.get_parameter(key).copy_(down)
        name, found, _ = key.partition(f".lora_A.{NAME}.weight")
        if found:
            up = learnt[f"{name}.lora_B.{NAME}.weight"]
            start.get_parameter(f"{name}.weight").add_(up.float() @ down.float(), alpha=adapter.alpha / adapter.rank)
