"""Tar shards in the WebDataset layout, any sample as near as another.

The layout is in `shard_index.py`, how shards are written in `packing.py`.
"""

import json
import os
import re
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resight.core.errors import DataError
from resight.data.dataset import Box, Dataset, Split
from resight.data.layouts.table import SPLIT_PREFIXES, dataset_of_splits
from resight.data.pictures import Pictures
from resight.data.shards.index import ShardIndex, load_index, parse_classes, stamp_of

APART = 8 * 2**30
"""Bytes of pictures in a split from which reading in runs pays: more than a usual machine keeps in memory."""
RUN = 64 * 2**20
"""Bytes of one run: the system is told to read it as a whole."""
OPEN_FILES = 128
"""Shards that a process keeps open; more are opened for each picture."""
PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
"""Names of compressed archives, which are refused: nothing in them can be found without reading all."""


def tar_shards(folder: Path) -> dict[str, list[Path]]:
    """Return the tar files of a folder by split, sorted; all are "train" if no name tells a split.

    A name tells a split by one of its words: `train-000000.tar`, `imagenet-validation-0001.tar`.

    Raises:
        DataError: if one is compressed, or only some of the names tell a split.
    """
    found: dict[str, list[Path]] = {}
    if packed := next((f for f in sorted(folder.iterdir()) if f.name.endswith(PACKED)), None):
        raise DataError(f"{packed}: is compressed, so no sample can be found; unpack it to .tar")
    for file in sorted(folder.glob("*.tar")):
        found.setdefault(split_of(file.stem), []).append(file)
    if "" in found and len(found) > 1:
        raise DataError(
            f"{found[''][0]}: tells no split, as shards beside it do; put train, val or test in its name"
        )
    if "" in found:
        return {"train": found[""]}
    return {split: found[split] for split in SPLIT_PREFIXES if split in found}


def split_of(stem: str) -> str:
    """Return the split that a file's name tells by one of its words, or nothing."""
    words = re.split(r"[^a-z]+", stem.lower())
    return next((split for split, names in SPLIT_PREFIXES.items() if set(names) & set(words)), "")


def open_shards(name: str, shards: dict[str, list[Path]]) -> Dataset:
    """Open tar shards.

    Labels that are numbers count through the names in `classes.json` or `classes.txt`, beside the shards or
    in one of them; without such names a label is the name itself.

    Args:
        name: what the user called the data set.
        shards: the files of each split, in order.

    Raises:
        DataError: if a shard is damaged, truncated or compressed, has samples without a label or with one
            that is no class, or there is nothing to learn from.
    """
    files = [file for part in shards.values() for file in part]
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        indexes = dict(zip(files, pool.map(load_index, files), strict=True))
    facts = _facts(files[0].parent)
    names = facts.get("classes") or _inner_classes(indexes)
    built = {split: _split(split, part, [indexes[f] for f in part], names) for split, part in shards.items()}
    notes = _notes(indexes)
    return dataset_of_splits(name, built, mirrors=bool(facts.get("mirrors", True)), notes=notes)


def _facts(folder: Path) -> dict[str, Any]:
    """Return what `classes.json` or `classes.txt` beside the shards says."""
    for place in (folder / "classes.json", folder / "classes.txt"):
        if not place.is_file():
            continue
        try:
            content = place.read_bytes()
            facts = json.loads(content) if place.suffix == ".json" else {}
            return {
                **(facts if isinstance(facts, dict) else {}),
                "classes": parse_classes(place.name, content),
            }
        except ValueError as error:
            raise DataError(f"{place}: holds no class names ({error}); write a list of them") from error
    return {}


def _inner_classes(indexes: dict[Path, ShardIndex]) -> list[str] | None:
    """Return the class names of the first shard that holds any."""
    return next((names for i in indexes.values() if (names := json.loads(bytes(i.classes[0])))), None)


def _notes(indexes: dict[Path, ShardIndex]) -> tuple[str, ...]:
    lacking = [(file, key) for file, index in indexes.items() for key in index.lacking]
    if not lacking:
        return ()
    file, key = lacking[0]
    return (f"{len(lacking)} samples have no picture and are ignored, such as {key.decode()} in {file}",)


def _split(split: str, files: list[Path], indexes: list[ShardIndex], names: list[str] | None) -> Split:
    labels = np.concatenate([index.labels for index in indexes])
    if not len(labels):
        raise DataError(f"{files[0]}: holds no picture; give shards in the WebDataset layout")
    spelled, numbers = np.unique(labels, return_inverse=True)
    words = [bytes(word).decode("utf-8", "surrogateescape") for word in spelled]
    classes = tuple(names or words)
    table = {name: number for number, name in enumerate(classes)}
    pictures = TarPictures(files, indexes)
    of_word = []
    for word in words:
        number = _class_of(word, table, names)
        if number is None:
            where = pictures.name(int(np.flatnonzero(numbers == len(of_word))[0]))
            raise DataError(
                f"{where}: has label {word!r}, which is none of {len(classes)} classes; mend one of the two"
            )
        of_word.append(number)
    boxes = _boxes(indexes, table, names) if any(len(index.box_counts) for index in indexes) else None
    own = np.array(of_word, dtype=np.int64)[numbers]
    return Split(split, pictures, np.arange(len(labels)), own, classes, boxes)


def _class_of(word: str, table: dict[str, int], names: list[str] | None) -> int | None:
    """Return a class number: of a number as it counts through given names, else of a name."""
    if names is not None and re.fullmatch(r"\d+", word):
        return int(word) if int(word) < len(names) else None
    return table.get(word)


def _boxes(
    indexes: list[ShardIndex], table: dict[str, int], names: list[str] | None
) -> list[tuple[Box, ...]]:
    found: list[tuple[Box, ...]] = []
    for index in indexes:
        counts = index.box_counts if len(index.box_counts) else np.zeros(len(index.labels), dtype=np.int32)
        ends = np.cumsum(counts)
        for end, count in zip(ends.tolist(), counts.tolist(), strict=True):
            own = []
            for box, word in zip(
                index.boxes[end - count : end], index.box_labels[end - count : end], strict=True
            ):
                number = _class_of(word.decode("utf-8", "surrogateescape"), table, names)
                own.append(Box(-1 if number is None else number, *(float(v) for v in box)))
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
                f"{self.files[shard]}: was truncated since it was opened; copy it again, then use --resume"
            )
        return content

    def _require_unchanged(self, file: int, shard: int) -> None:
        if not np.array_equal(stamp_of(file), self.stamps[shard]):
            raise DataError(
                f"{self.files[shard]}: changed since it was opened; train anew, or put the old file back and "
                "go on with --resume"
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
