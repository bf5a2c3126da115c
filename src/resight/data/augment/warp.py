"""Where every place of a moved picture comes from: one object for pictures, points, boxes and masks.

Places are (x, y) in shares of the picture's width and height: (0, 0) is the outer corner of the first pixel,
(1, 1) that of the last; of S pixels in a row, pixel i has its centre at (i + 1/2) / S.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

ROUNDS, DAMPING = 80, 0.5
"""Of the search for the place that a displacement moves to a given one."""
OUTSIDE = 9.0
"""A place that no picture has."""
EDGE = 9
"""Places along each edge of a box that are moved."""


@dataclass(frozen=True)
class Warp:
    """How each picture of a batch is moved.

    Attributes:
        stages: the moves in the order in which they happen to the picture, each for B pictures: (B, 3, 3)
            float64 matrices from a place (x, y, 1) in the moved picture to the one that it shows; or (B, 2,
            G, G) fields of what must be added to a place in the moved picture, as G x G pixels over it.
        cuts: the stages after which what is outside the square is lost: there the picture is resampled.
    """

    stages: tuple[Tensor, ...]
    cuts: tuple[int, ...] = ()

    def then(self, *stages: Tensor) -> "Warp":
        """Return this warp with moves after it; matrices that follow one another are multiplied."""
        merged = list(self.stages)
        for stage in stages:
            if merged and len(merged) not in self.cuts and stage.dim() == merged[-1].dim() == 3:
                merged[-1] = merged[-1] @ stage
            else:
                merged.append(stage)
        return Warp(tuple(merged), self.cuts)

    def cut(self) -> "Warp":
        """Return this warp with what is outside the square lost, whatever comes after."""
        return Warp(self.stages, (*self.cuts, len(self.stages)))

    def of(self, row: int) -> "Warp":
        """Return the warp of one picture of the batch."""
        return Warp(tuple(stage[row : row + 1] for stage in self.stages), self.cuts)

    def sources(self, places: Tensor) -> Tensor:
        """Return the places (B, P, 2) in the pictures that are shown at places of the moved ones."""
        lost = torch.zeros(places.shape[:2], dtype=torch.bool, device=places.device)
        for number in range(len(self.stages), 0, -1):
            if number in self.cuts and number < len(self.stages):
                lost |= ~_inside(places)
            places = _mapped(self.stages[number - 1], places)
        return places.masked_fill(lost[..., None], OUTSIDE)

    def targets(self, places: Tensor) -> Tensor:
        """Return where places (B, P, 2) of the pictures are in the moved ones; beyond [0, 1] out of sight.

        Exact for matrices. A field is inverted by damped iteration, which ends right wherever it does not
        fold.
        """
        return self._followed(places)[-1]

    def followed(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Return where places (B, P, 2) are in the moved pictures, and whether they are in sight, (B, P).

        A place that was cut off is out of sight although it may be moved back into the square.
        """
        way = self._followed(places)
        return way[-1], torch.stack([_inside(step) for step in way]).all(0)

    def bounded(self, places: Tensor) -> Tensor:
        """Return where places are in the moved pictures; what is cut off is drawn to the nearest edge."""
        return self._followed(places, bounded=True)[-1]

    def _followed(self, places: Tensor, *, bounded: bool = False) -> list[Tensor]:
        """Return places after each cut and at the end."""
        way = []
        for number, stage in enumerate(self.stages, start=1):
            places = _unmapped(stage, places)
            if number in self.cuts or number == len(self.stages):
                places = places.clamp(0, 1) if bounded else places
                way.append(places)
        return way or [places]


def _inside(places: Tensor) -> Tensor:
    return ((places >= 0) & (places <= 1)).all(-1)


def _unmapped(stage: Tensor, places: Tensor) -> Tensor:
    """Return the places that a stage maps to the given ones."""
    if stage.dim() == 3:
        return _mapped(torch.linalg.inv(stage), places)
    found = places
    for _ in range(ROUNDS):
        found = found + DAMPING * (places - _mapped(stage, found))
    return found


def _mapped(stage: Tensor, places: Tensor) -> Tensor:
    stage = stage.to(places.dtype).to(places.device)
    if stage.dim() == 4:
        grid = (2 * places - 1)[:, None]
        added = F.grid_sample(stage, grid, padding_mode="border", align_corners=False)
        return places + added[:, :, 0].transpose(1, 2)
    # Sums of products, not a matrix product: its rounding would depend on the number of pictures.
    x, y = places[..., 0], places[..., 1]
    m = stage[:, :, :, None]
    u, v, w = (m[:, i, 0] * x + m[:, i, 1] * y + m[:, i, 2] for i in range(3))
    return torch.stack([u / w, v / w], -1)


def resample(images: Tensor, warp: Warp, side: int | None = None, mode: str = "bilinear") -> Tensor:
    """Return images as a warp moves them; what comes from outside is black, as a padded crop has it.

    Args:
        images: (B, C, H, W).
        warp: of B pictures.
        side: of the result, (B, C, side, side); by default the images' own sides.
        mode: "bilinear" or "nearest".
    """
    height, width = (side, side) if side else images.shape[-2:]
    y = (torch.arange(height, device=images.device, dtype=images.dtype) + 0.5) / height
    x = (torch.arange(width, device=images.device, dtype=images.dtype) + 0.5) / width
    centres = torch.stack(torch.broadcast_tensors(x[None, :], y[:, None]), -1).reshape(1, -1, 2)
    grid = (2 * warp.sources(centres.expand(len(images), -1, -1)) - 1).view(-1, height, width, 2)
    return F.grid_sample(images, grid, mode, "zeros", align_corners=False)


def move_points(points: Tensor, warp: Warp, sizes: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Return where points of pictures are after a warp, in pixels, and which of them are in sight.

    Left and right change places in a mirrored picture: whoever counts left and right eyes must swap them.

    Args:
        points: (B, P, 2), x and y in pixels of the picture, 0 being the outer edge of the first pixel.
        warp: of the B pictures.
        sizes: width and height of each picture, (B, 2).
        side: of the moved pictures, in pixels.

    Returns:
        Points (B, P, 2) and whether they are in sight, (B, P).
    """
    moved, visible = warp.followed(points.double() / sizes.double()[:, None])
    return (moved * side).to(points.dtype), visible


def move_boxes(boxes: Tensor, warp: Warp, sizes: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Return the boxes around what was in boxes, clipped to the moved picture, and the share left visible.

    Args:
        boxes: (B, N, 4) x0, y0, x1, y1 in pixels, half-open.
        warp: of the B pictures.
        sizes: width and height of each picture, (B, 2).
        side: of the moved pictures, in pixels.

    Returns:
        Boxes (B, N, 4), without area where nothing is left in sight, and the share of the moved box's area
        that is left, (B, N) in [0, 1].
    """
    steps = torch.linspace(0, 1, EDGE, dtype=torch.float64, device=boxes.device)
    zero, one = torch.zeros_like(steps), torch.ones_like(steps)
    x = torch.cat([steps, steps, zero, one])
    y = torch.cat([zero, one, steps, steps])
    low, high = boxes[..., None, :2].double(), boxes[..., None, 2:].double()
    border = low + (high - low) * torch.stack([x, y], -1)  # (B, N, 4 EDGE, 2)
    places = border.flatten(1, 2) / sizes.double()[:, None]
    whole, left = (_around(move(places).view(border.shape)) for move in (warp.targets, warp.bounded))
    visible = (_area(left) / _area(whole).clamp(min=1e-12)).clamp(max=1)
    return (left * side).to(boxes.dtype), visible.to(boxes.dtype)


def _around(places: Tensor) -> Tensor:
    return torch.cat([places.amin(2), places.amax(2)], -1)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def move_masks(masks: Tensor, warp: Warp, side: int) -> Tensor:
    """Return masks (B, N, H, W) bool as a warp moves them, (B, N, side, side): the nearest pixel's value."""
    return resample(masks.double(), warp, side, "nearest") > 0.5


def move_labels(labels: Tensor, warp: Warp, side: int, outside: int) -> Tensor:
    """Return class numbers (H, W) as the warp of one picture moves them, (side, side): of the nearest pixels.

    Args:
        labels: of the pixels of the picture.
        warp: of that picture.
        side: of the moved picture, in pixels.
        outside: what is said of a place that the picture does not show.
    """
    height, width = labels.shape
    middle = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    centres = torch.stack(torch.broadcast_tensors(middle[None, :], middle[:, None]), -1)
    places = warp.sources(centres.reshape(1, -1, 2))[0]
    x = (places[:, 0] * width).long().clamp(0, width - 1)
    y = (places[:, 1] * height).long().clamp(0, height - 1)
    inside = ((places >= 0) & (places < 1)).all(1)
    return torch.where(inside, labels[y, x], outside).view(side, side)
