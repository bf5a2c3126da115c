"""Poolings by name, and LeNet's trainable subsampling."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resight.core.registry import lookup
from resight.models.operators.activation import ScaledTanh


class L2Pool(nn.Module):
    """y = sqrt(mean of x^2 over the window + 1e-12); the sum of squares differs only by a constant factor.

    Padding counts as zeros.

    Args:
        kernel: side of the window.
        stride: of the window.
        padding: on every side.
    """

    def __init__(self, kernel: int, stride: int, padding: int = 0) -> None:
        super().__init__()
        self.kernel, self.stride, self.padding = kernel, stride, padding

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, C, h', w')."""
        return torch.sqrt(F.avg_pool2d(x * x, self.kernel, self.stride, self.padding) + 1e-12)


class Subsample(nn.Module):
    """y = x at every `stride`-th position, the rest dropped: subsampling without pooling."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, C, h / stride, w / stride), rounded up."""
        return x[:, :, :: self.stride, :: self.stride]


class TrainableSubsample(nn.Module):
    """y = f(a * (sum over 2x2) + b), with a and b learned for every channel and f the scaled tanh.

    LeCun et al. 1998, "Gradient-based learning applied to document recognition", section II.B (S2 and S4).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels, 1, 1), 0.25))
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))
        self.squash = ScaledTanh()

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, C, h / 2, w / 2)."""
        return self.squash(4 * F.avg_pool2d(x, 2) * self.weight + self.bias)


class GlobalAveragePool(nn.Module):
    """y_c = mean over all positions of x_c."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, C)."""
        return torch.flatten(F.adaptive_avg_pool2d(x, 1), 1)


def average_as_matrix(channels: int, positions: int) -> Tensor:
    """Return global average pooling as a matrix (K, K positions) for maps flattened channel by channel.

    It is block-diagonal and constant: row c is 1 / positions where channel c lies, 0 elsewhere. A fully
    connected layer in its place is a dense matrix of learned weights (Lin et al. 2013, section 3.2).

    Args:
        channels: of the map, K.
        positions: h w.
    """
    return torch.block_diag(*(torch.full((1, positions), 1 / positions) for _ in range(channels)))


class GlobalMaxPool(nn.Module):
    """y_c = max over all positions of x_c."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, C)."""
        return torch.flatten(F.adaptive_max_pool2d(x, 1), 1)


POOLINGS: dict[str, Callable[[int, int, int], nn.Module]] = {
    "max": nn.MaxPool2d,
    "average": nn.AvgPool2d,
    "l2": L2Pool,
    "strided": lambda kernel, stride, padding: Subsample(stride),
}


def pooling(name: str, kernel: int, stride: int, padding: int = 0) -> nn.Module:
    """Return a pooling of kernel x kernel windows.

    Raises:
        UsageError: if there is no pooling of that name.
    """
    return lookup(POOLINGS, name, "pooling")(kernel, stride, padding)
