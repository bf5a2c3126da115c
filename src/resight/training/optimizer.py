"""Which weights learn, in which mode, and how fast."""

import math

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from resight.models.classifier import Classifier
from resight.models.solver import Solver
from resight.training.recipe import Recipe
from resight.training.sharding import is_cut


def make_optimizer(model: Classifier | Solver, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the optimizer; each group's rate is the schedule's times its `factor`.

    Parameters share a group if the network wants the same rate and decay of them (`Classifier.learning`)
    and the recipe does (`trunk_lr`).
    """
    stage = trunk_depths(model)
    members: dict[tuple[float, float, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        rate, decay = model.learning(name)
        if name in stage:
            first, *divisor = recipe.trunk_lr
            rate *= first / (divisor[0] ** stage[name] if divisor else 1)
        # What begins to learn later has a group of its own: a group's momenta begin together.
        later = bool(recipe.head_first) and name in stage
        members.setdefault((rate, decay, later), []).append(parameter)
    groups = [
        {"params": parameters, "factor": rate, "weight_decay": decay * recipe.weight_decay}
        for (rate, decay, _), parameters in members.items()
    ]
    if recipe.optimizer == "rmsprop":
        return torch.optim.RMSprop(groups, lr=recipe.lr, alpha=0.9, momentum=recipe.momentum)
    first = next(model.parameters())
    return torch.optim.SGD(
        groups,
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=recipe.optimizer == "nesterov" and recipe.momentum > 0,
        fused=first.device.type in ("cpu", "cuda") and not is_cut(first),
    )


def trunk_depths(model: Classifier | Solver) -> dict[str, int]:
    """Return the parameters below the head's last layers, each with its distance from the last stage.

    What is in no stage (hidden layers of the head, side heads) counts as the last stage.
    """
    head = model.head_parameters()
    stages = list(model.stages.values())
    depth = {id(p): len(stages) - 1 - n for n, stage in enumerate(stages) for p in stage.parameters()}
    return {name: depth.get(id(p), 0) for name, p in model.named_parameters() if name not in head}


def head_epochs(recipe: Recipe) -> int:
    """Return in how many epochs, the first ones, the head learns alone: all but one at most."""
    return min(math.ceil(recipe.head_first * recipe.epochs), recipe.epochs - 1)


def set_mode(model: Classifier | Solver, recipe: Recipe, epoch: int) -> None:
    """Put the network into the mode of an epoch: training, with what is held fixed held fixed.

    While the head learns alone, the trunk is in eval mode and has no gradients.
    """
    model.train()
    alone = epoch < head_epochs(recipe) or not recipe.trunk_lr[0]
    trunk = trunk_depths(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad = not (alone and name in trunk)
    if alone:
        for stage in model.stages.values():
            stage.eval()
    for module in model.modules():
        # The base of them all: torch's SyncBatchNorm is no BatchNorm2d.
        if isinstance(module, _BatchNorm) and (alone or model.frozen_norm):
            module.eval()
