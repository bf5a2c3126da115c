"""Any mode of Pillow's to RGB, with transparency laid on white."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from resight.core.errors import PictureError
from resight.core.levels import Levels
from resight.data.deep import Deep, Source, colour_words, grey_values, scaled

WITH_ALPHA = ("LA", "PA", "RGBA", "RGBa")


def to_rgb(image: Image.Image, source: Source, levels: Levels) -> Image.Image:
    """Return a turned picture as RGB of 8 bits.

    Raises:
        PictureError: see `scaled`.
    """
    if image.mode == "RGB" and "transparency" not in image.info and levels.word is None:
        return image
    if (deep := grey_values(image, source)) is not None:
        return _on_white_where(scaled(deep, levels, source.name), _hidden(deep.values, image, source))
    if levels.word is not None and (source.is_deep_colour or source.raw == "LA;16B"):
        return _deep_colour(image, source, levels)
    if "transparency" in image.info and image.mode in ("1", "L"):
        grey = np.asarray(image.convert("L"))
        return _on_white_where(grey, _hidden(grey, image, source))
    if "transparency" in image.info and image.mode == "RGB":
        words = colour_words(image, source) if source.is_deep_colour else np.asarray(image)
        return _on_white_where(np.asarray(image), _hidden(words, image, source))
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode in WITH_ALPHA or (image.mode == "P" and "transparency" in image.info):
        return _on_white(image.convert("RGBA"))
    if image.mode == "CMYK" and (converted := _by_profile(image)) is not None:
        return converted
    return _from_lab(image) if image.mode == "LAB" else image.convert("RGB")


def _hidden(values: NDArray, image: Image.Image, source: Source) -> NDArray[np.bool_] | None:
    """Return where a picture has the one value, or colour, that its file calls transparent, (H, W).

    Args:
        values: (H, W) or (H, W, 3); of fewer than 8 bits they are spread over 0 to 255.
        image: the picture.
        source: how many bits the file's value has.
    """
    value = image.info.get("transparency")
    if value is None:
        return None
    if image.mode == "1":
        return values == value  # Pillow gives 0 or 255
    most = (1 << source.bits) - 1
    value = np.asarray(value) & most  # PNG, 11.3.2.1: only the lowest bits count
    if source.bits < 8:
        value = value * (255 // most)
    same = values == value
    return same.all(-1) if same.ndim == 3 else same


def _on_white_where(pixels: NDArray[np.uint8], hidden: NDArray[np.bool_] | None) -> Image.Image:
    if hidden is not None:
        pixels = pixels.copy()
        pixels[hidden] = 255
    return Image.fromarray(pixels).convert("RGB")


def _on_white(rgba: Image.Image) -> Image.Image:
    white = Image.new("RGBA", rgba.size, "white")
    return Image.alpha_composite(white, rgba).convert("RGB")


def _deep_colour(image: Image.Image, source: Source, levels: Levels) -> Image.Image:
    """Return 16-bit colours by the levels of a set that does not use the type's own range."""
    if not source.is_deep_colour:
        fault = "is 16-bit grey with transparency, in a data set that does not use all 16 bits"
        raise PictureError(source.name, fault, "save it without transparency")
    words = colour_words(image, source)
    colours = Image.fromarray(scaled(Deep("word", words), levels, source.name))
    if image.mode == "RGBA":
        colours.putalpha(image.getchannel("A"))
        return _on_white(colours)
    return _on_white_where(np.asarray(colours), _hidden(words, image, source))


def _from_lab(image: Image.Image) -> Image.Image:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    assert converted is not None  # only inPlace=True returns nothing
    return converted


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
