"""Name what is on pictures: files, folders and patterns, a broken one among them reported."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from resight.core.device import cores, pick_precision
from resight.core.distributed import world
from resight.core.errors import DataError, PictureError, UsageError
from resight.core.levels import Levels
from resight.data.given import Given, decode_given, found, listed
from resight.evaluate.asked import Asked
from resight.evaluate.scores import probabilities_of
from resight.evaluate.votes import mean_and_spread, votes_of
from resight.export.deployed import is_onnx
from resight.models.solver import Solver
from resight.service.deployed.predict import predict as predict_deployed
from resight.service.deployed.predict import require_probability, row_of
from resight.service.pictures import map_place, write_png
from resight.service.run.run import Run, open_any
from resight.service.test.accepted import require_one_answer
from resight.service.test.votes import require_votable
from resight.tasks.classify.task import of_network
from resight.tasks.task import SolverTask


def predict(
    run: str,
    images: Given | Sequence[Given],
    top: int = 5,
    *,
    at_least: float | None = None,
    exact: bool = False,
    out: str | None = None,
    votes: int | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield the prediction of each picture, in the order of the images.

    Batch normalization is folded and the products run in the hardware's fastest precision.

    Args:
        run: a RUN.
        images: a picture or several: files, folders (all pictures below them) and patterns, PIL pictures, and
            arrays of uint8, (H, W, 3) RGB or (H, W) grey. PIL pictures are read as their files would be.
        top: how many classes to list.
        at_least: an answer of a lower probability is unsure, in (0, 1); see `accepted` in `accepted.py`. Of a
            run that finds objects: below this score nothing is found; rows get "found".
        exact: float32 instead.
        out: a folder for answers that are pictures: the label map of each picture as PNG, of a run that has a
            class for every pixel; its place is the row's "map".
        votes: passes with dropout left on, in float32, whose mean is the answer; see
            `resight.evaluate.votes`.

    Yields:
        A row of the JSON of `resight predict`; of a run of another task its own, see `SolverTask.answer_row`.
        It has "labels", all classes of probability 0.5 or more, where the network learned multi-label
        pictures; "unsure" with `at_least`; and "spread", the deviation of the probability among the passes,
        with `votes`. For a file that cannot be read it is {"path", "error"}. The "path" of a picture that is
        no file is its place, such as "images[0]".

    Raises:
        ResightError: in one line, if there is no picture at all or no run.
    """
    if at_least is not None:
        require_probability(at_least)
    if is_onnx(run):
        _require_pictures(None, out)
        if votes is not None:
            raise UsageError(f"{run}: an exported network has no dropout; give the run it came from")
        yield from predict_deployed(run, images, top, at_least=at_least)
        return
    names, pictures = found(listed(images))
    opened = open_any(run)
    if votes is not None:
        require_votable([opened], votes)
    card = opened.preprocessing
    given = _Pictures(names, pictures, card.resize, card.levels)
    if isinstance(opened.task, SolverTask):
        _require_pictures(opened.task, out)
        yield from _solved(opened, opened.task, given, at_least, exact=exact, out=out)
        return
    _require_pictures(None, out)
    if at_least is not None:
        require_one_answer(opened)
    yield from _classified(opened, given, top, at_least, exact=exact, votes=votes)


def _classified(
    run: Run, given: "_Pictures", top: int, at_least: float | None, *, exact: bool, votes: int | None
) -> Iterator[dict[str, Any]]:
    """Yield the rows of a classifier; see `predict`."""
    classes = run.model.classes
    if not classes:
        raise DataError(f"{run.name}: does not know its class names")
    task = of_network(run.model)
    member = run.member(classes, fast=not exact and votes is None)
    answers: Iterable[tuple[int, Any]] = (
        probabilities_of([member], given, given.share, workers=given.workers)
        if votes is None
        else votes_of(member, run.name, given, given.share, votes, given.workers)
    )
    for index, answer in _of_all(answers):
        if isinstance(answer, PictureError):
            yield {"path": given.names[index], "error": f"{answer.fault}; {answer.cure}"}
            continue
        likely, spread = (answer, None) if votes is None else mean_and_spread(answer)
        best = likely.topk(min(top, len(classes)))
        row = row_of(
            given.names[index], classes, best.indices.tolist(), best.values.tolist(),
            task.labels(likely, classes), at_least,
        )  # fmt: skip
        yield row if spread is None else {**row, "spread": spread}


def _of_all(answers: Iterable[tuple[int, Any]]) -> Iterable[tuple[int, Any]]:
    """Return the answers of all processes, in the order of the pictures."""
    if world().processes == 1:
        return answers
    return sorted(world().gathered(list(answers)), key=itemgetter(0))


def _with_found(row: dict[str, Any], at_least: float) -> dict[str, Any]:
    """Return a row that says whether anything was found: whether its score is high enough."""
    found = row["score"] >= at_least
    return {**row, "found": found, "said": row["said"] if found else f"nothing found; nearest: {row['said']}"}


def _require_pictures(task: SolverTask | None, out: str | None) -> None:
    """Refuse a folder for pictures where answers are none.

    Raises:
        UsageError: naming the task.
    """
    if out is not None and (task is None or type(task).picture is SolverTask.picture):
        name = task.name if task else "classify"
        raise UsageError(
            f"--out writes label maps of --task segment; with --task {name} leave it out and use --json"
        )


def _solved(
    run: Run, task: SolverTask, given: "_Pictures", at_least: float | None, *, exact: bool, out: str | None
) -> Iterator[dict[str, Any]]:
    """Yield the rows of a task with a head of its own; see `predict`.

    Raises:
        UsageError: if `at_least` is given and its answers have no score.
    """
    if at_least is not None and not task.scored:
        raise UsageError(
            f"--at-least is about classes; --task {task.name} has other answers"
            + ("; those of localize.head=rpn have a score" if task.name == "localize" else "")
        )
    precision = torch.float32 if exact else pick_precision("auto", run.device)
    asked = Asked(
        run.network, run.preprocessing, precision, given, given.share, given.workers, run.temperature
    )
    assert isinstance(run.network, Solver)  # the task has a head of its own
    named = ((given.names[index], answer) for index, answer in _of_all(task.answers(asked)))
    places: dict[str, Path] = {}
    if out is not None:
        named = _written(named, task, Path(out), given.names, places)
    for row in task.rows(named, run.network):
        if row["path"] in places:
            row = {**row, "map": str(places[row["path"]])}
        yield row if at_least is None or "error" in row else _with_found(row, at_least)


def _written(
    named: Iterable[tuple[str, Any]],
    task: SolverTask,
    folder: Path,
    names: Sequence[str],
    places: dict[str, Path],
) -> Iterator[tuple[str, Any]]:
    """Yield (name, answer) once the answer is written, and note its place.

    Raises:
        UsageError: if it would take the place of a picture that was asked about.
    """
    given = {Path(name).resolve() for name in names}
    taken: set[Path] = set()
    for name, answer in named:
        if not isinstance(answer, PictureError) and (picture := task.picture(answer)):
            place = map_place(folder, name, taken)
            if place.resolve() in given:
                raise UsageError(
                    f"--out {folder}: {place} is a picture that is asked about; choose another folder"
                )
            if world().is_main:
                write_png(place, picture)
            places[name] = place
        yield name, answer


@dataclass(frozen=True)
class _Pictures:
    """The pictures that are asked about; reads one by its number, and goes to worker processes."""

    names: tuple[str, ...]
    pictures: tuple[Given, ...]
    at_least: int
    levels: Levels

    @property
    def share(self) -> Sequence[int]:
        """The numbers of the pictures that this process answers."""
        return world().share(len(self.names))

    @property
    def workers(self) -> int:
        """How many workers read: one ahead where there are enough pictures to repay its start."""
        files = all(isinstance(picture, Path) for picture in self.pictures)
        return 1 if files and len(self.pictures) >= 256 and cores() > 1 else 0

    def __call__(self, index: int) -> Image.Image:
        return decode_given(
            self.pictures[index], self.names[index], at_least=self.at_least, levels=self.levels
        )
