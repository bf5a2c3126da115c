"""What a localizer is shown of a test picture: all of it once, at several sizes, or in ten crops."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from resight.core.errors import PictureError, UsageError
from resight.data.prepare import Normalize
from resight.evaluate.asked import Asked, Place, seen
from resight.evaluate.scores import logits_of

VIEWS = ("whole", "dense", "ten")
DENSE = (1.0, 1.5, 2.0)
"""Sides of dense views over those that were learned."""
RATIO = 8 / 7
"""Side of what ten crops are cut from over theirs: 256 to 224 (Krizhevsky et al. 2012, section 4.1)."""


@dataclass(frozen=True)
class Seen:
    """What is said of the views of a picture, boxes in shares of the sides of the whole picture.

    Attributes:
        logits: of the classes, (V, classes).
        found: logits of each class's best box, (V, classes).
        boxes: (V, classes, 4).
    """

    logits: Tensor
    found: Tensor
    boxes: Tensor

    @classmethod
    def of(cls, said: Tensor) -> "Seen":
        """Return what a head says of V views, (V, 6 classes)."""
        classes = said.shape[1] // 6
        logits, found, boxes = said.split([classes, classes, 4 * classes], 1)
        return cls(logits, found, boxes.unflatten(1, (classes, 4)))

    def within(self, corner: Tensor, side: float) -> "Seen":
        """Return the same with boxes where they are in the whole, of views that are parts of it.

        Args:
            corner: left and top of each view in shares of the whole's sides, (V, 2).
            side: of a view, in these shares.
        """
        return replace(self, boxes=corner.repeat(1, 2)[:, None] + side * self.boxes)

    def unmirrored(self, rows: slice) -> "Seen":
        """Return the same with the boxes of some views, which are mirrored, turned back."""
        boxes = self.boxes.clone()
        x0, y0, x1, y1 = self.boxes[rows].unbind(2)
        boxes[rows] = torch.stack([1 - x1, y0, 1 - x0, y1], 2)
        return replace(self, boxes=boxes)

    @classmethod
    def together(cls, parts: "list[Seen]") -> "Seen":
        """Return all views of several parts."""
        columns = ([getattr(part, name) for part in parts] for name in ("logits", "found", "boxes"))
        return cls(*(torch.cat(column) for column in columns))

    def best(self) -> tuple[Tensor, Tensor]:
        """Return of each class the logit (classes,) and the box (classes, 4) of the view that is surest."""
        found, view = self.found.max(0)
        return found, self.boxes[view, torch.arange(len(view))]


class _Zoomed(nn.Module):
    """A network that is asked about pictures of another size than it learned."""

    def __init__(self, network: Any, zoom: float) -> None:
        super().__init__()
        self.network, self.zoom = network, zoom

    def forward(self, images: Tensor) -> Tensor:
        head = self.network.head
        return head.said(self.network.forward_maps(images)[head.reads[-1]], self.zoom)


def views_of(
    asked: Asked, views: str, *, mirrored: bool
) -> Iterator[tuple[int, Seen | PictureError, Place | None]]:
    """Yield (index, what is said of its views, place) of each picture, in order.

    Of one that cannot be read the second is the PictureError, and the place is None.

    Args:
        asked: the network, under a head in per-class form, and the pictures.
        views: one of `VIEWS`.
        mirrored: whether the mirror image of each view counts too.

    Raises:
        UsageError: if the network takes pictures of one size.
    """
    if views == "ten":
        yield from _ten(asked, mirrored=mirrored)
        return
    if views == "dense" and "input_size" in getattr(asked.network, "options", {}):
        raise UsageError("localize.views=dense: this network takes pictures of one size; take whole or ten")
    scales = DENSE if views == "dense" else (1.0,)
    streams = [_at(asked, scale, mirrored=mirrored) for scale in scales]
    for answers in zip(*streams, strict=True):
        index, said, place = answers[0]
        if place is None:
            yield index, said, None
            continue
        yield index, Seen.together([Seen.of(own).unmirrored(slice(1, None)) for _, own, _ in answers]), place


def _at(asked: Asked, scale: float, *, mirrored: bool) -> Iterator[tuple[int, Any, Place | None]]:
    """Yield what is said of whole pictures of another size: (1, 6 classes), or (2, ...) if mirrored."""
    card = asked.preprocessing
    side = round(scale * card.size)
    larger = replace(asked, preprocessing=replace(card, size=side, resize=max(side, card.resize)))
    network = asked.network if side == card.size else _Zoomed(asked.network, side / card.size)

    def outputs(own: nn.Module, squares: Tensor, normalize: Normalize, precision: torch.dtype) -> Tensor:
        del own
        return logits_of(network, squares, normalize, precision)

    for index, said, place in seen(larger, outputs, mirrored=mirrored):
        yield index, said if place is None or mirrored else said[None], place


def _ten(asked: Asked, *, mirrored: bool) -> Iterator[tuple[int, Any, Place | None]]:
    """Yield what is said of the corners and the middle, and with `mirrored` of their mirror images."""
    card = asked.preprocessing
    whole = round(RATIO * card.size)
    rest = whole - card.size
    corners = [(0, 0), (rest, 0), (0, rest), (rest, rest), (rest // 2, rest // 2)]

    def outputs(network: nn.Module, squares: Tensor, normalize: Normalize, precision: torch.dtype) -> Tensor:
        crops = [squares[:, y : y + card.size, x : x + card.size] for x, y in corners]
        crops += [crop.flip(2) for crop in crops] if mirrored else []
        return torch.stack([logits_of(network, crop, normalize, precision) for crop in crops], 1)

    larger = replace(asked, preprocessing=replace(card, size=whole, resize=max(whole, card.resize)))
    count = len(corners)
    places = torch.tensor(corners * (2 if mirrored else 1)) / whole
    for index, said, place in seen(larger, outputs):
        if place is None:
            yield index, said, None
        else:
            turned = Seen.of(said).unmirrored(slice(count, None))
            yield index, turned.within(places, card.size / whole), place
