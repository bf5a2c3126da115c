"""Weights, gradients and momenta sharded over the processes, by torch's fully_shard.

A sharded parameter is a DTensor. Only this module knows: other code asks for the whole of it, for the part
that this process holds, or for another tensor sharded like it. torch's module for it takes as long to load as
torch itself, so only sharded training loads it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeGuard, cast

import torch
from torch import Tensor, nn

from resight.core.distributed import world
from resight.core.errors import UsageError
from resight.models.classifier import Classifier
from resight.tasks.task import Loss
from resight.training.recipe import Recipe

if TYPE_CHECKING:
    from torch.distributed.fsdp import FSDPModule
    from torch.distributed.tensor import DTensor


def shard(objective: Loss, recipe: Recipe, device: torch.device) -> nn.Module:
    """Cut up the weights of an objective's network; a backward pass leaves the mean of all gradients.

    All of them are gathered at the beginning of a forward pass and again for the backward pass.
    Teachers and other old networks stay whole.

    Args:
        objective: of this process.
        recipe: what is trained.
        device: where it runs.

    Raises:
        UsageError: if there is one process only, or a part of the training needs whole weights.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    model = objective.model
    if world().processes == 1:
        raise UsageError("shard=true needs several processes; start them with torchrun")
    if recipe.head_first:
        raise UsageError(
            "shard=true cannot be combined with head_first, which changes what has gradients; leave one out"
        )
    if type(model).constrain is not Classifier.constrain:
        raise UsageError(
            f"shard=true: {recipe.model} bounds the norms of its weights, so they cannot be sharded"
        )
    model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload] # torch refuses others
    own = {id(p) for p in model.parameters()}
    fully_shard(
        objective,
        mesh=init_device_mesh(device.type, (world().processes,)),
        ignored_params={p for p in objective.parameters() if id(p) not in own},
    )
    return objective


def whole(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return gathered tensors; every process must call it, for all of them."""
    return {k: v.full_tensor() if is_cut(v) else v for k, v in tensors.items()}


def local(tensor: Tensor) -> Tensor:
    """Return the part of a tensor that this process holds, sharing memory with it."""
    return tensor.to_local() if is_cut(tensor) else tensor


def is_cut(tensor: Tensor) -> "TypeGuard[DTensor]":
    """Return whether a tensor is sharded."""
    return hasattr(tensor, "full_tensor")


def like(tensor: Tensor, other: Tensor) -> Tensor:
    """Return a whole tensor sharded like another one, on its device."""
    if not is_cut(other):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    moved = tensor.to(other.device)
    return distribute_tensor(moved, other.device_mesh, other.placements, src_data_rank=None)


@contextmanager
def put_together(objective: nn.Module) -> Iterator[None]:
    """Gather the network inside the block, to call it without its objective; in every process."""
    if not hasattr(objective, "unshard"):
        yield
        return
    sharded = cast("FSDPModule", objective)
    sharded.unshard()
    try:
        yield
    finally:
        sharded.reshard()
