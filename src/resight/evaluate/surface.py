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
from torch.nn import functional as F

from resight.models.cost import evaluating
from resight.saliency.look import wide

SIZES = (21, 15, 11)
"""Points a side, the first that the budget allows."""
REACH = 1.0
"""How far the directions are followed either way; 1 is as long as the weights themselves."""
BUDGET = 1e12
"""Multiply-adds: about a minute on two cores."""
LEAST, MOST = 32, 1024
"""Pictures; a power of two between, as many as the budget allows."""
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


def filter_normalized(parameters: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """Return a random direction whose filters have the norms of the parameters' own.

    Args:
        parameters: of a network by name. A filter is one output of a convolution or linear layer; what has
            one dimension or none (biases, normalizations, slopes) gets zeros.
        generator: on the CPU.
    """
    direction = {}
    for name, weight in parameters.items():
        if weight.ndim <= 1:
            direction[name] = torch.zeros_like(weight)
            continue
        drawn = torch.empty_like(weight).copy_(torch.randn(weight.shape, generator=generator))
        axes, ones = tuple(range(1, weight.ndim)), [1] * (weight.ndim - 1)
        norm = weight.detach().pow(2).sum(axes).sqrt() / drawn.pow(2).sum(axes).sqrt().clamp(min=1e-10)
        direction[name] = drawn * norm.view(-1, *ones)
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
) -> Surface:
    """Return the loss on a grid around a network.

    Batch normalization uses its running statistics everywhere, as in a test. The network's weights are not
    touched: other ones are put in their place for each pass.

    Args:
        model: the network; left as it was.
        images: (B, C, H, W), on the network's device.
        labels: class numbers (B,); or, of several classes a picture, 0 or 1 for each (B, classes).
        size: points a side, odd.
        reach: how far each direction is followed either way.
        seed: of the directions.
        progress: gets the rows done and their number.
    """
    own = {name: p.detach() for name, p in model.named_parameters()}
    generator = torch.Generator().manual_seed(seed)
    first, second = (filter_normalized(own, generator) for _ in range(2))
    moving = [name for name, p in own.items() if p.ndim > 1]
    axis = np.linspace(-reach, reach, size)
    axis[size // 2] = 0.0
    losses = np.empty((size, size))
    with torch.inference_mode(), evaluating(model):
        for i, b in enumerate(axis):
            row = {name: own[name] + float(b) * second[name] for name in moving}
            for j, a in enumerate(axis):
                weights = {name: row[name] + float(a) * first[name] for name in moving}
                losses[i, j] = _loss(model, weights, images, labels)
            progress(i + 1, size)
    return Surface(axis, np.where(np.isfinite(losses), losses, np.inf), len(images))


def _loss(model: nn.Module, weights: dict[str, Tensor], images: Tensor, labels: Tensor) -> float:
    """Return the mean loss of the network with other weights."""
    total = 0.0
    for start in range(0, len(images), BATCH):
        part = labels[start : start + BATCH]
        logits = wide(functional_call(model, weights, (images[start : start + BATCH],)))
        if part.ndim > 1:
            loss = F.binary_cross_entropy_with_logits(logits, part.to(logits))
        else:
            loss = F.cross_entropy(logits, part)
        total += float(loss) * len(part)
    return total / len(images)
