"""Explain a run of a task with a head of its own: maps of the numbers that the task can be asked for."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resight.core.errors import PictureError, UsageError
from resight.data.decode import decode
from resight.data.prepare import Normalize, fit
from resight.evaluate.scores import require_finite
from resight.models.solver import Solver
from resight.saliency.methods import METHODS, explain
from resight.service.explain.asked import Asked, Explained
from resight.service.explain.drawing import original_of
from resight.service.pictures import Batch, place_of, write
from resight.service.run.run import Run
from resight.tasks.task import Aim, SolverTask


def explained(
    run: Run,
    batch: Batch,
    methods: Mapping[str, dict[str, Any]],
    asked: Asked,
    folder: Path,
) -> list[Explained]:
    """Write overlays and maps of a batch; returns the rows of `resight explain`.

    Args:
        run: of a task with a head of its own.
        batch: pictures.
        methods: with their options.
        asked: what is explained, and whose maps are read.
        folder: to write to.
    """
    assert isinstance(run.task, SolverTask) and isinstance(run.network, Solver)  # the caller asked
    rows = []
    for number, path in enumerate(batch.paths):
        image = batch.images[number : number + 1]
        aims = run.task.aims(run.network, image, asked.target, lambda place: picture_of(run, place))
        original = original_of(path, run.preprocessing)
        for method, options in methods.items():
            read = None if METHODS[method].layerless else asked.layers or [last_read(run.network)]
            answer = explain(run.network, image, method, partial(together, aims), read, **options)
            scores = answer.scores.reshape(1, -1)
            require_finite(scores)
            maps = answer.maps.reshape(len(aims), *answer.maps.shape[-2:])
            for column, aim in enumerate(aims):
                heat = maps[column].cpu().numpy()
                picture, array = place_of(folder, path, method, aim.name)
                write(picture, array, original.under(heat), heat)
                score = float(scores[0, column])
                rows.append(
                    Explained(str(path), method, answer.layer, aim.name, score, str(picture), str(array))
                )
    return rows


def last_read(network: Solver) -> str:
    """Return the layer that gives the last map that the head reads: what the head makes of it is no map."""
    return f"trunk.{network.trunk.layers_of(network.head.reads[-1])[-1]}"


def together(aims: Sequence[Aim], outputs: Any) -> Tensor:
    """Return what is asked for of outputs for B pictures, (B, T)."""
    return torch.stack([aim.score(outputs) for aim in aims], 1)


def picture_of(run: Run, place: str) -> Tensor:
    """Return a picture as the network takes it, (1, 3, S, S) on its device.

    Raises:
        UsageError: if it cannot be read.
    """
    card = run.preprocessing
    try:
        square = fit(decode(Path(place), at_least=card.resize, levels=card.levels), card)
    except PictureError as error:
        raise UsageError(f"--target: {error}") from error
    return Normalize(card, run.device)(torch.from_numpy(square.copy())[None].to(run.device))
