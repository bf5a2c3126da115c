"""Explain pictures: overlays as PNG, maps (H, W) in [0, 1] as npy."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from resight.core.distributed import world
from resight.core.errors import UsageError
from resight.core.registry import lookup
from resight.evaluate.scores import require_finite
from resight.render.overlay import overlay
from resight.saliency.methods import METHODS, explain, read_options
from resight.service.explain import perceive
from resight.service.explain.target import wanted
from resight.service.pictures import Batch, batches, expand, place_of, write
from resight.service.run.run import Run, open_run


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
        target: a class name or number; "topK" for the K best classes; by default the best.
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
        raise UsageError(f"{perceive.METHOD} has no options, so --set says nothing to it")
    options = read_options([m for m in methods if m in METHODS], changes)
    opened = open_run(run)
    decoder = open_decoder(opened) if perceive.METHOD in methods else None
    folder = Path(out)
    rows: list[dict[str, Any]] = []
    files = expand(paths)
    for batch in batches(opened, [files[i] for i in world().share(len(files))]):
        rows += [{"path": f.name, "error": f"{f.fault}; {f.cure}"} for f in batch.faults]
        if not batch.paths:
            continue
        for method in methods:
            if decoder and method == perceive.METHOD:
                rows += perceive.perceived(
                    opened, decoder, batch.paths, batch.squares, batch.images, target, layers, folder
                )
                continue
            rows += _explain_batch(opened, batch, method, target, layers, folder, options[method])
    if world().processes > 1:
        place = {str(path): number for number, path in enumerate(files)}
        rows = sorted(world().gathered(rows), key=lambda row: place[row["path"]])
    return rows


def _explain_batch(
    run: Run,
    batch: Batch,
    method: str,
    target: str | None,
    layers: Sequence[str] | None,
    folder: Path,
    options: dict[str, Any],
) -> list[dict[str, Any]]:
    targets = wanted(run, batch.images, target)
    result = explain(run.model, batch.images, method, targets, layers, **options)
    rows = []
    require_finite(result.scores)
    for number, path in enumerate(batch.paths):
        for column in range(result.maps.shape[1]):
            index = int(result.targets[number, column])
            name = run.class_name(index)
            heat = result.maps[number, column].cpu().numpy()
            picture, array = place_of(folder, path, method, name)
            write(picture, array, overlay(batch.squares[number], heat), heat)
            rows.append(
                {
                    "path": str(path),
                    "method": method,
                    "layer": result.layer,
                    "target": name,
                    "score": float(result.scores[number, column]),
                    "image": str(picture),
                    "map": str(array),
                }
            )
    return rows
