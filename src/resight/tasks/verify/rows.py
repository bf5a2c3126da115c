"""What `resight predict` says of embeddings; without torch, so that exported files say the same."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resight.metrics import verification as figures

UNKNOWN = -1.0
"""The threshold of a network that was fitted on no validation people."""


def compared(
    names: Sequence[str], embeddings: Sequence[NDArray[np.float32]], threshold: float
) -> Iterator[dict[str, Any]]:
    """Yield what is said of pictures: of one alone, of a pair, or of many; see `Verify.rows`.

    Args:
        names: of the pictures, N.
        embeddings: (D,) each.
        threshold: of a pair's distance; `UNKNOWN` if none was fitted.
    """
    if not embeddings:
        return
    vectors = np.stack(embeddings)
    distances = figures.distances_of(vectors, vectors)
    known = threshold != UNKNOWN
    if len(names) == 1:
        said = f"{vectors.shape[1]} numbers; --json prints them, and two pictures are compared"
        yield {"path": names[0], "embedding": vectors[0].tolist(), "said": said}
    elif len(names) == 2:
        apart = float(distances[0, 1])
        same = bool(apart < threshold) if known else None
        words = {True: "the same person", False: "different people", None: "no threshold was fitted"}[same]
        limit = f", threshold {threshold:.3f}" if known else ""
        yield {
            "path": f"{names[0]}, {names[1]}", "a": names[0], "b": names[1], "distance": apart,
            "threshold": threshold if known else None, "same": same,
            "said": f"{words} (distance {apart:.3f}{limit})",
        }  # fmt: skip
    else:
        groups = figures.groups_of(distances, threshold).tolist() if known else [None] * len(names)
        for name, row, group in zip(names, distances, groups, strict=True):
            numbers = " ".join(f"{distance:.2f}" for distance in row)
            words = "" if group is None else f"person {group + 1}: "
            yield {
                "path": name, "group": group, "distances": row.tolist(),
                "threshold": threshold if known else None, "said": f"{words}{numbers}",
            }  # fmt: skip
