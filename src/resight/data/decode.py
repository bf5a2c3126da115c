"""The one decoder: any picture file to RGB uint8, as a person would see it.

Every picture in the product comes through here: training, test, prediction, explanation, checks.

What is done: EXIF orientation applied; transparency laid on white; palette, grey, bilevel, CMYK (by
its embedded profile where there is one), YCbCr and Lab turned into RGB; values of more than 8 bits scaled
to 8 by their type, or by the levels of their data set; the first frame of an animation taken. What is not:
RGB colour profiles are ignored, as the published networks' own preprocessing does.

`formats.py` says which formats are read, `files.py` which files, `modes.py` turns modes into RGB, `deep.py`
scales values of more than 8 bits.

An upright JPEG of 8-bit RGB or grey can also be had as a tensor (`decode_either`): the same pixels from the
same library under torchvision, without a copy, for torch's resize, which is faster than Pillow's. So can an
uncompressed picture (binary PPM of 8 bits), whose pixels are in the file as they are.
"""

import io
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from resight.core.errors import PictureError
from resight.core.levels import BY_TYPE, Levels
from resight.data import tiff
from resight.data.deep import Deep, Source, colour_words, grey_values, may_be_deep, turned
from resight.data.files import read_file, too_large_for_memory
from resight.data.formats import fault_of, is_of_text, open_picture, without_text
from resight.data.modes import to_rgb

if TYPE_CHECKING:  # torch takes seconds to load, and an exported network needs none
    from torch import Tensor

PIXEL_LIMIT = 100_000_000
"""A picture of more pixels is refused from its header alone, before any memory is taken.

Pillow itself refuses twice its MAX_IMAGE_PIXELS (179 million), whatever the limit here."""

SPARE = 1.25
"""How much larger than asked for a JPEG must be after scaling inside libjpeg.

The mean difference of `prepare.fit` to Pillow's antialiased resize of the whole picture is then 0.7 to 1.8 of
255 (150 ImageNet photos, scaled by 2, 4 and 8). At 2 it is less, but large photos take 1.4 times as long."""

WHOLE = "size in the file"
"""Key of `info`: the sides before scaling inside libjpeg, which rounds them up; of upright pictures."""

SEEN = "size as seen"
"""Key of `info`: the sides before scaling inside libjpeg, with the orientation applied."""

ORIENTATION = 0x0112
"""The EXIF tag."""

PPM = re.compile(rb"P6\s(\d{1,9})\s(\d{1,9})\s255\s")
"""The header of an uncompressed RGB picture as `resight pack` writes it; Pillow reads those with comments."""

SUFFIXES = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".webp",
        ".bmp",
        ".dib",
        ".gif",
        ".tif",
        ".tiff",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
        ".tga",
        ".jp2",
        ".avif",
        ".ico",
        ".heic",
        ".heif",
    ]
)
"""File names that are taken for pictures; what they hold is decided by their content."""

ImageFile.LOAD_TRUNCATED_IMAGES = False
# Pillow warns of large pictures, which have a limit of ours, and of odd metadata, which does not change the
# pixels. Not catch_warnings around each picture: that is not safe where threads decode.
warnings.filterwarnings("ignore", module=r"PIL\b")


def decode(
    content: bytes | Path,
    name: str = "",
    *,
    at_least: int | None = None,
    limit: int = PIXEL_LIMIT,
    levels: Levels = BY_TYPE,
) -> Image.Image:
    """Decode one picture.

    Args:
        content: the encoded bytes, or the file that holds them.
        name: what to call the picture in an error; by default the file's path.
        at_least: the shorter side, in pixels, to which the caller will reduce the picture. A JPEG
            is then scaled inside libjpeg, but never below SPARE times that side, so that the caller's
            own antialiased reduction still decides the result.
        limit: most pixels (width x height) that are accepted.
        levels: which values are black and white in pictures of more than 8 bits, as the data set or the run
            has it. Without, 16-bit integers fill their type's range and floating-point values 0 to 1; other
            values are refused.

    Returns:
        A Pillow image of mode "RGB".

    Raises:
        PictureError: with the file's name, the fault and the cure.
    """
    image = _decode(content, name, at_least, limit, levels, tensors=False)
    assert isinstance(image, Image.Image)
    return image


def decode_either(
    content: bytes | Path,
    name: str = "",
    *,
    at_least: int | None = None,
    limit: int = PIXEL_LIMIT,
    levels: Levels = BY_TYPE,
) -> "Image.Image | Tensor":
    """Decode one picture as `decode`, but give an ordinary JPEG and an uncompressed picture as a tensor.

    Returns:
        (3, H, W) uint8 RGB, channels last in memory, of a binary PPM of 8 bits, or of an upright JPEG of
        8-bit RGB or grey that is not scaled inside libjpeg, with the pixels of `decode`; else what `decode`
        returns.

    Raises:
        PictureError: as `decode`.
    """
    return _decode(content, name, at_least, limit, levels, tensors=True)


def _decode(
    content: bytes | Path, name: str, at_least: int | None, limit: int, levels: Levels, *, tensors: bool
) -> "Image.Image | Tensor":
    name = name or (str(content) if isinstance(content, Path) else "picture")
    if isinstance(content, Path):
        content = read_file(content, name)
    if not content:
        raise PictureError(name, "is empty (zero bytes)", "copy it again, or remove it")
    if tensors and (pixels := _by_header(content, limit)) is not None:
        return pixels
    with _in_one_line(name, limit):
        return _past_texts(lambda c: _read(c, name, at_least, limit, levels, tensors=tensors), content)


def _past_texts(read: Callable[[bytes], Any], content: bytes) -> Any:
    """Return what `read` makes of a picture, without the texts of a PNG if Pillow refuses their length."""
    try:
        return read(content)
    except ValueError as error:
        if not is_of_text(error):
            raise
        return read(without_text(content))


@contextmanager
def _in_one_line(name: str, limit: int) -> Iterator[None]:
    """Raise as a PictureError whatever goes wrong with a picture's bytes."""
    try:
        yield
    except PictureError:
        raise
    except Image.DecompressionBombError as error:
        fault = f"has more pixels than the limit of {limit:,}"
        raise PictureError(name, fault, "reduce it") from error
    except MemoryError as error:
        raise too_large_for_memory(name) from error
    except Exception as error:
        raise fault_of(error, "pixels", name) from error


def decode_array(content: bytes | Path, name: str = "", **options: Any) -> NDArray[np.uint8]:
    """Decode one picture to an array (H, W, 3) of uint8 RGB; see `decode`."""
    return np.asarray(decode(content, name, **options))


def _read(
    content: bytes, name: str, at_least: int | None, limit: int, levels: Levels, *, tensors: bool
) -> "Image.Image | Tensor":
    image = open_picture(io.BytesIO(content), name)
    width, height = image.size
    if width * height > limit:
        fault = f"has {width} x {height} pixels, more than the limit of {limit:,}"
        raise PictureError(name, fault, "reduce it")
    if image.format == "JPEG" and image.mode in ("RGB", "L"):
        if at_least and (ratio := SPARE * at_least / min(width, height)) <= 0.5:  # the next scale is a half
            image.draft(None, (round(width * ratio), round(height * ratio)))
        if image.size != (width, height) and _is_upright(image):
            image.info[WHOLE] = (width, height)
        elif tensors and _is_upright(image) and (pixels := _by_torchvision(content)) is not None:
            return pixels
    scaled = image.size != (width, height)
    lies = image.getexif().get(ORIENTATION) in (5, 6, 7, 8) if scaled else False
    source = source_of(image, content, name)
    picture = to_rgb(turned(image), source, levels)
    if scaled:
        picture.info[SEEN] = (height, width) if lies else (width, height)
    return pixels_alone(picture)


def pixels_alone(picture: Image.Image) -> Image.Image:
    """Return the picture without what its file told of place, time, camera and author.

    Pillow keeps comments, profiles and EXIF in `info` and writes some of them into whatever is saved of it.
    """
    picture.info = {key: picture.info[key] for key in (WHOLE, SEEN) if key in picture.info}
    return picture


def source_of(image: ImageFile.ImageFile, content: bytes, name: str) -> Source:
    """Return what an opened picture says before it is loaded."""
    args = image.tile[0].args if image.tile else ""
    raw = args if isinstance(args, str) else str(args[0]) if isinstance(args, tuple) and args else ""
    stored = tiff.stored(image) if image.format == "TIFF" else None
    bits = content[24] if image.format == "PNG" else 8
    return Source(
        name, image.format or "", raw, bits, stored, lambda: open_picture(io.BytesIO(content), name)
    )


def deep_values(content: bytes, name: str, limit: int = PIXEL_LIMIT) -> Deep | None:
    """Return the values of a picture of more than 8 bits; None of others, which are not decoded.

    Raises:
        PictureError: as `decode`.
    """
    if not content:
        return None
    with _in_one_line(name, limit):
        return _past_texts(lambda c: _deep_values(c, name, limit), content)


def _deep_values(content: bytes, name: str, limit: int) -> Deep | None:
    image = open_picture(io.BytesIO(content), name)
    source = source_of(image, content, name)
    if image.size[0] * image.size[1] > limit or not may_be_deep(image, source):
        return None
    seen = turned(image)
    if source.is_deep_colour:
        return Deep("word", colour_words(seen, source))
    return grey_values(seen, source)


def _by_header(content: bytes, limit: int) -> "Tensor | None":
    """Return the pixels of a whole binary PPM of 8 bits; None of all else, which Pillow reads or refuses."""
    import torch

    header = PPM.match(content)
    if header is None:
        return None
    width, height = int(header[1]), int(header[2])
    if not 0 < width * height <= limit or len(content) - header.end() != 3 * width * height:
        return None
    pixels = np.frombuffer(content, np.uint8, offset=header.end()).reshape(height, width, 3)
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)


def _is_upright(image: Image.Image) -> bool:
    if "exif" not in image.info and "xmp" not in image.info:  # both can hold an orientation
        return True
    return image.getexif().get(ORIENTATION, 1) == 1


def _by_torchvision(content: bytes) -> "Tensor | None":
    """Return the pixels of a JPEG; None where they cannot be read, so that Pillow reads or refuses it."""
    import torch

    decode_jpeg = _torchvisions()
    try:
        return decode_jpeg and decode_jpeg(
            torch.from_numpy(np.frombuffer(content, np.uint8).copy()), mode="RGB"
        )
    except RuntimeError:
        return None


@cache
def _torchvisions() -> Callable[..., Any] | None:
    """Return torchvision's decoder; None where it is not there: 0.29 says that a later release is without."""
    try:
        from torchvision.io import decode_jpeg  # takes a second, and only photos need it
    except ImportError:
        return None
    return decode_jpeg
