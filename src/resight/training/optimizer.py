"""Which weights are trained, in which mode, and how fast."""

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

    Parameters share a group if the network (`Classifier.learning`) and the recipe (`trunk_lr`)
    give them the same rate and decay.
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
        # Weights that are trained later have their own group: the momenta of a group start together.
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
    if recipe.optimizer in ("adam", "adamw"):
        make = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
        return make(groups, lr=recipe.lr, betas=(recipe.momentum, 0.999), fused=fused)
    return torch.optim.SGD(
        groups,
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=recipe.optimizer == "nesterov" and recipe.momentum > 0,
        fused=fused,
    )


def trunk_depths(model: Classifier | Solver) -> dict[str, int]:
    """Return the parameters below the head's last layers, each with its distance from the last stage.

    Layers outside the stages (hidden layers of the head, side heads) count as the last stage.
    """
    head = model.head_parameters()
    stages = list(model.stages.values())
    depth = {id(p): len(stages) - 1 - n for n, stage in enumerate(stages) for p in stage.parameters()}
    return {name: depth.get(id(p), 0) for name, p in model.named_parameters() if name not in head}


def head_epochs(recipe: Recipe) -> int:
    """Return in how many first epochs only the head is trained: at most all but one."""
    return min(math.ceil(recipe.head_first * recipe.epochs), recipe.epochs - 1)


def set_mode(model: Classifier | Solver, recipe: Recipe, epoch: int) -> None:
    """Put the network into the mode of an epoch: training, except for fixed layers.

    While only the head is trained, the trunk is in eval mode and has no gradients; so are, always, the stages
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
    apart = set(model.head.modules()) if isinstance(model, Solver) and model.head.measures else set()  # type: ignore[union-attr]
    for module in model.modules():
        # The base of them all: torch's SyncBatchNorm is no BatchNorm2d.
        if isinstance(module, _BatchNorm) and (alone or model.frozen_norm) and module not in apart:
            module.eval()


def _depthwise_kernels(model: nn.Module) -> set[str]:
    """Return the names of the kernels that read one channel each."""
    return {
        f"{name}.weight"
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Conv2d) and 1 < layer.groups == layer.in_channels
    }
