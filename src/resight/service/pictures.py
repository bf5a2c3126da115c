"""Pictures given as paths: read in batches for a network, drawn and written."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resight.core.console import counted
from resight.core.errors import PictureError
from resight.core.files import digest, replacing
from resight.data.decode import decode
from resight.data.prepare import Normalize, fit
from resight.render.original import LEAST_SIDE

if TYPE_CHECKING:  # torch takes seconds to load, and an exported network needs none
    from torch import Tensor

    from resight.service.run.run import Run

BATCH = 16


@dataclass(frozen=True)
class Unread:
    """A file that is left out, and why."""

    path: str
    error: str

    @classmethod
    def of(cls, fault: PictureError) -> "Unread":
        """Return what is said of a picture that cannot be read."""
        return cls(fault.name, f"{fault.fault}; {fault.cure}")


@dataclass(frozen=True)
class Batch:
    """Some of the files.

    Attributes:
        paths: of the pictures that could be read, B.
        squares: the pictures as the network sees them, (S, S, 3) uint8 each.
        images: the same, normalized, on the run's device, (B, 3, S, S); (0, 3, S, S) if none could be read.
        faults: of the other files.
    """

    paths: list[Path]
    squares: list[NDArray[np.uint8]]
    images: "Tensor"
    faults: list[PictureError]


def batches(run: "Run", files: Sequence[Path]) -> Iterator[Batch]:
    """Yield files as inputs of the network, `BATCH` at a time."""
    import torch

    card, normalize = run.preprocessing, Normalize(run.preprocessing, run.device)
    for start in counted(range(0, len(files), BATCH), "pictures", len(files), BATCH):
        paths, squares, faults = [], [], []
        for path in files[start : start + BATCH]:
            try:
                squares.append(fit(decode(path, at_least=card.resize, levels=card.levels), card))
                paths.append(path)
            except PictureError as error:
                faults.append(error)
        images = torch.empty(0, 3, card.size, card.size, device=run.device)
        if squares:
            images = normalize(torch.from_numpy(np.stack(squares)).to(run.device))
        yield Batch(paths, squares, images, faults)


def place_of(folder: Path, path: Path, method: str, name: str) -> tuple[Path, Path]:
    """Return where a picture's overlay (PNG) and map (npy) go for a class; no two share a place."""
    mark = digest(os.fsencode(path.resolve()))[:6]
    stem = folder / f"{_cut(path.stem)}-{mark}-{method}-{_word(name)}"
    return stem.with_name(stem.name + ".png"), stem.with_name(stem.name + ".npy")


def map_place(folder: Path, name: str, taken: set[Path]) -> Path:
    """Return where a picture's label map (PNG) goes: under its name, or a marked one if that is taken.

    Args:
        folder: to write to.
        name: of the picture.
        taken: places that are in use; the new one is added.
    """
    stem = _cut(Path(name).stem)
    place = folder / f"{stem}.png"
    if place in taken:
        place = folder / f"{stem}-{digest(os.fsencode(name))[:6]}.png"
    taken.add(place)
    return place


def write(picture: Path, array: Path, blended: np.ndarray, heat: np.ndarray) -> None:
    """Write an overlay (H, W, 3) uint8, enlarged if it is small, and a map (H, W)."""
    image = Image.fromarray(blended)
    if max(image.size) < LEAST_SIDE:
        factor = LEAST_SIDE // max(image.size)
        image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    write_png(picture, image)
    with replacing(array) as temporary, temporary.open("wb") as stream:
        np.save(stream, heat.astype(np.float32))


def write_png(path: Path, image: Image.Image) -> None:
    """Write a picture as PNG."""
    with replacing(path) as temporary, temporary.open("wb") as stream:
        image.save(stream, "PNG")


def _word(name: str) -> str:
    """Return a class name as a part of a file name; a changed one gets a unique mark."""
    word = _cut("".join(c if c.isalnum() or c in "-_" else "_" for c in name))
    return word if word == name else f"{word}-{digest(os.fsencode(name))[:6]}"


def _cut(text: str) -> str:
    """Return a text in at most 80 bytes of UTF-8, without invalid bytes."""
    return os.fsencode(text)[:80].decode("utf-8", "ignore")
