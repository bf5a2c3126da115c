"""One scale for a data set: the levels of its pictures of more than 8 bits, settled on its training split."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from resight.core.errors import PictureError
from resight.core.levels import Levels, Pair
from resight.data.dataset import Dataset, Split
from resight.data.decode import deep_values
from resight.data.deep import TOP

SAMPLE = 64
"""Evenly spaced pictures that are checked for more than 8 bits."""

RUNS = 4
"""Runs that the sample is taken from where pictures are in runs that are read as a whole."""

SIXTEENTH = 16
"""A scale of which less than a sixteenth is used is not taken for the right one without a word."""

WHITE = {bits: float(2**bits - 1) for bits in (8, 10, 12, 14, 16)}
"""The usual numbers of bits that cameras have, and their largest value."""

NAMES = {
    "word": "16-bit pictures",
    "integer": "signed or 32-bit pictures",
    "real": "floating-point pictures",
}


@dataclass(frozen=True)
class Span:
    """The lowest and the highest value of a picture, or of pictures.

    Attributes:
        kind: the field of `Levels`.
        low: the lowest value.
        high: the highest.
        usual: the median of the pictures' highest values.
    """

    kind: str
    low: float
    high: float
    usual: float


def settled(dataset: Dataset) -> Dataset:
    """Return the data set with the levels of its training pictures, and a note on each.

    A set of 8-bit pictures is only looked at in a sample. Otherwise all training pictures are read once:

    - unsigned integers of 16 bits fill their type's range, unless the set uses a sixteenth of it or less:
      then white is the largest value of 8, 10 or 12 bits;
    - integers of other types: white is the largest value of 8, 10, 12, 14 or 16 bits, and where that does not
      hold all values, they fill the range from the lowest to the highest;
    - floating-point values in 0 to 1 fill that, those in 0 to 255 fill that if they use more than a sixteenth
      of it, and others the range from the lowest to the highest.

    A picture of a kind that the sample lacks has no levels and is read by its type, or refused. A data set
    without training pictures is settled on its first split.
    """
    split = dataset.splits.get("train") or next(iter(dataset.splits.values()))
    sample = _spans(split, _sample(split))
    if all(span.kind == "word" and span.high * SIXTEENTH > TOP for span in sample):
        return dataset
    spans = _spans(split, range(len(split)))
    pairs = {span.kind: _levels_of(span) for span in spans}
    notes = tuple(note for span in spans if (note := _note(span, pairs[span.kind])))
    return replace(dataset.with_levels(Levels(**pairs)), notes=(*dataset.notes, *notes))


def _sample(split: Split) -> NDArray[np.int64]:
    """Return some indices: evenly spaced, or the first of a few runs where pictures are in runs."""
    blocks, last = split.blocks(), len(split) - 1
    if blocks is None or len(blocks) <= RUNS:
        return np.unique(np.linspace(0, last, SAMPLE).astype(np.int64))
    starts = blocks[np.linspace(0, len(blocks) - 1, RUNS).astype(np.int64)]
    return np.unique(np.minimum(starts[:, None] + np.arange(SAMPLE // RUNS), last))


def _spans(split: Split, indices: Iterable[int]) -> list[Span]:
    """Return what the pictures of each kind span, without those that cannot be read."""
    with ThreadPoolExecutor(max_workers=torch.get_num_threads()) as pool:
        found = [span for span in pool.map(lambda index: _span(split, int(index)), indices) if span]
    spans = []
    for kind in NAMES:
        own = [span for span in found if span.kind == kind]
        if own:
            low, high = min(s.low for s in own), max(s.high for s in own)
            spans.append(Span(kind, low, high, float(np.median([s.high for s in own]))))
    return spans


def _span(split: Split, index: int) -> Span | None:
    try:
        content = split.content(index)
        deep = None if isinstance(content, np.ndarray) else deep_values(content, split.picture_name(index))
    except PictureError:
        return None  # it is reported where the picture is read
    if deep is None or not np.isfinite(deep.values).all():
        return None
    low, high = float(deep.values.min()), float(deep.values.max())
    return Span(deep.kind, low, high, high)


def _levels_of(span: Span) -> Pair | None:
    low, high = span.low, span.high
    if span.kind == "word":
        return (0.0, _white(high)) if 0 < high * SIXTEENTH <= TOP else None
    if span.kind == "integer" and low >= 0 and 0 < high <= TOP:
        return 0.0, _white(high)
    if span.kind == "real" and low >= 0 and high <= 1:
        return 0.0, 1.0
    if span.kind == "real" and low >= 0 and 255 / SIXTEENTH < high <= 255:
        return 0.0, 255.0
    if low < high:
        return low, high
    return (min(low, 0.0), max(high, 0.0)) if low else (0.0, 1.0)  # all pictures are of one value


def _white(high: float) -> float:
    return next(white for white in WHITE.values() if high <= white)


def _note(span: Span, pair: Pair | None) -> str:
    if pair is None:
        return ""
    low, white = pair
    dark = (span.usual - low) * SIXTEENTH < white - low
    outliers = "; half of them use less than 1/16 of that: check for outliers" if dark else ""
    if pair == (0.0, 1.0) and span.kind == "real" and not dark:
        return ""
    used = f" have values from {span.low:,g} to {span.high:,g}:" if (span.low, span.high) != pair else ":"
    return f"{NAMES[span.kind]}{used} {low:,g} is black and {white:,g} is white{outliers}"
