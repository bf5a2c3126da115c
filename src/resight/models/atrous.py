"""Finer maps from the same weights: strides become dilation (the "hole" algorithm).

Chen et al. 2017, "Rethinking Atrous Convolution for Semantic Image Segmentation", section 3.1, after
Holschneider et al. 1989. A layer that would make the map smaller than wanted keeps its size, and every later
kernel reads places that are so many times further apart. At the places of the old map the new one has the
same values (where no layer looks at the whole map, as squeeze and excitation does).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from resight.core.errors import UsageError
from resight.models.classifier import Classifier
from resight.models.cost import evaluating
from resight.models.hooks import hooked

PROBE = 256
"""Side of the empty image that tells the stride of each layer."""


def dilate(trunk: Classifier, output_stride: int, setting: str) -> None:
    """Make the last map of a trunk as fine as asked for; its weights stay as they are.

    Args:
        trunk: of the zoo; it is changed.
        output_stride: pixels of the image between two places of the last map: a power of two.
        setting: what asks for it, for an error.

    Raises:
        UsageError: if the map is finer already, or a layer cannot be dilated.
    """
    strides = _strides(trunk)
    name = trunk.name or "this network"
    reached = _last_stride(trunk)
    if reached is None or reached < output_stride:
        raise UsageError(
            f"{setting}: the last map of {name} has stride {reached or 'unknown'}; leave the setting out"
        )
    for layer, (before, after) in strides.items():
        if after <= output_stride:
            continue
        module = trunk.get_submodule(layer)
        fault = None if before and after else "gives maps whose stride is no power of two"
        if fault is None:
            fault = _dilated(module, before, output_stride, strided=after > before)
        if fault:
            raise UsageError(
                f"{setting}: {name} cannot have a finer map, because its layer {layer} {fault}; take a "
                "network such as resnet50 or efficientnet_lite0, or leave the setting out"
            )
    if _last_stride(trunk) != output_stride:
        raise UsageError(f"{setting}: {name} cannot have a finer map: its layers do not keep a map's size")


def _last_stride(trunk: Classifier) -> int | None:
    """Return the stride of the last map; None if it is no power of two."""
    weight = next(trunk.parameters())
    image = torch.zeros(1, trunk.in_channels, PROBE, PROBE, device=weight.device, dtype=weight.dtype)
    with torch.no_grad(), evaluating(trunk):
        return _power(trunk.forward_features(image).shape[-1])


def _power(side: int) -> int | None:
    """Return the stride of a map of a side; None if it is no power of two."""
    stride = PROBE // side
    return stride if stride * side == PROBE and stride & (stride - 1) == 0 else None


def _strides(trunk: Classifier) -> dict[str, tuple[int, int]]:
    """Return the strides of the maps before and after each layer with a kernel or a stride; 0 if odd.

    Layers without children count. Those that average a whole map (squeeze and excitation) are no part of it.
    """
    found: dict[str, tuple[int, int]] = {}

    def watch(name: str) -> Callable[..., None]:
        def note(module: nn.Module, given: Any, answer: Any) -> None:
            del module
            if isinstance(answer, Tensor) and answer.dim() == given[0].dim() == 4 and answer.shape[-1] > 1:
                found[name] = (_power(given[0].shape[-1]) or 0, _power(answer.shape[-1]) or PROBE)

        return note

    leaves = [(name, module) for name, module in trunk.named_modules() if not list(module.children())]
    with hooked([partial(module.register_forward_hook, watch(name)) for name, module in leaves]):
        _last_stride(trunk)
    return found


def _dilated(module: nn.Module, before: int, output_stride: int, *, strided: bool) -> str | None:
    """Spread a layer's kernel, and reduce its stride; return why it cannot be done, or None.

    Args:
        module: the layer.
        before: stride of the map that it reads.
        output_stride: stride that its map must not exceed.
        strided: whether it has a stride.
    """
    rate, left = max(1, before // output_stride), max(1, output_stride // before)
    if isinstance(module, nn.Conv2d) and not isinstance(module.padding, str):
        if strided and hasattr(module, "undone"):  # it pads itself
            module.undone = module.stride[0]  # type: ignore[assignment]
        if max(module.kernel_size) > 1:
            module.padding = tuple(rate * side for side in module.padding)  # type: ignore[assignment]
            module.dilation = tuple(rate * side for side in module.dilation)  # type: ignore[assignment]
        module.stride = (left, left) if strided else module.stride
        return None
    if isinstance(module, nn.MaxPool2d) and isinstance(module.kernel_size, int):
        module.padding, module.dilation = rate * module.padding, rate * module.dilation  # type: ignore[operator]
        module.stride = left if strided else module.stride
        return None
    return f"({type(module).__name__}) has a stride that cannot be taken away" if strided else None
