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
        if recipe.optimizer == "adamw" and parameter.dim() < 2:
            decay = 0.0  # biases, and what normalization scales and shifts
        # What begins to learn later has a group of its own: a group's momenta begin together.
        later = bool(recipe.head_first) and name in stage
        members.setdefault((rate, decay, later), []).append(parameter)
    groups = [
        {"params": parameters, "factor": rate, "weight_decay": decay * recipe.weight_decay}
        for (rate, decay, _), parameters in members.items()
    ]
    first = next(model.parameters())
    fused = first.device.type in ("cpu", "cuda") and not is_cut(first)
    if recipe.optimizer == "rmsprop":
        return torch.optim.RMSprop(groups, lr=recipe.lr, alpha=0.9, momentum=recipe.momentum)
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.lr, betas=(recipe.momentum, 0.999), fused=fused)
    return torch.optim.SGD(
        groups,
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=recipe.optimizer == "nesterov" and recipe.momentum > 0,
        fused=fused,
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

    While the head learns alone, the trunk is in eval mode and has no gradients; so are, always, the stages
    before those that `trunk_lr` lets learn.
    """
    model.train()
    alone = epoch < head_epochs(recipe) or not recipe.trunk_lr[0]
    learning = 0 if alone else recipe.learning_stages
    depths = trunk_depths(model)
    fixed = _depthwise_kernels(model) if model.frozen_depthwise else set()
    for name, parameter in model.named_parameters():
        parameter.requires_grad = not (name in fixed or (name in depths and depths[name] >= learning))
    for depth, stage in enumerate(reversed(model.stages.values())):
        if depth >= learning:
            stage.eval()
    for module in model.modules():
        # The base of them all: torch's SyncBatchNorm is no BatchNorm2d.
        if isinstance(module, _BatchNorm) and (alone or model.frozen_norm):
            module.eval()


def _depthwise_kernels(model: nn.Module) -> set[str]:
    """Return the names of the kernels that read one channel each."""
    return {
        f"{name}.weight"
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Conv2d) and 1 < layer.groups == layer.in_channels
    }
