"""Look a data set over before it is trained on: faults, copies, leaks, balance."""

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from resight.core.device import cores
from resight.core.errors import PictureError
from resight.core.files import digest
from resight.data.dataset import Split
from resight.data.open import open_dataset

SMALLEST = 8


def check(data: str, data_root: str | None = None) -> dict[str, Any]:
    """Decode every picture of a data set and say what is wrong with it.

    Two pictures are copies if their decoded pixels are equal, whatever their files are.

    Args:
        data: what `open_dataset` takes.
        data_root: see there.

    Returns:
        The JSON of `resight check`.
    """
    dataset = open_dataset(data, data_root)
    faults: list[dict[str, str]] = []
    places: dict[str, list[tuple[str, str, str]]] = defaultdict(list)  # digest: split, name, classes
    counts: dict[str, dict[str, int]] = {name: {} for name in dataset.classes}
    total = ok = 0
    for split in dataset.splits.values():
        with ThreadPoolExecutor(max_workers=cores()) as pool:
            results = list(pool.map(lambda i, s=split: _look(s, i), range(len(split)), chunksize=64))
        for index, result in enumerate(results):
            total += 1
            labels = split.class_names(index)
            for label in labels:
                counts[label][split.name] = counts[label].get(split.name, 0) + 1
            name = split.picture_name(index)
            if isinstance(result, PictureError):
                faults.append({"path": result.name, "fault": result.fault, "cure": result.cure})
                continue
            ok += 1
            content, fault = result
            places[content].append((split.name, name, ";".join(labels)))
            if fault:
                faults.append({"path": name, "fault": fault, "cure": "remove it if it shows nothing"})
    copies = [group for group in places.values() if len(group) > 1]
    return {
        "data": dataset.name,
        "n": total,
        "ok": ok,
        "faults": faults,
        "duplicates": [_group(g) for g in copies],
        "leaks": [_group(g) for g in copies if len({split for split, _, _ in g}) > 1],
        "conflicts": [_group(g) for g in copies if len({label for _, _, label in g}) > 1],
        "classes": counts,
        "notes": [*dataset.notes, *_balance(counts)],
    }


def _look(split: Split, index: int) -> tuple[str, str] | PictureError:
    """Return the digest of the pixels and, for a picture that can be read but is odd, why."""
    try:
        image = split.decode(index)
    except PictureError as error:
        return error
    pixels = np.asarray(image)
    fault = ""
    if min(image.size) < SMALLEST:
        fault = f"is only {image.width} x {image.height} pixels"
    elif np.ptp(pixels) == 0:
        fault = "is of one colour"
    return digest(f"{image.size}".encode() + pixels.tobytes()), fault


def _group(group: Sequence[tuple[str, str, str]]) -> dict[str, Any]:
    return {
        "paths": [name for _, name, _ in group],
        "splits": [split for split, _, _ in group],
        "classes": [label for _, _, label in group],
    }


def _balance(counts: dict[str, dict[str, int]]) -> list[str]:
    train = {name: c.get("train", 0) for name, c in counts.items()}
    most, least = max(train, key=lambda n: train[n]), min(train, key=lambda n: train[n])
    notes = []
    if train[least] and train[most] >= 3 * train[least]:
        notes.append(
            f"the classes are unbalanced: {train[most]:,} training pictures of {most!r}, {train[least]:,} of "
            f"{least!r}; read the errors class by class"
        )
    absent = [name for name, c in counts.items() if not c.get("test")]
    if absent:
        notes.append(f"no test pictures of: {', '.join(absent)}")
    return notes
