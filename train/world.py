"""One process or many that share a batch and a model: torchrun starts them, FSDP2 shards what they hold.

Source: FSDP2, https://docs.pytorch.org/docs/stable/distributed.fsdp.fully_shard.html.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from rsvlm_cli.errors import UsageError
from train.config import Precision
from train.learner import Learner, blocks_of_model


def default_device() -> torch.device:
    """Return the GPU that torchrun gave this process, the first one, or the CPU."""
    return (
        torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if torch.cuda.is_available() else torch.device("cpu")
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """This process among those of a run.

    Attributes:
        rank, size: of this process; 0 of 1 alone.
        device: where it computes.
        mesh: of all processes, or None alone.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=default_device)
    mesh: DeviceMesh | None = None

    @property
    def leads(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    def total(self, values: list[float]) -> list[float]:
        """Return the sums of values over all processes."""
        if self.size == 1:
            return values
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return tensor.tolist()

    def wait(self) -> None:
        """Go on when all processes have come here."""
        if self.size > 1:
            dist.barrier()

    def shard(self, learner: Learner, precision: Precision) -> None:
        """Spread weights, gradients and the optimiser's state over the processes, block by block.

        Raises:
            UsageError: if the model has batch norms and computes on CPUs, where they cannot be synchronised.
        """
        if self.mesh is None:
            return
        if any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in learner.modules()):
            if self.device.type != "cuda":
                raise UsageError("a model with batch norms trains in one process on a CPU (start it without torchrun)")
            nn.SyncBatchNorm.convert_sync_batchnorm(learner)
        # Inputs stay as they are: rotary tables must not be rounded.
        policy = MixedPrecisionPolicy(
            param_dtype=torch.bfloat16 if precision == "bf16" else None,
            reduce_dtype=torch.float32,
            cast_forward_inputs=False,
        )
        for block in blocks_of_model(learner.model):
            fully_shard(block, mesh=self.mesh, mp_policy=policy)
        fully_shard(learner, mesh=self.mesh, mp_policy=policy)


@contextmanager
def join_world() -> Iterator[World]:
    """Join the processes that torchrun started; alone, there is nothing to join."""
    size = int(os.environ.get("WORLD_SIZE", 1))
    device = default_device()
    if size == 1:
        yield World(device=device)
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        mesh = init_device_mesh(device.type, (size,))
        yield World(rank=dist.get_rank(), size=size, device=device, mesh=mesh)
    finally:
        dist.destroy_process_group()


def whole(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a state dict with every sharded tensor whole, and all on the CPU; all processes must call it."""

    def gather(value: object) -> object:
        if isinstance(value, Tensor):
            return (value.full_tensor() if isinstance(value, DTensor) else value).cpu()
        if isinstance(value, dict):
            return {key: gather(item) for key, item in value.items()}
        return [gather(item) for item in value] if isinstance(value, list) else value

    return {key: gather(value) for key, value in state.items()}


def sharded_like(state: dict[str, Any], parameters: list[nn.Parameter]) -> dict[str, Any]:
    """Return an optimiser's whole state dict as shards of its parameters, in their order."""

    def shard(value: Tensor, parameter: nn.Parameter) -> Tensor:
        if isinstance(parameter, DTensor) and value.shape == parameter.shape:
            return distribute_tensor(value.to(parameter.device), parameter.device_mesh, parameter.placements)
        return value

    own = {
        index: {key: shard(value, parameters[index]) for key, value in values.items()}
        for index, values in state["state"].items()
    }
    return state | {"state": own}
