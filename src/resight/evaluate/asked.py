"""A network with a head of its own, and the pictures that it is asked about."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from resight.core.console import counted
from resight.core.errors import PictureError
from resight.core.preprocessing import Preprocessing
from resight.data.prepare import Normalize, fit, seen_window, whole_size
from resight.evaluate.scores import batch_size, logits_of, require_finite

Outputs = Callable[[nn.Module, Tensor, Normalize, torch.dtype], Any]


@dataclass(frozen=True)
class Asked:
    """A network and pictures.

    Attributes:
        network: in eval mode, on its device.
        preprocessing: of the pictures.
        precision: of the products.
        read: gives picture `index` as an RGB image, or raises PictureError; it may be decoded smaller than it
            is, see `whole_size`.
        indices: which pictures.
        workers: processes that read them.
        temperature: class logits are divided by it.
    """

    network: nn.Module
    preprocessing: Preprocessing
    precision: torch.dtype
    read: Callable[[int], Image.Image]
    indices: Sequence[int]
    workers: int = 0
    temperature: float = 1.0

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device


@dataclass(frozen=True)
class Place:
    """Where the square that a network saw lies in its picture.

    Attributes:
        size: (width, height) of the whole picture as seen, in pixels.
        window: left, top, right, bottom of the square in these pixels; beyond the picture in no frame.
    """

    size: tuple[int, int]
    window: tuple[float, float, float, float]

    def to_picture(self, places: Tensor) -> Tensor:
        """Return places (..., 2), x and y in shares of the square's sides, in pixels of the picture."""
        left, top, right, bottom = self.window
        corner = torch.tensor([left, top], dtype=torch.float64)
        return corner + places.double() * torch.tensor([right - left, bottom - top], dtype=torch.float64)

    def box(self, edges: Tensor) -> tuple[float, float, float, float]:
        """Return a box (4,) in shares of the square's sides as x0, y0, x1, y1 in pixels of the picture."""
        x, y = self.to_picture(edges.view(2, 2)).T.sort(1).values
        width, height = self.size
        x0, x1 = x.clamp(0, width).tolist()
        y0, y1 = y.clamp(0, height).tolist()
        return x0, y0, x1, y1

    def boxes(self, edges: Tensor) -> Tensor:
        """Return boxes (N, 4) in shares of the square's sides as x0, y0, x1, y1 in pixels of the picture."""
        places = self.to_picture(edges.view(-1, 2, 2)).sort(1).values
        return places.clamp(min=0).minimum(torch.tensor(self.size, dtype=places.dtype)).view(-1, 4)


class _Squares(TorchDataset):
    """Each picture's square and place; lives in worker processes."""

    def __init__(
        self, read: Callable[[int], Image.Image], indices: Sequence[int], card: Preprocessing
    ) -> None:
        self.read, self.indices, self.card = read, indices, card

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: int) -> tuple[int, NDArray[np.uint8] | PictureError, Place | None]:
        index = self.indices[place]
        try:
            image = self.read(index)
        except PictureError as error:
            return index, error, None
        size = whole_size(image)
        return index, np.ascontiguousarray(fit(image, self.card)), Place(size, seen_window(size, self.card))


def _keep(samples: list) -> list:
    return samples


@torch.inference_mode()
def seen(
    asked: Asked, outputs_of: Outputs = logits_of, *, mirrored: bool = False
) -> Iterator[tuple[int, Any, Place | None]]:
    """Yield (index, output on the CPU, place) of each picture, in order.

    Of one that cannot be read the output is the PictureError, and the place is None.

    Args:
        asked: the network and the pictures.
        outputs_of: what a network says of squares, see `Task.outputs`; float32 tensors (...) by default.
        mirrored: whether the network is asked about the mirrored square too: tensors are (2, ...) then.

    Raises:
        ModelFileError: if an output is not finite.
    """
    card, normalize = asked.preprocessing, Normalize(asked.preprocessing, asked.device)
    loader = DataLoader(
        _Squares(asked.read, asked.indices, card), batch_size=batch_size(card.size**2),
        num_workers=asked.workers, collate_fn=_keep,
    )  # fmt: skip
    for samples in counted(loader, "asking about pictures", len(asked.indices), loader.batch_size or 1):
        squares = [square for _, square, _ in samples if not isinstance(square, PictureError)]
        outputs = iter(())
        if squares:
            pixels = torch.from_numpy(np.stack(squares))
            views = [pixels, pixels.flip(2)] if mirrored else [pixels]
            found = [outputs_of(asked.network, view, normalize, asked.precision) for view in views]
            for output in found:
                if isinstance(output, Tensor):
                    require_finite(output.flatten(1))
            outputs = iter(torch.stack(found, 1) if mirrored else found[0])
        for index, square, place in samples:
            yield index, square if isinstance(square, PictureError) else next(outputs), place
