"""Inception modules as data: branches that read the same map and are concatenated."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resight.models.operators.convolution import ConvNormAct


@dataclass(frozen=True)
class Conv:
    """A convolution of a branch.

    Attributes:
        name: of its parameters; a dot names a child ("branch1.0").
        out: channels.
        kernel: side, or (height, width).
        stride: of the kernel.
        padding: "same" or "valid".
    """

    name: str
    out: int
    kernel: int | tuple[int, int] = 1
    stride: int = 1
    padding: str = "same"


@dataclass(frozen=True)
class Pool:
    """A 3x3 pooling of a branch.

    Attributes:
        kind: "max", "average", or "average-inside", which does not count the padding.
        stride: 1 keeps the map's size; 2 has no padding.
    """

    kind: str = "max"
    stride: int = 1


Step = Conv | Pool | tuple[Conv, ...]
"""A tuple is a fork: its convolutions read the same map and are concatenated."""
Branch = tuple[Step, ...]


class Branches(nn.Module):
    """Parallel branches, concatenated along the channels.

    Args:
        channels: of the input.
        branches: in the order of concatenation.
        make: makes a convolution of (channels, out, kernel, stride, padding).

    Attributes:
        out: channels of the output.
    """

    def __init__(
        self,
        channels: int,
        branches: tuple[Branch, ...],
        make: Callable[..., nn.Module] = ConvNormAct,
    ) -> None:
        super().__init__()
        self.branches, self.out = branches, 0
        for branch in branches:
            width = channels
            for step in branch:
                if isinstance(step, Pool):
                    continue
                fork = step if isinstance(step, tuple) else (step,)
                for conv in fork:
                    self._register(conv.name, make(width, conv.out, conv.kernel, conv.stride, conv.padding))
                width = sum(conv.out for conv in fork)
            self.out += width

    def _register(self, name: str, module: nn.Module) -> None:
        parent, _, leaf = name.rpartition(".")
        if parent and parent not in self._modules:
            self.add_module(parent, nn.ModuleDict())
        self.get_submodule(parent).add_module(leaf, module)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, h, w) to (B, out, h', w')."""
        return torch.cat([self._run(branch, x) for branch in self.branches], 1)

    def _run(self, branch: Branch, x: Tensor) -> Tensor:
        for step in branch:
            if isinstance(step, Pool):
                x = pool3x3(x, step)
            elif isinstance(step, tuple):
                x = torch.cat([self.get_submodule(conv.name)(x) for conv in step], 1)
            else:
                x = self.get_submodule(step.name)(x)
        return x


def pool3x3(x: Tensor, step: Pool) -> Tensor:
    """Pool (B, C, h, w); see `Pool`."""
    padding = 1 if step.stride == 1 else 0
    if step.kind == "max":
        return F.max_pool2d(x, 3, step.stride, padding)
    return F.avg_pool2d(x, 3, step.stride, padding, count_include_pad=step.kind == "average")
