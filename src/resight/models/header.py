"""The header of `model.safetensors`: its structure, and which entries must agree.

Nothing is built from a header before these checks, since it may come from an untrusted source.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resight.core import documents
from resight.core.documents import Whole, Within
from resight.core.errors import ModelFileError
from resight.core.levels import Levels
from resight.core.preprocessing import FRAMES, INTERPOLATIONS, Preprocessing

FORMAT = 1
LARGEST_SIZE, LARGEST_RESIZE = 4096, 8192
"""In pixels: a picture resized beyond this size would fill the memory."""
KINDS = {
    "progress": "the training state of a run; give the run folder",
    "generator": "a GAN; pass it to an option that takes a GAN",
    "decoder": "a decoder; give the run that it is next to",
}
"""Other safetensors documents of Resight, by a key that only they have."""

GEOMETRY = {
    "size": Whole(1, LARGEST_SIZE),
    "resize": Whole(1, LARGEST_RESIZE),
    "interpolation?": str,
    "frame?": str,
}
CARD = {**GEOMETRY, "mean": [Within(0, 1)], "std": [Within(1e-6, 1e6)], "contrast?": Within(0, 1e6)}
FACTS = {
    "data?": (str, None),
    "data_root?": (str, None),
    "data_fingerprint?": (str, None),
    "recipe?": {"val_share?": Within(0, 1)},
    "temperature?": (Within(1e-6, 1e6), None),
    "best_epoch?": Whole(0),
    "weights?": ({"source": str, "licence": str, "sha256": str}, None),
    "left_out?": [{"path": str, "fault": str, "cure": str}],
    "test?": {str: object},
    "fit?": {str: object},
    "folds?": {"count": Whole(2), "fold?": Whole(1), "filled?": [Whole(1)]},
    "answers?": {"of": str, "confidences": str},
}
"""The entries of a header about a training that are read again."""
HEADER = {
    "format": Whole(FORMAT, FORMAT),
    "architecture": str,
    "options": {str: (bool, float, str)},
    "in_channels": Whole(1, 1024),
    "classes": [str],
    "multi_label?": bool,
    "preprocessing": CARD,
    "task?": {"name": str, "settings": {str: (bool, float, str, [float])}},
    "about?": {str: object},
    "tasks?": [{"name": str, "classes": [str], "facts": {**FACTS, "geometry?": GEOMETRY}}],
    **FACTS,
}


def require_header(document: dict[str, Any], path: Path) -> None:
    """Refuse a header that this version of Resight would not write.

    Raises:
        ModelFileError: naming the first fault.
    """
    if "architecture" not in document:
        for key, words in KINDS.items():
            if key in document:
                raise ModelFileError(f"{path}: is not a network but {words}")
    number = document.get("format")
    if isinstance(number, int) and number > FORMAT:
        raise ModelFileError(
            f"{path}: has format {str(number)[:20]}, this Resight reads format {FORMAT}; upgrade Resight"
        )
    documents.require(document, HEADER, f"{path}: its header is damaged", ModelFileError)
    tasks = document.get("tasks", ())
    named = (document["classes"], *(task["classes"] for task in tasks), [task["name"] for task in tasks])
    for names in named[: len(tasks) + 1]:
        _require_classes(names, path)
    if len(set(named[-1])) < len(tasks):
        raise _damaged(path, "two old tasks have the same name")
    for card in (document["preprocessing"], *(t["facts"].get("geometry", {}) for t in tasks)):
        if card.get("interpolation", INTERPOLATIONS[0]) not in INTERPOLATIONS:
            raise _damaged(path, f"interpolation {card['interpolation'][:40]!r} is unknown")
        if card.get("frame", FRAMES[0]) not in FRAMES:
            raise _damaged(path, f"frame {card['frame'][:40]!r} is unknown")
        try:
            Levels.from_dict(card.get("levels"))
        except (TypeError, ValueError, OverflowError) as error:
            raise _damaged(path, str(error)[:200]) from error


def _require_classes(names: Sequence[str], path: Path) -> None:
    if not names:
        raise _damaged(path, "it lists no classes")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise _damaged(path, f"the class {twice[:40]!r} is listed twice")


def read_card(
    document: dict[str, Any], pixel_mean: Tensor | None, whitening: Tensor | None, path: Path
) -> Preprocessing:
    """Return the preprocessing of a header, with the tables stored with the weights.

    Args:
        document: the header, after `require_header`.
        pixel_mean: (3 * size * size,), or None.
        whitening: (3 * size * size, 3 * size * size), or None.
        path: of the file, for the message.

    Raises:
        ModelFileError: if lengths differ, or a value is not a number.
    """
    card = document["preprocessing"]
    values = 3 * card["size"] ** 2
    for name in ("mean", "std"):
        if len(card[name]) != 3:
            raise _damaged(path, f"preprocessing.{name} has {len(card[name])} values, not 3")
    tables = (("pixel_mean", pixel_mean, (values,)), ("whitening", whitening, (values, values)))
    for name, table, shape in tables:
        if table is None:
            continue
        if tuple(table.shape) != shape:
            raise _damaged(path, f"{name} has shape {tuple(table.shape)}, not {shape}")
        if not table.is_floating_point() or not table.isfinite().all():
            raise _damaged(path, f"{name} holds values that are not finite numbers")
    if card["resize"] < card["size"]:
        raise _damaged(path, f"resize={card['resize']} is below size={card['size']}")
    contrast = float(card.get("contrast", 0.0))
    if whitening is not None and not contrast:
        raise _damaged(path, "it has whitening without contrast normalization")
    if pixel_mean is not None and not contrast and not -1e-3 <= pixel_mean.min() <= pixel_mean.max() <= 1.001:
        raise _damaged(path, "pixel_mean holds values outside [0, 1]")
    mean = () if pixel_mean is None else tuple(pixel_mean.tolist())
    table = None if whitening is None else whitening.to(torch.float32).numpy()
    return Preprocessing.from_dict(card, mean, table)


def _damaged(path: Path, fault: str) -> ModelFileError:
    return ModelFileError(f"{path}: its header is damaged: {fault}; train the network again")
