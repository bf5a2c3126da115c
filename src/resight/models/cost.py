"""The cost of a network: parameters and multiply-adds."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from resight.models.locks import holding


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a network in eval mode; every module gets its own flag back, also after an exception.

    Another thread that does the same waits, see `holding`.
    """
    with holding(model):
        modes = [(module, module.training) for module in model.modules()]
        model.eval()
        try:
            yield
        finally:
            for module, mode in modes:
                module.training = mode


def parameters(model: nn.Module) -> int:
    """Return the number of trainable and frozen parameters (buffers not counted)."""
    return sum(p.numel() for p in model.parameters())


def multiply_adds(model: nn.Module, size: int, channels: int = 3) -> int:
    """Return the multiply-adds of one image through the convolutions and linear layers.

    A multiply-add counts as one; FLOPs as torch counts them are twice that. A layer with only a share of a
    convolution's connections, `connected`, costs that share, however it is computed.

    Args:
        model: any network of one image argument; it is not changed.
        size: side of the square image.
        channels: of the image.
    """
    first = next(model.parameters())
    image = torch.zeros(1, channels, size, size, device=first.device, dtype=first.dtype)
    # Batch statistics of one image may not exist: eval mode.
    with torch.no_grad(), evaluating(model), FlopCounterMode(display=False) as counter:
        model(image)
    total, counts = counter.get_total_flops() // 2, counter.get_flop_counts()
    for name, module in model.named_modules():
        if share := getattr(module, "connected", None):
            dense = sum(counts[f"{type(model).__name__}.{name}"].values()) // 2
            total -= int(dense * (1 - share))
    return total
