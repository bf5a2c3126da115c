"""Label maps: files with a class number for each pixel, and those painted from the masks of objects."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resight.core.errors import DataError, PictureError
from resight.data.dataset import VOID, Masks
from resight.data.files import read_file
from resight.data.formats import open_picture
from resight.data.frames import Frame

VALUES = 256
"""Values that a pixel of a map may have."""
BACKGROUND = "background"
"""The class of what no mask of an object covers."""
SAVE = "save it as PNG with a palette or in grey, a class number for each pixel"
UNKNOWN = -1


def read_values(path: Path) -> NDArray[np.uint8]:
    """Return the values of a map's file as they are stored, (H, W): numbers of a palette, or of grey.

    Grey of 2 or 4 bits is not stretched to 8. Colours are read where all channels are the same.

    Raises:
        PictureError: if it cannot be read, is JPEG, has colours, or values above 255.
    """
    name, content = str(path), read_file(path)
    try:
        image = open_picture(io.BytesIO(content), name)
        if image.format == "JPEG":
            raise PictureError(name, "is a mask saved as JPEG, which changes the values of pixels", SAVE)
        bits = _grey_bits(image)
        image.load()
        values = _values(image, name)
    except PictureError:
        raise
    except Exception as error:
        raise PictureError(name, f"cannot be read as a mask ({error})", "save it again") from error
    if values.min() < 0 or values.max() >= VALUES:
        raise PictureError(name, f"has the value {values.max()}, and a mask has at most 255", SAVE)
    return (values // ((2**8 - 1) // (2**bits - 1))).astype(np.uint8)


def _grey_bits(image: Image.Image) -> int:
    """Return the bits of a grey PNG's pixels, which Pillow stretches to 8; 8 for all others."""
    tiles = getattr(image, "tile", None)
    mode = str(tiles[0][3]) if tiles else ""
    return {"L;2": 2, "L;4": 4}.get(mode, 8) if image.mode == "L" else 8


def _values(image: Image.Image, name: str) -> NDArray[np.int64]:
    pixels = np.asarray(image)
    if image.mode in ("RGB", "RGBA"):
        if (pixels[..., :3] != pixels[..., :1]).any():
            raise PictureError(name, "is a mask in colours, which are no class numbers", SAVE)
        return pixels[..., 0].astype(np.int64)
    if image.mode in ("LA", "PA"):
        return pixels[..., 0].astype(np.int64)
    if image.mode in ("1", "P", "L") or image.mode.startswith("I"):
        return pixels.astype(np.int64)
    raise PictureError(name, f"is a mask of the kind {image.mode}, which has no class numbers", SAVE)


@dataclass(frozen=True)
class FileMaps:
    """Label maps in files of their own.

    Attributes:
        files: of each picture.
        frames: of each picture.
        numbers: the class number of each value, (256,): `VOID` for one that does not count, -1 for one that
            no file had.
        classes: that the numbers count through.
    """

    files: Sequence[Path]
    frames: Sequence[Frame]
    numbers: tuple[int, ...]
    classes: tuple[str, ...]

    def read(self, position: int) -> NDArray[np.uint8]:
        """Return the class number of each pixel of a picture as `decode` returns it, (H, W).

        Raises:
            PictureError: if the file cannot be read.
            DataError: if its size or its values are others than when the data set was opened.
        """
        path, frame = self.files[position], self.frames[position]
        values = read_values(path)
        found = np.array(self.numbers, dtype=np.int16)[values]
        if values.shape[::-1] != frame.size or (found == UNKNOWN).any():
            raise DataError(f"{path}: has changed since the data set was opened; start again")
        return frame.turned_mask(found.astype(np.uint8))  # type: ignore[arg-type, return-value]

    def relabelled(self, classes: tuple[str, ...]) -> "FileMaps":
        """Return the same with numbers that count through other classes."""
        new = renumbered(self.classes, classes)
        numbers = tuple(new.get(number, number) for number in self.numbers)
        return replace(self, numbers=numbers, classes=classes)


@dataclass(frozen=True)
class PaintedMaps:
    """Label maps of pictures whose objects have masks: what is small lies over what is large.

    Attributes:
        masks: of the objects.
        sizes: (width, height) of each picture.
        shown: the classes of each picture's masks.
        classes: that the numbers count through.
    """

    masks: Masks
    sizes: Sequence[tuple[int, int]]
    shown: Sequence[frozenset[str]]
    classes: tuple[str, ...]

    def read(self, position: int) -> NDArray[np.uint8]:
        """Return the class number of each pixel of a picture, (H, W).

        Raises:
            DataError: if a mask cannot be read.
        """
        number = {name: i for i, name in enumerate(self.classes)}
        width, height = self.sizes[position]
        drawn = np.full((height, width), number.get(BACKGROUND, VOID), np.uint8)
        masks = [(name, self.masks.mask(position, name)) for name in sorted(self.shown[position])]
        found = [(name, mask) for name, mask in masks if mask is not None]
        for name, mask in sorted(found, key=lambda pair: -int(pair[1].sum())):
            drawn[mask] = number.get(name, VOID)
        return drawn

    def relabelled(self, classes: tuple[str, ...]) -> "PaintedMaps":
        """Return the same with numbers that count through other classes."""
        return replace(self, classes=classes)


def renumbered(before: Sequence[str], after: Sequence[str]) -> Mapping[int, int]:
    """Return the new number of each old one, by name; `VOID` for a class that is gone."""
    number = {name: i for i, name in enumerate(after)}
    return {old: number.get(name, VOID) for old, name in enumerate(before)}
