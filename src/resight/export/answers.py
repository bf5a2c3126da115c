"""What the outputs of an exported file mean, as the answers of its task: for comparison and for tests."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from resight.core.console import counted
from resight.core.distributed import world
from resight.core.errors import PictureError
from resight.data.layouts.pointed import HALF
from resight.export.deployed import Onnx
from resight.export.drawn import masks_of
from resight.tasks.detect.result import Detected
from resight.tasks.localize.result import GUESSES, Located
from resight.tasks.localize.row import box_of
from resight.tasks.pose.result import Posed
from resight.tasks.verify.result import Answer


class OnnxSolver(nn.Module):
    """An opened file of a task with a head of its own, for `test`: it answers pictures, not images.

    Args:
        opened: the file.
    """

    def __init__(self, opened: Onnx) -> None:
        super().__init__()
        self.opened, self.preprocessing = opened, opened.preprocessing
        self.classes: tuple[str, ...] = opened.classes
        self.about: dict[str, Any] = opened.facts.get("about") or {}

    def answers(self, read: Callable[[int], Image.Image], count: int) -> Iterator[tuple[int, Any]]:
        """Yield (index, answer or PictureError) of pictures, as `SolverTask.answers` does.

        Args:
            read: gives picture `index`, decoded whole, or raises PictureError.
            count: number of pictures; those of this process are taken.
        """
        share = world().share(count)
        for index in counted(share, "testing pictures", len(share)):
            try:
                picture = read(index)
            except PictureError as error:
                yield index, error
                continue
            (values,) = self.opened.outputs_alone([picture])
            yield index, answer_of(self.opened, values, picture.size)


def answer_of(opened: Onnx, values: dict[str, NDArray[Any]], size: Sequence[int]) -> Any:
    """Return the answer of the file's task, as `SolverTask.answers` yields it.

    Args:
        opened: the file.
        values: its outputs for one picture, without the axis of the batch.
        size: (width, height) of the picture.
    """
    own = (int(size[0]), int(size[1]))
    if opened.task == "verify":
        return Answer(values["embeddings"], tuple(opened.export["fitted"]))
    if opened.task == "localize":
        likely = values["probabilities"].astype(np.float64)
        best = np.argsort(-likely, kind="stable")[:GUESSES].tolist()
        x0, y0, x1, y1 = box_of(best[0], values["boxes"])
        box, each = (x0, y0, x1, y1), values["boxes"].astype(np.float32)
        return Located(best[0], float(likely[best[0]]), box, own, None, tuple(best), each)
    if opened.task == "pose":
        places = tuple((x + HALF, y + HALF) for x, y in values["points"].astype(np.float64).tolist())
        # The file says how sure a joint is, the mean of its two deviations.
        sure = values["confidences"].astype(np.float64).tolist() if "confidences" in values else []
        return Posed(tuple(opened.joints), (places,), tuple((1 - one, 1 - one) for one in sure), own)
    boxes, scores = (values[name].astype(np.float64) for name in ("boxes", "scores"))
    masks = tuple(masks_of(values["masks"], values["mask_boxes"], own)) if "masks" in values else None
    return Detected(boxes, values["classes"].astype(np.int64), scores, own, masks)
