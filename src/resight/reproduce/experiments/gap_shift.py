"""Global average pooling and shifted digits (the lecture's example; no paper was found).

Two networks that differ only in their head learn digits in the middle of a 64 x 64 canvas: one flattens its
last map, the other averages it over space. Shifted to any place where a digit stays whole, the first guesses,
as its weights are bound to positions; the second hardly loses. In a corner it loses more: without padding,
filters have no positions beyond the digit there. Chosen by us: dropout of 0.5, Adam, epochs and places.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resight.data.open import open_dataset
from resight.reproduce.experiment import Experiment, Figures, Measure, Plot, Row, Scale, Training
from resight.reproduce.laboratory import Laboratory
from resight.reproduce.sets import on_canvas, some, write_split
from resight.service.test.test import test_split

FREE, MIDDLE = 64 - 28, (64 - 28) // 2
PUBLISHED = {"cnn-flatten": "cnn-flattening-388-298-params", "cnn-gap": "cnn-gap-101-578-params"}
WORDS = (
    "image_size=64", "epochs=12", "batch_size=64", "optimizer=adam", "lr=0.003", "schedule=cosine", "ema=0",
    "augment=", "label_smoothing=0", "weight_decay=0")  # fmt: skip


def places(where: str, count: int) -> NDArray[np.int64]:
    """Return where the digits' upper left corners are, x and y, (count, 2)."""
    first, last, step = {"shifted": (0, FREE, 1), "corner": (0, FREE, FREE)}.get(where, (MIDDLE, MIDDLE, 1))
    return np.random.default_rng(0).choice(np.arange(first, last + 1, step), (count, 2))


def canvas(lab: Laboratory, folder: Path, *, where: str) -> None:
    """Write the digits on black canvases: all splits in the middle, or the test split elsewhere."""
    digits = open_dataset("mnist", lab.data_root)
    for name in digits.splits if where == "centred" else ("test",):
        part = some(digits.split(name), lab.scale.tested if name == "test" else lab.scale.pictures)
        pictures = on_canvas(part, places(where, len(part)), 64)
        write_split(folder / f"{name}.parquet", pictures, part.labels.tolist(), digits.classes, mirrors=False)


def rows(lab: Laboratory) -> Iterator[Row]:
    for condition, published in PUBLISHED.items():
        for where in SETS:
            found = [lab.tested([str(run)], lab.set_of(where)) for run in lab.folders(condition)]
            for metric in ("accuracy", "precision", "recall", "f1")[: 1 if where == "corner" else 4]:
                values = tuple(f["macro"].get(metric, 1 - f["top1_error"] / 100) for f in found)
                high, low = (1 - edge / 100 for edge in found[0]["top1_interval"]) if found else (1.0, 0.0)
                measure = Measure(values, (low, high) if metric == "accuracy" else None) if found else None
                number = f"gap-shift/{published}/{metric}-{where}-test-set" if where != "corner" else ""
                yield Row(f"{condition}/{where}", metric, measure, unit="", published=number)


def holds(found: Figures) -> bool:
    return found["cnn-flatten/shifted/accuracy"] < 0.5 < 0.98 < found["cnn-gap/shifted/accuracy"]


def plots(lab: Laboratory) -> Iterator[Plot]:
    lines = []
    for condition, run in ((c, run) for c in PUBLISHED for run in lab.runs(c)[:1]):
        data = open_dataset(str(lab.set_of("shifted")), lab.data_root)
        far = np.abs(places("shifted", len(data.split("test"))) - MIDDLE).max(1)
        right, steps = 1.0 - test_split([run], data).wrong().numpy(), np.unique(far // 2).tolist()
        lines.append((condition, [2 * n for n in steps], [right[far // 2 == n].mean().item() for n in steps]))
    yield Plot("Accuracy by distance from the middle", "pixels, of the larger of x and y", "accuracy", lines)


SETS = {where: partial(canvas, where=where) for where in ("centred", "shifted", "corner")}
EXPERIMENT = Experiment(
    paper="the lecture's example of global average pooling, unpublished",
    claim="shifted digits are guessed after flattening, and at least 98 % right after global average pooling",
    trainings=tuple(
        Training(condition=c, data="centred", recipe="fast", words=(f"model={c.replace('-', '_')}", *WORDS))
        for c in PUBLISHED),
    sets=SETS, rows=rows, holds=holds, plots=plots,
    smoke=Scale(name="smoke", epochs=4, pictures=2000, tested=500),
)  # fmt: skip
