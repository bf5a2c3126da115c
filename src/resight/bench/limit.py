"""What the machine's convolutions allow: all convolutions of a network, and nothing else.

One step computes each convolution's output, and its gradients to weights and input, with the shapes, layout
and precision of a training step. Normalization, activations, sums, loss, optimizer and data are left out, so
a training step that is as fast as this loses nothing to them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resight.bench.interleave import Block, timed
from resight.core.device import pick_device, pick_precision
from resight.models.hooks import hooked
from resight.models.zoo import create_model


@dataclass(frozen=True)
class Convolution:
    """A convolution of a network in a step.

    Attributes:
        layer: the module; its weights are read.
        shape: of its input, (B, C, H, W).
        first: whether it reads the images, which need no gradient.
    """

    layer: nn.Conv2d
    shape: torch.Size
    first: bool

    def step(self, device: torch.device, precision: torch.dtype) -> Callable[[], object]:
        """Return a function that computes the output and all gradients once."""
        form = {"device": device, "dtype": precision, "memory_format": torch.channels_last}
        own, layer = torch.randn(self.shape), self.layer
        given = own.to(**form).requires_grad_(not self.first)
        weight = layer.weight.detach().to(**form).requires_grad_()
        wanted = [weight] if self.first else [given, weight]

        def output() -> Tensor:
            return F.conv2d(given, weight, None, layer.stride, layer.padding, layer.dilation, layer.groups)  # type: ignore[arg-type]

        back = torch.randn_like(output())
        return lambda: torch.autograd.grad(output(), wanted, back)


def convolutions_of(network: str, batch: int, side: int) -> list[Convolution]:
    """Return the convolutions of a network in the order in which they run on `batch` images of a side."""
    model, found = create_model(network, 10).eval(), list[Convolution]()
    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d)]

    def note(layer: nn.Conv2d, given: Tensor) -> None:
        shape = torch.Size((batch, *given.shape[1:]))
        found.append(Convolution(layer, shape, first=not found))

    register = [
        lambda m=layer: m.register_forward_hook(lambda _, args, __: note(m, args[0])) for layer in layers
    ]
    with hooked(register), torch.no_grad():
        model(torch.zeros(1, 3, side, side))
    return found


def convolutions_alone(network: str, batch: int, side: int) -> Block:
    """Return a block of only the convolutions of a network, forward and backward."""
    device = pick_device()
    precision = pick_precision("auto", device)
    steps = [own.step(device, precision) for own in convolutions_of(network, batch, side)]

    def step() -> int:
        for one in steps:
            one()
        return batch

    return timed(step)
