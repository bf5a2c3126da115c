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
from resight.data.decode import decode
from resight.evaluate.scores import probabilities_of
from resight.service.pictures import expand
from resight.service.run.run import open_run
from resight.tasks.classify.task import of as task_of


def predict(run: str, paths: Sequence[str], top: int = 5, *, exact: bool = False) -> Iterator[dict[str, Any]]:
    """Yield the prediction of each picture, in the order of the paths.

    Batch normalization is folded and the products run in the hardware's fastest precision.

    Args:
        run: a RUN.
        paths: files, folders (all pictures below them) and patterns.
        top: how many classes to list.
        exact: float32 instead.

    Yields:
        A row of the JSON of `resight predict`, with "labels", all classes of probability 0.5 or more, where
        the network learned pictures of several classes; for a file that cannot be read {"path", "error"}.

    Raises:
        ResightError: in one line, if there is no picture at all or no run.
    """
    files = expand(paths)
    opened = open_run(run)
    classes = opened.model.classes
    if not classes:
        raise DataError(f"{run}: does not know its class names")
    task = task_of(opened.model)
    member = opened.member(classes, fast=not exact)
    read = _Files(tuple(files), opened.preprocessing.resize, opened.preprocessing.levels)
    # One worker reads ahead where there are enough pictures to repay its start.
    workers = 1 if len(files) >= 256 and cores() > 1 else 0
    answers: Iterable[tuple[int, Any]] = probabilities_of(
        [member], read, world().share(len(files)), workers=workers
    )
    if world().processes > 1:
        answers = sorted(world().gathered(list(answers)), key=itemgetter(0))
    for index, answer in answers:
        if isinstance(answer, PictureError):
            yield {"path": str(files[index]), "error": f"{answer.fault}; {answer.cure}"}
            continue
        best = answer.topk(min(top, len(classes)))
        pairs = [[classes[i], p] for p, i in zip(best.values.tolist(), best.indices.tolist(), strict=True)]
        yield {
            "path": str(files[index]),
            "label": pairs[0][0],
            "index": int(best.indices[0]),
            "probability": pairs[0][1],
            "top": pairs,
            **task.labels(answer, classes),
        }


@dataclass(frozen=True)
class _Files:
    """Reads a picture by its number; goes to worker processes."""

    files: tuple[Path, ...]
    at_least: int
    levels: Levels

    def __call__(self, index: int) -> Image.Image:
        return decode(self.files[index], at_least=self.at_least, levels=self.levels)
