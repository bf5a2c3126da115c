"""Data sets that experiments make: parquet in the Hugging Face layout, read like any other."""

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from resight.data.dataset import Dataset, Split
from resight.data.layouts.table import MIRRORS
from resight.reproduce.experiment import Scale


def write_part(dataset: Dataset, folder: Path, scale: Scale) -> None:
    """Write a data set reduced to a scale."""
    for name, split in dataset.splits.items():
        most = scale.tested if name == "test" else scale.pictures
        write_whole(folder / f"{name}.parquet", some(split, most), mirrors=dataset.mirrors)


def some(split: Split, most: int | None) -> Split:
    """Return up to N pictures of a split, equally many of each class and at least one."""
    if most is None or most >= len(split):
        return split
    each = max(1, most // len(split.classes))
    kept = [np.flatnonzero(split.labels == number)[:each] for number in range(len(split.classes))]
    return split.take(np.sort(np.concatenate(kept)))


def on_canvas(split: Split, places: NDArray[np.int64], side: int) -> Iterator[Image.Image]:
    """Yield the pictures of a split on black squares of a side, their upper left corners at x, y (N, 2)."""
    for index, (x, y) in enumerate(places.tolist()):
        whole = Image.new("RGB", (side, side))
        whole.paste(split.decode(index), (x, y))
        yield whole


def write_whole(file: Path, split: Split, *, mirrors: bool) -> None:
    """Write a split; see `write_split`."""
    pictures = (split.decode(i) for i in range(len(split)))
    write_split(file, pictures, split.labels.tolist(), split.classes, mirrors=mirrors)


def write_split(
    file: Path,
    pictures: Iterable[Image.Image],
    labels: Sequence[int],
    classes: Sequence[str],
    *,
    mirrors: bool,
) -> None:
    """Write pictures as PNG with class numbers, names, and whether a mirrored picture keeps its class."""
    encoded = []
    for picture in pictures:
        stream = io.BytesIO()
        picture.save(stream, "png")
        encoded.append({"bytes": stream.getvalue(), "path": None})
    features = {"features": {"label": {"names": list(classes), "_type": "ClassLabel"}}}
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"image": pa.array(encoded, kind), "label": pa.array(list(labels), pa.int64())})
    said = {b"huggingface": json.dumps({"info": features}), MIRRORS: json.dumps(mirrors)}
    table = table.replace_schema_metadata(said)
    pq.write_table(table, file, row_group_size=1000)
