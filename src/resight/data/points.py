"""Key points of a data set: their names, which swap in a mirrored picture, and where they are."""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resight.core.errors import DataError

UNMARKED, HIDDEN, VISIBLE = 0, 1, 2
"""States of a joint, as COCO counts them: no place is known; the joint is hidden; it is seen."""

PAIR = re.compile(r"^(?:left|right)|(?:left|right)$|^[lr](?=[_\- ])", re.IGNORECASE)
OTHER = {"left": "right", "right": "left", "l": "r", "r": "l"}


@dataclass(frozen=True)
class Skeleton:
    """The joints of a data set, J of them.

    Attributes:
        names: of the joints, (J,).
        swaps: for each joint, the number of the joint whose place it takes in a mirrored picture, its own for
            one in the middle, (J,); empty where nobody knows, so that such pictures must not be mirrored.
        limbs: pairs of joints that a line is drawn between.
        torso: two joints whose distance is the size of a person, such as left shoulder and right hip; empty
            where there are none.
        eyes: two points whose distance is the size of a face, the outer corners of the eyes; empty where
            there are none.
    """

    names: tuple[str, ...]
    swaps: tuple[int, ...] = ()
    limbs: tuple[tuple[int, int], ...] = ()
    torso: tuple[int, ...] = ()
    eyes: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def side(self, joint: int) -> str:
        """Return "left", "right" or "" for a joint, by its name or else by its partner's number."""
        word = _sided(self.names[joint])
        if word:
            return "left" if word[0] == "l" else "right"
        if not self.swaps or self.swaps[joint] == joint:
            return ""
        return "right" if joint < self.swaps[joint] else "left"


def _sided(name: str) -> str:
    """Return the word of a name that says its side, in lower case; "" if there is none."""
    found = PAIR.search(name)
    return found.group().lower() if found else ""


def swaps_of(names: Sequence[str], where: str) -> tuple[int, ...]:
    """Return each joint's partner on the other side by its name: left_knee and right_knee, l_knee and r_knee.

    Args:
        names: of the joints.
        where: the file that names them.

    Raises:
        DataError: if a joint of one side has no partner.
    """
    number = {name.lower(): i for i, name in enumerate(names)}
    swaps = []
    for i, name in enumerate(names):
        word = _sided(name)
        partner = PAIR.sub(OTHER[word], name.lower(), count=1) if word else ""
        if word and partner not in number:
            raise DataError(
                f"{where}: has {name!r} but no {partner!r}, so a mirrored picture cannot be learned; add "
                f"that joint (its cells may be empty), or rename {name!r} without its side"
            )
        swaps.append(number[partner] if word else i)
    return tuple(swaps)


LSP = Skeleton(
    names=(
        "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "right_wrist",
        "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist", "neck", "head_top",
    ),
    swaps=(5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7, 6, 12, 13),
    limbs=(
        (0, 1), (1, 2), (3, 4), (4, 5), (6, 7), (7, 8), (9, 10), (10, 11), (12, 13), (8, 12), (9, 12),
        (2, 8), (3, 9), (2, 3),
    ),
    torso=(9, 2),
)  # fmt: skip
"""Leeds Sports Pose: Johnson and Everingham 2010, "Clustered Pose and Nonlinear Appearance Models"."""


def _chain(*numbers: int) -> tuple[tuple[int, int], ...]:
    return tuple(itertools.pairwise(numbers))


FACE = Skeleton(
    names=tuple(str(i) for i in range(68)),
    swaps=(
        *range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, *range(35, 30, -1), 45, 44, 43, 42, 47, 46,
        39, 38, 37, 36, 41, 40, *range(54, 47, -1), *range(59, 54, -1), 64, 63, 62, 61, 60, 67, 66, 65,
    ),
    limbs=(
        *_chain(*range(17)), *_chain(*range(17, 22)), *_chain(*range(22, 27)), *_chain(*range(27, 31)),
        *_chain(*range(31, 36)), *_chain(*range(36, 42), 36), *_chain(*range(42, 48), 42),
        *_chain(*range(48, 60), 48), *_chain(*range(60, 68), 60),
    ),
    eyes=(36, 45),
)  # fmt: skip
"""The 68 points of Multi-PIE and 300-W (Sagonas et al. 2013), from 0; the person's right comes first."""


@dataclass(frozen=True)
class KeyPoints:
    """Where the joints are in each picture of a source of N pictures.

    Attributes:
        skeleton: what the J joints are.
        places: x and y in pixels of the whole decoded picture, 0 being the outer edge of the first pixel,
            (N, J, 2) float64; 0 where a joint is not marked.
        states: `UNMARKED`, `HIDDEN` or `VISIBLE`, (N, J) int8.
    """

    skeleton: Skeleton
    places: NDArray[np.float64]
    states: NDArray[np.int8]
