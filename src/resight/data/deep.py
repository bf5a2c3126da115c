"""Pictures of more than 8 bits: their values, and how levels turn these into 8 bits."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from resight.core.errors import PictureError
from resight.core.levels import Levels, Pair
from resight.data import tiff

TOP = 65535
"""The largest value of 16 bits."""

FEW = 0.01
"""Share of values that may be farther from the levels than these are from each other."""

OTHER_BYTES = {
    "RGB;16B": "RGB;16L", "RGB;16L": "RGB;16B", "RGBX;16B": "RGBX;16L", "RGBX;16L": "RGBX;16B",
    "RGBA;16B": "RGBA;16L", "RGBA;16L": "RGBA;16B",
}  # fmt: skip
"""Raw modes of 16-bit colours: Pillow keeps the upper byte, and with the other byte order the lower one."""


@dataclass(frozen=True)
class Source:
    """What an opened picture says before it is loaded.

    Attributes:
        name: what to call it in an error.
        format: Pillow's name.
        raw: Pillow's raw mode of the first tile, "" if it has none.
        bits: of a PNG's samples, else 8.
        stored: of a TIFF; None of others.
        again: opens it again.
    """

    name: str
    format: str
    raw: str
    bits: int
    stored: tiff.Stored | None
    again: Callable[[], Image.Image]

    @property
    def is_deep_colour(self) -> bool:
        """Whether it is RGB of 16 bits, of which Pillow keeps the upper byte."""
        return self.raw in OTHER_BYTES or self.raw in ("RGB;16N", "RGBX;16N", "RGBA;16N")


@dataclass(frozen=True)
class Deep:
    """A picture's values as they are stored.

    Attributes:
        kind: the field of `Levels` that speaks of them.
        values: (H, W), or (H, W, 3) of colours.
        white_is_zero: whether the highest is black.
    """

    kind: str
    values: NDArray
    white_is_zero: bool = False


def turned(image: Image.Image) -> Image.Image:
    """Return the first frame, decoded and as EXIF turns it."""
    image.seek(0)
    image.load()
    return ImageOps.exif_transpose(image)


def may_be_deep(image: Image.Image, source: Source) -> bool:
    """Return whether an opened picture has more than 8 bits, before it is loaded."""
    signed = source.stored is not None and source.stored.signed
    return image.mode.startswith(("I", "F")) or source.is_deep_colour or signed


def grey_values(image: Image.Image, source: Source) -> Deep | None:
    """Return the values of a turned grey picture; None if they have 8 bits or fewer, and 0 is black."""
    stored = source.stored or tiff.Stored(8, signed=False, white_is_zero=False)
    if image.mode.startswith("I;16"):
        words = np.asarray(image).astype(np.uint16)  # in the machine's byte order
        if stored.bits == 12:
            words = words << 4 | words >> 8
        return Deep("word", words, stored.white_is_zero)
    if image.mode == "I":
        values = np.asarray(image)
        if source.format in ("PNG", "PPM"):
            return Deep("word", values.astype(np.uint16))
        unsigned = stored.bits == 32 and not stored.signed
        return Deep("integer", values.view(np.uint32) if unsigned else values, stored.white_is_zero)
    if image.mode == "F":
        return Deep("real", np.asarray(image), stored.white_is_zero)
    if image.mode == "L" and stored.signed:
        return Deep("integer", np.asarray(image).view(np.int8))
    return None


def colour_words(upper: Image.Image, source: Source) -> NDArray[np.uint16]:
    """Return the whole values (H, W, 3) of 16-bit colours.

    Args:
        upper: the turned picture as Pillow decodes it, its upper bytes.
        source: of which `is_deep_colour`.
    """
    image = source.again()
    native = "L" if np.little_endian else "B"
    tiles = image.tile  # type: ignore[attr-defined]
    image.tile = [tile._replace(args=_with_other_bytes(tile.args, native)) for tile in tiles]  # type: ignore[attr-defined]
    lower = np.asarray(turned(image))[..., :3].astype(np.uint16)
    return (np.asarray(upper)[..., :3].astype(np.uint16) << 8 | lower).astype(np.uint16)


def _with_other_bytes(args: str | tuple, native: str) -> str | tuple:
    raw = args if isinstance(args, str) else args[0]
    raw = OTHER_BYTES[raw.replace("16N", f"16{native}")]
    return raw if isinstance(args, str) else (raw, *args[1:])


def scaled(deep: Deep, levels: Levels, name: str) -> NDArray[np.uint8]:
    """Return the values as 8 bits, by levels and never by the picture's own range.

    Values beyond the levels are black or white.

    Raises:
        PictureError: if values are no numbers, nothing says what is black and white, or the picture is
            plainly of another scale.
    """
    pair: Pair | None = getattr(levels, deep.kind)
    if deep.kind == "word":
        if pair is not None:
            _require_scale(deep, pair, name)
        grey = _table(pair or (0.0, TOP))[deep.values]
    else:
        grey = _eight_bits(deep.values, _pair_of(deep, pair, name))
    return 255 - grey if deep.white_is_zero else grey


def _pair_of(deep: Deep, pair: Pair | None, name: str) -> Pair:
    if deep.kind == "real" and not np.isfinite(deep.values).all():
        raise PictureError(name, "holds NaN or infinite values", "save it again without them")
    if pair is not None:
        _require_scale(deep, pair, name)
        return pair
    low, high = float(deep.values.min()), float(deep.values.max())
    if deep.kind == "real" and low >= 0 and high <= 1:
        return 0.0, 1.0
    kind = "floating-point values" if deep.kind == "real" else "signed or 32-bit values"
    fault = f"holds {kind} from {low:g} to {high:g}, and its black and white levels are unknown"
    raise PictureError(name, fault, "convert it to 8 or 16 bits, or train on a set of such pictures")


def _require_scale(deep: Deep, pair: Pair, name: str) -> None:
    """Refuse a picture of another scale: 0 to 255 where 1 is white, or 0 to 1 where 255 is."""
    (low, high), width = pair, pair[1] - pair[0]
    far = ((deep.values > high + width) | (deep.values < low - width)).mean()
    top = float(deep.values.max())
    tiny = deep.kind == "real" and low >= 0 and 0 < top <= 1 and high >= 255
    if far > FEW or tiny:
        fault = (
            f"has values from {float(deep.values.min()):g} to {top:g}, but {low:g} is black and {high:g} is "
            "white in the other pictures"
        )
        raise PictureError(name, fault, "rescale it to these levels")


@lru_cache(maxsize=4)
def _table(pair: Pair) -> NDArray[np.uint8]:
    return _eight_bits(np.arange(TOP + 1), pair)


def _eight_bits(values: NDArray, pair: Pair) -> NDArray[np.uint8]:
    low, high = pair
    unit = (values.astype(np.float64) - low) / (high - low)
    return np.round(np.clip(unit, 0, 1) * 255).astype(np.uint8)
