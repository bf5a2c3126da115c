"""The one decoder: any picture file to RGB uint8, as a person would see it.

Every picture in the product comes through here: training, test, prediction, explanation, checks.

What is done: EXIF orientation applied; transparency laid on white; palette, grey, bilevel, CMYK (by
its embedded profile where there is one), YCbCr and Lab turned into RGB; 16-bit and floating-point
values scaled to 8 bits, not clipped; the first frame of an animation taken. What is not: RGB colour
profiles are ignored, as the published networks' own preprocessing does.

An upright JPEG of 8-bit RGB or grey can also be had as a tensor (`decode_either`): the same pixels from the
same library under torchvision, without a copy, for torch's resize, which is faster than Pillow's. So can an
uncompressed picture (binary PPM of 8 bits), whose pixels are in the file as they are.
"""

import io
import re
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageFile, ImageOps, UnidentifiedImageError
from torch import Tensor

from resight.core.errors import PictureError

PIXEL_LIMIT = 100_000_000
"""A picture of more pixels is refused from its header alone, before any memory is taken.

Pillow itself refuses twice its MAX_IMAGE_PIXELS (179 million), whatever the limit here."""

SPARE = 1.25
"""How much larger than asked for a JPEG must be after scaling inside libjpeg.

The mean difference of `prepare.fit` to Pillow's antialiased resize of the whole picture is then 0.7 to 1.8 of
255 (150 ImageNet photos, scaled by 2, 4 and 8). At 2 it is less, but large photos take 1.4 times as long."""

WHOLE = "size in the file"
"""Key of `info`: the sides before scaling inside libjpeg, which rounds them up."""

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
    content: bytes | Path, name: str = "", *, at_least: int | None = None, limit: int = PIXEL_LIMIT
) -> Image.Image:
    """Decode one picture.

    Args:
        content: the encoded bytes, or the file that holds them.
        name: what to call the picture in an error; by default the file's path.
        at_least: the shorter side, in pixels, to which the caller will reduce the picture. A JPEG
            is then scaled inside libjpeg, but never below SPARE times that side, so that the caller's
            own antialiased reduction still decides the result.
        limit: most pixels (width x height) that are accepted.

    Returns:
        A Pillow image of mode "RGB".

    Raises:
        PictureError: with the file's name, the fault and the cure.
    """
    image = _decode(content, name, at_least, limit, tensors=False)
    assert isinstance(image, Image.Image)
    return image


def decode_either(
    content: bytes | Path, name: str = "", *, at_least: int | None = None, limit: int = PIXEL_LIMIT
) -> Image.Image | Tensor:
    """Decode one picture as `decode`, but give an ordinary JPEG and an uncompressed picture as a tensor.

    Returns:
        (3, H, W) uint8 RGB, channels last in memory, of a binary PPM of 8 bits, or of an upright JPEG of
        8-bit RGB or grey that is not scaled inside libjpeg, with the pixels of `decode`; else what `decode`
        returns.

    Raises:
        PictureError: as `decode`.
    """
    return _decode(content, name, at_least, limit, tensors=True)


def _decode(
    content: bytes | Path, name: str, at_least: int | None, limit: int, *, tensors: bool
) -> Image.Image | Tensor:
    name = name or (str(content) if isinstance(content, Path) else "picture")
    if isinstance(content, Path):
        try:
            content = content.read_bytes()
        except OSError as error:
            raise PictureError(name, f"cannot be read ({error.strerror})", "check the file") from error
    if not content:
        raise PictureError(name, "is empty (zero bytes)", "delete it or copy it again")
    try:
        return _read(content, name, at_least, limit, tensors=tensors)
    except PictureError:
        raise
    except Image.DecompressionBombError as error:
        fault = f"has more pixels than the limit of {limit:,}"
        raise PictureError(name, fault, "reduce it, or delete it if it is not a photo") from error
    except UnidentifiedImageError as error:
        fault = f"is not a picture that can be read ({_sniff(content)})"
        raise PictureError(name, fault, "convert it to JPEG or PNG, or delete it") from error
    except Exception as error:
        reason = str(error).strip() or type(error).__name__
        fault = "is truncated" if "truncated" in reason.lower() else f"is damaged ({reason})"
        raise PictureError(name, fault, "copy it again from its source or delete it") from error


def decode_array(content: bytes | Path, name: str = "", **options: int | None) -> NDArray[np.uint8]:
    """Decode one picture to an array (H, W, 3) of uint8 RGB; see `decode`."""
    return np.asarray(decode(content, name, **options))  # type: ignore[arg-type]


def _read(
    content: bytes, name: str, at_least: int | None, limit: int, *, tensors: bool
) -> Image.Image | Tensor:
    if tensors and (pixels := _by_header(content, limit)) is not None:
        return pixels
    image = Image.open(io.BytesIO(content))
    width, height = image.size
    if width * height > limit:
        fault = f"has {width} x {height} pixels, more than the limit of {limit:,}"
        raise PictureError(name, fault, "reduce it, or delete it if it is not a photo")
    if image.format == "JPEG" and image.mode in ("RGB", "L"):
        if at_least and (ratio := SPARE * at_least / min(width, height)) <= 0.5:  # the next scale is a half
            image.draft(None, (round(width * ratio), round(height * ratio)))
        if image.size != (width, height) and _is_upright(image):
            image.info[WHOLE] = (width, height)
        elif tensors and _is_upright(image) and (pixels := _by_torchvision(content)) is not None:
            return pixels
    image.seek(0)
    image.load()
    return _to_rgb(ImageOps.exif_transpose(image), name)


def _by_header(content: bytes, limit: int) -> Tensor | None:
    """Return the pixels of a whole binary PPM of 8 bits; None of all else, which Pillow reads or refuses."""
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


def _by_torchvision(content: bytes) -> Tensor | None:
    """Return the pixels of a JPEG; None where they cannot be read, so that Pillow reads or refuses it."""
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


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    mode = image.mode
    if mode == "RGB":
        # A PNG or GIF may name one RGB colour as transparent.
        return _on_white(image.convert("RGBA")) if "transparency" in image.info else image
    if mode.startswith("I;16"):
        array = np.frombuffer(image.convert("I;16").tobytes(), dtype="<u2").reshape(image.size[::-1])
        return _from_grey(array / 65535.0)
    if mode == "I":
        array = np.asarray(image).astype(np.float64)
        return _from_grey(_scale(array, (255, 65535, 2**31 - 1), name))
    if mode == "F":
        return _from_grey(_scale(np.asarray(image, dtype=np.float64), (1, 255, 65535), name))
    if mode == "CMYK" and (converted := _by_profile(image)) is not None:
        return converted
    if mode in ("LA", "La", "PA", "RGBA", "RGBa") or (mode == "P" and "transparency" in image.info):
        return _on_white(image.convert("RGBA"))
    if mode == "L" and "transparency" in image.info:
        return _on_white(image.convert("LA").convert("RGBA"))
    if mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
        assert converted is not None  # only inPlace=True returns nothing
        return converted
    return image.convert("RGB")


def _on_white(rgba: Image.Image) -> Image.Image:
    white = Image.new("RGBA", rgba.size, "white")
    return Image.alpha_composite(white, rgba).convert("RGB")


def _from_grey(unit: NDArray[np.float64]) -> Image.Image:
    return Image.fromarray(np.round(unit * 255).astype(np.uint8)).convert("RGB")


def _scale(array: NDArray[np.float64], tops: tuple[int, ...], name: str) -> NDArray[np.float64]:
    """Scale to [0, 1] by the smallest usual full scale that holds all values, else by the range."""
    if not np.isfinite(array).all():
        raise PictureError(name, "holds values that are not numbers", "write it again without NaN")
    low, high = float(array.min()), float(array.max())
    for top in tops:
        if low >= 0 and high <= top:
            return array / top
    return (array - low) / (high - low) if high > low else np.zeros_like(array)


def _by_profile(image: Image.Image) -> Image.Image | None:
    """Convert CMYK by its own profile; None where there is none or it does not work."""
    profile = image.info.get("icc_profile")
    if not profile:
        return None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        srgb = ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(image, source, srgb, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None


def _sniff(content: bytes) -> str:
    """Say what a file that no codec knows looks like."""
    head = content[:512].lstrip()
    if content[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1"):
        return "it is HEIC"
    if head[:5].lower() in (b"<?xml", b"<svg ") or b"<svg" in head.lower():
        return "it is SVG, a drawing"
    if head[:1] == b"<":
        return "it is a web page or XML"
    if head[:4] == b"%PDF":
        return "it is PDF"
    if head[:2] == b"PK":
        return "it is a zip archive"
    if head and all(32 <= byte < 127 or byte in (9, 10, 13) for byte in head):
        return "it is text"
    return "its first bytes are of no known format"
