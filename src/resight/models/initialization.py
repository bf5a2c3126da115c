"""Initializations, by name and source; and networks without weights, where only shapes are needed."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from resight.models.operators.convolution import LocallyConnected2d

Weighted = nn.Conv2d | nn.Linear | LocallyConnected2d
DRAWS = {"normal_", "uniform_", "trunc_normal_", "kaiming_normal_", "kaiming_uniform_", "xavier_uniform_"}


def he_normal(model: nn.Module) -> None:
    """Initialize as He et al. 2015 ("Delving Deep into Rectifiers"), section 2.2.

    Convolutions get N(0, 2 / fan_out), the backward form of the paper's equation 14, which the
    published ResNet implementations use; batch normalization starts as the identity. Linear layers
    keep torch's uniform initialization.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)


def gaussian(model: nn.Module, std: float, bias: float = 0.0) -> None:
    """Give every convolution, linear and locally connected layer N(0, std^2) weights and constant biases."""
    for module in model.modules():
        if isinstance(module, Weighted):
            nn.init.normal_(module.weight, std=std)
            if module.bias is not None:
                nn.init.constant_(module.bias, bias)


def xavier_caffe(model: nn.Module, bias: float = 0.0) -> None:
    """Initialize as Caffe's "xavier": uniform in +-sqrt(3 / fan_in), constant biases."""
    for module in model.modules():
        if isinstance(module, Weighted):
            nn.init.uniform_(module.weight, -(b := math.sqrt(3 / fan_in(module))), b)
            if module.bias is not None:
                nn.init.constant_(module.bias, bias)


def glorot_uniform(model: nn.Module) -> None:
    """Initialize as Glorot and Bengio 2010, equation 16: uniform, variance 2 / (fan_in + fan_out)."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def fan_in(module: nn.Module) -> int:
    """Return the number of inputs of one output of a convolution or linear layer (fan-in)."""
    weight = module.get_parameter("weight")
    return int(weight[0].numel()) if weight.ndim != 3 else int(weight.shape[2])


@contextmanager
def shapes_only() -> Iterator[None]:
    """Create networks of any size without weights inside the block, on the meta device."""
    with torch.device("meta"), _WithoutDraws():
        yield


class _WithoutDraws(TorchFunctionMode):
    """Skips random draws: on the meta device they change nothing and take seconds."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in DRAWS:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))
