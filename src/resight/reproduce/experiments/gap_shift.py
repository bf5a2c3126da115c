"""Global average pooling and shifted digits (the lecture's example; no paper was found).

Two networks that differ only in their head learn digits in the middle of a 64 x 64 canvas: one flattens its
last map, the other averages it over space. On digits in the middle both are right. On the same digits in a
corner the first guesses, as its weights are bound to positions; the second loses 0.3 points in the lecture.

Chosen by us: dropout of 0.5, no augmentation, three epochs, and the corner of each digit.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from resight.data.open import open_dataset
from resight.reproduce.experiment import Experiment, Figures, Measure, Row, Scale, Training
from resight.reproduce.laboratory import Laboratory
from resight.reproduce.sets import some, write_split

SIDE, DIGIT = 64, 28
PUBLISHED = {"cnn-flatten": "cnn-flattening-388-298-params", "cnn-gap": "cnn-gap-101-578-params"}
WORDS = (
    "image_size=64", "epochs=3", "batch_size=32", "lr=0.02", "schedule=cosine", "ema=0", "augment=",
    "label_smoothing=0", "weight_decay=5e-4")  # fmt: skip


def canvas(lab: Laboratory, folder: Path, *, shifted: bool) -> None:
    """Write the digits on black canvases: all splits in the middle, or the test split in the corners."""
    digits = open_dataset("mnist", lab.data_root)
    corners = np.random.default_rng(0).integers(0, 2, (70_000, 2)) * (SIDE - DIGIT)
    for name in ("test",) if shifted else digits.splits:
        part = some(digits.split(name), lab.scale.tested if name == "test" else lab.scale.pictures)
        pictures = []
        for index in range(len(part)):
            x, y = corners[index].tolist() if shifted else ((SIDE - DIGIT) // 2,) * 2
            whole = Image.new("RGB", (SIDE, SIDE))
            whole.paste(part.decode(index), (x, y))
            pictures.append(whole)
        write_split(folder / f"{name}.parquet", pictures, part.labels.tolist(), digits.classes, mirrors=False)


def rows(lab: Laboratory) -> Iterator[Row]:
    for condition, published in PUBLISHED.items():
        for where in ("centred", "shifted"):
            found = [lab.tested([str(run)], lab.set_of(where)) for run in lab.folders(condition)]
            high, low = (1 - edge / 100 for edge in found[0]["top1_interval"]) if found else (1.0, 0.0)
            for metric in ("accuracy", "precision", "recall", "f1"):
                values = tuple(score(figures, metric) for figures in found)
                measure = Measure(values, (low, high) if metric == "accuracy" else None) if found else None
                number = f"gap-shift/{published}/{metric}-{where}-test-set"
                yield Row(f"{condition}/{where}", metric, measure, unit="", published=number)


def score(figures: dict, metric: str) -> float:
    """Return the accuracy, or a mean over the classes: 0 for a class that is never predicted."""
    if metric == "accuracy":
        return 1 - figures["top1_error"] / 100
    return figures["macro"][metric]


def holds(found: Figures) -> bool:
    return found["cnn-flatten/shifted/accuracy"] < 0.5 < 0.9 < found["cnn-gap/shifted/accuracy"]


EXPERIMENT = Experiment(
    paper="the lecture's example of global average pooling, unpublished",
    caveat="the lecture's pooled network loses only 0.3 points in the corner",
    claim="digits moved into a corner are guessed after flattening, and named after global average pooling",
    trainings=tuple(
        Training(condition=c, data="centred", recipe="fast", words=(f"model={c.replace('-', '_')}", *WORDS))
        for c in PUBLISHED
    ),
    sets={"centred": partial(canvas, shifted=False), "shifted": partial(canvas, shifted=True)},
    rows=rows, holds=holds, smoke=Scale(name="smoke", epochs=4, pictures=2000, tested=500),
)  # fmt: skip
