"""What every method returns, and which targets can be explained."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import index
from typing import Any

import torch
from torch import Tensor, nn

from resight.core.errors import UsageError
from resight.core.registry import lookup
from resight.geometry import heatmaps

ScoreFunction = Callable[[Any], Tensor]
"""Maps the network's output for M pictures to scores (M,) or (M, T), one row per picture."""

Target = None | int | str | Tensor | Sequence["int | str | Sequence[int | str]"] | ScoreFunction


@dataclass(frozen=True)
class Explanation:
    """Saliency maps of a batch.

    B images of H x W pixels; with several targets an image, (B, T) stands for (B).

    Attributes:
        raw: the maps as the method computes them, signed, at the layer's size.
        layer: name of the layer that was read; several joined by commas; "images" if none was.
        targets: class numbers, (B,); for a score function the number of its column.
        scores: logits of the targets, or what the score function gave, (B,).
        size: (H, W).
        rectified: whether the method's paper cuts off negative values before the map is shown.
        facts: further results of the method, plain numbers by name.
    """

    raw: Tensor
    layer: str
    targets: Tensor
    scores: Tensor
    size: tuple[int, int]
    rectified: bool
    facts: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def maps(self) -> Tensor:
        """Maps (B, H, W), float32 in [0, 1]: rectified, resized (bilinear), scaled by minimum and maximum."""
        shown = heatmaps.rectify(self.raw) if self.rectified else self.raw
        return heatmaps.normalize(heatmaps.resize(shown.float(), *self.size))


def resolve(target: Target, logits: Tensor, names: Sequence[str]) -> Tensor:
    """Return class numbers (B, T).

    Args:
        target: None (top-1), a number, a class name, one of these per image, a sequence of them per
            image, or "all" (every class; unless a class has that name).
        logits: (B, classes).
        names: the class names; empty if unknown.

    Raises:
        UsageError: for a number out of range, an unknown name, or a count that is not the batch's.
    """
    count, classes = logits.shape

    def number(word: Any) -> int:
        if isinstance(word, str):
            if not names:
                raise UsageError(f"target {word!r}: this network has no class names; give a number")
            return lookup({name: i for i, name in enumerate(names)}, word, "class of this network")
        try:
            place = index(word)
        except TypeError:
            raise UsageError(
                f"target {word!r}: give class numbers or names, or a function of the output"
            ) from None
        if not 0 <= place < classes:
            one = "the network has one logit, number 0, for the positive class"
            known = one if classes == 1 else f"the network has classes 0 to {classes - 1}"
            raise UsageError(f"target {place} is out of range: {known}")
        return place

    if target is None:
        return logits.argmax(1, keepdim=True)
    if isinstance(target, str) and target == "all" and "all" not in names:
        return torch.arange(classes, device=logits.device).expand(count, classes)
    if isinstance(target, int | str) or (isinstance(target, Tensor) and target.ndim == 0):
        return torch.full((count, 1), number(target), device=logits.device)
    if not isinstance(target, Tensor | Sequence):
        raise UsageError(f"target {target!r}: give class numbers or names, or a function of the output")
    rows: list[Any] = target.tolist() if isinstance(target, Tensor) else list(target)
    if len(rows) != count:
        raise UsageError(f"{len(rows)} targets for {count} images")
    table = [[number(w) for w in (row if isinstance(row, list | tuple) else [row])] for row in rows]
    if len({len(row) for row in table}) != 1 or not table[0]:
        raise UsageError("every image needs the same number of targets, one or more")
    return torch.tensor(table, device=logits.device)


def several(target: Target) -> bool:
    """Return whether a target asks for several maps an image, so that results keep the axis T."""
    if isinstance(target, Tensor):
        return target.ndim == 2
    if isinstance(target, list | tuple):
        return any(isinstance(row, list | tuple) for row in target)
    return isinstance(target, str) and target == "all"


def class_names(model: nn.Module) -> Sequence[str]:
    """Return the class names that a network carries; empty if it carries none."""
    names = getattr(model, "classes", None)
    return tuple(names) if isinstance(names, list | tuple) else ()
