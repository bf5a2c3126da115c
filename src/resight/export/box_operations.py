"""What detectors do with boxes and torch's exporter does not know, as nodes of ONNX.

Suppression gives as many results as asked for, so that all shapes of a detector's graph are known but that of
its answer.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

NONE = -1
"""In place of a box's number, where fewer are kept than were asked for."""
INT64 = 7
"""ONNX's number of the type."""
LOW = -3.0e38
"""Score of no box."""


@torch.library.custom_op("resight::suppressed", mutates_args=())
def suppressed(boxes: Tensor, scores: Tensor, overlap: float, least: float, most: int) -> Tensor:
    """Return the numbers of the boxes that are kept, the best first, then `NONE`, (most,).

    In each group, of boxes that overlap by more than `overlap` the best is kept. Box n of group g has the
    number g N + n.

    Args:
        boxes: x0, y0, x1, y1, (G, N, 4).
        scores: (G, N).
        overlap: intersection over union.
        least: score that a box must exceed.
        most: boxes of all groups together.
    """
    from torchvision.ops import nms

    kept = []
    for group in range(len(boxes)):
        rows = torch.nonzero(scores[group] > least).flatten()
        kept.append(group * boxes.shape[1] + rows[nms(boxes[group, rows], scores[group, rows], overlap)])
    numbers = torch.cat(kept)
    order = scores.flatten()[numbers].argsort(descending=True, stable=True)[:most]
    return F.pad(numbers[order], (0, most - len(order)), value=NONE)


@suppressed.register_fake
def _(boxes: Tensor, scores: Tensor, overlap: float, least: float, most: int) -> Tensor:
    return boxes.new_empty(most, dtype=torch.int64)


def nodes(boxes: Any, scores: Any, overlap: float, least: float, most: int) -> Any:
    """Return `suppressed` as nodes of ONNX; the exporter calls it with values of its graph."""
    op = _operations()
    found = op.NonMaxSuppression(
        boxes, op.Unsqueeze(scores, op.Constant(value_ints=[1])), op.Constant(value_ints=[most]),
        op.Constant(value_floats=[overlap]), op.Constant(value_floats=[least]),
    )  # fmt: skip
    group, place = (op.Gather(found, op.Constant(value_ints=[column]), axis=1) for column in (0, 2))
    each = op.Gather(op.Shape(scores), op.Constant(value_ints=[1]))
    numbers = op.Reshape(op.Add(op.Mul(group, each), place), op.Constant(value_ints=[-1]))
    known = op.Gather(op.Reshape(scores, op.Constant(value_ints=[-1])), numbers)
    filled = op.Concat(known, op.Constant(value_floats=[LOW] * most), axis=0)
    _, best = op.TopK(filled, op.Constant(value_ints=[most]), axis=0)
    return op.Gather(op.Concat(numbers, op.Constant(value_ints=[NONE] * most), axis=0), best)


def cut(
    maps: Any, regions: Any, scale: float, height: int, width: int, samples: int, aligned: bool = False
) -> Any:
    """Return torchvision's `roi_align` as nodes of ONNX; regions are (R, 5), the picture's number first."""
    op = _operations()
    numbers = op.Cast(op.Gather(regions, op.Constant(value_int=0), axis=1), to=INT64)
    boxes = op.Gather(regions, op.Constant(value_ints=[1, 2, 3, 4]), axis=1)
    return op.RoiAlign(
        maps, boxes, numbers, coordinate_transformation_mode="half_pixel" if aligned else "output_half_pixel",
        spatial_scale=scale, output_height=height, output_width=width, sampling_ratio=samples,
    )  # fmt: skip


def _operations() -> Any:
    """Return what makes nodes; its own types know only values, and the exporter gives values of a graph."""
    from onnxscript import opset18

    return opset18


def translations() -> dict[Any, Any]:
    """Return what torch's exporter needs to write these operations into a file."""
    import torchvision.ops  # noqa: F401 - it registers roi_align

    return {torch.ops.resight.suppressed.default: nodes, torch.ops.torchvision.roi_align.default: cut}
