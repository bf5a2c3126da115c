"""What `resight predict` says of many objects; without torch, so that exported files say the same."""

from collections.abc import Sequence
from typing import Any

SHOWN = 0.5
"""Score from which a detection is drawn, said, and counted among the errors."""


def row_of(
    classes: Sequence[str],
    boxes: Sequence[Sequence[float]],
    labels: Sequence[int],
    scores: Sequence[float],
    masks: Sequence[dict[str, Any]] | None,
    size: Sequence[int],
) -> dict[str, Any]:
    """Return {"objects": [{"label", "index", "score", "box": [x, y, w, h]}], "size", "said"}.

    Args:
        classes: names.
        boxes: x0, y0, x1, y1 in pixels of the picture, the best first, (D, 4).
        labels: class numbers, (D,).
        scores: (D,).
        masks: COCO's uncompressed run lengths, D, which become "segmentation"; None without masks.
        size: (width, height) of the picture.
    """
    rows, drawn = [], masks or [None] * len(scores)
    for box, label, score, mask in zip(boxes, labels, scores, drawn, strict=True):
        x0, y0, x1, y1 = (round(float(edge), 1) for edge in box)
        rows.append({
            "label": classes[label], "index": int(label), "score": float(score),
            "box": [x0, y0, round(x1 - x0, 1), round(y1 - y0, 1)],
            **({"segmentation": mask} if mask else {}),
        })  # fmt: skip
    shown = [row for row in rows if row["score"] >= SHOWN]
    named = ", ".join(f"{row['label']} {row['score']:.2f}" for row in shown[:8])
    more = f" and {len(shown) - 8} more" if len(shown) > 8 else ""
    count = f"{len(shown)} objects: " if len(shown) != 1 else "1 object: "
    said = f"{count}{named}{more}" if shown else f"no object with a score of {SHOWN:g} or more"
    return {"objects": rows, "size": list(size), "said": said}
