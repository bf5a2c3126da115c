"""Read activations from any network and leave it unchanged."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from resight.core.errors import UsageError
from resight.core.registry import suggestion
from resight.models.cost import evaluating
from resight.models.hooks import hooked


def own_thread(hook: Callable[..., Any]) -> Callable[..., Any]:
    """Return a forward hook that acts only in the calling thread: others may run the network meanwhile."""
    owner = get_ident()
    return lambda *words: hook(*words) if get_ident() == owner else None


def bare(model: nn.Module) -> nn.Module:
    """Return the network inside `torch.compile` and parallel wrappers; weights are shared."""
    if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return bare(model.module)
    inner = getattr(model, "_orig_mod", None)
    return model if inner is None else bare(inner)


@dataclass(frozen=True)
class Layout:
    """How a layer's output holds a map (B, K, h, w).

    Attributes:
        order: "channels" (B, K, h, w); "last" (B, h, w, K), as in Swin; "tokens" (B, N, K), as in ViT.
        height: h.
        width: w.
        prefix: number of tokens before those of the picture (class and register tokens), with "tokens" only.
    """

    order: str
    height: int
    width: int
    prefix: int = 0

    def read(self, output: Tensor) -> Tensor:
        """Return the map (B, K, h, w) of an output, or of the gradient at it."""
        if self.order == "channels":
            return output
        if self.order == "tokens":
            output = output[:, self.prefix :].unflatten(1, (self.height, self.width))
        return output.permute(0, 3, 1, 2)

    def write(self, maps: Tensor, output: Tensor) -> Tensor:
        """Return an output (M, ...) whose map is `maps` (M, K, h, w); other tokens stay."""
        if self.order == "channels":
            return maps
        rows = maps.permute(0, 2, 3, 1)
        if self.order == "last":
            return rows
        return torch.cat([output[:, : self.prefix], rows.flatten(1, 2)], 1)


def layout_of(output: object, size: tuple[int, int]) -> Layout | None:
    """Return how an output holds a map over pictures of `size` (H, W); None if it holds none.

    A map has the proportions of the picture. Tokens are folded back if their number, apart from at most
    eight in front, is that of a grid with these proportions.
    """
    if not isinstance(output, Tensor) or not output.is_floating_point():
        return None
    if output.ndim == 4:
        _, first, second, third = output.shape
        if _fits(second, third, size):
            return Layout("channels", second, third)
        if _fits(first, second, size):
            return Layout("last", first, second)
        return Layout("channels", second, third) if second * third > 1 and third != second else None
    if output.ndim == 3:
        for prefix in range(9):
            count = output.shape[1] - prefix
            for patch in range(1, min(size) + 1):
                height, width = size[0] // patch, size[1] // patch
                if height * width == count > 1:
                    return Layout("tokens", height, width, prefix)
    return None


def _fits(height: int, width: int, size: tuple[int, int]) -> bool:
    if height * width <= 1 or height > size[0] or width > size[1]:
        return False
    if size[0] == size[1]:
        return height == width
    # Sides are rounded one by one, up or down.
    return abs(width - size[1] * height / size[0]) < 1 or abs(height - size[0] * width / size[1]) < 1


def logits_of(output: object) -> Tensor | None:
    """Return the logits (B, classes) from what a network returned, or None if it is not a classifier's."""
    found = getattr(output, "logits", output)
    if isinstance(found, dict):
        found = found.get("logits")
    return found if isinstance(found, Tensor) and found.ndim == 2 else None


@dataclass(frozen=True)
class Split:
    """One forward pass, cut at layers.

    Attributes:
        layers: their names.
        layouts: how each holds its map.
        captured: their outputs; the first to run is a leaf that requires a gradient.
        output: what the network returned, computed from them.
    """

    layers: tuple[str, ...]
    layouts: tuple[Layout, ...]
    captured: tuple[Tensor, ...]
    output: Any


def module_at(model: nn.Module, layer: str) -> nn.Module:
    """Return a layer by its name.

    Raises:
        UsageError: if there is none; it gives the nearest names.
    """
    modules = {name: module for name, module in model.named_modules() if name}
    if layer not in modules:
        raise UsageError(f"no layer {layer!r}; {suggestion(layer, modules)}")
    return modules[layer]


def split_at(model: nn.Module, images: Tensor, layers: Sequence[str], *, graph: bool = True) -> Split:
    """Run a network once, with gradients only from the layers to the output.

    The trunk below the first layer keeps no graph. A layer's output is copied before the network continues,
    so a later in-place operation cannot change what was captured.

    Args:
        model: the network.
        images: (B, C, H, W).
        layers: names.
        graph: whether gradients will be asked for.

    Raises:
        UsageError: if there is no such layer, or it does not give a map.
    """
    modules = [module_at(model, layer) for layer in layers]
    size = (images.shape[2], images.shape[3])
    captured: dict[str, tuple[Layout, Tensor]] = {}

    def cut(layer: str, output: object) -> Tensor:
        layout = layout_of(output, size)
        if layout is None or not isinstance(output, Tensor) or output.shape[0] != images.shape[0]:
            raise UsageError(f"layer {layer!r} does not give a map (B, K, h, w), nor tokens of one")
        kept = output if output.requires_grad else output.detach().clone().requires_grad_(graph)
        captured[layer] = (layout, kept)
        torch.set_grad_enabled(graph)
        return kept.clone()

    before = torch.is_grad_enabled()
    hooks = [
        lambda m=module, name=layer: m.register_forward_hook(
            own_thread(lambda _, __, output: cut(name, output))
        )
        for layer, module in zip(layers, modules, strict=True)
    ]
    try:
        with evaluating(model), hooked(hooks):
            torch.set_grad_enabled(False)
            output = model(images)
    finally:
        torch.set_grad_enabled(before)
    for layer in layers:
        if layer not in captured:
            raise UsageError(f"layer {layer!r} did not run")
    ordered = [captured[layer] for layer in layers]
    return Split(tuple(layers), tuple(o[0] for o in ordered), tuple(o[1] for o in ordered), output)


def maps_at(model: nn.Module, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
    """Run a network once and return the maps (B, K, h, w) of layers, with a graph if gradients are enabled.

    Args:
        model: the network.
        images: (B, C, H, W).
        layers: names.

    Raises:
        UsageError: if there is no such layer, or it does not give a map.
    """
    modules, size = [module_at(model, layer) for layer in layers], (images.shape[2], images.shape[3])
    found: dict[str, Tensor] = {}

    def keep(layer: str, output: object) -> None:
        if (layout := layout_of(output, size)) is None or not isinstance(output, Tensor):
            raise UsageError(f"layer {layer!r} does not give a map (B, K, h, w), nor tokens of one")
        found[layer] = layout.read(output).clone()

    register = [
        lambda m=module, name=layer: m.register_forward_hook(
            own_thread(lambda _, __, output: keep(name, output))
        )
        for layer, module in zip(layers, modules, strict=True)
    ]
    with evaluating(model), hooked(register):
        model(images)
    for layer in layers:
        if layer not in found:
            raise UsageError(f"layer {layer!r} did not run")
    return found


@contextmanager
def rerun_from(model: nn.Module, image: Tensor, layer: str) -> Iterator[Callable[[Tensor], Any]]:
    """Return a function that runs a network after a layer, on maps (M, K, h, w) in place of the layer's.

    Modules that finished before the layer are not run again: their output for `image` (1, C, H, W) is
    repeated.
    """
    target = module_at(model, layer)
    names = {module: name for name, module in model.named_modules() if name}
    order: list[str] = []
    outputs: dict[str, Any] = {}

    def watch(module: nn.Module, _: object, output: object) -> None:
        if layer not in outputs:
            order.append(names[module])
            outputs[names[module]] = output

    with torch.inference_mode(), evaluating(model):
        with hooked([lambda m=module: m.register_forward_hook(own_thread(watch)) for module in names]):
            model(image)
        layout = layout_of(outputs[layer], (image.shape[2], image.shape[3]))
        assert layout is not None  # the caller has already split the network here
        done = {n for n in order if order.count(n) == 1 and n != layer and _one_picture(outputs[n])}
        top = [n for n in done if not any(n.startswith(f"{other}.") for other in done | {layer})]

        def run(maps: Tensor) -> Any:
            count = len(maps)
            with ExitStack() as stack:
                for name in top:
                    stack.enter_context(_answering(model.get_submodule(name), _repeat(outputs[name], count)))
                answer = layout.write(maps, _repeat(outputs[layer], count))
                stack.enter_context(_answering(target, answer))
                return model(image.expand(count, -1, -1, -1))

        yield run


def _one_picture(output: object) -> bool:
    tensors: list[Tensor] = []
    tree_map(lambda leaf: tensors.append(leaf) if isinstance(leaf, Tensor) else None, output)
    return bool(tensors) and all(t.ndim > 0 and t.shape[0] == 1 for t in tensors)


def _repeat(output: Any, count: int) -> Any:
    return tree_map(lambda t: t.repeat(count, *[1] * (t.ndim - 1)) if isinstance(t, Tensor) else t, output)


@contextmanager
def _answering(module: nn.Module, answer: Any) -> Iterator[None]:
    """Let a module return a stored output in the calling thread, without computing."""
    own, computing, owner = module.__dict__.get("forward"), module.forward, get_ident()

    def forward(*words: Any, **more: Any) -> Any:
        return answer if get_ident() == owner else computing(*words, **more)

    module.forward = forward
    try:
        yield
    finally:
        if own is None:
            del module.forward
        else:
            module.forward = own
