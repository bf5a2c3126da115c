"""How a map becomes boxes: the rule that the user chooses.

Source: Zhou et al. 2016, section 3.2 (threshold, largest component; tight and loose box).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resight.core.errors import UsageError
from resight.localize.boxes import NORMALIZATIONS, Region, regions, regions_by_peak

TIGHT = 0.4
"""The tight box's threshold in the CAM paper's rule of five boxes; the loose one's is the threshold given."""
RULES = {
    "largest": "the largest part",
    "all": "all parts of 1 % of the picture or more",
    "peaks": "one part for each peak",
    "tight-loose": f"the largest part (also above {TIGHT:g})",
}


@dataclass(frozen=True)
class Rule:
    """How a map becomes boxes.

    Attributes:
        threshold: a pixel belongs to an object above this share, in [0, 1).
        normalization: what the threshold is a share of: "max" or "minmax"; see `resight.localize.boxes`.
        boxes: "largest" part, "all" parts of at least 1 % of the picture, one part for each of the "peaks",
            or "tight-loose": the largest part above 0.4 and above the threshold, the CAM paper's two boxes;
            one box if they are equal.
    """

    threshold: float = 0.2
    normalization: str = "max"
    boxes: str = "largest"

    def __post_init__(self) -> None:
        """Refuse values out of range.

        Raises:
            UsageError: naming the value.
        """
        if not 0 <= self.threshold < 1:
            raise UsageError(f"threshold {self.threshold:g}: must be at least 0 and below 1")
        if self.boxes not in RULES:
            raise UsageError(f"boxes {self.boxes!r}: must be one of {', '.join(RULES)}")
        if self.normalization not in NORMALIZATIONS:
            known = ", ".join(NORMALIZATIONS)
            raise UsageError(f"normalization {self.normalization!r}: must be one of {known}")

    def __call__(self, share: NDArray[np.float32]) -> list[Region]:
        """Return the parts of a map (H, W), from `scaled`, that get a box."""
        if self.boxes == "tight-loose":
            cuts = [max(TIGHT, self.threshold), self.threshold]
            both = [part for cut in cuts for part in regions(share, cut)[:1]]
            return both[:1] if len({part.box for part in both}) < 2 else both
        if self.boxes == "peaks":
            found = regions_by_peak(share, self.threshold, max(min(share.shape) // 8, 1))
        else:
            found = regions(share, self.threshold)
        if self.boxes != "largest":
            found = [region for region in found if region.area >= 0.01 * share.size]
        return found[:1] if self.boxes == "largest" else found

    @property
    def words(self) -> str:
        """The rule in words."""
        of = "maximum" if self.normalization == "max" else "way from minimum to maximum"
        return f"box of {RULES[self.boxes]} above {self.threshold:g} of the {of}"


COARSE = 3
"""Cells per side up to which a map cannot locate an object in a picture."""


def coarse(cells: tuple[int, int]) -> bool:
    """Return whether a map (h, w) is so small that nearly every box is the whole picture."""
    return max(cells) <= COARSE


def largest_box(share: NDArray[np.float32], threshold: float) -> NDArray[np.int64]:
    """Return the box (1, 4) of the largest part of a map (H, W) above a threshold; (0, 4) without one."""
    found = regions(share, threshold)
    return np.array([region.box for region in found[:1]], dtype=np.int64).reshape(-1, 4)
