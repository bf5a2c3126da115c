"""Borrow activations from any network and give everything back. The only file with hooks."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from resight.core.errors import UsageError
from resight.core.registry import nearest
from resight.models.cost import evaluating


@contextmanager
def hooked(handles: list[Callable[[], torch.utils.hooks.RemovableHandle]]) -> Iterator[None]:
    """Register hooks one by one; all that were registered are removed, whatever happens."""
    with ExitStack() as stack:
        for register in handles:
            stack.callback(register().remove)
        yield


@dataclass(frozen=True)
class Split:
    """One forward pass, cut at a layer.

    Attributes:
        layer: the layer's name.
        activation: (B, K, h, w), a leaf that asks for a gradient.
        logits: (B, classes), computed from the activation.
    """

    layer: str
    activation: Tensor
    logits: Tensor


def last_map_layer(model: nn.Module, images: Tensor) -> str:
    """Return the name of the layer that gives the last spatial map (B, K, h, w), h w > 1.

    Of modules that return the same last map, the outermost is named (a stage rather than its last
    activation). Modules that run more than once in a pass are left out: their name would not say
    which of their outputs is meant.

    Raises:
        UsageError: if the network has no such layer.
    """
    names = {module: name for name, module in model.named_modules() if name}
    order: list[str] = []
    runs: dict[str, int] = {}

    def watch(module: nn.Module, _: object, output: object) -> None:
        name = names[module]
        runs[name] = runs.get(name, 0) + 1
        if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] * output.shape[3] > 1:
            order.append(name)

    register = [lambda m=module: m.register_forward_hook(watch) for module in names]
    with torch.no_grad(), evaluating(model), hooked(register):
        model(images[:1])
    once = [name for name in order if runs[name] == 1]
    if not once:
        raise UsageError("this network gives no spatial map; name a layer with layer=")
    return once[-1]


def split_at(model: nn.Module, images: Tensor, layer: str) -> Split:
    """Run a network once, with gradients only from the layer to the logits.

    The trunk below the layer keeps no graph. The layer's output is copied before the network goes
    on, so a later in-place operation cannot change what was captured.

    Raises:
        UsageError: if there is no such layer, or it does not give a map (B, K, h, w).
    """
    modules = dict(model.named_modules())
    if layer not in modules:
        raise UsageError(
            f"no layer {layer!r}; nearest: {', '.join(nearest(layer, [m for m in modules if m]))}"
        )
    captured: list[Tensor] = []

    def cut(_: nn.Module, __: object, output: object) -> Tensor:
        if not isinstance(output, Tensor) or output.ndim != 4:
            raise UsageError(f"layer {layer!r} does not give a map (B, K, h, w)")
        leaf = output.detach().clone().requires_grad_()
        captured[:] = [leaf]
        torch.set_grad_enabled(True)
        return leaf.clone()

    before = torch.is_grad_enabled()
    try:
        with evaluating(model), hooked([lambda: modules[layer].register_forward_hook(cut)]):
            torch.set_grad_enabled(False)
            logits = model(images)
    finally:
        torch.set_grad_enabled(before)
    if not captured:
        raise UsageError(f"layer {layer!r} did not run")
    return Split(layer, captured[0], getattr(logits, "logits", logits))
