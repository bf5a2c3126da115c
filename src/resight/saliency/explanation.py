"""What every method returns, and what may be asked of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from resight.core.errors import UsageError
from resight.core.registry import lookup

Target = None | int | str | Tensor | Sequence["int | str | Sequence[int | str]"]


@dataclass(frozen=True)
class Explanation:
    """Saliency maps of a batch.

    B images of H x W pixels; with several targets an image, (B, T) stands for (B).

    Attributes:
        maps: (B, H, W) float32 in [0, 1], at input size.
        raw: the maps as the method has them, signed, at the layer's size.
        layer: name of the layer that was read.
        targets: class numbers, (B,).
        scores: logits of the targets, (B,).
    """

    maps: Tensor
    raw: Tensor
    layer: str
    targets: Tensor
    scores: Tensor


def resolve(target: Target, logits: Tensor, names: Sequence[str]) -> Tensor:
    """Return class numbers (B, T).

    Args:
        target: None (top-1), a number, a class name, one of these per image, or a sequence of
            them per image.
        logits: (B, classes).
        names: the class names; empty if unknown.

    Raises:
        UsageError: for a number out of range, an unknown name, or a count that is not the batch's.
    """
    count, classes = logits.shape

    def number(word: "int | str") -> int:
        if isinstance(word, str):
            if not names:
                raise UsageError(
                    f"target {word!r}: this network does not know its class names; give a number"
                )
            return lookup({name: i for i, name in enumerate(names)}, word, "class of this network")
        if not 0 <= word < classes:
            raise UsageError(f"target {word} is out of range: the network has classes 0 to {classes - 1}")
        return int(word)

    if target is None:
        return logits.argmax(1, keepdim=True)
    if isinstance(target, int | str):
        return torch.full((count, 1), number(target), device=logits.device)
    rows: list[Any] = target.tolist() if isinstance(target, Tensor) else list(target)
    if len(rows) != count:
        raise UsageError(f"{len(rows)} targets for {count} images")
    table = [[number(w) for w in (row if isinstance(row, list | tuple) else [row])] for row in rows]
    if len({len(row) for row in table}) != 1:
        raise UsageError("every image needs the same number of targets")
    return torch.tensor(table, device=logits.device)


def class_names(model: nn.Module) -> Sequence[str]:
    """Return the class names that a network carries; empty if it carries none."""
    names = getattr(model, "classes", None)
    return tuple(names) if isinstance(names, list | tuple) else ()
