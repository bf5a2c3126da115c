"""Tar shards in the WebDataset layout, any sample as near as another.

The layout is in `index.py` and `marks.py`, how shards are written in `packing.py`, what a label says in
`data/labels.py`.
"""

import os
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resight.core.errors import DataError
from resight.data.dataset import Box, Dataset, Split
from resight.data.label_columns import LabelColumn, Labels, labelled_splits, number_labels, refuse_stray_minus
from resight.data.labels import one_line
from resight.data.layouts.splits import WORDS, split_in
from resight.data.layouts.table import dataset_of_splits
from resight.data.pictures import Pictures
from resight.data.shards.index import ShardIndex, load_index, stamp_of
from resight.data.shards.marks import key_points, parse_classes, skeleton_in

APART = 8 * 2**30
"""Bytes of pictures in a split from which reading in runs pays: more than a usual machine keeps in memory."""
RUN = 64 * 2**20
"""Bytes of one run, which the system is asked to read at once."""
OPEN_FILES = 128
"""Shards that a process keeps open; more are opened for each picture."""
PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
"""Names of compressed archives, which are refused: nothing in them can be found without reading all."""


def tar_shards(folder: Path) -> dict[str, list[Path]]:
    """Return the tar files of a folder by split, sorted; all are "train" if no name contains a split.

    A name contains a split as one of its words: `train-000000.tar`, `imagenet-validation-0001.tar`.

    Raises:
        DataError: if one is compressed, or only some of the names contain a split.
    """
    found: dict[str, list[Path]] = {}
    if packed := next((f for f in sorted(folder.iterdir()) if f.name.endswith(PACKED)), None):
        raise DataError(f"{packed}: is compressed, so its samples cannot be located; unpack it to .tar")
    for file in sorted(folder.glob("*.tar")):
        found.setdefault(split_in(file.stem) or "", []).append(file)
    if "" in found and len(found) > 1:
        raise DataError(
            f"{found[''][0]}: names no split, but shards next to it do; put train, val or test in its name"
        )
    if "" in found:
        return {"train": found[""]}
    return {split: found[split] for split in WORDS if split in found}


def open_shards(name: str, shards: dict[str, list[Path]], *, pointed: bool = False) -> Dataset:
    """Open tar shards.

    Labels that are numbers count through the names in `classes.json` or `classes.txt`, inside the shard or
    next to the shards; without such names a label is the name itself. Each shard is read by its own names.

    Args:
        name: what the user called the data set.
        shards: the files of each split, in order.
        pointed: they hold key points, which `joints.json` next to them names.

    Raises:
        DataError: if a shard is damaged, truncated or compressed, has no label at all or one that is no
            class, key points are missing, or there is nothing to learn from.
    """
    files = [file for part in shards.values() for file in part]
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        indexes = dict(zip(files, pool.map(load_index, files), strict=True))
    beside, mirrors = _beside(files[0].parent)
    columns = [_column(file, indexes[file], _names(file, indexes[file], beside)) for file in files]
    labels = number_labels(columns)
    built, missing, where = {}, {}, {}
    number = {file: i for i, file in enumerate(files)}
    for split, part in shards.items():
        which = [number[file] for file in part]
        refuse_stray_minus(columns, labels, which)
        built[split] = _split(split, part, [indexes[f] for f in part], labels, which)
        missing[split] = built[split].labels < 0
        where[split] = lambda row, own=built[split]: one_line(own.picture_name(row))
        _refuse_bare(split, part, [indexes[f] for f in part], missing[split])
    kept, left_out = labelled_splits(name, built, missing, where)
    notes = (*_notes(indexes), *labels.notes, *left_out)
    if pointed:
        return _pointed(Dataset(name, labels.classes, built, mirrors, notes), shards, indexes)
    return dataset_of_splits(name, kept, mirrors=mirrors, notes=notes)


def _pointed(dataset: Dataset, shards: dict[str, list[Path]], indexes: dict[Path, ShardIndex]) -> Dataset:
    """Return the pictures with their joints; they need no two classes."""
    if "train" not in dataset.splits and set(dataset.splits) != {"test"}:
        raise DataError(f"{dataset.name}: has no training pictures; put train in the name of a shard")
    skeleton = skeleton_in(next(iter(shards.values()))[0].parent)
    splits = {
        name: replace(split, points=key_points(skeleton, [(file, indexes[file]) for file in shards[name]]))
        for name, split in dataset.splits.items()
    }
    return replace(dataset, splits=splits)


def _beside(folder: Path) -> tuple[tuple[str, ...] | None, bool]:
    """Return what `classes.json` or `classes.txt` next to the shards contains: names, whether to mirror."""
    for place in (folder / "classes.json", folder / "classes.txt"):
        if place.is_file():
            return parse_classes(place.name, place.read_bytes(), f"{place}: holds no class names")
    return None, True


def _names(file: Path, index: ShardIndex, beside: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Return the class names by which a shard is read: those inside it, else those next to it."""
    inside = index.class_names(file)
    if inside is not None and beside is not None and inside != beside:
        raise DataError(
            f"{file}: holds class names that differ from those in classes.json or classes.txt next to it; "
            "write the same names into both"
        )
    return inside or beside


def _column(file: Path, index: ShardIndex, names: tuple[str, ...] | None) -> LabelColumn:
    spelled, rows = np.unique(index.labels, return_inverse=True)
    words = [bytes(word).decode("utf-8", "surrogateescape") for word in spelled]
    return LabelColumn(
        str(file), words, rows.astype(np.int64), partial(_place, file, index), names, digits_count=True
    )


def _place(file: Path, index: ShardIndex, row: int) -> str:
    return f"{file}/{_text(index.members[row])}:"


def _text(name: bytes) -> str:
    """Return a member's name for a message."""
    return one_line(name.decode("utf-8", "surrogateescape"))


def _refuse_bare(
    split: str, files: Sequence[Path], indexes: Sequence[ShardIndex], missing: NDArray[np.bool_]
) -> None:
    """Refuse a shard in which no sample has a label, where others of the split have, or in training."""
    if missing.all() and split != "train":
        return
    start = 0
    for file, index in zip(files, indexes, strict=True):
        own = missing[start : start + len(index.sizes)]
        start += len(own)
        if len(own) and own.all():
            key = _text(index.members[0]).partition(".")[0]
            raise DataError(
                f'{file}: sample {key} has no label (.cls, "label" in .json, or .txt), and neither do its '
                "other samples; add labels, or move the shard out of the folder"
            )


def _notes(indexes: dict[Path, ShardIndex]) -> tuple[str, ...]:
    notes = []
    lacking = [(file, key) for file, index in indexes.items() for key in index.lacking]
    if lacking:
        file, key = lacking[0]
        notes.append(
            f"{len(lacking)} samples have no picture and are ignored, such as {_text(key)} in {file}"
        )
    ignored: dict[str, tuple[int, str]] = {}
    for file, index in indexes.items():
        for row in index.ignored_members(file):
            count, first = ignored.get(row["reason"], (0, f"{one_line(row['first'])} in {file}"))
            ignored[row["reason"]] = (count + row["count"], first)
    notes += [
        f"{count} members are not used, such as {first}: they {reason}"
        for reason, (count, first) in ignored.items()
    ]
    return tuple(notes)


def _split(
    split: str, files: list[Path], indexes: list[ShardIndex], labels: Labels, which: Sequence[int]
) -> Split:
    numbers = np.concatenate([labels.numbers[i] for i in which])
    if not len(numbers):
        causes = [row["reason"] for f, i in zip(files, indexes, strict=True) for row in i.ignored_members(f)]
        cause = f" (some members {causes[0]})" if causes else ""
        raise DataError(f"{files[0]}: holds no picture{cause}; give shards in the WebDataset layout")
    boxes = _boxes(indexes, labels, which) if any(len(index.box_counts) for index in indexes) else None
    sizes = _sizes(indexes) if any(len(index.picture_sizes) for index in indexes) else None
    return Split(
        split, TarPictures(files, indexes), np.arange(len(numbers)), numbers, labels.classes, boxes,
        sizes=sizes,
    )  # fmt: skip


def _sizes(indexes: list[ShardIndex]) -> list[tuple[int, int] | None]:
    """Return (width, height) of each picture; None where its sample does not say it."""
    found: list[tuple[int, int] | None] = []
    for index in indexes:
        rows = index.picture_sizes.tolist() or [(0, 0)] * len(index.labels)
        found += [(int(width), int(height)) if width else None for width, height in rows]
    return found


def _boxes(indexes: list[ShardIndex], labels: Labels, which: Sequence[int]) -> list[tuple[Box, ...]]:
    found: list[tuple[Box, ...]] = []
    find = cache(labels.find)
    for file, index in zip(which, indexes, strict=True):
        counts = index.box_counts if len(index.box_counts) else np.zeros(len(index.labels), dtype=np.int32)
        ends = np.cumsum(counts)
        for end, count in zip(ends.tolist(), counts.tolist(), strict=True):
            own = []
            for box, word in zip(
                index.boxes[end - count : end], index.box_labels[end - count : end], strict=True
            ):
                number = find(file, word.decode("utf-8", "surrogateescape"))
                own.append(Box(number, *(float(v) for v in box)))
            found.append(tuple(own))
    return found


class TarPictures(Pictures):
    """Pictures inside tar files, read by their place.

    Every picture is read alone, so any order is exact. Where a split is larger than APART, `blocks` cuts it
    into runs of RUN bytes, and a run is asked of the system as a whole when its first picture is read.

    A process opens a shard when it first needs it, and refuses one that is no longer what was indexed, then
    and at every picture: by its size and the time of its last change.
    """

    indexed = True

    def __init__(self, files: Sequence[Path], indexes: Sequence[ShardIndex]) -> None:
        self.files = tuple(files)
        self.stamps = np.stack([index.stamp for index in indexes])
        self.shards = np.repeat(np.arange(len(files), dtype=np.int32), [len(i.sizes) for i in indexes])
        self.members = np.concatenate([index.members for index in indexes])
        self.offsets = np.concatenate([index.offsets for index in indexes])
        self.sizes = np.concatenate([index.sizes for index in indexes])
        self.digests = np.concatenate([index.digests for index in indexes])
        self.blocks = _runs(self.shards, self.sizes) if self.sizes.sum() >= APART else None
        self._start()

    def _start(self) -> None:
        self._opened: dict[int, int] = {}
        self._asked = -1
        weakref.finalize(self, _close, self._opened)

    def __getstate__(self) -> dict[str, Any]:
        """Leave open files out: another process opens its own."""
        return {k: v for k, v in self.__dict__.items() if k not in ("_opened", "_asked")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Begin without open files."""
        self.__dict__.update(state)
        self._start()

    def __len__(self) -> int:
        return len(self.sizes)

    def name(self, position: int) -> str:
        """Return shard and member."""
        member = self.members[position].decode("utf-8", "surrogateescape")
        return f"{self.files[self.shards[position]]}/{member}"

    def content(self, position: int) -> bytes:
        """Return the picture's bytes.

        Raises:
            DataError: if the shard was truncated or changed since it was opened, or cannot be read.
        """
        shard, size = int(self.shards[position]), int(self.sizes[position])
        try:
            if shard in self._opened or len(self._opened) < OPEN_FILES:
                content = self._pread(self._kept(shard), position, size)
            else:
                file = self._open(shard)
                try:
                    content = self._pread(file, position, size)
                finally:
                    os.close(file)
        except OSError as error:
            raise DataError(
                f"{self.files[shard]}: cannot be read ({error.strerror}); check its disk and permissions"
            ) from error
        if len(content) != size:
            raise DataError(
                f"{self.files[shard]}: was truncated since it was opened; copy it again, then resume with: "
                "resight train --resume RUN"
            )
        return content

    def _require_unchanged(self, file: int, shard: int) -> None:
        if not np.array_equal(stamp_of(file), self.stamps[shard]):
            raise DataError(
                f"{self.files[shard]}: changed since it was opened; train again, or put the old file back "
                "and resume with: resight train --resume RUN"
            )

    def size_on_disk(self, position: int) -> int:
        """Return the length of the picture's bytes."""
        return int(self.sizes[position])

    def digest(self, position: int) -> str:
        """Return the digest that the index has."""
        return self.digests[position].tobytes().hex()

    def _pread(self, file: int, position: int, size: int) -> bytes:
        if self.blocks is not None:
            self._ask(file, position)
        content = os.pread(file, size, int(self.offsets[position]))
        if len(content) == size:  # it may be written to while it is open
            self._require_unchanged(file, int(self.shards[position]))
        return content

    def _ask(self, file: int, position: int) -> None:
        """Let the system read the picture's whole run ahead."""
        assert self.blocks is not None
        run = int(np.searchsorted(self.blocks, position, side="right")) - 1
        if run != self._asked and hasattr(os, "posix_fadvise"):
            self._asked = run
            last = int(self.blocks[run + 1] if run + 1 < len(self.blocks) else len(self)) - 1
            start = int(self.offsets[self.blocks[run]])
            length = int(self.offsets[last] + self.sizes[last]) - start
            os.posix_fadvise(file, start, length, os.POSIX_FADV_WILLNEED)

    def _kept(self, shard: int) -> int:
        file = self._opened.get(shard)
        if file is None:
            new = self._open(shard)
            file = self._opened.setdefault(shard, new)  # another thread may have been faster
            if file != new:
                os.close(new)
        return file

    def _open(self, shard: int) -> int:
        file = os.open(self.files[shard], os.O_RDONLY)
        try:
            self._require_unchanged(file, shard)
        except DataError:
            os.close(file)
            raise
        return file


def _close(opened: dict[int, int]) -> None:
    for file in opened.values():
        os.close(file)


def _runs(shards: NDArray[np.int32], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the first position of each run: RUN bytes or what is left of a shard."""
    ends = np.cumsum(sizes)
    before = ends - sizes  # bytes of all pictures before this one
    first = np.flatnonzero(np.diff(shards, prepend=-1))
    within = before - np.repeat(before[first], np.diff(np.append(first, len(shards))))
    runs = within // RUN
    new = (np.diff(shards, prepend=-1) != 0) | (np.diff(runs, prepend=-1) != 0)
    return np.flatnonzero(new).astype(np.int64)
