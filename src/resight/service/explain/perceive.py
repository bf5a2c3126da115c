"""Perception Visualization of pictures: what a run's network perceived, as PNG, and its residual."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resight.saliency.perception import masked, perceive
from resight.service.explain.decoder import OpenDecoder
from resight.service.explain.target import wanted
from resight.service.pictures import LEAST_SIDE, place_of, write
from resight.service.run.run import Run

METHOD = "perception_visualization"
GAP = 4
"""White pixels between two panels."""


def perceived(
    run: Run,
    opened: OpenDecoder,
    paths: Sequence[Path],
    squares: Sequence[NDArray[np.uint8]],
    images: Tensor,
    target: str | None,
    layer: Sequence[str] | None,
    folder: Path,
) -> list[dict[str, Any]]:
    """Write what a network perceived in a batch, for each target.

    The picture is [original | original masked by the map | reconstruction masked by the map].

    Args:
        run: the network.
        opened: its decoder.
        paths: of the pictures.
        squares: the pictures as the network sees them, (S, S, 3) uint8 each.
        images: the same, normalized, (B, 3, S, S).
        target: the value of `--target`.
        layer: layers that the map is read from; by default the last one.
        folder: to write to.

    Returns:
        Rows as of `explain_paths`, with "residual" and "residual_percentile".
    """
    result = perceive(run.model, opened.decoder, images, wanted(run, images, target), layer=layer)
    answer, rows = result.explanation, []
    for number, path in enumerate(paths):
        residual = float(result.residual[number])
        original = torch.tensor(squares[number]).permute(2, 0, 1) / 255
        for column in range(result.map.shape[1]):
            index = int(answer.targets[number, column])
            name = run.class_name(index)
            heat, blended = result.map[number, column].cpu(), result.blended[number, column].cpu()
            picture, array = place_of(folder, path, METHOD, name)
            write(picture, array, _side_by_side([original, masked(original, heat), blended]), heat.numpy())
            rows.append(
                {
                    "path": str(path),
                    "method": METHOD,
                    "layer": answer.layer,
                    "target": name,
                    "score": float(answer.scores[number, column]),
                    "image": str(picture),
                    "map": str(array),
                    "residual": residual,
                    "residual_percentile": opened.percentile(residual),
                }
            )
    return rows


def _side_by_side(pictures: list[Tensor]) -> NDArray[np.uint8]:
    """Return pictures (3, S, S) in [0, 1] in a row, small ones enlarged, as (H, W, 3) uint8."""
    factor = max(1, LEAST_SIDE // pictures[0].shape[-1])
    panels = [
        p.mul(255).round().byte().permute(1, 2, 0).numpy().repeat(factor, 0).repeat(factor, 1)
        for p in pictures
    ]
    gap = np.full((len(panels[0]), GAP, 3), 255, np.uint8)
    return np.concatenate([panels[0], gap, panels[1], gap, panels[2]], 1)
