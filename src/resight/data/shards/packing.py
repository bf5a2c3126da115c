"""Write tar shards in the WebDataset layout, with their indexes."""

import io
import json
import tarfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resight.core.console import counted
from resight.core.device import cores
from resight.core.errors import PictureError
from resight.core.files import digest
from resight.data.dataset import Box, Split
from resight.data.decode import SUFFIXES, decode
from resight.data.order import WINDOW
from resight.data.shards.index import build_index, stamp_of, store_index
from resight.data.shards.marks import Row

MAGIC = {
    b"\xff\xd8": "jpg",
    b"\x89PNG": "png",
    b"GIF8": "gif",
    b"BM": "bmp",
    b"II*\0": "tif",
    b"MM\0*": "tif",
    b"P6": "ppm",
}
AT_ONCE = 256
"""Samples that are in memory at a time."""


@dataclass(frozen=True)
class Reduction:
    """How pictures are reduced.

    Attributes:
        side: larger pictures are reduced to this shorter side, in pixels; None leaves the size.
        quality: of the JPEG, 1 to 100; smaller pictures keep their bytes. Its colours have half the
            resolution (4:2:0): at quality 90 that is decoded 1.3 times as fast as 4:4:4, in 0.86 of the
            bytes, and the mean difference to the reduced picture grows from 1.24 to 1.34 of 255 (120 ImageNet
            photos, shorter side 256).
        uncompressed: write every picture as binary PPM: nothing more is lost and nothing has to be decoded,
            in 3 bytes a pixel.
    """

    side: int | None
    quality: int = 90
    uncompressed: bool = False


@dataclass(frozen=True)
class Sample:
    """What goes into a shard.

    Attributes:
        content: the encoded picture.
        suffix: of its member, without the dot.
        label: class number.
        boxes: None if the data set has none.
        size: (width, height) in pixels of the decoded picture; None if it is not known.
        points: x, y and state of each joint, (J, 3); None if the data set has none.
    """

    content: bytes
    suffix: str
    label: int
    boxes: tuple[Box, ...] | None
    size: tuple[int, int] | None
    points: NDArray[np.float64] | None = None

    def marks(self) -> dict[str, Any]:
        """Return boxes, joints and size as JSON; empty where only the class is known."""
        found: dict[str, Any] = {}
        if self.boxes is not None:
            found["boxes"] = [
                {"label": b.label if b.label >= 0 else "", "box": [b.x0, b.y0, b.x1, b.y1]}
                for b in self.boxes
            ]
        if self.points is not None:
            found["points"] = self.points.tolist()
        if found and self.size:
            found["size"] = list(self.size)
        return found


def mixed_order(split: Split) -> NDArray[np.int64]:
    """Return the order in which pictures are packed: by content digest, so that each shard is a fair mix.

    Where pictures are in runs (`Split.blocks`), whole runs are ordered by the digest of their first picture
    and pictures by digest in every WINDOW runs, so that each run is read once.
    """
    digests = np.array(
        [split.digest(i) for i in counted(range(len(split)), "hashing pictures")], dtype=np.bytes_
    )
    blocks = split.blocks()
    if blocks is None:
        return np.argsort(digests, kind="stable")
    rank = np.argsort(np.argsort(digests[blocks], kind="stable"))
    lengths = np.diff(np.append(blocks, len(split)))
    window = np.repeat(rank // WINDOW, lengths)
    return np.lexsort((digests, window))


def samples(
    split: Split, order: Iterable[int], reduction: Reduction | None, left_out: list[str]
) -> Iterator[Sample]:
    """Yield the samples of a split in an order, read and reduced by as many threads as torch has.

    Args:
        split: the split.
        order: its pictures.
        reduction: how to make them smaller; None leaves their bytes as they are.
        left_out: gets a line for each picture that cannot be used.
    """

    def one(index: int) -> Sample | str:
        if split.labels[index] < 0:
            return f"{split.picture_name(index)}: has no class"
        try:
            return sample_of(split, index, reduction)
        except PictureError as error:
            return str(error)

    indices = iter(order)
    with ThreadPoolExecutor(max_workers=cores()) as pool:
        while part := list(islice(indices, AT_ONCE)):
            for sample in pool.map(one, part):
                if isinstance(sample, str):
                    left_out.append(sample)
                else:
                    yield sample


def sample_of(split: Split, index: int, reduction: Reduction | None) -> Sample:
    """Return a picture of a split as it is packed.

    Raises:
        PictureError: if it cannot be read, or not decoded where it must be reduced.
    """
    label, boxes = int(split.labels[index]), split.picture_boxes(index)
    content, name, points = split.content(index), split.picture_name(index), _points(split, index)
    if reduction is None and isinstance(content, bytes):
        return Sample(content, suffix_of(content, name), label, boxes, split.picture_size(index), points)
    image = (
        Image.fromarray(content)
        if isinstance(content, np.ndarray)
        else decode(content, name, levels=split.levels)
    )
    encoded = content if isinstance(content, bytes) else _encode(image, "PNG")
    if reduction and reduction.side and reduction.side < min(image.size):
        whole, image = image, _reduce(image, reduction.side)
        across, down = (new / old for new, old in zip(image.size, whole.size, strict=True))
        points = None if points is None else points * (across, down, 1)
        if boxes is not None:
            boxes = tuple(Box(b.label, b.x0 * across, b.y0 * down, b.x1 * across, b.y1 * down) for b in boxes)
        encoded = _encode(image, "JPEG", quality=reduction.quality, subsampling="4:2:0")
    if reduction and reduction.uncompressed:
        encoded = _encode(image, "PPM")
    return Sample(encoded, suffix_of(encoded, name), label, boxes, image.size, points)


def _points(split: Split, index: int) -> NDArray[np.float64] | None:
    if split.points is None:
        return None
    position = int(split.positions[index])
    return np.column_stack([split.points.places[position], split.points.states[position]])


def _reduce(image: Image.Image, side: int) -> Image.Image:
    """Return the picture with a shorter side, antialiased, the longer one rounded down."""
    width, height = image.size
    short = min(width, height)
    size = (int(side * width / short), int(side * height / short))
    return image.resize(size, Image.Resampling.BILINEAR)


def _encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def suffix_of(content: bytes, name: str) -> str:
    """Return the suffix for a picture's member: by content where it is well known, else as it is named."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "webp"
    known = next((suffix for magic, suffix in MAGIC.items() if content.startswith(magic)), None)
    suffix = Path(name).suffix.lower()
    return known or (suffix[1:] if suffix in SUFFIXES else "png")


def write_shards(folder: Path, split: str, part: int, found: Iterator[Sample]) -> list[int]:
    """Write the shards of a split: `SPLIT-000000.tar` and on, with their indexes.

    Args:
        folder: where.
        split: name of the split.
        part: most samples of a shard.
        found: the samples.

    Returns:
        How many samples each shard got.
    """
    counts: list[int] = []
    while first := list(islice(found, 1)):
        shard = folder / f"{split}-{len(counts):06d}.tar"
        counts.append(_write(shard, sum(counts), chain(first, islice(found, part - 1))))
    return counts


def _write(shard: Path, before: int, found: Iterable[Sample]) -> int:
    """Write one shard whose keys count from `before`; returns how many samples it has."""
    rows: list[Row] = []
    with (
        shard.open("wb") as file,
        tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for number, sample in enumerate(found, start=before):
            key, marks = f"{number:09d}", sample.marks()
            _add(archive, f"{key}.cls", str(sample.label).encode())
            if marks:
                _add(archive, f"{key}.json", json.dumps({"label": sample.label, **marks}).encode())
            member, length = f"{key}.{sample.suffix}", len(sample.content)
            offset = _add(archive, member, sample.content)
            said = (marks.get("boxes"), marks.get("points"), sample.size if marks else None)
            rows.append(Row(member, offset, length, digest(sample.content), str(sample.label), *said))
    store_index(shard.with_name(shard.name + ".index"), build_index(stamp_of(shard), rows, None, [], {}))
    return len(rows)


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> int:
    """Add a member and return where its content begins in the archive."""
    about = tarfile.TarInfo(name)
    about.size = len(content)
    archive.addfile(about, io.BytesIO(content))
    archive.members = []  # type: ignore[attr-defined] # they would all be kept
    return archive.offset - -(-len(content) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
