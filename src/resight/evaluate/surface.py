"""The loss around a trained network, along two random directions (Li et al. 2018).

Source: Li, Xu, Taylor, Studer and Goldstein, "Visualizing the loss landscape of neural nets", 2018, section
4. Each direction is drawn from a normal distribution and every filter of it is scaled to the norm of the
network's own filter, so that networks which differ by a scale that normalization takes out again show the
same surface. As in the released code, biases and the parameters of normalizations do not move.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from resight.core.console import counted
from resight.models.cost import evaluating
from resight.models.criterion import PLAIN, Criterion
from resight.models.operators.convolution import LocallyConnected2d
from resight.saliency.look import wide

SIZES = (21, 15, 11)
"""Points a side, the first that the budget allows."""
REACH = 1.0
"""How far the directions are followed either way; 1 is as long as the weights themselves."""
BUDGET = 1e12
"""Multiply-adds: about a minute on two cores."""
LEAST, MOST = 32, 1024
"""Pictures that a larger grid must allow, of the smallest one half as many; and the most. A power of two."""
BATCH = 64


@dataclass(frozen=True)
class Surface:
    """The loss over a plane through a network's weights.

    Attributes:
        axis: how far each direction was followed, (n,), the same for both; the middle one is 0.
        losses: mean loss, (n, n): row i at axis[i] along the second direction, column j along the first;
            infinite where it is no number.
        pictures: how many it is the mean of.
    """

    axis: NDArray[np.float64]
    losses: NDArray[np.float64]
    pictures: int

    @property
    def centre(self) -> float:
        """The network's own loss."""
        middle = len(self.axis) // 2
        return float(self.losses[middle, middle])


def filter_normalized(model: nn.Module, generator: torch.Generator) -> dict[str, Tensor]:
    """Return a random direction whose filters have the norms of the network's own.

    Args:
        model: a network. A filter is one output of a convolution or linear layer, of a locally connected one
            at one place.
        generator: on the CPU.

    Returns:
        The weights' directions by name; what stays (biases, normalizations, slopes) is not among them.
    """
    local = {name for name, module in model.named_modules() if isinstance(module, LocallyConnected2d)}
    direction = {}
    for name, parameter in model.named_parameters():
        owner, _, kind = name.rpartition(".")
        weight = parameter.detach()
        if weight.ndim <= 1 or kind == "bias":
            continue
        drawn = torch.empty_like(weight).copy_(torch.randn(weight.shape, generator=generator))
        axes = tuple(range(2 if owner in local else 1, weight.ndim))
        norm, its = (tensor.pow(2).sum(axes, keepdim=True).sqrt() for tensor in (weight, drawn))
        direction[name] = drawn * norm / its.clamp(min=1e-10)
    return direction


def affordable(multiply_adds: int, budget: float = BUDGET) -> tuple[int, int]:
    """Return how many points a side and how many pictures a budget allows: the same on every machine.

    Args:
        multiply_adds: of one picture.
        budget: multiply-adds of all points together.
    """
    size = next((s for s in SIZES if budget / (multiply_adds * s**2) >= LEAST), SIZES[-1])
    count = budget / (multiply_adds * size**2)
    return size, int(min(max(2 ** int(np.log2(max(count, 1))), LEAST // 2), MOST))


def loss_surface(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    size: int = SIZES[0],
    reach: float = REACH,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, of: None,
    criterion: Criterion = PLAIN,
) -> Surface:
    """Return the loss on a grid around a network.

    Batch normalization uses its running statistics everywhere, as in a test. The network's weights are not
    touched: other ones are put in their place for each pass.

    Args:
        model: the network; left as it was.
        images: (B, C, H, W), on the network's device.
        labels: the targets of the criterion, (B,) or (B, classes).
        size: points a side, odd.
        reach: how far each direction is followed either way.
        seed: of the directions.
        progress: gets the rows done and their number.
        criterion: the loss.
    """
    own = {name: p.detach() for name, p in model.named_parameters()}
    generator = torch.Generator().manual_seed(seed)
    first, second = (filter_normalized(model, generator) for _ in range(2))
    axis = np.linspace(-reach, reach, size)
    axis[size // 2] = 0.0
    losses = np.empty((size, size))
    with torch.inference_mode(), evaluating(model):
        for i, b in enumerate(counted(axis, "the loss around the network, rows")):
            row = {name: own[name] + float(b) * step for name, step in second.items()}
            for j, a in enumerate(axis):
                weights = {name: row[name] + float(a) * step for name, step in first.items()}
                losses[i, j] = _loss(model, weights, images, labels, criterion)
            progress(i + 1, size)
    return Surface(axis, np.where(np.isfinite(losses), losses, np.inf), len(images))


def _loss(
    model: nn.Module, weights: dict[str, Tensor], images: Tensor, labels: Tensor, criterion: Criterion
) -> float:
    """Return the mean loss of the network with other weights."""
    total = 0.0
    for start in range(0, len(images), BATCH):
        part = labels[start : start + BATCH]
        logits = wide(functional_call(model, weights, (images[start : start + BATCH],)))
        total += float(criterion(logits, part)) * len(part)
    return total / len(images)
