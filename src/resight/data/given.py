"""Pictures that a program hands over: paths, Pillow's pictures and arrays, each read as its file would be."""

import glob
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from resight.core.errors import DataError, PictureError, UsageError
from resight.core.levels import BY_TYPE, Levels
from resight.data import tiff
from resight.data.decode import decode, pixels_alone
from resight.data.deep import Source
from resight.data.layouts.tree import list_pictures
from resight.data.modes import to_rgb

Given = str | os.PathLike[str] | Image.Image | NDArray[np.uint8]
"""A path, a picture of Pillow's, or an array of uint8: (H, W, 3) RGB or (H, W) grey."""
TAKEN = "give a path, a PIL picture, or an array of uint8: (H, W, 3) RGB or (H, W) grey"


def listed(given: Given | Sequence[Given]) -> list[Given]:
    """Return one picture, or several, as a list; refuse what is none before any is read.

    Raises:
        UsageError: naming the first that is no picture.
    """
    one = isinstance(given, str | os.PathLike | Image.Image | np.ndarray)
    several = [given] if one else list(given)  # type: ignore[arg-type]
    for number, picture in enumerate(several):
        _require(picture, f"images[{number}]" if not one else "images")
    return several  # type: ignore[return-value]


def _require(picture: Any, name: str) -> None:
    if isinstance(picture, np.ndarray):
        shape = picture.shape
        fits = len(shape) == 2 or (len(shape) == 3 and shape[2] == 3)
        if picture.dtype != np.uint8 or not fits or not picture.size:
            raise UsageError(f"{name} is an array of {picture.dtype} {shape}; {TAKEN}")
    elif not isinstance(picture, str | os.PathLike | Image.Image):
        raise UsageError(f"{name} is of type {type(picture).__name__}; {TAKEN}")


def decode_given(
    picture: Given, name: str = "picture", *, at_least: int | None = None, levels: Levels = BY_TYPE
) -> Image.Image:
    """Return a picture as `decode` returns that of a file: RGB, upright as EXIF says, transparency on white.

    A picture of Pillow's shows its current frame. It has lost what Pillow does not keep of a file, the lower
    bytes of 16-bit colours; a large JPEG is not scaled inside libjpeg.

    Args:
        picture: see `Given`.
        name: what to call it in an error, unless it is a path.
        at_least: see `decode`.
        levels: see `decode`.

    Raises:
        PictureError: if it cannot be read.
    """
    if isinstance(picture, str | os.PathLike):
        return decode(Path(picture), at_least=at_least, levels=levels)
    if isinstance(picture, np.ndarray):
        return Image.fromarray(picture).convert("RGB")
    if not all(picture.size):
        raise PictureError(name, "has no pixels", TAKEN)
    if picture.mode == "L" and picture.format == "PNG" and "transparency" in picture.info:
        raise PictureError(
            name, "is grey with one transparent value at an unknown bit depth", "give the path of its file"
        )
    try:
        stored = tiff.stored(picture) if picture.format == "TIFF" and hasattr(picture, "tag_v2") else None
        picture.load()
        upright = ImageOps.exif_transpose(picture)
        source = Source(name, picture.format or "", "", 8, stored, lambda: picture)
        seen = to_rgb(upright, source, levels)
        return pixels_alone(seen.copy() if seen is picture else seen)
    except PictureError:
        raise
    except (OSError, ValueError, SyntaxError, MemoryError) as error:
        raise PictureError(
            name, f"cannot be read by Pillow ({error})", "give the path of its file"
        ) from error


def expand(paths: Sequence[str]) -> list[Path]:
    """Return the files that paths, folders and patterns match, in their order, each once.

    A missing file stays in the list and gets its error as answer.

    Raises:
        DataError: if a folder holds no pictures, or a pattern matches nothing.
        UsageError: if a path is empty.
    """
    files: list[Path] = []
    for word in paths:
        if not word.strip():
            raise UsageError("a path is empty; give files, folders or patterns")
        path = Path(word)
        if path.is_dir():
            found = list_pictures(path)
            if not found:
                raise DataError(f"{word}: holds no pictures; give pictures or a folder with pictures")
        elif not path.exists() and any(c in word for c in "*?["):
            # pathlib globs from a folder; a user's pattern may be absolute, or begin with ..
            matches = sorted(glob.glob(word, recursive=True))  # noqa: PTH207
            found = [Path(p) for p in matches if Path(p).is_file()]
            if not found:
                raise DataError(f"{word}: matches no file; fix the pattern")
        else:
            found = [path]
        files += found
    return list(dict.fromkeys(files))


def found(given: Sequence[Given]) -> tuple[tuple[str, ...], tuple[Given, ...]]:
    """Return names and pictures, paths expanded; a file that comes again counts once."""
    pictures: dict[str, Given] = {}
    for number, picture in enumerate(given):
        if isinstance(picture, str | os.PathLike):
            pictures |= {str(path): path for path in expand([os.fspath(picture)])}
        else:
            pictures[f"images[{number}]"] = picture
    return tuple(pictures), tuple(pictures.values())
