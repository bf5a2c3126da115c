"""Where the samples of a tar shard lie: scanned once, kept in a small file, read at once ever after.

Shards are in the WebDataset layout: members that share their path up to the first dot of the base name are
one sample. The picture is the member with a picture's suffix. The label is the text of `.cls`, else "label"
in `.json`, else the text of `.txt`: a number or a name. "boxes" in `.json`, a list of {"label", "box": [x0,
y0, x1, y1]} in pixels of the decoded picture, is a layout of ours. Other members are left alone.
"""

import json
import os
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resight.core.errors import DataError, ResightError
from resight.core.files import digest, replacing
from resight.data.cache import index_folder
from resight.data.decode import SUFFIXES
from resight.data.pictures import digest_of_nothing

FORMAT = 1
COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
CURE = "copy or pack it again"


@dataclass(frozen=True)
class ShardIndex:
    """The samples of one shard.

    Attributes:
        stamp: format of this file, and the shard's size and time of change (ns), (3,).
        members: name of each picture's member, UTF-8, (N,).
        offsets: where its bytes begin in the shard, (N,).
        sizes: how many they are, (N,).
        digests: of the bytes, (N, 16).
        labels: as the shard spells them, UTF-8, (N,).
        box_counts: boxes of each sample, (N,); (0,) if the shard has none at all.
        boxes: x0, y0, x1, y1 of all boxes, (M, 4).
        box_labels: as `labels`, (M,).
        classes: class names inside the shard, as JSON in UTF-8, one element; "null" if there are none.
        lacking: names of samples that have no picture, (L,).
    """

    stamp: NDArray[np.int64]
    members: NDArray[np.bytes_]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    digests: NDArray[np.uint8]
    labels: NDArray[np.bytes_]
    box_counts: NDArray[np.int32]
    boxes: NDArray[np.float32]
    box_labels: NDArray[np.bytes_]
    classes: NDArray[np.bytes_]
    lacking: NDArray[np.bytes_]


def stamp_of(shard: Path | int) -> NDArray[np.int64]:
    """Return what tells a shard (or an open file) from itself before a change, (3,)."""
    about = os.stat(shard)  # noqa: PTH116 - of a descriptor, too
    return np.array([FORMAT, about.st_size, about.st_mtime_ns], dtype=np.int64)


def load_index(shard: Path) -> ShardIndex:
    """Return a shard's index: a stored one that fits the shard as it is now, or a new one, then stored.

    It is stored beside the shard, or in the user's cache where that folder cannot be written.

    Raises:
        DataError: if the shard is damaged, truncated, compressed, or a sample has no label.
    """
    cached = index_folder() / f"{digest(os.fsencode(shard.resolve()))}.index"
    places = [shard.with_name(shard.name + ".index"), cached]
    stamp = stamp_of(shard)
    for place in places:
        arrays = stored_arrays(place, [f.name for f in fields(ShardIndex)])
        if arrays is not None and np.array_equal(arrays["stamp"], stamp):
            return ShardIndex(**arrays)
    index = scan(shard)
    for place in places:
        try:
            store_index(place, index)
        except ResightError:
            continue
        break
    return index


def store_index(place: Path, index: ShardIndex) -> None:
    """Write an index to a file.

    Raises:
        ResightError: if it cannot be written.
    """
    with replacing(place) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **{f.name: getattr(index, f.name) for f in fields(index)})


def stored_arrays(place: Path, names: Sequence[str]) -> dict[str, NDArray] | None:
    """Return named arrays of an npz file; None if there is none, or none that can be read."""
    try:
        with place.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in names}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def scan(shard: Path) -> ShardIndex:
    """Read a shard from end to end and return where its samples lie.

    Raises:
        DataError: as `load_index`.
    """
    stamp = stamp_of(shard)
    rows, lacking, classes = [], [], None
    with shard.open("rb") as file:
        _refuse_compressed(shard, _pread(file, 8, 0))
        for key, sample in _samples(shard, file).items():
            if key in ("classes.json", "classes.txt"):
                classes = _class_names(shard, key, sample[""])
            elif "picture" in sample:
                rows.append((*sample["picture"], *_marks(shard, key, sample)))
            else:
                lacking.append(key)
    if not np.array_equal(stamp, stamp_of(shard)):
        raise DataError(f"{shard}: changed while it was read; wait until it is complete")
    return build_index(stamp, rows, classes, lacking)


Row = tuple[str, int, int, str, str, list[dict[str, Any]] | None]
"""Member, offset, size, digest, label and boxes of a sample."""


def build_index(
    stamp: NDArray[np.int64], rows: list[Row], classes: list[str] | None, lacking: list[str]
) -> ShardIndex:
    """Return the index of samples that are known already."""
    boxes = [box for row in rows for box in row[5] or ()]
    marked = any(row[5] is not None for row in rows)
    return ShardIndex(
        stamp=stamp,
        members=_texts([row[0] for row in rows]),
        offsets=np.array([row[1] for row in rows], dtype=np.int64),
        sizes=np.array([row[2] for row in rows], dtype=np.int64),
        digests=np.frombuffer(bytes.fromhex("".join(row[3] for row in rows)), np.uint8).reshape(-1, 16),
        labels=_texts([row[4] for row in rows]),
        box_counts=np.array([len(row[5] or ()) for row in rows] if marked else [], dtype=np.int32),
        boxes=np.array([box["box"] for box in boxes], dtype=np.float32).reshape(-1, 4),
        box_labels=_texts([str(box["label"]) for box in boxes]),
        classes=_texts([json.dumps(classes)]),
        lacking=_texts(lacking),
    )


def _texts(words: list[str]) -> NDArray[np.bytes_]:
    return np.array([w.encode("utf-8", "surrogateescape") for w in words], dtype=np.bytes_)


def _refuse_compressed(shard: Path, head: bytes) -> None:
    for magic, name in COMPRESSED.items():
        if head.startswith(magic):
            raise DataError(
                f"{shard}: is compressed with {name}, so no sample can be found; unpack it to .tar"
            )


def _samples(shard: Path, file: Any) -> dict[str, dict[str, Any]]:
    """Return the members of each sample by suffix: the picture's place, or the content of marks."""
    found: dict[str, dict[str, Any]] = {}
    for member in _members(shard, file):
        folder, _, base = member.name.rpartition("/")
        if not member.isfile() or base.startswith("."):
            continue
        where = (member.offset_data, member.size)
        if base in ("classes.json", "classes.txt") and folder in ("", "."):
            found[base] = {"": _read(shard, file, *where)}
            continue
        stem, _, suffix = base.partition(".")
        suffix = suffix.lower()
        sample = found.setdefault(f"{folder}/{stem}" if folder else stem, {})
        if suffix in sample or ("." + suffix in SUFFIXES and "picture" in sample):
            raise DataError(f"{shard}: sample {member.name} has two pictures or labels; pack it again")
        if "." + suffix in SUFFIXES:
            content = _read(shard, file, *where)
            sample["picture"] = (member.name, *where, digest(content) if content else digest_of_nothing(base))
        elif suffix in ("cls", "json", "txt"):
            sample[suffix] = _read(shard, file, *where)
    return found


def _members(shard: Path, file: Any) -> Iterator[tarfile.TarInfo]:
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                yield member
                archive.members = []  # type: ignore[attr-defined] # they would all be kept
            end = archive.offset
    except (tarfile.TarError, EOFError, OverflowError, ValueError) as error:
        raise DataError(f"{shard}: cannot be read as tar ({error}); {CURE}") from error
    # tarfile takes a damaged header, and the end of the file, for the end of the archive.
    if _pread(file, 512, end) != bytes(512):
        raise DataError(f"{shard}: is truncated or damaged after {end:,} bytes; {CURE}")


def _pread(file: Any, size: int, offset: int) -> bytes:
    return os.pread(file.fileno(), size, offset)


def _read(shard: Path, file: Any, offset: int, size: int) -> bytes:
    content = _pread(file, size, offset)
    if len(content) != size:
        raise DataError(f"{shard}: is truncated after {offset + len(content):,} bytes; {CURE}")
    return content


def _marks(shard: Path, key: str, sample: dict[str, Any]) -> tuple[str, list[dict[str, Any]] | None]:
    """Return the label and the boxes of a sample."""
    document: Any = {}
    try:
        texts = {kind: sample[kind].decode("utf-8").strip() for kind in ("cls", "txt") if kind in sample}
        if "json" in sample:
            document = json.loads(sample["json"])
        document = document if isinstance(document, dict) else {}
        boxes = document.get("boxes")
        if boxes is not None:
            boxes = [{"label": b["label"], "box": [float(v) for v in b["box"]]} for b in boxes]
            if any(len(b["box"]) != 4 for b in boxes):
                raise ValueError("a box has other than four edges")
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{shard}: the marks of sample {key} cannot be read ({error}); {CURE}") from error
    label = texts.get("cls") or document.get("label", texts.get("txt"))
    if isinstance(label, bool) or not isinstance(label, str | int) or label == "":
        raise DataError(
            f'{shard}: sample {key} has no label (.cls, "label" in .json, or .txt); add it or remove it'
        )
    return str(label), boxes


def _class_names(shard: Path, name: str, content: bytes) -> list[str]:
    try:
        return parse_classes(name, content)
    except ValueError as error:
        raise DataError(f"{shard}: its {name} cannot be read ({error}); {CURE}") from error


def parse_classes(name: str, content: bytes) -> list[str]:
    """Return the class names in a `classes.json` (a list, or {"classes": a list}) or a `classes.txt` (lines).

    Raises:
        ValueError: if it holds no such thing.
    """
    text = content.decode("utf-8")
    if name.endswith(".txt"):
        names: Any = text.split("\n")
        return [line.strip() for line in names if line.strip()]
    names = json.loads(text)
    names = names.get("classes") if isinstance(names, dict) else names
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        raise ValueError("it is no list of names")
    return names
