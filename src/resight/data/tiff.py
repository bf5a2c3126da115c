"""TIFF, where Pillow lacks a layout or reads its values wrong."""

from dataclasses import dataclass

from PIL import Image, TiffImagePlugin

PHOTOMETRIC, BITS, PLANES, SAMPLE_FORMAT, DNG_VERSION = 262, 258, 284, 339, 50706
WHITE_IS_ZERO, SIGNED = 0, 2

LAYOUTS = {
    (1, 12): ("I;16", "I;12", "I;12"),
    (1, 16): ("I;16", "I;16", "I;16B"),
    (1, 32): ("I", "I;32", "I;32B"),
    (2, 16): ("I", "I;16S", "I;16BS"),
    (2, 32): ("I", "I;32S", "I;32BS"),
    (3, 32): ("F", "F;32F", "F;32BF"),
    (3, 64): ("F", "F;64F", "F;64BF"),
}
"""Grey layouts by (sample format, bits): Pillow's mode, and its raw modes for the two byte orders."""

NATIVE = {
    "I;16S": "I;16NS", "I;16BS": "I;16NS", "I;32": "I;32N", "I;32B": "I;32N", "I;32S": "I;32NS",
    "I;32BS": "I;32NS",
    "F;32F": "F;32NF", "F;32BF": "F;32NF", "F;64F": "F;64NF", "F;64BF": "F;64NF",
}  # fmt: skip
"""Raw modes of a file's byte order, and those of the machine's, in which libtiff gives what it decompresses.

Pillow has the former for both, so that compressed big-endian values were read with their bytes swapped."""


@dataclass(frozen=True)
class Stored:
    """How to interpret a TIFF's values, as far as Pillow's mode does not define it.

    Attributes:
        bits: of a sample.
        signed: whether samples are signed integers.
        white_is_zero: whether 0 is white.
    """

    bits: int
    signed: bool
    white_is_zero: bool


def add_layouts() -> None:
    """Give Pillow's table the grey layouts that it lacks: mostly big-endian or white-is-zero ones."""
    for (kind, bits), (mode, little, big) in LAYOUTS.items():
        for photometric in (WHITE_IS_ZERO, 1):
            for order, raw in ((TiffImagePlugin.II, little), (TiffImagePlugin.MM, big)):
                TiffImagePlugin.OPEN_INFO[order, photometric, (kind,), 1, (bits,), ()] = (mode, raw)


def mend(image: Image.Image) -> None:
    """Correct what Pillow is about to do to an opened TIFF.

    Raises:
        ValueError: if it is a kind that Pillow would read wrong.
    """
    tags = image.tag_v2  # type: ignore[attr-defined]
    if DNG_VERSION in tags:
        raise ValueError("unsupported: a camera raw file, whose TIFF part is a preview")
    bits = max(tags.get(BITS, (1,)))
    if tags.get(PLANES, 1) == 2 and bits > 8 and len(image.getbands()) > 1:
        raise ValueError(f"unsupported: {bits} bits a sample in separate planes")
    mended = []
    for tile in image.tile:  # type: ignore[attr-defined]
        args = tile.args
        if tile.codec_name == "libtiff" and args[0] in NATIVE:
            args = (NATIVE[args[0]], *args[1:])
        mended.append(tile._replace(args=args))
    image.tile = mended  # type: ignore[attr-defined]


def stored(image: Image.Image) -> Stored:
    """Return how the values of an opened TIFF are meant."""
    tags = image.tag_v2  # type: ignore[attr-defined]
    return Stored(
        max(tags.get(BITS, (1,))),
        SIGNED in tags.get(SAMPLE_FORMAT, (1,)),
        tags.get(PHOTOMETRIC) == WHITE_IS_ZERO,
    )
