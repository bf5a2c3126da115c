"""Explain pictures: overlays over the original as PNG, maps of the network's input, in [0, 1], as npy."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from resight.core.distributed import world
from resight.core.errors import UsageError
from resight.core.registry import lookup
from resight.data.given import expand
from resight.evaluate.scores import require_finite
from resight.saliency.explanation import Explanation
from resight.saliency.methods import METHODS, explain, read_options
from resight.service.explain import perceive
from resight.service.explain.aimed import explained
from resight.service.explain.asked import Asked, Explained
from resight.service.explain.drawing import original_of
from resight.service.explain.target import name_of, wanted
from resight.service.pictures import Batch, Unread, batches, place_of, write
from resight.service.run.run import Run, open_any
from resight.tasks.task import SolverTask


def explain_paths(
    run: str, paths: Sequence[str], asked: Asked | None = None, out: str = "explained"
) -> list[Explained | Unread]:
    """Explain pictures and write overlays and maps.

    Args:
        run: a RUN.
        paths: files, folders and patterns.
        asked: methods, classes, layers and options.
        out: the folder to write to.

    Returns:
        The rows of the JSON of `resight explain`, among them those of files that cannot be read.

    Raises:
        ResightError: in one line.
    """
    from resight.service.explain.decoder import open_decoder

    asked = asked or Asked()
    asked = replace(asked, methods=list(dict.fromkeys(asked.methods)))
    options = _options(asked)
    opened = open_any(run)
    solver = isinstance(opened.task, SolverTask)
    if solver and perceive.METHOD in asked.methods:
        raise UsageError(f"{perceive.METHOD} explains classes; --task {opened.task.name} takes other methods")
    decoder = open_decoder(opened) if perceive.METHOD in asked.methods else None
    folder = Path(out)
    rows: list[Explained | Unread] = []
    files = expand(paths)
    for batch in batches(opened, [files[i] for i in world().share(len(files))]):
        rows += [Unread.of(fault) for fault in batch.faults]
        if not batch.paths:
            continue
        if solver:
            rows += explained(opened, batch, options, asked, folder)
            continue
        answers = {
            method: explain(
                opened.model, batch.images, method, wanted(opened, batch.images, asked.target), asked.layers,
                **own,
            )
            for method, own in options.items()
        }  # fmt: skip
        drawn = _draw_batch(opened, batch, answers, folder)
        for method in asked.methods:
            if decoder and method == perceive.METHOD:
                rows += perceive.perceived(opened, decoder, batch, asked, folder)
                continue
            rows += drawn[method]
    if world().processes > 1:
        place = {str(path): number for number, path in enumerate(files)}
        rows = sorted(world().gathered(rows), key=lambda row: place[row.path])
    return rows


def _options(asked: Asked) -> dict[str, dict[str, Any]]:
    """Return the options of each method that draws a map.

    Raises:
        UsageError: for an unknown method or option.
    """
    for method in asked.methods:
        lookup({**METHODS, perceive.METHOD: None}, method, "saliency method")
    if asked.changes and asked.methods == [perceive.METHOD]:
        raise UsageError(f"{perceive.METHOD} has no options; leave --set out")
    return read_options([m for m in asked.methods if m in METHODS], asked.changes)


def _draw_batch(
    run: Run, batch: Batch, answers: Mapping[str, Explanation], folder: Path
) -> dict[str, list[Explained]]:
    """Write overlays and maps of a batch, one original in memory at a time; returns each method's rows."""
    rows: dict[str, list[Explained]] = {method: [] for method in answers}
    for answer in answers.values():
        require_finite(answer.scores)
    for number, path in enumerate(batch.paths if answers else ()):
        original = original_of(path, run.preprocessing)
        for method, answer in answers.items():
            for column, word in enumerate(answer.words[number]):
                name = name_of(run, word)
                heat = answer.maps[number, column].cpu().numpy()
                picture, array = place_of(folder, path, method, name)
                write(picture, array, original.under(heat), heat)
                score = float(answer.scores[number, column])
                files = (str(picture), str(array))
                others = _compared(run, answer, number, column)
                rows[method].append(
                    Explained(str(path), method, answer.layer, name, score, *files, against=others)
                )
    return rows


def _compared(run: Run, answer: Explanation, number: int, column: int) -> list[str] | None:
    """Return the classes that Finer-CAM compares a target with; None of other methods."""
    if "against" not in answer.facts:
        return None
    return [run.class_name(other) for other in answer.facts["against"][number][column]]
