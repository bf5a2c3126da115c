"""Perception Visualization of pictures: what a run's network perceived, as PNG, and its residual."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resight.saliency.perception import masked, perceive
from resight.service.explain.asked import Asked, Explained
from resight.service.explain.decoder import OpenDecoder
from resight.service.explain.target import name_of, wanted
from resight.service.pictures import LEAST_SIDE, Batch, place_of, write
from resight.service.run.run import Run

METHOD = "perception_visualization"
GAP = 4
"""White pixels between two panels."""


def perceived(run: Run, opened: OpenDecoder, batch: Batch, asked: Asked, folder: Path) -> list[Explained]:
    """Write what a network perceived in a batch, for each target.

    The picture is [original | original masked by the map | reconstruction masked by the map].

    Args:
        run: the network.
        opened: its decoder.
        batch: the pictures.
        asked: classes and layers.
        folder: to write to.
    """
    images = batch.images
    result = perceive(
        run.model, opened.decoder, images, wanted(run, images, asked.target), layer=asked.layers
    )
    answer, rows = result.explanation, []
    for number, path in enumerate(batch.paths):
        residual = float(result.residual[number])
        original = torch.tensor(batch.squares[number]).permute(2, 0, 1) / 255
        for column, word in enumerate(answer.words[number]):
            name = name_of(run, word)
            heat, blended = result.map[number, column].cpu(), result.blended[number, column].cpu()
            picture, array = place_of(folder, path, METHOD, name)
            write(picture, array, _side_by_side([original, masked(original, heat), blended]), heat.numpy())
            rows.append(
                Explained(
                    str(path), METHOD, answer.layer, name, float(answer.scores[number, column]), str(picture),
                    str(array), residual, opened.percentile(residual),
                )
            )  # fmt: skip
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
