"""Pictures as encoded bytes in the columns of parquet files, read a row group at a time."""

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from resight.core.console import counted
from resight.core.errors import DataError, ResightError
from resight.core.files import digest, replacing
from resight.data.cache import index_folder
from resight.data.pictures import Pictures, digest_of_nothing
from resight.data.shards.index import stamp_of, stored_arrays

KEPT = 2**30
"""Bytes of row groups that a process keeps; a smaller set is read once."""
KEPT_GROUPS = 20
"""Row groups that a process keeps however large they are: an epoch's window of 16, and the next ones."""


@dataclass(frozen=True)
class _Group:
    """One row group in memory."""

    contents: Any  # pyarrow array of binary
    paths: Any  # pyarrow array of string, or None
    bytes: int


class ColumnPictures(Pictures):
    """Pictures in a column of parquet files (Hugging Face's layout), in the order of files and rows.

    Sets of more than KEPT bytes have `blocks`, their row groups: shuffled in windows of these, each row
    group is read once an epoch. Digests and sizes are gathered in one pass over a file when they are first
    asked for, and kept in a small file in the user's cache for as long as the parquet stays as it is.

    Args:
        files: the parquet files.
        column: the picture column: bytes, or a struct with "bytes" and perhaps "path".
    """

    indexed = True

    def __init__(self, files: Sequence[Path], column: str) -> None:
        self.files, self.column = tuple(files), column
        self.stamps = np.stack([stamp_of(file) for file in files])
        footers = [_footer(file, column) for file in self.files]
        groups = [f.row_group(g) for f in footers for g in range(f.num_row_groups)]
        self.starts = np.cumsum([0, *(g.num_rows for g in groups)], dtype=np.int64)
        self.first_groups = np.cumsum([0, *(f.num_row_groups for f in footers)], dtype=np.int64)
        if len(self) and all(_all_null(g, column) for g in groups):
            raise DataError(
                f"{self.files[0]}: its column {column!r} holds paths but no pictures; save the bytes of "
                "the pictures in it"
            )
        if sum(_column_bytes(g, column) for g in groups) > KEPT:
            self.blocks = np.unique(self.starts[:-1])
        self._start()

    def _start(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._open: dict[int, pq.ParquetFile] = {}
        self._groups: OrderedDict[int, _Group] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        """Leave what belongs to this process out."""
        own = ("_process", "_lock", "_open", "_groups")
        return {k: v for k, v in self.__dict__.items() if k not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Begin with nothing read."""
        self.__dict__.update(state)
        self._start()

    def __len__(self) -> int:
        return int(self.starts[-1])

    def name(self, position: int) -> str:
        """Return the row's own path, else its file and row."""
        group, row = self._find(position)
        paths = self._group(group).paths
        try:
            own = paths[row].as_py() if paths is not None else None
        except UnicodeDecodeError:
            own = None
        return own or self._row_name(position)

    def _row_name(self, position: int) -> str:
        file = self._file_of(self._find(position)[0])
        return f"{self.files[file].name} row {position - int(self.starts[self.first_groups[file]])}"

    def content(self, position: int) -> bytes:
        """Return the row's bytes; a null counts as an empty picture.

        Raises:
            DataError: if the file changed since it was opened, or cannot be read.
        """
        group, row = self._find(position)
        return self._group(group).contents[row].as_py() or b""

    def size_on_disk(self, position: int) -> int:
        """Return the length of the row's bytes."""
        return int(self._index[0][position])

    def digest(self, position: int) -> str:
        """Return the digest of the row's bytes."""
        return self._index[1][position].tobytes().hex()

    def _find(self, position: int) -> tuple[int, int]:
        group = int(np.searchsorted(self.starts, position, side="right")) - 1
        return group, position - int(self.starts[group])

    def _file_of(self, group: int) -> int:
        return int(np.searchsorted(self.first_groups, group, side="right")) - 1

    def _group(self, group: int) -> _Group:
        if self._process != os.getpid():  # after a fork another thread may hold the lock for ever
            self._start()
        found = self._groups.get(group)
        if found is not None:
            return found
        with self._lock:
            found = self._groups.get(group)
            if found is None:
                found = self._groups[group] = self._read(group)
                while len(self._groups) > KEPT_GROUPS and sum(g.bytes for g in self._groups.values()) > KEPT:
                    self._groups.popitem(last=False)
        return found

    def _read(self, group: int) -> _Group:
        file = self._file_of(group)
        path = self.files[file]
        try:
            if file not in self._open:
                if not np.array_equal(stamp_of(path), self.stamps[file]):
                    raise DataError(
                        f"{path}: changed since it was opened; train again, or put the old file back "
                        "and resume with: resight train --resume RUN"
                    )
                self._open[file] = pq.ParquetFile(path)
            own = group - int(self.first_groups[file])
            table = self._open[file].read_row_group(own, columns=[self.column], use_threads=False)
        except (pa.ArrowInvalid, OSError) as error:
            raise unreadable(path, error) from error
        expected = int(self.starts[group + 1] - self.starts[group])
        if table.num_rows != expected:
            raise unreadable(path, ValueError(f"row group {own} has {table.num_rows} of {expected} rows"))
        column = table[self.column].combine_chunks()
        paths = None
        if pa.types.is_struct(column.type):
            if column.type.get_field_index("path") >= 0:
                paths = pa.compute.struct_field(column, "path")  # type: ignore[attr-defined]
            column = pa.compute.struct_field(column, "bytes")  # type: ignore[attr-defined]
        return _Group(column, paths, table.nbytes)

    @cached_property
    def _index(self) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """Sizes (N,) and digests (N, 16) of all rows."""
        parts = [self._file_index(file) for file in range(len(self.files))]
        return np.concatenate([p["sizes"] for p in parts]), np.concatenate([p["digests"] for p in parts])

    def _file_index(self, file: int) -> dict[str, NDArray]:
        path = self.files[file]
        place = index_folder() / f"{digest(os.fsencode(path.resolve()) + self.column.encode())}.index"
        stored = stored_arrays(place, ("stamp", "sizes", "digests"))
        if stored is not None and np.array_equal(stored["stamp"], self.stamps[file]):
            return stored
        sizes, digests = [], []
        groups = range(int(self.first_groups[file]), int(self.first_groups[file + 1]))
        for group in counted(groups, f"hashing {path.name}, row groups"):
            position = int(self.starts[group])
            for row, scalar in enumerate(self._group(group).contents):
                content = scalar.as_py() or b""
                sizes.append(len(content))
                own = digest(content) if content else digest_of_nothing(self.name(position + row))
                digests.append(bytes.fromhex(own))
        arrays = {
            "stamp": self.stamps[file],
            "sizes": np.array(sizes, dtype=np.int64),
            "digests": np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, 16),
        }
        try:
            with replacing(place) as temporary, temporary.open("wb") as stream:
                np.savez(stream, allow_pickle=False, **arrays)
        except ResightError:
            pass  # it is only slower the next time
        return arrays


def unreadable(file: Path, error: Exception) -> DataError:
    """Return what to say of a file that pyarrow cannot read."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return DataError(f"{file}: cannot be read as parquet ({reason}); copy it again")


def _footer(file: Path, column: str) -> pq.FileMetaData:
    """Return a file's footer, whose names of columns can be read."""
    try:
        footer = pq.read_metadata(file)
        for group in range(footer.num_row_groups):
            _column_bytes(footer.row_group(group), column)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise unreadable(file, error) from error
    return footer


def _all_null(group: Any, column: str) -> bool:
    """Whether a row group's statistics say that there are no pictures; not if they say nothing."""
    places = (group.column(i) for i in range(group.num_columns))
    own = next((p for p in places if p.path_in_schema in (column, f"{column}.bytes")), None)
    told = own.statistics if own is not None and own.is_stats_set else None
    return bool(told and told.has_null_count and told.null_count == group.num_rows)


def _column_bytes(group: Any, column: str) -> int:
    """Return the uncompressed bytes of a column, with all its parts, in a row group."""
    parts = (group.column(i) for i in range(group.num_columns))
    return sum(p.total_uncompressed_size for p in parts if p.path_in_schema.split(".")[0] == column)
