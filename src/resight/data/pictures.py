"""Sources of pictures: by position, in files of their own or as pixels in memory.

Tables and shards have theirs in `columns.py` and `shards.py`.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from resight.core.errors import PictureError
from resight.core.files import dead_link, digest


class Pictures(Protocol):
    """Where pictures come from: by position, still encoded or as pixels.

    Attributes:
        blocks: first position of each run of pictures that should be read together, rising from 0; None if
            any picture is as near as another.
        indexed: whether digests and sizes are known without reading all pictures again.
    """

    blocks: NDArray[np.int64] | None = None
    indexed: bool = False

    def __len__(self) -> int:
        """Return how many there are."""
        ...

    def name(self, position: int) -> str:
        """Return what to call the picture in a report or an error."""
        ...

    def content(self, position: int) -> bytes | NDArray[np.uint8]:
        """Return the encoded bytes, or RGB pixels (H, W, 3)."""
        ...

    def size_on_disk(self, position: int) -> int:
        """Return the picture's size in bytes, if possible without reading it."""
        ...

    def digest(self, position: int) -> str:
        """Return the digest of the picture's content (encoded bytes, or pixels).

        A picture without content, or one that cannot be read, is like no other.
        """
        try:
            content = self.content(position)
        except PictureError:
            content = b""
        if len(content) == 0:
            return digest_of_nothing(self.name(position))
        return digest(content.tobytes() if isinstance(content, np.ndarray) else content)


def digest_of_nothing(name: str) -> str:
    """Return the digest of a picture without content: like no other."""
    return digest(f"nothing in {name}".encode("utf-8", "surrogateescape"))


class PackedPaths(Sequence[Path]):
    """Many paths in two arrays: worker processes share them, and no object is touched in reading."""

    def __init__(self, paths: Sequence[Path]) -> None:
        encoded = [os.fsencode(path) for path in paths]
        self._ends = np.cumsum([0, *map(len, encoded)])
        self._names = np.frombuffer(b"".join(encoded), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, position: int) -> Path:  # type: ignore[override]
        start, end = self._ends[position : position + 2]
        return Path(os.fsdecode(self._names[start:end].tobytes()))


@dataclass(frozen=True)
class FilePictures(Pictures):
    """Pictures in files of their own."""

    paths: Sequence[Path]

    def __post_init__(self) -> None:
        """Keep many paths in little memory."""
        if not isinstance(self.paths, PackedPaths):
            object.__setattr__(self, "paths", PackedPaths(self.paths))

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, position: int) -> str:
        """Return the path."""
        return str(self.paths[position])

    def content(self, position: int) -> bytes:
        """Return the file's bytes.

        Raises:
            PictureError: if the file cannot be read.
        """
        path = self.paths[position]
        try:
            return path.read_bytes()
        except OSError as error:
            if target := dead_link(path):
                fault = f"is a link to {target}, which does not exist"
                raise PictureError(str(path), fault, "mend the link") from error
            raise PictureError(
                str(path), f"cannot be read ({error.strerror})", "check its permissions"
            ) from error

    def size_on_disk(self, position: int) -> int:
        """Return the file's size."""
        try:
            return self.paths[position].stat().st_size
        except OSError:
            return 0


@dataclass(frozen=True)
class ArrayPictures(Pictures):
    """Pictures as pixels in memory, (N, H, W, 3) uint8."""

    pixels: NDArray[np.uint8]
    prefix: str

    def __len__(self) -> int:
        return len(self.pixels)

    def name(self, position: int) -> str:
        """Return the prefix and the position."""
        return f"{self.prefix}[{position}]"

    def content(self, position: int) -> NDArray[np.uint8]:
        """Return the pixels."""
        return self.pixels[position]

    def size_on_disk(self, position: int) -> int:
        """Return the size of the pixels."""
        return int(self.pixels[position].nbytes)
