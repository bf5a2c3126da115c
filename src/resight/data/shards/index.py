"""Positions of the samples in a tar shard: scanned once and kept in a small index file.

Shards are in the WebDataset layout: members that share their path up to the first dot of the base name are
one sample. The picture is the member with a picture's suffix; what the others say is in `marks.py`. Links,
devices, and pictures with a dot before their suffix are counted and
named; other members are left alone.
"""

import json
import os
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resight.core.console import counted
from resight.core.documents import Whole, read
from resight.core.errors import DataError, ResightError
from resight.core.files import digest, replacing
from resight.data.cache import index_folder
from resight.data.decode import SUFFIXES
from resight.data.labels import one_line
from resight.data.pictures import digest_of_nothing
from resight.data.shards.marks import CURE, Row, marked, parse_classes

FORMAT = 1
COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
LARGEST = 2**31
"""Bytes of a picture; a larger member is none."""
LARGEST_MARK = 2**24
"""Bytes of a label, or of class names."""
LINK = "are links, which do not work in a shard"
DEVICE = "are devices or pipes"
DOTTED = (
    "are pictures with a dot before the suffix: WebDataset reads a.b.jpg as part b.jpg of sample a; "
    "rename them to a_b.jpg, and their labels likewise"
)
IGNORED = [{"reason": str, "count": Whole(1), "first": str}]


@dataclass(frozen=True)
class ShardIndex:
    """The samples of one shard.

    Attributes:
        stamp: format of this file, and the shard's size and time of change (ns), (3,).
        members: name of each picture's member, UTF-8, (N,).
        offsets: where its bytes begin in the shard, (N,).
        sizes: how many they are, (N,).
        digests: of the bytes, (N, 16).
        labels: as the shard spells them, UTF-8, (N,); empty where a sample has none.
        box_counts: boxes of each sample, (N,); (0,) if the shard has none at all.
        boxes: x0, y0, x1, y1 of all boxes, (M, 4).
        box_labels: as `labels`, (M,).
        point_counts: joints of each sample, (N,); (0,) if the shard has none at all.
        points: x, y and state of all joints, (P, 3).
        picture_sizes: (width, height) of each sample that says it, in pixels of the decoded picture, else 0,
            (N, 2); (0, 2) if none does.
        classes: class names inside the shard, as JSON in UTF-8, one element; "null" if there are none.
        lacking: names of samples that have no picture, (L,).
        ignored: members that are not used, as JSON in UTF-8 ([{"reason", "count", "first"}]), one element.
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
    point_counts: NDArray[np.int32]
    points: NDArray[np.float64]
    picture_sizes: NDArray[np.int32]
    classes: NDArray[np.bytes_]
    lacking: NDArray[np.bytes_]
    ignored: NDArray[np.bytes_]

    def class_names(self, shard: Path) -> tuple[str, ...] | None:
        """Return the class names inside the shard; None if there are none."""
        names = read(bytes(self.classes[0]), ([str], None), f"{shard}.index")
        return None if names is None else tuple(names)

    def ignored_members(self, shard: Path) -> list[dict[str, Any]]:
        """Return why members are not used, how many, and the first of each."""
        return read(bytes(self.ignored[0]), IGNORED, f"{shard}.index")


def stamp_of(shard: Path | int) -> NDArray[np.int64]:
    """Return values that change when a shard (or an open file) changes, (3,)."""
    about = os.stat(shard)  # noqa: PTH116 - of a descriptor, too
    return np.array([FORMAT, about.st_size, about.st_mtime_ns], dtype=np.int64)


def load_index(shard: Path) -> ShardIndex:
    """Return a shard's index: a stored one that fits the shard as it is now, or a new one, then stored.

    It is stored next to the shard, or in the user's cache if that fails.

    Raises:
        DataError: if the shard is damaged, truncated, compressed, or what a sample says of itself is not
            JSON.
    """
    cached = index_folder() / f"{digest(os.fsencode(shard.resolve()))}.index"
    places = [shard.with_name(shard.name + ".index"), cached]
    stamp = stamp_of(shard)
    for place in places:
        arrays = stored_arrays(place, [f.name for f in fields(ShardIndex)])
        if arrays is not None and np.array_equal(arrays["stamp"], stamp) and _fits(arrays, int(stamp[1])):
            index = ShardIndex(**arrays)
            try:
                index.class_names(shard)
                index.ignored_members(shard)
            except DataError:
                continue
            return index
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


def _fits(arrays: dict[str, NDArray], size: int) -> bool:
    """Whether stored arrays match and point into a shard of this many bytes."""
    count, boxes = len(arrays["sizes"]), len(arrays["boxes"])
    kinds = {"members": "S", "labels": "S", "box_labels": "S", "classes": "S", "lacking": "S", "ignored": "S"}
    kinds |= {"offsets": "i", "sizes": "i", "box_counts": "i", "digests": "u", "boxes": "f"}
    kinds |= {"picture_sizes": "i", "point_counts": "i", "points": "f"}
    counts = arrays["box_counts"]
    return bool(
        all(arrays[name].dtype.kind == kind for name, kind in kinds.items())
        and all(arrays[name].shape == (count,) for name in ("members", "offsets", "sizes", "labels"))
        and arrays["digests"].shape == (count, 16)
        and arrays["boxes"].shape == (boxes, 4)
        and arrays["box_labels"].shape == (boxes,)
        and counts.shape in ((count,), (0,))
        and (counts >= 0).all()
        and arrays["points"].shape[1:] == (3,)
        and arrays["point_counts"].shape in ((count,), (0,))
        and (arrays["point_counts"] >= 0).all()
        and int(arrays["point_counts"].sum()) == len(arrays["points"])
        and arrays["picture_sizes"].shape in ((count, 2), (0, 2))
        and (arrays["picture_sizes"] >= 0).all()
        and int(counts.sum()) == boxes
        and arrays["classes"].shape == arrays["ignored"].shape == (1,)
        and arrays["lacking"].ndim == 1
        and (arrays["sizes"] >= 0).all()
        and (arrays["offsets"] >= 0).all()
        and (arrays["offsets"] <= size - arrays["sizes"]).all()
    )


def scan(shard: Path) -> ShardIndex:
    """Read a shard from end to end and return the positions of its samples.

    Raises:
        DataError: as `load_index`.
    """
    stamp = stamp_of(shard)
    rows, lacking, classes = [], [], None
    with shard.open("rb") as file:
        _refuse_compressed(shard, _pread(file, 8, 0))
        found = _samples(shard, file)
        for key, sample in found.samples.items():
            if key in ("classes.json", "classes.txt"):
                classes = parse_classes(key, sample[""], f"{shard}: its {key} cannot be read")[0]
            elif "picture" in sample:
                rows.append(marked(shard, key, sample))
            else:
                lacking.append(key)
    if not np.array_equal(stamp, stamp_of(shard)):
        raise DataError(f"{shard}: changed while it was read; wait until it is complete")
    return build_index(stamp, rows, classes, lacking, found.ignored)


def build_index(
    stamp: NDArray[np.int64],
    rows: list[Row],
    classes: Sequence[str] | None,
    lacking: list[str],
    ignored: dict[str, tuple[int, str]],
) -> ShardIndex:
    """Return the index of samples that are known already."""
    boxes = [box for row in rows for box in row.boxes or ()]
    points = [point for row in rows for point in row.points or ()]
    boxed, pointed = (any(getattr(row, name) is not None for row in rows) for name in ("boxes", "points"))
    sizes = [row.size or (0, 0) for row in rows] if any(row.size for row in rows) else []
    return ShardIndex(
        stamp=stamp,
        members=_texts([row.member for row in rows]),
        offsets=np.array([row.offset for row in rows], dtype=np.int64),
        sizes=np.array([row.length for row in rows], dtype=np.int64),
        digests=np.frombuffer(bytes.fromhex("".join(row.digest for row in rows)), np.uint8).reshape(-1, 16),
        labels=_texts([row.label for row in rows]),
        box_counts=np.array([len(row.boxes or ()) for row in rows] if boxed else [], dtype=np.int32),
        boxes=np.array([box["box"] for box in boxes], dtype=np.float32).reshape(-1, 4),
        box_labels=_texts([str(box["label"]) for box in boxes]),
        point_counts=np.array([len(row.points or ()) for row in rows] if pointed else [], dtype=np.int32),
        points=np.array(points, dtype=np.float64).reshape(-1, 3),
        picture_sizes=np.array(sizes, np.int32).reshape(-1, 2),
        classes=_texts([json.dumps(classes)]),
        lacking=_texts(lacking),
        ignored=_texts(
            [json.dumps([{"reason": r, "count": n, "first": f} for r, (n, f) in ignored.items()])]
        ),
    )


def _texts(words: list[str]) -> NDArray[np.bytes_]:
    return np.array([w.encode("utf-8", "surrogateescape") for w in words], dtype=np.bytes_)


def _refuse_compressed(shard: Path, head: bytes) -> None:
    for magic, name in COMPRESSED.items():
        if head.startswith(magic):
            raise DataError(
                f"{shard}: is compressed with {name}, so its samples cannot be located; unpack it to .tar"
            )


@dataclass
class _Found:
    """What a scan meets.

    Attributes:
        samples: the members of each sample by suffix: the picture's place, or the content of marks.
        ignored: reason: how many members, and the first of them.
    """

    samples: dict[str, dict[str, Any]] = field(default_factory=dict)
    ignored: dict[str, tuple[int, str]] = field(default_factory=dict)

    def ignore(self, reason: str, name: str) -> None:
        count, first = self.ignored.get(reason, (0, name))
        self.ignored[reason] = (count + 1, first)


def _samples(shard: Path, file: Any) -> _Found:
    found = _Found()
    for member in counted(_members(shard, file), f"indexing {shard.name}, members"):
        folder, _, base = member.name.rpartition("/")
        if member.isdir() or base.startswith("."):
            continue
        if not member.isfile():
            found.ignore(LINK if member.islnk() or member.issym() else DEVICE, member.name)
            continue
        _refuse_odd(shard, member)
        where = (member.offset_data, member.size)
        if base in ("classes.json", "classes.txt"):
            if {"classes.json", "classes.txt"} & set(found.samples):
                raise DataError(
                    f"{shard}: has two files of class names, such as {one_line(member.name)}; pack it again"
                )
            found.samples[base] = {"": _read(shard, file, member.name, *where, most=LARGEST_MARK)}
            continue
        stem, _, suffix = base.partition(".")
        suffix = suffix.lower()
        sample = found.samples.setdefault(f"{folder}/{stem}" if folder else stem, {})
        if suffix in sample or ("." + suffix in SUFFIXES and "picture" in sample):
            raise DataError(
                f"{shard}: sample {one_line(member.name)} has two pictures or labels; pack it again"
            )
        if "." + suffix in SUFFIXES:
            content = _read(shard, file, member.name, *where)
            sample["picture"] = (member.name, *where, digest(content) if content else digest_of_nothing(base))
        elif suffix in ("cls", "json", "txt"):
            sample[suffix] = _read(shard, file, member.name, *where, most=LARGEST_MARK)
        elif "." + suffix.rpartition(".")[2] in SUFFIXES:
            found.ignore(DOTTED, member.name)
    return found


def _refuse_odd(shard: Path, member: tarfile.TarInfo) -> None:
    """Refuse members whose bytes do not are in one piece, or whose names lead out of a folder."""
    if member.issparse():
        raise DataError(
            f"{shard}: {one_line(member.name)} is stored as a sparse file; pack it again without --sparse"
        )
    if member.name.startswith("/") or ".." in member.name.split("/"):
        raise DataError(
            f"{shard}: {one_line(member.name)} has an absolute name, or one that points outside its folder; "
            "pack it again with names relative to one folder"
        )


def _members(shard: Path, file: Any) -> Iterator[tarfile.TarInfo]:
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                yield member
                archive.members = []  # type: ignore[attr-defined] # they would all be kept
            end = archive.offset
    except (tarfile.TarError, EOFError, OverflowError, ValueError, IndexError, RecursionError) as error:
        raise DataError(f"{shard}: cannot be read as tar ({error}); {CURE}") from error
    # tarfile takes a damaged header, and the end of the file, for the end of the archive.
    if _pread(file, 512, end) != bytes(512):
        raise DataError(f"{shard}: is truncated or damaged after {end:,} bytes; {CURE}")


def _pread(file: Any, size: int, offset: int) -> bytes:
    return os.pread(file.fileno(), size, offset)


def _read(shard: Path, file: Any, name: str, offset: int, size: int, most: int = LARGEST) -> bytes:
    end = os.fstat(file.fileno()).st_size
    if offset + size > end:
        raise DataError(f"{shard}: is truncated after {end:,} bytes, within {one_line(name)}; {CURE}")
    if size > most:
        raise DataError(
            f"{shard}: {one_line(name)} has {size:,} bytes, more than {most:,}; pack it again without it"
        )
    content = _pread(file, size, offset)
    if len(content) != size:
        raise DataError(f"{shard}: is truncated after {offset + len(content):,} bytes; {CURE}")
    return content
