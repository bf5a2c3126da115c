"""Atomic writing of files, and digests of their content."""

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from resight.core.errors import ResightError

LOCK = ".lock"
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path that takes the place of `path` when the block succeeds.

    The old file stays whole until the new one is complete and on disk; a failure leaves the old file
    and no temporary one.

    Raises:
        ResightError: if the disk is full or the folder cannot be written, in one line.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise ResightError(_why(path, error)) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder for this process while the block runs; the lock ends with the process.

    Raises:
        ResightError: if another process holds it, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK)
        lock.acquire(timeout=0)
    except Timeout:
        raise ResightError(
            f"{folder}: another process is writing to it; wait until it ends, or choose another place with "
            "--out"
        ) from None
    except OSError as error:
        raise ResightError(_why(folder, error)) from error
    try:
        yield
    finally:
        lock.release()


def require_place(path: Path) -> None:
    """Make the folder of a file that will be written, so that a fault shows before the work starts.

    Raises:
        ResightError: as `replacing`.
    """
    probe = path.with_name(f".{path.name}.{os.getpid()}.probe")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ResightError(_why(path, error)) from error


def _why(path: Path, error: OSError) -> str:
    if error.errno in FULL:
        return f"{path}: no space left on the disk; free some, then resume: resight train --resume RUN"
    return f"{path}: cannot be written ({error.strerror or error}); choose another place with --out"


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically.

    Raises:
        ResightError: if the text holds the name of a file or folder that is not UTF-8, or see `replacing`.
    """
    try:
        content = text.encode()
    except UnicodeEncodeError as error:
        begin = max(text.rfind("\n", 0, error.start) + 1, error.start - 40)
        odd = text[begin : error.end + 20].splitlines()[0]
        raise ResightError(
            f"{path}: cannot be written: a name in it is not UTF-8 ({odd!r}); rename that file or folder"
        ) from error
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, document: Any) -> None:
    """Write a JSON file atomically."""
    write_text(path, json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def digest(content: bytes) -> str:
    """Return a 128-bit content digest in hexadecimal."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def dead_link(path: Path) -> str:
    """Return the target of a broken link, "" for everything else."""
    if not path.is_symlink() or path.exists():
        return ""
    return str(path.readlink())
