"""Name what is on pictures: files, folders and patterns, a broken one among them reported."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

from PIL import Image

from resight.core.device import cores
from resight.core.distributed import world
from resight.core.errors import DataError, PictureError
from resight.core.levels import Levels
from resight.data.given import Given, decode_given, found, listed
from resight.evaluate.scores import probabilities_of
from resight.export.deployed import is_onnx
from resight.service.deployed.predict import predict as predict_deployed
from resight.service.deployed.predict import require_probability
from resight.service.run.run import open_run
from resight.service.test.accepted import require_one_answer
from resight.tasks.classify.task import of as task_of


def predict(
    run: str,
    images: Given | Sequence[Given],
    top: int = 5,
    *,
    at_least: float | None = None,
    exact: bool = False,
) -> Iterator[dict[str, Any]]:
    """Yield the prediction of each picture, in the order of the images.

    Batch normalization is folded and the products run in the hardware's fastest precision.

    Args:
        run: a RUN.
        images: a picture or several: files, folders (all pictures below them) and patterns, PIL pictures, and
            arrays of uint8, (H, W, 3) RGB or (H, W) grey. PIL pictures are read as their files would be.
        top: how many classes to list.
        at_least: an answer of a lower probability is unsure, in (0, 1); see `accepted` in `accepted.py`.
        exact: float32 instead.

    Yields:
        A row of the JSON of `resight predict`, with "labels", all classes of probability 0.5 or more, where
        the network learned pictures of several classes, and "unsure" with `at_least`; for a file that cannot
        be read {"path", "error"}. The "path" of a picture that is no file is its place, such as "images[0]".

    Raises:
        ResightError: in one line, if there is no picture at all or no run.
    """
    if at_least is not None:
        require_probability(at_least)
    if is_onnx(run):
        yield from predict_deployed(run, images, top, at_least=at_least)
        return
    names, pictures = found(listed(images))
    opened = open_run(run)
    if at_least is not None:
        require_one_answer(opened)
    classes = opened.model.classes
    if not classes:
        raise DataError(f"{run}: does not know its class names")
    task = task_of(opened.model)
    member = opened.member(classes, fast=not exact)
    read = _Pictures(names, pictures, opened.preprocessing.resize, opened.preprocessing.levels)
    # One worker reads ahead where there are enough pictures to repay its start.
    files = all(isinstance(picture, Path) for picture in pictures)
    workers = 1 if files and len(names) >= 256 and cores() > 1 else 0
    answers: Iterable[tuple[int, Any]] = probabilities_of(
        [member], read, world().share(len(names)), workers=workers
    )
    if world().processes > 1:
        answers = sorted(world().gathered(list(answers)), key=itemgetter(0))
    for index, answer in answers:
        if isinstance(answer, PictureError):
            yield {"path": names[index], "error": f"{answer.fault}; {answer.cure}"}
            continue
        best = answer.topk(min(top, len(classes)))
        pairs = [[classes[i], p] for p, i in zip(best.values.tolist(), best.indices.tolist(), strict=True)]
        yield {
            "path": names[index],
            "label": pairs[0][0],
            "index": int(best.indices[0]),
            "probability": pairs[0][1],
            "top": pairs,
            **task.labels(answer, classes),
            **({} if at_least is None else {"unsure": pairs[0][1] < at_least}),
        }


@dataclass(frozen=True)
class _Pictures:
    """Reads a picture by its number; goes to worker processes."""

    names: tuple[str, ...]
    pictures: tuple[Given, ...]
    at_least: int
    levels: Levels

    def __call__(self, index: int) -> Image.Image:
        return decode_given(
            self.pictures[index], self.names[index], at_least=self.at_least, levels=self.levels
        )
