"""What a network costs: parameters and multiply-adds."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def parameters(model: nn.Module) -> int:
    """Return the number of trainable and frozen parameters (buffers not counted)."""
    return sum(p.numel() for p in model.parameters())


def multiply_adds(model: nn.Module, size: int, channels: int = 3) -> int:
    """Return the multiply-adds of one image through the convolutions and linear layers.

    One multiply-add is one; FLOPs as torch counts them are twice that.

    Args:
        model: any network of one image argument; it is left as it was.
        size: side of the square image.
        channels: of the image.
    """
    first = next(model.parameters())
    modes = [(m, m.training) for m in model.modules()]
    model.eval()  # batch statistics of one image may not exist
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(torch.zeros(1, channels, size, size, device=first.device, dtype=first.dtype))
    finally:
        for module, mode in modes:
            module.training = mode
    return counter.get_total_flops() // 2
