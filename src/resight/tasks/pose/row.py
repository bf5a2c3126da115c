"""What `resight predict` says of a pose; without torch, so that exported files say the same."""

from collections.abc import Sequence
from typing import Any

MOST_SAID = 17
"""Joints that predict prints of a picture."""


def row_of(
    names: Sequence[str],
    places: Sequence[Sequence[float]],
    sure: Sequence[float] | None,
    size: Sequence[int],
) -> dict[str, Any]:
    """Return {"joints": {name: [x, y]}, "size", "said"}, and "confidence" where spreads are learned.

    Args:
        names: of the joints, J.
        places: x and y of each joint in pixels of the whole picture, 0 being the middle of the first one, as
            annotations count, (J, 2).
        sure: a joint's confidence is 1 less the mean of its deviations in shares of the sides (Li et al.
            2021); None where the network does not say them.
        size: (width, height) of the picture.
    """
    joints = {
        name: [round(float(x), 1), round(float(y), 1)] for name, (x, y) in zip(names, places, strict=True)
    }
    confidence = {}
    if sure is not None:
        rounded = (round(float(one), 4) for one in sure)
        confidence = {"confidence": dict(zip(names, rounded, strict=True))}
    listed = [f"{name} {x:.0f},{y:.0f}" for name, (x, y) in joints.items()]
    more = f" and {len(listed) - MOST_SAID} more" if len(listed) > MOST_SAID else ""
    return {
        "joints": joints, **confidence, "size": list(size), "said": "  ".join(listed[:MOST_SAID]) + more,
    }  # fmt: skip
