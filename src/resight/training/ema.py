"""Averaged weights: an exponential moving average of parameters and statistics."""

import torch
from torch import Tensor, nn

from resight.training.sharding import local

EVERY = 5
"""Steps between two updates; the decay is raised to that power."""


class AveragedWeights:
    """ema <- d ema + (1 - d) weights, with d rising to its value over the first steps.

    Args:
        model: whose weights are averaged.
        decay: per step, in [0, 1).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {k: v.detach().clone() for k, v in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Average in the weights after step `step` (from 0), every EVERY steps."""
        if (step + 1) % EVERY:
            return
        decay = min(self.decay, (1 + step) / (10 + step)) ** EVERY
        averages: list[Tensor] = []
        weights: list[Tensor] = []
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                averages.append(local(self.state[name]))
                weights.append(local(value))
            else:
                self.state[name].copy_(value)
        torch._foreach_lerp_(averages, weights, 1 - decay)  # pyright: ignore[reportPrivateImportUsage]
