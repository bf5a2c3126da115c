"""Say what an exported file of a task with a head of its own sees on pictures, without torch."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resight.core.console import counted
from resight.core.errors import PictureError
from resight.data.given import Given, decode_given
from resight.export.deployed import Onnx
from resight.export.drawn import masks_of
from resight.tasks.detect.row import row_of as objects_row
from resight.tasks.localize.row import box_of
from resight.tasks.localize.row import row_of as box_row
from resight.tasks.pose.row import row_of as pose_row
from resight.tasks.verify.rows import compared


def solved(network: Onnx, names: Sequence[str], pictures: Sequence[Given]) -> Iterator[dict[str, Any]]:
    """Yield the rows that `predict` yields for the run behind a file; pictures are decoded whole.

    Args:
        network: the file.
        names: of the pictures.
        pictures: the pictures.

    Raises:
        ModelFileError: if an answer is not finite.
    """
    answers, faults = list[tuple[str, NDArray[Any]]](), list[dict[str, Any]]()
    for name, given in counted(list(zip(names, pictures, strict=True)), "pictures", len(names)):
        try:
            picture = decode_given(given, name, levels=network.preprocessing.levels)
        except PictureError as error:
            fault = {"path": name, "error": f"{error.fault}; {error.cure}"}
            if network.task == "verify":
                faults.append(fault)
            else:
                yield fault
            continue
        (values,) = network.outputs_alone([picture])
        if network.task == "verify":
            answers.append((name, values["embeddings"]))
        else:
            yield {"path": name, **row_of(network, values, picture.size)}
    if network.task == "verify":
        threshold = float(network.export["fitted"][0])
        yield from compared([name for name, _ in answers], [one for _, one in answers], threshold)
        yield from faults


def row_of(network: Onnx, values: dict[str, NDArray[Any]], size: tuple[int, int]) -> dict[str, Any]:
    """Return what a file says of one picture of (width, height) as a row, by its outputs."""
    if network.task == "localize":
        likely = values["probabilities"].astype(np.float64)
        label = int(likely.argmax())
        edges = box_of(label, values["boxes"])
        return box_row(network.classes[label], label, float(likely[label]), edges, size)
    if network.task == "pose":
        sure = values["confidences"].tolist() if "confidences" in values else None
        return pose_row(network.joints, values["points"].tolist(), sure, size)
    boxes = values["boxes"].astype(np.float64)
    masks = list(masks_of(values["masks"], values["mask_boxes"], size)) if "masks" in values else None
    labels, scores = values["classes"].tolist(), values["scores"].tolist()
    return objects_row(network.classes, boxes.tolist(), labels, scores, masks, size)
