"""One training in several processes: gradients averaged by torch's DistributedDataParallel."""

import warnings

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from resight.core.distributed import world
from resight.tasks.task import Loss
from resight.training.machine import Machine
from resight.training.optimizer import set_mode
from resight.training.recipe import Recipe
from resight.training.sharding import shard


class Shared(DistributedDataParallel):
    """An objective whose backward pass leaves the mean of all processes' gradients.

    DistributedDataParallel averages only the gradients of weights that had one when it was made:
    a weight that is trained later would differ between the processes.

    Args:
        objective: of this process.
        device: where it runs.
        find_unused: whether there are steps in which some weights have no gradient.
    """

    def __init__(self, objective: Loss, device: torch.device, *, find_unused: bool) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # newer versions call broadcast_buffers otherwise
            super().__init__(
                objective,
                device_ids=[device.index] if device.type == "cuda" else None,
                broadcast_buffers=False,
                gradient_as_bucket_view=True,
                find_unused_parameters=find_unused,
            )
        self.averaged = {name for name, p in objective.named_parameters() if p.requires_grad}

    def require_averaged(self) -> None:
        """Check that no other weights are trained now.

        Raises:
            RuntimeError: naming one that does.
        """
        for name, parameter in self.module.named_parameters():
            if parameter.requires_grad and name not in self.averaged:
                raise RuntimeError(f"{name} is trained, but its gradient is not averaged over the processes")


def shared(objective: Loss, recipe: Recipe, machine: Machine, device: torch.device) -> nn.Module:
    """Return the objective so that a backward pass leaves the mean of all processes' gradients.

    Statistics of batch normalization are not communicated: they are equal where they are synchronized, and
    those of the main process are kept where they are not.

    Args:
        objective: of this process.
        recipe: says which weights learn, and whether there are epochs in which some of them do not.
        machine: says whether weights are sharded over the processes; they are new objects then, so the
            optimizer must be made afterwards.
        device: where it runs.

    Raises:
        UsageError: see `shard`.
    """
    set_mode(objective.model, recipe, recipe.epochs - 1)  # all that ever learns does so in the last epoch
    if machine.shard:
        return shard(objective, recipe, device)
    if world().processes == 1:
        return objective
    return Shared(objective, device, find_unused=objective.uneven or recipe.head_first > 0)
