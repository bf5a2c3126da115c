"""A network with a head of its own, from pictures to what it says of them in their own pixels.

pictures (B, H, W, 3) uint8 --frame--> squares --normalize--> images --network--> what the head says
--place--> points and boxes in pixels of the pictures
"""

import copy
from typing import ClassVar

import torch
from torch import Tensor, nn

from resight.core.preprocessing import Preprocessing
from resight.data.layouts.pointed import HALF
from resight.export.graph import Normalizer
from resight.export.resizing import edges, length, squares
from resight.models.solver import Solver
from resight.tasks.localize.task import Localize
from resight.tasks.pose.network import Cascade
from resight.tasks.pose.task import Pose
from resight.tasks.task import SolverTask

EXPORTED = ("detect", "localize", "pose", "verify")
"""The tasks whose runs can be exported."""


class Solved(nn.Module):
    """What an exported file of a task computes.

    Args:
        network: it is copied.
        card: its preprocessing.
        task: what it was trained for.
        temperature: class logits are divided by it.

    Attributes:
        axes: of all that `forward` may return, by name.
        outputs: the names of what it returns, in order.
        together: whether pictures of one size can share a batch; else it takes one at a time.
    """

    axes: ClassVar[dict[str, tuple[str, ...]]]
    outputs: tuple[str, ...]
    inside: tuple[str, ...] = ()
    together: bool = True

    def __init__(self, network: Solver, card: Preprocessing, task: SolverTask, temperature: float) -> None:
        super().__init__()
        self.card, self.task, self.temperature = card, task, temperature
        self.normalize = Normalizer(card)
        self.network: nn.Module = copy.deepcopy(network).cpu().eval()

    def forward(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """Turn pictures (B, H, W, 3) uint8 into `outputs`."""
        return self.said(squares(pictures, self.card), Frame(pictures, self.card))

    def said(self, pixels: Tensor, frame: "Frame") -> tuple[Tensor, ...]:
        """Turn squares (B, 3, S, S) of 0 to 255 into `outputs`.

        Args:
            pixels: the squares.
            frame: where they lie in their pictures.
        """
        raise NotImplementedError


class Frame:
    """Where the squares lie in their pictures, as values of a graph; see `evaluate.asked.Place`.

    Args:
        pictures: (B, H, W, 3).
        card: the preprocessing.
    """

    def __init__(self, pictures: Tensor, card: Preprocessing) -> None:
        height, width = length(pictures.shape[1]), length(pictures.shape[2])
        (left, right), (top, bottom) = edges(width, height, card), edges(height, width, card)
        self.corner, self.sides = torch.stack([left, top]), torch.stack([right - left, bottom - top])
        self.size = torch.stack([width, height]).to(torch.float64)

    def to_picture(self, places: Tensor) -> Tensor:
        """Return places (..., 2), in shares of the square's sides, in pixels of the picture, float64."""
        return self.corner + places.to(torch.float64) * self.sides

    def boxes(self, shares: Tensor) -> Tensor:
        """Return boxes (..., 4) in shares of the square's sides in pixels of the picture, inside it."""
        first, second = self.to_picture(shares[..., :2]), self.to_picture(shares[..., 2:])
        return self.clipped(torch.cat([torch.minimum(first, second), torch.maximum(first, second)], -1))

    def clipped(self, boxes: Tensor) -> Tensor:
        """Return the parts of boxes (..., 4), in pixels of the picture, that are inside it."""
        return torch.minimum(boxes.clamp(min=0.0), torch.cat([self.size, self.size]))


class Embedded(Solved):
    """Embeddings of people."""

    axes: ClassVar[dict[str, tuple[str, ...]]] = {"embeddings": ("batch", "numbers")}
    outputs = ("embeddings",)

    def said(self, pixels: Tensor, frame: Frame) -> tuple[Tensor, ...]:
        """Turn squares into embeddings (B, D)."""
        del frame
        return (self.network(self.normalize(pixels)),)


class Boxed(Solved):
    """One class and one box a picture, or a box of every class."""

    axes: ClassVar[dict[str, tuple[str, ...]]] = {
        "probabilities": ("batch", "classes"), "boxes": ("batch", "boxes", "4"),
    }  # fmt: skip
    outputs = ("probabilities", "boxes")

    def said(self, pixels: Tensor, frame: Frame) -> tuple[Tensor, ...]:
        """Turn squares into probabilities (B, classes) and boxes (B, classes or 1, 4)."""
        assert isinstance(self.task, Localize)  # `solved` chose
        views = [pixels, pixels.flip(3)] if self.task.mirrored else [pixels]
        raw = torch.stack([self.network(self.normalize(view)) for view in views])  # (views, B, ...)
        classes = raw.shape[2] // 5 if self.task.per_class else raw.shape[2] - 4
        likely = (raw[..., :classes].to(torch.float64) / self.temperature).softmax(2).mean(0)
        boxes = raw[..., classes:].unflatten(2, (-1, 4))
        if self.task.mirrored:
            x0, y0, x1, y1 = boxes[1].unbind(-1)
            boxes = torch.stack([boxes[0], torch.stack([1 - x1, y0, 1 - x0, y1], -1)])
        return likely.to(torch.float32), frame.boxes(boxes.mean(0)).to(torch.float32)


class Pointed(Solved):
    """The joints of one person a picture.

    Later stages look at parts of a picture, joint by joint; a file with these takes one picture at a time.
    """

    axes: ClassVar[dict[str, tuple[str, ...]]] = {
        "points": ("batch", "joints", "2"), "confidences": ("batch", "joints"),
    }  # fmt: skip

    def __init__(self, network: Solver, card: Preprocessing, task: SolverTask, temperature: float) -> None:
        super().__init__(network, card, task, temperature)
        assert isinstance(task, Pose)  # `solved` chose
        self.together = task.stages == 1
        self.outputs = ("points", "confidences") if task.loss == "rle" else ("points",)

    def said(self, pixels: Tensor, frame: Frame) -> tuple[Tensor, ...]:
        """Turn squares into points (B, J, 2), 0 the middle of the first pixel, and confidences (B, J)."""
        network, images = self.network, self.normalize(pixels)
        assert isinstance(network, Cascade)  # of this task
        found = network.head(network.forward_maps(images))
        for number in range(len(network.refiners)):
            found = network.refined(number, images, found)
        points = (frame.to_picture(found[..., :2]) - HALF).to(torch.float32)
        if len(self.outputs) == 1:
            return (points,)
        return points, (1 - found[..., 2:].mean(-1)).clamp(min=0.0)


def solved(network: Solver, card: Preprocessing, task: SolverTask, temperature: float) -> Solved:
    """Return what an exported file of a run computes.

    Args:
        network: of the run.
        card: its preprocessing.
        task: of the run.
        temperature: class logits are divided by it.
    """
    from resight.export.objects import Objects

    kinds = {"verify": Embedded, "localize": Boxed, "pose": Pointed, "detect": Objects}
    assert set(kinds) == set(EXPORTED)
    return kinds[task.name](network, card, task, temperature).eval()
