"""The expected cost of a training run: memory at its start, time after the first steps."""

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from resight.core.device import autocast
from resight.models.cost import evaluating

WARM, TIMED, SECONDS = 1, 10, 15.0
"""Steps before the clock; steps, or seconds, after which the time is said."""
SHORT = 20.0
"""Seconds of a training below which its time is not said."""


class Pace:
    """Reports once, after the first steps, how long a training run will take.

    Args:
        say: receives the line.
        steps: the remaining ones.
        pictures: per step.
    """

    def __init__(self, say: Callable[[str], None], steps: int, pictures: int) -> None:
        self.say, self.left, self.pictures = say, steps, pictures
        self.done, self.said, self.began = 0, False, 0.0

    def __call__(self, steps: int = 1) -> None:
        """Count finished steps."""
        self.done += steps
        if self.said or self.done < WARM:
            return
        now = time.perf_counter()
        if not self.began:
            self.began, self.done, self.left = now, 0, self.left - self.done
            return
        seconds = now - self.began
        if self.done < TIMED and seconds < SECONDS:
            return
        self.said = True
        step = seconds / self.done
        expected = step * self.left
        if expected >= SHORT:
            self.say(
                f"about {in_words(expected)} for {self.left:,} steps ({self.pictures / step:,.0f} images/s); "
                "test and report follow"
            )


def in_words(seconds: float) -> str:
    """Return a time in words: seconds up to two minutes, minutes up to two hours."""
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def in_bytes(count: float) -> str:
    """Return a number of bytes in words: 1 MB is 10^6 bytes."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{max(count / 1e6, 1):.0f} MB"


def kept_for_backward(model: nn.Module, size: int, precision: torch.dtype) -> int:
    """Return the bytes that a forward pass of one picture keeps for the backward pass.

    Each block of memory counts once; weights do not count.

    Args:
        model: a network with one image argument; it is not changed.
        size: side of the square picture.
        precision: of the products.
    """
    first = next(model.parameters())
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    image = torch.zeros(1, 3, size, size, device=first.device)
    with (
        torch.enable_grad(),
        evaluating(model),
        autocast(first.device, precision),
        torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
    ):
        answer = model(image)
        del answer
    return sum(kept.values())


def training_bytes(model: nn.Module, copies: int, step: float, pictures: float) -> str:
    """Return a line about the memory of a training run.

    Args:
        model: its network.
        copies: of the weights: themselves, gradients, momenta, averages.
        step: bytes of a step's activations.
        pictures: bytes of the pictures in memory.
    """
    weights = 4 * copies * sum(p.numel() for p in model.parameters())
    parts = [f"{in_bytes(weights)} weights, gradients and momenta", f"{in_bytes(step)} step activations"]
    parts += [f"{in_bytes(pictures)} pictures"] if pictures else []
    return f"memory: about {in_bytes(weights + step + pictures)} ({', '.join(parts)})"
