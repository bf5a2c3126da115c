"""A zip, unpacked once into the cache folder under the digest of its content.

An archive is a stranger's: names that lead out of the folder, links, encrypted members and archives within it
are refused, and so is one that asks for more files, bytes or compression than a data set has.
"""

import hashlib
import os
import re
import shutil
import stat
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path, PurePosixPath

from resight.core.console import counted
from resight.core.errors import DataError
from resight.data.cache import cache_folder
from resight.data.layouts.tree import is_visible

MOST_MEMBERS = 3_000_000
LARGEST = 1 << 40
"""Bytes of all members together."""
RATIO = 200
"""Bytes that come out for one that goes in. Pictures give 1, text files of boxes up to 30."""
SMALL = 64 << 20
"""Bytes up to which the ratio does not matter."""
SPARE = 256 << 20
"""Bytes that stay free on the disk."""
ARCHIVES = (".zip", ".7z", ".rar", ".tar", ".gz", ".tgz", ".bz2", ".xz")
DRIVE = re.compile(r"[A-Za-z]:(?:/|$)")
UTF8_NAME = 0x800
"""The flag of a member whose name is UTF-8."""


def is_zip(path: Path) -> bool:
    """Return whether a file is named like a zip."""
    return path.suffix.lower() == ".zip"


def unpacked(file: Path) -> Path:
    """Return the folder with a zip's content, unpacking it first where that was not done or is not whole.

    Raises:
        DataError: if it is no whole zip, there is no room for it, or it holds what is refused.
        OSError: if it, or the cache folder, cannot be read.
    """
    with file.open("rb") as stream:
        key = hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    place = cache_folder() / "archives" / key
    try:
        with zipfile.ZipFile(file) as archive:
            members = _members(file, archive)
            if not _is_whole(place, members):
                _unpack(file, archive, members, place)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{file}: cannot be unpacked ({error}); copy it again, or give the folder") from error
    return place


def _members(file: Path, archive: zipfile.ZipFile) -> dict[PurePosixPath, zipfile.ZipInfo]:
    """Return the files of an archive by their names, all looked at before any is written."""
    infos = [info for info in archive.infolist() if not info.is_dir()]
    total = sum(info.file_size for info in infos)
    if len(infos) > MOST_MEMBERS or total > LARGEST:
        raise DataError(
            f"{file}: holds {len(infos):,} files of {total:,} bytes; unpack it and give the folder"
        )
    if total > SMALL and total > RATIO * file.stat().st_size:
        raise DataError(
            f"{file}: is {total // file.stat().st_size:,} times as large when unpacked, unlike any pictures"
            "; unpack it yourself if you trust it, and give the folder"
        )
    members: dict[PurePosixPath, zipfile.ZipInfo] = {}
    for info in infos:
        name = _name(info)
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or DRIVE.match(name):
            raise DataError(f"{file}: its member {name!r} points outside the folder; do not trust this file")
        if name.endswith("/") or not path.parts or not all(map(is_visible, path.parts)):
            continue
        if stat.S_ISLNK(info.external_attr >> 16):
            raise DataError(f"{file}: its member {name!r} is a link; unpack it and give the folder")
        if info.flag_bits & 1:
            raise DataError(f"{file}: is encrypted; unpack it with its password and give the folder")
        if path.suffix.lower() in ARCHIVES:
            raise DataError(f"{file}: holds an archive, {name}; unpack both and give the folder")
        if path in members:
            raise DataError(f"{file}: holds two members named {name!r}; unpack it and give the folder")
        members[path] = info
    inner = next((path for path in members if any(above in members for above in path.parents)), None)
    if inner:
        raise DataError(f"{file}: {inner} is below another member that is a file; pack it again")
    return members


def _name(info: zipfile.ZipInfo) -> str:
    """Return a member's name with slashes.

    Names without the flag for UTF-8 are code page 437 by the standard, but UTF-8 by the archivers of macOS
    and Linux; those that can be UTF-8 are.
    """
    name = info.filename
    if not info.flag_bits & UTF8_NAME:
        with suppress(UnicodeError):
            name = name.encode("cp437").decode()
    return name.replace("\\", "/")


def _is_whole(place: Path, members: dict[PurePosixPath, zipfile.ZipInfo]) -> bool:
    """Return whether all members are unpacked with the right sizes."""
    try:
        return place.is_dir() and all((place / p).stat().st_size == i.file_size for p, i in members.items())
    except OSError:
        return False


def _unpack(
    file: Path, archive: zipfile.ZipFile, members: dict[PurePosixPath, zipfile.ZipInfo], place: Path
) -> None:
    """Unpack into a folder of this process alone, which then takes its place as a whole."""
    temporary = place.with_name(f".{place.name}.{os.getpid()}.tmp")
    place.parent.mkdir(parents=True, exist_ok=True)
    total = sum(info.file_size for info in members.values())
    free = shutil.disk_usage(place.parent).free
    if total + SPARE > free:
        raise DataError(
            f"{file}: needs {total:,} bytes in {place.parent}, where {free:,} are free; set XDG_CACHE_HOME "
            "to a larger disk, or unpack it and give the folder"
        )
    try:
        for path, info in counted(members.items(), f"unpacking {file.name}, files"):
            target = temporary / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(info) as source, target.open("xb") as out:
                shutil.copyfileobj(source, out, 1 << 20)
        temporary.mkdir(exist_ok=True)  # of an archive without files
        if place.exists():  # not whole
            shutil.rmtree(place, ignore_errors=True)
        try:
            temporary.rename(place)
        except OSError:
            if not _is_whole(place, members):  # else another process was faster
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
