"""The default layer of a map: the last layer of the trunk that the network's output depends on."""

import math
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from resight.core.errors import UsageError
from resight.models.cost import evaluating, parameters
from resight.models.hooks import hooked
from resight.models.locks import holding
from resight.saliency.capture import Layout, layout_of, logits_of, own_thread

ATTENTION = re.compile(r"att(e)?n|mhsa", re.IGNORECASE)
ROUNDED = 3
"""Cells by which unpadded convolutions and poolings may shorten a side of the last map."""

_found: "WeakKeyDictionary[nn.Module, dict[Any, str]]" = WeakKeyDictionary()


def last_map_layer(model: nn.Module, images: Tensor) -> str:
    """Return the name of the layer that gives the last map, h w > 1, on which the output depends.

    Of modules that return the same last map, the outermost is named (a stage rather than its last
    activation). The following do not count as layers of the trunk, unless there is nothing else:

    - modules that run more than once in a pass: their name would not say which of their outputs is meant;
    - outputs without the picture's proportions, and attention matrices;
    - what the network itself returns;
    - the inside of attention, and single linear layers over tokens: queries, keys, values;
    - tokens inside a module that pools them, as in attention pooling;
    - layers at whose map the gradient of the output is zero: side heads, and, in a transformer that
      classifies from its class token, the patch tokens of the last block.

    The result is cached as long as the network exists unchanged.

    Raises:
        UsageError: if the network has no such layer, or the gradient is zero at all of its tokens.
    """
    with holding(model):
        kept = _found.setdefault(model, {})
        key = (tuple(images.shape[1:]), tuple(id(module) for module in model.modules()))
        if key not in kept:
            kept.clear()
            kept[key] = _find_layer(model, images[:1])
        return kept[key]


@dataclass(frozen=True)
class _Candidate:
    """A layer's output that holds a map, met in a pass over one picture.

    Attributes:
        name: of the layer.
        module: the layer.
        layout: how the output holds the map.
        output: what it returned.
    """

    name: str
    module: nn.Module
    layout: Layout
    output: Tensor


@dataclass(frozen=True)
class _Pass:
    """What a pass over one picture found.

    Attributes:
        candidates: in the order in which they ended.
        pooling: modules that turn a map into something without one.
        attention: modules whose class name says attention.
        output: what the network returned.
    """

    candidates: list[_Candidate]
    pooling: set[str]
    attention: set[str]
    output: Any


def _find_layer(model: nn.Module, image: Tensor) -> str:
    size = (image.shape[2], image.shape[3])
    traced = _run(model, image)
    seen = _on_the_trunk(traced, size)
    if not seen:
        raise UsageError("this network gives no spatial map; name a layer with layer=")
    score = logits_of(traced.output)
    if score is None or not score.requires_grad or not score.isfinite().all():
        return seen[-1].name
    found, of_tokens = [c for c in seen if c.output.requires_grad], seen[-1].layout.prefix > 0
    if of_tokens:  # the stream that the last tokens belong to, all of one width
        channels = seen[-1].output.shape[-1]
        found = [c for c in found if c.layout.order == "tokens" and c.output.shape[-1] == channels]
    gradients = (
        torch.autograd.grad(score.max(), [c.output for c in found], allow_unused=True) if found else ()
    )
    for candidate, gradient in zip(reversed(found), reversed(gradients), strict=True):
        if gradient is not None and candidate.layout.read(gradient).abs().amax() > 0:
            return candidate.name
    if not of_tokens or not found:  # a dead network, or one with a zero head, still has a last map
        return seen[-1].name
    if any(gradient is not None for gradient in gradients):
        raise UsageError(
            "the gradient of the logits is zero at every token layer: the head's weights are zero, as in an "
            "untrained network; load or train weights, or name a layer with layer="
        )
    raise UsageError("no tokens of this network reach its output; name a layer with layer=")


def _run(model: nn.Module, image: Tensor) -> _Pass:
    """Run one picture and record every output that holds a map, of modules that run once."""
    names = {module: name for name, module in model.named_modules() if name}
    most = parameters(model) / 2  # a larger module is not a side branch
    size = (image.shape[2], image.shape[3])
    met: list[_Candidate] = []
    runs: dict[str, int] = {}
    pooling, attention = set[str](), set[str]()

    def watch(module: nn.Module, given: tuple[Any, ...], more: dict[str, Any], output: object) -> None:
        name = names[module]
        runs[name] = runs.get(name, 0) + 1
        layout = layout_of(output, size)
        if layout is not None and isinstance(output, Tensor) and output.shape[0] == 1:
            met.append(_Candidate(name, module, layout, output))
        if parameters(module) >= most:
            return
        if _holds_map([*given, *more.values()], size) and _all_pooled(output, size):
            pooling.add(name)
        if ATTENTION.search(type(module).__name__):
            attention.add(name)

    register = [
        lambda m=module: m.register_forward_hook(own_thread(watch), with_kwargs=True) for module in names
    ]
    with torch.enable_grad(), evaluating(model), hooked(register):
        # A copy: some networks normalize their input in place.
        output = model(image.detach().requires_grad_().clone())
    return _Pass([c for c in met if runs[c.name] == 1], pooling, attention, output)


def _holds_map(values: Any, size: tuple[int, int]) -> bool:
    """Return whether a map other than the picture itself is among what a module was given or gave."""
    layouts = [layout_of(value, size) for value in tree_leaves(values)]
    return any(layout is not None and (layout.height, layout.width) != size for layout in layouts)


def _all_pooled(output: object, size: tuple[int, int]) -> bool:
    """Return whether a module gave only tensors, and none that holds a map."""
    return all(isinstance(leaf, Tensor) for leaf in tree_leaves(output)) and not _holds_map(output, size)


def _on_the_trunk(seen: _Pass, size: tuple[int, int]) -> list[_Candidate]:
    """Return the candidates that are layers of the trunk; if none is, those that come closest."""
    tokens = {c.output.shape[1] for c in seen.candidates if c.layout.order == "tokens"}
    answers = {id(leaf) for leaf in tree_leaves(seen.output)}
    maps = [
        c
        for c in seen.candidates
        if _proportionate(c.layout, size)
        and not (c.layout.order == "channels" and {*c.output.shape[2:]} <= tokens)
    ]
    for beside in (
        lambda c: id(c.output) in answers,
        lambda c: c.layout.order == "tokens" and _inside(c.name, seen.pooling),
        lambda c: c.layout.order == "tokens" and isinstance(c.module, nn.Linear),
        lambda c: _inside(c.name, seen.attention),
    ):
        maps = [c for c in maps if not beside(c)] or maps
    return maps


def _inside(name: str, modules: Collection[str]) -> bool:
    return any(name.startswith(f"{module}.") for module in modules)


def _proportionate(layout: Layout, size: tuple[int, int]) -> bool:
    """Return whether a map (h, w) has the proportions of a picture (H, W), apart from lost borders.

    Of a square picture the map is square. Else there must be a stride, 1 or more, at which both sides are as
    expected up to `ROUNDED` cells.
    """
    if size[0] == size[1]:
        return layout.height == layout.width <= size[1]
    sides = list(zip(size, (layout.height, layout.width), strict=True))
    least = max(1.0, *(whole / (cells + ROUNDED) for whole, cells in sides))
    most = min(whole / (cells - ROUNDED) if cells > ROUNDED else math.inf for whole, cells in sides)
    return least <= most
