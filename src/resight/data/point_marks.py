"""Points of pictures as marks: moved with the picture, left and right exchanged where it is mirrored."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from resight.core.errors import DataError, UsageError
from resight.data.augment.draws import Draws
from resight.data.augment.warp import Warp, move_points
from resight.data.dataset import Split
from resight.data.marks import WarpOf
from resight.data.points import UNMARKED

CHANCE = 64
"""Numbers that a loss may draw for each picture."""
STEP = 1e-3
"""Share of the picture's sides, to see whether a move mirrors it."""


@dataclass(frozen=True)
class Points:
    """The joints of the pictures of a batch.

    Attributes:
        places: x and y, (B, J, 2): as they are read, in pixels of the whole picture, 0 being the outer edge
            of the first pixel, float64; once they are moved, in shares of the sides of the moved picture,
            float32.
        known: whether a joint is marked and in sight, (B, J).
        sizes: (width, height) of the whole pictures, (B, 2).
        chance: uniform numbers in [0, 1) of each picture and epoch, for what a loss draws, (B, C); C is 0
            where nothing is drawn.
        swaps: each joint's partner in a mirrored picture, (J,); empty if nobody knows.
    """

    places: Tensor
    known: Tensor
    sizes: Tensor
    chance: Tensor
    swaps: tuple[int, ...]

    @classmethod
    def read(cls, split: Split, index: int) -> tuple[Any, ...]:
        """Return places (J, 2), which are known (J,), the picture's size and the partners.

        Raises:
            DataError: if the data set has no points, or the picture's size is not known.
        """
        size, points = split.picture_size(index), split.points
        if points is None or size is None:
            fault = "its size is not known" if points else "it has no key points"
            raise DataError(f"{split.picture_name(index)}: {fault}; this task needs both; take it out")
        position = int(split.positions[index])
        return points.places[position], points.states[position] != UNMARKED, size, points.skeleton.swaps

    @classmethod
    def said(cls, split: Split, index: int) -> str:
        """Return the names, places and states of the joints, and which of them swap."""
        places, _, size, swaps = cls.read(split, index)
        points = split.points
        assert points is not None  # `read` sees to it
        states = points.states[int(split.positions[index])]
        joints = zip(points.skeleton.names, places, states, strict=True)
        listed = " ".join(f"{name}:{x:g},{y:g},{state}" for name, (x, y), state in joints)
        return f"{listed} of {size} {swaps}"

    @classmethod
    def together(cls, read: Sequence[tuple[Any, ...]]) -> "Points":
        """Return the joints of B pictures as one."""
        count = len(read)
        joints = len(read[0][1]) if read else 0
        return cls(
            torch.from_numpy(np.array([row[0] for row in read], dtype=np.float64).reshape(count, joints, 2)),
            torch.from_numpy(np.array([row[1] for row in read], dtype=bool).reshape(count, joints)),
            torch.tensor([row[2] for row in read], dtype=torch.int64).view(count, 2),
            torch.zeros(count, 0),
            read[0][3] if read else (),
        )

    @classmethod
    def of_split(cls, split: Split) -> "Points":
        """Return the joints of a split."""
        return cls.together([cls.read(split, index) for index in range(len(split))])

    @classmethod
    def joined(cls, parts: Sequence["Points"]) -> "Points":
        """Return the joints of all parts, in order."""
        return cls(
            torch.cat([part.places for part in parts]),
            torch.cat([part.known for part in parts]),
            torch.cat([part.sizes for part in parts]),
            torch.cat([part.chance for part in parts]),
            parts[0].swaps,
        )

    def to(self, device: torch.device) -> "Points":
        """Return the same; places stay on the CPU until they are moved, which is computed there."""
        return Points(self.places, self.known.to(device), self.sizes, self.chance.to(device), self.swaps)

    def moved(self, warp_of: WarpOf) -> "Points":
        """Return the joints where the moved pictures show them, and as unknown where they do not.

        Raises:
            UsageError: if a picture is mirrored and nobody knows which joints swap.
        """
        warp, device = warp_of(self.sizes.numpy()), self.known.device
        places, seen = move_points(self.places, warp, self.sizes, 1)
        known = self.known.cpu() & seen
        mirrored = mirrors(warp, len(self))
        if mirrored.any():
            if not self.swaps:
                raise UsageError(
                    "augment=flip: which points are left and right is not known, so pictures cannot be "
                    "mirrored; name the points left_... and right_..., or leave out flip"
                )
            other = torch.tensor(self.swaps)
            places = torch.where(mirrored[:, None, None], places[:, other], places)
            known = torch.where(mirrored[:, None], known[:, other], known)
        places = places.to(device, torch.float32)
        return Points(places, known.to(device), self.sizes, self.chance, self.swaps)

    def drawn(self, draws: Draws) -> "Points":
        """Return the same with numbers of each picture and epoch."""
        chance = draws.of("points").field("chance", CHANCE)
        return Points(self.places, self.known, self.sizes, chance.to(self.known.device), self.swaps)

    def __len__(self) -> int:
        return len(self.known)

    def __getitem__(self, part: slice | Tensor) -> "Points":
        def cut(tensor: Tensor) -> Tensor:
            return tensor[part if isinstance(part, slice) else part.to(tensor.device)]

        return Points(cut(self.places), cut(self.known), cut(self.sizes), cut(self.chance), self.swaps)


def mirrors(warp: Warp, count: int) -> Tensor:
    """Return which pictures a warp mirrors, (B,): where a turn to the right becomes one to the left."""
    corner = torch.tensor([[0.5, 0.5], [0.5 + STEP, 0.5], [0.5, 0.5 + STEP]], dtype=torch.float64)
    at = warp.targets(corner.expand(count, 3, 2))
    right, down = at[:, 1] - at[:, 0], at[:, 2] - at[:, 0]
    return right[:, 0] * down[:, 1] - right[:, 1] * down[:, 0] < 0
