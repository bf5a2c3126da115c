"""The pictures that are compared: files, or those of a data set, with their classes where these are known."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from resight.core.console import counted
from resight.core.device import cores
from resight.core.errors import DataError, PictureError
from resight.core.files import digest
from resight.data.decode import decode
from resight.data.files import read_file
from resight.data.given import expand
from resight.data.layouts.tree import list_pictures, pictures_in
from resight.data.near_copies import Print, print_of
from resight.data.open import open_as_it_is
from resight.data.prepare import Normalize, fit
from resight.evaluate.embeddings import embeddings_of
from resight.service.run.run import Run

BATCH = 32
Content = bytes | NDArray[np.uint8]


@dataclass(frozen=True)
class Item:
    """A picture that is compared.

    Attributes:
        name: its path, or its place in the data set.
        labels: its classes; empty if they are not known.
        content: reads its encoded bytes, or its pixels (H, W, 3).
    """

    name: str
    labels: tuple[str, ...]
    content: Callable[[], Content]


@dataclass(frozen=True)
class Seen:
    """What is known of pictures that could be read, M of them.

    Attributes:
        items: the pictures.
        vectors: of length 1, (M, D) float32.
        digests: of their contents.
        prints: for near copies; None for flat pictures.
        faults: of the others.
    """

    items: list[Item]
    vectors: NDArray[np.float32]
    digests: list[str]
    prints: list[Print | None]
    faults: list[PictureError]

    def places(self) -> dict[str, int]:
        """Return the numbers of the pictures that are files, by their real paths."""
        return {os.path.realpath(item.name): i for i, item in enumerate(self.items)}


def items_of(among: str, data_root: str | None) -> tuple[list[Item], list[str]]:
    """Return the pictures of all splits of a data set, or of a folder without classes, and notes on it.

    Raises:
        DataError: if there are none.
    """
    try:
        dataset = open_as_it_is(among, data_root)
    except DataError as error:
        folder = Path(among)
        if not (folder.is_dir() and pictures_in(folder)):
            raise
        files = list_pictures(folder)
        return items_of_files(files, {}), [f"no classes are known of these pictures: {error}"]
    items = [
        Item(split.picture_name(i), split.class_names(i), lambda s=split, i=i: s.content(i))
        for split in dataset.splits.values()
        for i in range(len(split))
    ]
    if not items:
        raise DataError(f"{among}: holds no pictures")
    return items, list(dataset.notes)


def items_of_files(files: Sequence[Path], labels: dict[str, tuple[str, ...]]) -> list[Item]:
    """Return files as items.

    Args:
        files: pictures.
        labels: classes by real path.
    """
    return [
        Item(str(file), labels.get(os.path.realpath(file), ()), lambda file=file: read_file(file))
        for file in files
    ]


def asked_items(pictures: Sequence[str], seen: Seen) -> list[Item]:
    """Return the pictures that are asked about.

    A picture of the data set has its class there. Another one has the class that its folder is named after,
    if the data set has a class of that name.
    """
    known = {path: seen.items[i].labels for path, i in seen.places().items()}
    classes = {label for item in seen.items for label in item.labels}
    files = expand(pictures)
    named = {os.path.realpath(f): (f.resolve().parent.name,) for f in files}
    named = {path: label for path, label in named.items() if label[0] in classes}
    return items_of_files(files, named | {path: label for path, label in known.items() if label})


def read(run: Run, items: Sequence[Item]) -> Seen:
    """Return vectors, digests and prints of pictures, read in batches; the broken ones are left out."""
    card, normalize = run.preprocessing, Normalize(run.preprocessing, run.device)

    def one(item: Item) -> tuple[Item, NDArray[np.uint8], str, Print | None] | PictureError:
        try:
            content = item.content()
            image = image_of(item, content, run, card.resize)
        except PictureError as error:
            return error
        raw = content.tobytes() if isinstance(content, np.ndarray) else content
        return item, fit(image, card), digest(raw), print_of(image)

    vectors, good, faults = [], [], []
    with ThreadPoolExecutor(max_workers=cores()) as pool:
        for start in counted(range(0, len(items), BATCH), "comparing pictures", len(items), BATCH):
            answers = list(pool.map(one, items[start : start + BATCH]))
            faults += [answer for answer in answers if isinstance(answer, PictureError)]
            new = [answer for answer in answers if not isinstance(answer, PictureError)]
            if new:
                squares = torch.from_numpy(np.stack([square for _, square, _, _ in new]))
                vectors.append(embeddings_of(run.network, normalize(squares.to(run.device))).numpy())
            good += [(item, mark, print_) for item, _, mark, print_ in new]
    table = np.concatenate(vectors) if vectors else np.empty((0, 0), np.float32)
    return Seen([g[0] for g in good], table, [g[1] for g in good], [g[2] for g in good], faults)


def image_of(item: Item, content: Content, run: Run, at_least: int) -> Image.Image:
    """Return a picture as RGB, no smaller than needed.

    Raises:
        PictureError: if it cannot be read.
    """
    if isinstance(content, np.ndarray):
        return Image.fromarray(content)
    return decode(content, item.name, at_least=at_least, levels=run.preprocessing.levels)
