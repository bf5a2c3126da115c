"""Activations by name, and maxout.

Sources: LeCun et al. 1998, "Efficient BackProp" (scaled tanh); Krizhevsky et al. 2012 (ReLU); Maas et al.
2013 (leaky ReLU); He et al. 2015, "Delving Deep into Rectifiers" (PReLU); Clevert et al. 2015 (ELU);
Goodfellow et al. 2013 (maxout).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from resight.core.registry import lookup


class ScaledTanh(nn.Module):
    """f(x) = 1.7159 tanh(2 x / 3), so that f(1) = 1 and f(-1) = -1 (LeCun et al. 1998)."""

    def forward(self, x: Tensor) -> Tensor:
        """Map any shape to itself."""
        return 1.7159 * torch.tanh(x * (2 / 3))


class Maxout(nn.Module):
    """f(x)_c = max over j < pieces of x_(c pieces + j): the largest of each group of channels.

    Goodfellow et al. 2013, "Maxout Networks", section 3: after an affine layer of C * pieces channels it is a
    piecewise linear convex function of that layer's input.

    Args:
        pieces: channels in a group.
    """

    def __init__(self, pieces: int) -> None:
        super().__init__()
        self.pieces = pieces

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C * pieces, ...) to (B, C, ...)."""
        return x.unflatten(1, (-1, self.pieces)).amax(2)


class FeaturePool(nn.Module):
    """f(x)_c = sqrt(mean over j < pieces of x_(c pieces + j)^2 + 1e-12): L2 pooling over features.

    Maxout's groups of channels, pooled by their root mean square (Le et al. 2011, "Building high-level
    features using large scale unsupervised learning", section 3.2: the root of a sum of squares).

    Args:
        pieces: channels in a group.
    """

    def __init__(self, pieces: int) -> None:
        super().__init__()
        self.pieces = pieces

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C * pieces, ...) to (B, C, ...)."""
        return torch.sqrt((x * x).unflatten(1, (-1, self.pieces)).mean(2) + 1e-12)


GROUPED: dict[str, Callable[[int], nn.Module]] = {"max": Maxout, "l2": FeaturePool}
"""Poolings over groups of channels, by name."""


class Step(nn.Module):
    """f(x) = 1 where x >= 0, else 0: the perceptron's output (Rosenblatt 1958).

    Its gradient is zero everywhere, so no layer before it learns.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map any shape to itself."""
        return (x >= 0).to(x.dtype) + 0 * x


ACTIVATIONS: dict[str, Callable[[int], nn.Module]] = {
    "step": lambda _: Step(),
    "sigmoid": lambda _: nn.Sigmoid(),  # 1 / (1 + exp(-x))
    "tanh": lambda _: nn.Tanh(),
    "scaled_tanh": lambda _: ScaledTanh(),
    "relu": lambda _: nn.ReLU(),  # max(0, x)
    "leaky_relu": lambda _: nn.LeakyReLU(0.01),  # max(x, 0.01 x)
    "prelu": lambda channels: nn.PReLU(channels, init=0.25),  # max(x, a x), a learned per channel
    "elu": lambda _: nn.ELU(),  # x, or exp(x) - 1 below zero
    "gelu": lambda _: nn.GELU(),  # x Phi(x)
    "silu": lambda _: nn.SiLU(),  # x sigmoid(x)
}


def activation(name: str, channels: int) -> nn.Module:
    """Return an activation for maps of `channels` channels.

    Raises:
        UsageError: if there is no activation of that name.
    """
    return lookup(ACTIVATIONS, name, "activation")(channels)
