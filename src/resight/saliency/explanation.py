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


@dataclass(frozen=True)
class Versus:
    """Why one class and not another: the difference of their logits is explained.

    Attributes:
        target: number of the class.
        against: number of the other class.
    """

    target: int
    against: int


Word = int | str | Versus
"""A class by its number or name, or "A-B": why A and not B."""

Target = None | Word | Tensor | Sequence["Word | Sequence[Word]"] | ScoreFunction


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
        against: of targets "A-B", the number of B, (B,); -1 where a target is one class; None if all are.
            The score is then the difference of the logits.
        kept: the share of the pixels that keep their value in `shown` and `maps`; the highest are cut off.
    """

    raw: Tensor
    layer: str
    targets: Tensor
    scores: Tensor
    size: tuple[int, int]
    rectified: bool
    facts: dict[str, Any] = field(default_factory=dict)
    against: Tensor | None = None
    kept: float = 1.0

    @cached_property
    def maps(self) -> Tensor:
        """Maps (B, H, W), float32 in [0, 1]: `shown`, scaled by minimum and maximum."""
        return heatmaps.normalize(self.shown)

    @property
    def shown(self) -> Tensor:
        """Maps (B, H, W), float32: rectified and capped where the paper does, resized (bilinear)."""
        shown = (heatmaps.rectify(self.raw) if self.rectified else self.raw).float()
        shown = heatmaps.cap(shown, self.kept) if self.kept < 1 else shown
        return heatmaps.resize(shown, *self.size)

    @property
    def words(self) -> list[list[Word]]:
        """The targets of each image, (B, T), as `explain` takes them."""
        rows: list[list[int]] = self.targets.reshape(len(self.targets), -1).tolist()
        if self.against is None:
            return [list(row) for row in rows]
        others: list[list[int]] = self.against.reshape(len(rows), -1).tolist()
        return [
            [own if other < 0 else Versus(own, other) for own, other in zip(*both, strict=True)]
            for both in zip(rows, others, strict=True)
        ]


def resolve(target: Target, logits: Tensor, names: Sequence[str]) -> tuple[Tensor, Tensor | None]:
    """Return class numbers (B, T), and those of the classes that they are compared with, or None.

    Args:
        target: None (top-1), a number, a class name, "A-B", one of these per image, a sequence of them per
            image, or "all" (every class; unless a class has that name).
        logits: (B, classes).
        names: the class names; empty if unknown.

    Returns:
        The second are (B, T) too, -1 where a target is compared with no class; None if none is.

    Raises:
        UsageError: for a number out of range, an unknown name, an "A-B" that can be read in two ways, or a
            count that is not the batch's.
    """
    count, classes = logits.shape
    if target is None:
        return logits.argmax(1, keepdim=True), None
    if isinstance(target, str) and target == "all" and "all" not in names:
        return torch.arange(classes, device=logits.device).expand(count, classes), None
    one = target.item() if isinstance(target, Tensor) and target.ndim == 0 else target
    if isinstance(one, int | str | float | Versus):
        pair = _pair(one, names, classes)
        targets, others = (torch.full((count, 1), place, device=logits.device) for place in pair)
        return targets, others if pair[1] >= 0 else None
    if not isinstance(target, Tensor | Sequence):
        raise UsageError(f"target {target!r}: give class numbers or names, or a function of the output")
    rows: list[Any] = target.tolist() if isinstance(target, Tensor) else list(target)
    if len(rows) != count:
        raise UsageError(f"{len(rows)} targets for {count} images")
    table = [
        [_pair(w, names, classes) for w in (row if isinstance(row, list | tuple) else [row])] for row in rows
    ]
    if len({len(row) for row in table}) != 1 or not table[0]:
        raise UsageError("every image needs the same number of targets, one or more")
    pairs = torch.tensor(table, device=logits.device)
    return pairs[..., 0], pairs[..., 1] if (pairs[..., 1] >= 0).any() else None


def _pair(word: Any, names: Sequence[str], classes: int) -> tuple[int, int]:
    """Return the number of a class, and that of the class that it is compared with or -1."""
    if isinstance(word, str):
        return _of_text(word, names, classes)
    if not isinstance(word, Versus):
        return _in_range(word, classes), -1
    first, second = _in_range(word.target, classes), _in_range(word.against, classes)
    if first == second:
        raise UsageError(f"target: class {first} is compared with itself; give two classes")
    return first, second


def _in_range(word: Any, classes: int) -> int:
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


def _of_text(word: str, names: Sequence[str], classes: int) -> tuple[int, int]:
    """Read a class name, or "A-B" with names or numbers; a class with a hyphen in its name comes first."""
    table = {name: number for number, name in enumerate(names)}
    if word in table:
        return table[word], -1
    found = versus(word, names, classes)
    if found is not None:
        return found.target, found.against
    if not names:
        raise UsageError(f"target {word!r}: this network has no class names; give a number")
    return lookup(table, word, "class of this network"), -1


def versus(word: str, names: Sequence[str], classes: int) -> Versus | None:
    """Return the two classes of "A-B"; None if a text is the name of a class, or is no such pair.

    A and B are names of classes or their numbers, and either name may have hyphens of its own.

    Args:
        word: the text.
        names: the class names; empty if unknown.
        classes: number of classes.

    Raises:
        UsageError: if it can be read in several ways, one of both is unknown, or both are the same class.
    """
    if word in names:
        return None
    table = {name: number for number, name in enumerate(names)}

    def place(part: str) -> int | None:
        if part in table:
            return table[part]
        return int(part) if part.isdecimal() and len(part) < 10 and int(part) < classes else None

    parts = [(word[:at], word[at + 1 :]) for at, letter in enumerate(word) if letter == "-"]
    read = {(a, b): (place(a), place(b)) for a, b in parts}
    whole = {pair: (x, y) for pair, (x, y) in read.items() if x is not None and y is not None}
    if len(whole) > 1:
        ways = " or ".join(f"{a!r} and not {b!r}" for a, b in whole)
        number = "-".join(map(str, next(iter(whole.values()))))
        raise UsageError(f"target {word!r} can be read as {ways}; give class numbers, such as {number}")
    if not whole:
        for (a, b), (x, y) in read.items():
            if (x is None) != (y is None) and a and b:
                lost = a if x is None else b
                lookup(table, lost, f"class of this network (target {word!r}, why A and not B)")
        return None
    first, second = next(iter(whole.values()))
    if first == second:
        raise UsageError(f"target {word!r} compares a class with itself; give two classes")
    return Versus(first, second)


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
