"""A network with random weights, and what its layers get and give for one random image."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from resight.core.errors import UsageError
from resight.core.registry import lookup
from resight.models.classifier import Classifier
from resight.models.cost import evaluating
from resight.models.hooks import hooked
from resight.models.zoo import NETWORKS
from resight.service.networks.counting import build


@dataclass(frozen=True)
class Drawn:
    """A network with random weights, of a fixed seed.

    Attributes:
        name: of the network.
        model: the network.
        side: of its square input, in pixels.
        channels: of its input.
    """

    name: str
    model: Classifier
    side: int
    channels: int

    def watch(self, notes: Mapping[nn.Module, Callable[[Tensor, Tensor], None]]) -> None:
        """Pass one random image through the network, in eval mode.

        Args:
            notes: what is called with a layer's input and its output, each (1, C, H, W), every time it runs.

        Raises:
            UsageError: for a side that the network does not take.
        """

        def hook(note: Callable[[Tensor, Tensor], None]) -> Callable[..., None]:
            return lambda _, images, maps: note(images[0], maps)

        placed = [lambda m=layer, n=note: m.register_forward_hook(hook(n)) for layer, note in notes.items()]
        with evaluating(self.model), torch.inference_mode(), hooked(placed):
            try:
                self.model(torch.rand(1, self.channels, self.side, self.side))
            except RuntimeError as error:
                raise UsageError(
                    f"{self.name} does not take pictures of {self.side} x {self.side}"
                ) from error


def drawn(name: str, size: int | None = None, changes: Sequence[str] = ()) -> Drawn:
    """Return a network with random weights, of a fixed seed.

    Args:
        name: of a network.
        size: side of the square input, in pixels; by default the paper's.
        changes: options of the network, as key=value.

    Raises:
        UsageError: for an unknown network or option.
    """
    row = lookup(NETWORKS, name, "model", "All names: resight models")
    torch.manual_seed(0)
    return Drawn(name, build(name, changes), size or row.input_size, row.channels)
