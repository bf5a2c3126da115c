"""Files that hold pictures: regular, of bounded size, and opened without waiting."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from resight.core.errors import PictureError
from resight.core.files import dead_link

FILE_LIMIT = 2**30
"""Most bytes of a picture file. The largest picture that is decoded, 100 million pixels of four 16-bit
values, takes 0.8 GB uncompressed."""

OPENING = (
    os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
)
"""A named pipe opens at once, so that what was opened can be looked at."""

KINDS = {
    stat.S_ISDIR: "a folder",
    stat.S_ISFIFO: "a named pipe",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
}


@contextmanager
def opened(path: Path, name: str = "", most: int = FILE_LIMIT) -> Iterator[BinaryIO]:
    """Open a regular file for reading; errors in the block are reported as the file's fault too.

    Args:
        path: the file, or a link to it.
        name: what to call it in an error; by default its path.
        most: bytes that are accepted.

    Raises:
        PictureError: if it is no regular file, is larger, cannot be read, or does not fit in memory.
    """
    name = name or str(path)
    try:
        _require_regular(path.stat(), name, most)  # a device is not even opened
        with open(os.open(path, OPENING), "rb") as file:  # noqa: PTH123 - of a descriptor
            _require_regular(os.fstat(file.fileno()), name, most)  # it may have been replaced since
            yield file
    except OSError as error:
        if error.errno != errno.ELOOP and (target := dead_link(path)):
            raise PictureError(
                name, f"is a link to {target}, which does not exist", "fix the link"
            ) from error
        fault = f"cannot be read ({error.strerror or error})"
        raise PictureError(name, fault, "check its name, its permissions and its disk") from error
    except MemoryError as error:
        raise too_large_for_memory(name) from error


def read_file(path: Path, name: str = "", most: int = FILE_LIMIT) -> bytes:
    """Return the bytes of a regular file; see `opened`."""
    with opened(path, name, most) as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read(size + 1)
        if len(content) > size:  # it grows, or its file system reports no sizes
            content += file.read(most + 1 - len(content))
    if len(content) > most:
        raise _over(name or str(path), len(content), most)
    return content


def too_large_for_memory(name: str) -> PictureError:
    """Return the error of a picture for which there is no memory."""
    return PictureError(name, "does not fit in memory", "reduce it, or end other programs")


def _require_regular(status: os.stat_result, name: str, most: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = next((words for is_kind, words in KINDS.items() if is_kind(status.st_mode)), "a special file")
        raise PictureError(
            name, f"cannot be read: it is {kind}, not a file", "put a picture file in its place"
        )
    if status.st_size > most:
        raise _over(name, status.st_size, most)


def _over(name: str, size: int, most: int) -> PictureError:
    fault = f"is a file of {size:,} bytes or more, over the limit of {most:,}"
    return PictureError(name, fault, "save the picture as a smaller file")
