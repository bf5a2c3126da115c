"""Explain pictures: overlays over the original as PNG, maps of the network's input, in [0, 1], as npy."""

from collections.abc import Mapping, Sequence
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
from resight.service.explain.drawing import original_of
from resight.service.explain.target import wanted
from resight.service.pictures import Batch, batches, place_of, write
from resight.service.run.run import Run, open_any
from resight.tasks.task import SolverTask


def explain_paths(
    run: str,
    paths: Sequence[str],
    methods: Sequence[str] = ("grad_cam",),
    target: str | None = None,
    layers: Sequence[str] | None = None,
    out: str = "explained",
    changes: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Explain pictures and write overlays and maps.

    Args:
        run: a RUN.
        paths: files, folders and patterns.
        methods: names in `METHODS`.
        target: a class name or number; "topK" for the K best classes; by default the best. Of a run of
            another task also what `SolverTask.targets` names, such as "box:left".
        layers: whose maps are read and fused; by default the last one with a spatial map.
        out: the folder to write to.
        changes: `key=value` words, options of the methods; each method takes those that it has.

    Returns:
        The rows of the JSON of `resight explain`; for a file that cannot be read {"path", "error"}.

    Raises:
        ResightError: in one line.
    """
    from resight.service.explain.decoder import open_decoder

    methods = list(dict.fromkeys(methods))
    for method in methods:
        lookup({**METHODS, perceive.METHOD: None}, method, "saliency method")
    if changes and methods == [perceive.METHOD]:
        raise UsageError(f"{perceive.METHOD} has no options; leave --set out")
    options = read_options([m for m in methods if m in METHODS], changes)
    opened = open_any(run)
    solver = isinstance(opened.task, SolverTask)
    if solver and perceive.METHOD in methods:
        raise UsageError(f"{perceive.METHOD} explains classes; --task {opened.task.name} takes other methods")
    decoder = open_decoder(opened) if perceive.METHOD in methods else None
    folder = Path(out)
    rows: list[dict[str, Any]] = []
    files = expand(paths)
    for batch in batches(opened, [files[i] for i in world().share(len(files))]):
        rows += [{"path": f.name, "error": f"{f.fault}; {f.cure}"} for f in batch.faults]
        if not batch.paths:
            continue
        if solver:
            rows += explained(opened, batch, options, target, layers, folder)
            continue
        answers = {
            method: explain(
                opened.model, batch.images, method, wanted(opened, batch.images, target), layers, **own
            )
            for method, own in options.items()
        }
        drawn = _draw_batch(opened, batch, answers, folder)
        for method in methods:
            if decoder and method == perceive.METHOD:
                rows += perceive.perceived(
                    opened, decoder, batch.paths, batch.squares, batch.images, target, layers, folder
                )
                continue
            rows += drawn[method]
    if world().processes > 1:
        place = {str(path): number for number, path in enumerate(files)}
        rows = sorted(world().gathered(rows), key=lambda row: place[row["path"]])
    return rows


def _draw_batch(
    run: Run, batch: Batch, answers: Mapping[str, Explanation], folder: Path
) -> dict[str, list[dict[str, Any]]]:
    """Write overlays and maps of a batch, one original in memory at a time; returns each method's rows."""
    rows: dict[str, list[dict[str, Any]]] = {method: [] for method in answers}
    for answer in answers.values():
        require_finite(answer.scores)
    for number, path in enumerate(batch.paths if answers else ()):
        original = original_of(path, run.preprocessing)
        for method, answer in answers.items():
            for column in range(answer.maps.shape[1]):
                name = run.class_name(int(answer.targets[number, column]))
                heat = answer.maps[number, column].cpu().numpy()
                picture, array = place_of(folder, path, method, name)
                write(picture, array, original.under(heat), heat)
                rows[method].append(
                    {
                        "path": str(path),
                        "method": method,
                        "layer": answer.layer,
                        "target": name,
                        "score": float(answer.scores[number, column]),
                        "image": str(picture),
                        "map": str(array),
                    }
                )
    return rows
