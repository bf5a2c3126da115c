"""Which formats are read: a file's first bytes decide, and only that format's reader sees them.

Pillow knows some forty formats, of which one (EPS) starts another program and many were never meant for
files of strangers. Here a format is either in READ or it is refused by its name.
"""

import io
import re
import struct
from functools import cache
from importlib import import_module
from typing import BinaryIO

from PIL import Image, ImageFile, UnidentifiedImageError

from resight.core.errors import PictureError
from resight.data import tiff

READ = {
    "JPEG": (b"\xff\xd8\xff",),
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "BMP": (b"BM",),
    "TIFF": (b"II*\0", b"MM\0*", b"MM*\0", b"II\0*", b"II+\0", b"MM\0+"),
    "JPEG2000": (b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n"),
    "ICO": (b"\0\0\1\0",),
}
"""Formats that are read, by Pillow's name, with their first bytes; also WEBP, AVIF, PPM, DIB and TGA."""

READERS = {
    "JPEG": "Jpeg", "PNG": "Png", "GIF": "Gif", "BMP": "Bmp", "TIFF": "Tiff", "PPM": "Ppm",
    "JPEG2000": "Jpeg2K", "ICO": "Ico", "WEBP": "WebP", "AVIF": "Avif", "DIB": "Bmp", "TGA": "Tga",
}  # fmt: skip
"""Pillow's module of each format. One is loaded when it is needed; `Image.open` would load all."""

PLAIN = re.compile(rb"P[1-6f][\s#]")
"""How a PPM, PGM, PBM or PFM begins."""

UNMARKED = ("DIB", "TGA")
"""Formats that are read and have no mark: they are tried where nothing else is recognized."""

FOREIGN = (
    (0, b"%!PS", "an EPS or PostScript"), (0, b"\xc5\xd0\xd3\xc6", "an EPS"), (0, b"%PDF", "a PDF"),
    (0, b"8BPS", "a PSD"), (0, b"gimp xcf", "an XCF"), (20, b"GIMP", "a GBR"), (0, b"\0\0\2\0\1\0", "a CUR"),
    (0, b"SIMPLE  =", "a FITS"), (0, b"GRIB", "a GRIB"), (0, b"BUFR", "a BUFR"), (128, b"DICM", "a DICOM"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5"), (0, b"CDF\1", "a NetCDF"), (0, b"CDF\2", "a NetCDF"),
    (0, b"\x93NUMPY", "a NumPy"), (0, b"MATLAB 5", "a MATLAB"), (0, b"\xd7\xcd\xc6\x9a", "a WMF"),
    (0, b"\1\0\x09\0", "a WMF"), (40, b" EMF", "an EMF"), (0, b"DDS ", "a DDS"), (0, b"BLP", "a BLP"),
    (0, b"FTEX", "an FTEX"), (0, b"qoif", "a QOI"), (0, b"\x59\xa6\x6a\x95", "a Sun raster"),
    (0, b"\1\xda", "an SGI"), (0, b"icns", "an ICNS"), (0, b"DanM", "an MSP"), (0, b"LinS", "an MSP"),
    (0, b"/* XPM */", "an XPM"), (0, b"#define ", "an XBM"), (0, b"\xb1\x68\xde\x3a", "a DCX"),
    (0, b"\x80\xe8\0\0", "a PIXAR"), (0, b"P7 332", "an XV thumbnail"), (0, b"P7\n", "a PAM"),
    (0, b"PF\n", "a colour PFM"), (0, b"Image type:", "an IM"), (0, b"\xff\x0a", "a JPEG XL"),
    (0, b"\0\0\0\x0cJXL ", "a JPEG XL"), (0, b"v/1\1", "an OpenEXR"), (0, b"#?RA", "a Radiance HDR"),
    (0, b"BPG\xfb", "a BPG"), (0, b"AT&TFORM", "a DjVu"), (0, b"\x0eMCIDAS", "a McIdas"),
    (0, b"FUJIFILM", "a camera raw"), (0, b"IIRO", "a camera raw"), (0, b"IIU\0", "a camera raw"),
    (0, b"II\x1a\0\0\0HEAPCCDR", "a camera raw"), (0, b"\0\0\1\xb3", "an MPEG"),
    (0, b"\0\0\1\xba", "an MPEG"),
    (0, b"PK\3\4", "a zip"), (0, b"Rar!", "a RAR"), (0, b"7z\xbc\xaf", "a 7z"), (0, b"\x1f\x8b", "a gzip"),
    (257, b"ustar", "a tar"),
)  # fmt: skip
"""Formats that are refused by name: where their mark is, the mark, and what the file is."""

ALIKE = ((0, b"\xff\xd8\xff\xf7", "a JPEG-LS"), (4, b"\x10\0\0\0CR\2", "a camera raw"))
"""The same, of files that begin as one of READ does."""

LACKING = re.compile(
    r"unsupported|not (?:yet )?supported|unknown|cannot (?:handle|identify)|don't know|unimplemented",
    re.IGNORECASE,
)
"""Pillow's reasons for an unsupported kind of file. For a damaged one it says broken or truncated."""

TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
CONVERT = "convert it to PNG"


HEAD = 512
"""Bytes that identify a format."""


def format_of(head: bytes, name: str) -> str:
    """Return the format of a file by its first bytes: Pillow's name, or "" if nothing marks it.

    Raises:
        PictureError: if it is of an unsupported format.
    """
    if foreign := _marked(head, ALIKE):
        raise _foreign(foreign, name)
    for kind, marks in READ.items():
        if head.startswith(marks):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp":
        if _is_avif(head):
            return "AVIF"
        raise _foreign("a HEIC" if head[8:11] in (b"hei", b"hev", b"mif", b"msf") else "an MP4", name)
    if PLAIN.match(head):
        return "PPM"
    if foreign := _marked(head, FOREIGN) or ("a SPIDER" if _is_spider(head) else ""):
        raise _foreign(foreign, name)
    return ""


def _marked(head: bytes, table: tuple[tuple[int, bytes, str], ...]) -> str:
    for start, mark, kind in table:
        if head.startswith(mark, start):
            return kind
    if table is FOREIGN and head[:1] == b"\x0a" and head[1:2] in (b"\0", b"\2", b"\3", b"\4", b"\5"):
        return "a PCX" if head[2:3] in (b"\0", b"\1") else ""
    return ""


def _foreign(kind: str, name: str) -> PictureError:
    return PictureError(name, f"is {kind} file, which is not supported", f"{CONVERT} or JPEG")


def _is_avif(head: bytes) -> bool:
    size = min(int.from_bytes(head[:4], "big"), len(head))
    brands = [head[8:12], *(head[i : i + 4] for i in range(16, size, 4))]
    return b"avif" in brands or b"avis" in brands


def _is_spider(head: bytes) -> bool:
    """Return whether a file begins as SPIDER's do: with floats, whole numbers that fit each other."""
    if len(head) < 108:
        return False
    for order in "<>":
        slices, rows, _, _, kind, *rest = struct.unpack(f"{order}23f", head[:92])
        records, size, length = rest[7], rest[16], rest[17]
        if kind in (1, 3, -11, -12, -21, -22) and min(slices, rows, records, length) > 0:
            return size == records * length
    return False


def open_picture(file: BinaryIO, name: str) -> ImageFile.ImageFile:
    """Open a picture with the reader of its own format, before any pixel is decoded.

    Args:
        file: at its beginning; it is read further when the picture is loaded.
        name: what to call it in an error.

    Raises:
        PictureError: if its format, or its kind of that format, is unsupported, or its header is damaged.
        DecompressionBombError: as `Image.open`.
        MemoryError: if its header does not fit in memory.
    """
    head = file.read(HEAD)
    kind = format_of(head, name)
    if not kind:
        return _open_unmarked(file, head, name)
    if not _has_reader(kind):
        raise PictureError(
            name, f"holds {kind}, which this version of Pillow does not read", f"{CONVERT} or JPEG"
        )
    try:
        return _open(file, kind)
    except (Image.DecompressionBombError, MemoryError):
        raise
    except UnidentifiedImageError:
        raise fault_of(_reason(file, kind), kind, name) from None
    except Exception as error:
        if is_of_text(error):
            file.seek(0)
            return open_picture(io.BytesIO(without_text(file.read())), name)
        raise fault_of(error, kind, name) from error


def _open(file: BinaryIO, kind: str) -> ImageFile.ImageFile:
    image = Image.open(file, formats=(kind,))
    if kind == "TIFF":
        tiff.mend(image)
    return image


@cache
def _has_reader(kind: str) -> bool:
    """Load a format's reader; return whether Pillow has it."""
    try:
        import_module(f"PIL.{READERS[kind]}ImagePlugin")
    except ImportError:
        return False
    if kind == "TIFF":
        tiff.add_layouts()
    return kind in Image.OPEN


def _open_unmarked(file: BinaryIO, head: bytes, name: str) -> ImageFile.ImageFile:
    for kind in filter(_has_reader, UNMARKED):
        try:
            return _open(file, kind)
        except (Image.DecompressionBombError, MemoryError):
            raise
        except Exception:  # noqa: BLE001 - it is not of this format
            continue
    cure = f"{CONVERT} or JPEG if it is a picture"
    raise PictureError(name, f"is not a picture that can be read ({_looks_like(head)})", cure)


def _reason(file: BinaryIO, kind: str) -> Exception:
    """Return why a format's reader refuses a file; `Image.open` does not report it."""
    file.seek(0)
    try:
        Image.OPEN[kind][0](file, "")
    except Exception as error:  # noqa: BLE001 - whatever it is
        return error
    return ValueError("its header is inconsistent")


def fault_of(error: Exception, kind: str, name: str) -> PictureError:
    """Return what Pillow's error means: an unsupported kind of file, or damage."""
    reason = str(error).strip() or type(error).__name__
    if isinstance(error, NotImplementedError) or LACKING.search(reason):
        return PictureError(name, f"holds {kind} of an unsupported kind ({reason})", CONVERT)
    fault = "is truncated" if "truncated" in reason.lower() else f"is damaged ({reason})"
    return PictureError(name, fault, "copy it again from its source, or leave it out")


def is_of_text(error: Exception) -> bool:
    """Return whether Pillow refuses a PNG for the length of its texts alone."""
    return isinstance(error, ValueError) and "MAX_TEXT" in str(error)


def without_text(content: bytes) -> bytes:
    """Return a PNG without its texts and profiles, of which Pillow takes a megabyte; its pixels stay."""
    kept, place = [content[:8]], 8
    while place + 8 <= len(content):
        end = place + 12 + int.from_bytes(content[place : place + 4], "big")
        if content[place + 4 : place + 8] not in TEXT_CHUNKS:
            kept.append(content[place:end])
        place = end
    return b"".join(kept)


def _looks_like(head: bytes) -> str:
    """Say what a file that no reader knows looks like."""
    head = head.lstrip()
    if head[:5].lower() in (b"<?xml", b"<svg ") or b"<svg" in head.lower():
        return "it is SVG, a drawing"
    if head[:1] == b"<":
        return "it is a web page or XML"
    if head and all(32 <= byte < 127 or byte in (9, 10, 13) for byte in head):
        return "it is text"
    return "its first bytes match no known format"
