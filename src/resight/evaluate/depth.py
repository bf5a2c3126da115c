"""What depth does to a network: gradients by layer, units that never answer, gates that stay closed.

The gradient of a layer's weights is a product over all layers after it, so it vanishes or grows with depth
(Hochreiter 1991; Glorot and Bengio 2010, section 4.2). A unit with ReLU that answers to no picture has no
gradient and cannot learn any more.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from resight.models.cost import evaluating
from resight.models.criterion import Criterion
from resight.models.families.highway import HighwayLayer
from resight.models.hooks import hooked

RECTIFIERS = (nn.ReLU, nn.ReLU6)


@dataclass(frozen=True)
class LayerGradient:
    """How the loss depends on a layer's weights.

    Attributes:
        layer: its name.
        gradient: L2 norm of the gradient of its weights.
        weights: L2 norm of the weights.
    """

    layer: str
    gradient: float
    weights: float

    @property
    def relative(self) -> float:
        """The gradient's norm over the weights' norm: comparable between layers of different sizes."""
        return self.gradient / self.weights if self.weights else 0.0


@dataclass(frozen=True)
class Units:
    """Units of an activation.

    Attributes:
        layer: its name.
        units: channels, K.
        dead: how many of them are 0 at every position of every picture.
    """

    layer: str
    units: int
    dead: int


@dataclass(frozen=True)
class Gate:
    """The transform gate of a highway layer: mean T, 0 carries the input, 1 transforms it."""

    layer: str
    share: float


@dataclass
class _Seen:
    """Running facts of a pass: which units answered, and sums of gates."""

    alive: dict[str, Tensor] = field(default_factory=dict)
    gates: dict[str, list[float]] = field(default_factory=dict)


def gradients_by_depth(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], criterion: Criterion
) -> list[LayerGradient]:
    """Return the gradient of every layer with weights, in the order in which the layers run.

    The network is in eval mode; the loss is the mean over all pictures. The network's own gradients are left
    as they were.

    Args:
        model: gives logits.
        batches: images (B, C, H, W) and labels.
        criterion: the loss.
    """
    layers = {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer.weight.is_floating_point()
    }
    weights = [layer.weight for layer in layers.values()]
    learned = [weight.requires_grad for weight in weights]
    order: dict[str, None] = {}
    noted = [
        lambda n=name, m=layer: m.register_forward_hook(lambda *_: order.setdefault(n))
        for name, layer in layers.items()
    ]
    sums, pictures = [torch.zeros_like(weight) for weight in weights], 0
    try:
        for weight in weights:
            weight.requires_grad_()
        with evaluating(model), torch.enable_grad(), hooked(noted):
            for images, labels in batches:
                loss = criterion(model(images), labels) * len(images)
                found = torch.autograd.grad(loss, weights, allow_unused=True)
                sums = [s if g is None else s + g for s, g in zip(sums, found, strict=True)]
                pictures += len(images)
    finally:
        for weight, before in zip(weights, learned, strict=True):
            weight.requires_grad = before
    norms = {
        name: (float(total.norm()) / max(pictures, 1), float(layer.weight.detach().norm()))
        for (name, layer), total in zip(layers.items(), sums, strict=True)
    }
    return [LayerGradient(name, *norms[name]) for name in order]


def answers_by_depth(model: nn.Module, batches: Iterable[Tensor]) -> tuple[list[Units], list[Gate]]:
    """Return the dead units of every ReLU, and the mean transform gate of every highway layer.

    A network that applies ReLU as a function instead of a layer shows none of these.

    Args:
        model: the network; it runs in eval mode.
        batches: images (B, C, H, W).
    """
    seen, noted = _Seen(), []
    for name, layer in model.named_modules():
        if isinstance(layer, RECTIFIERS):
            noted.append(lambda n=name, m=layer: m.register_forward_hook(_notes_units(seen, n)))
        if isinstance(layer, HighwayLayer):
            noted.append(lambda n=name, m=layer.gate: m.register_forward_hook(_notes_gate(seen, n)))
    with evaluating(model), torch.inference_mode(), hooked(noted):
        for images in batches:
            model(images)
    units = [Units(name, len(alive), int((~alive).sum())) for name, alive in seen.alive.items()]
    gates = [Gate(name, sum(found) / len(found)) for name, found in seen.gates.items()]
    return units, gates


def _notes_units(seen: _Seen, name: str) -> Callable[..., None]:
    def note(_: nn.Module, __: object, out: Tensor) -> None:
        alive = (out > 0).flatten(2).any(2).any(0) if out.dim() > 2 else (out > 0).any(0)
        before = seen.alive.get(name)
        seen.alive[name] = alive if before is None or len(before) != len(alive) else before | alive

    return note


def _notes_gate(seen: _Seen, name: str) -> Callable[..., None]:
    def note(_: nn.Module, __: object, out: Tensor) -> None:
        seen.gates.setdefault(name, []).append(float(torch.sigmoid(out).mean()))

    return note


def ratio(gradients: Sequence[LayerGradient]) -> float | None:
    """Return the first layer's relative gradient over the last one's; None without a gradient in the last."""
    if len(gradients) < 2 or not gradients[-1].relative:
        return None
    return gradients[0].relative / gradients[-1].relative
