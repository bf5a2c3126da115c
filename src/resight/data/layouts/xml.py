"""XML from outside: bounded, without entities, and with the cause where it cannot be read."""

from pathlib import Path
from xml.etree import ElementTree

from resight.core.errors import DataError

LARGEST = 256 << 20
"""Bytes of one file."""


class NotXmlError(Exception):
    """The file cannot be read as XML; the message says why, of many: "annotations ..."."""


def read_xml(file: Path) -> ElementTree.Element:
    """Return the root of an XML file.

    Raises:
        DataError: if the file is too large or defines entities, which annotations never need and with which
            a short file can ask for all memory.
        NotXmlError: if it cannot be parsed.
        FileNotFoundError: if it is not there.
    """
    try:
        if file.stat().st_size > LARGEST:
            raise DataError(f"{file}: has more than {LARGEST >> 20} MB, too large for an XML file; split it")
        content = file.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise NotXmlError(f"annotations cannot be read ({error.strerror}) and are left out") from error
    if b"<!entity" in content.replace(b"\0", b"").lower():  # UTF-16 puts zero bytes between the letters
        raise DataError(
            f"{file}: defines XML entities, which annotations do not need; write the file without them"
        )
    try:
        return ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise NotXmlError(_cause(content)) from error


def _cause(content: bytes) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"encoding" in content[:200]:
        return "annotations cannot be read as XML and are left out"
    try:
        content.decode()
    except UnicodeDecodeError:
        return (
            "annotations are not UTF-8 and state no encoding (Windows-1252?), so they are left out; "
            "save them as UTF-8"
        )
    return "annotations cannot be read as XML and are left out"
