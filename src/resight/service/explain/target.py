"""The classes to explain: the values of `--target`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from resight.core.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from resight.saliency.explanation import Word
    from resight.service.run.run import Run


def wanted(run: "Run", images: "Tensor", target: str | None) -> "Tensor | list[list[Word]]":
    """Turn a value of `--target` into targets (B, T)."""
    import torch

    best = best_of(target, run.model.classes)
    if best:
        with torch.no_grad():
            return run.model(images).topk(min(best, run.model.num_classes), dim=1).indices
    assert target is not None  # without one the best class is asked for
    word: Word = int(target) if target.isdecimal() and target not in run.model.classes else target
    rows: list[list[Word]] = [[word] for _ in images]
    return rows


def name_of(run: "Run", word: "Word") -> str:
    """Return what a target of `Explanation.words` is called: the class, or "A-B"."""
    from resight.saliency.explanation import Versus

    if isinstance(word, Versus):
        return f"{run.class_name(word.target)}-{run.class_name(word.against)}"
    return word if isinstance(word, str) else run.class_name(word)


def best_of(target: str | None, classes: Sequence[str]) -> int:
    """Return K if `--target` asks for the K best classes, 1 if it is left out, 0 if it names a class.

    Raises:
        UsageError: for top0.
    """
    if target is None:
        return 1
    if target in classes or not target.startswith("top") or not target[3:].isdecimal():
        return 0
    if not int(target[3:]):
        raise UsageError(f"--target {target}: selects no class; give top1 or more")
    return int(target[3:])
