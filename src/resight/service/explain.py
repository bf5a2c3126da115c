"""Explain pictures: overlays as PNG, maps (H, W) in [0, 1] as npy."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from resight.core.errors import PictureError
from resight.core.files import digest, replacing
from resight.core.registry import lookup
from resight.data.decode import decode
from resight.data.prepare import Normalize, fit
from resight.render.overlay import overlay
from resight.saliency.methods import METHODS, explain
from resight.service.predict import expand
from resight.service.runs import Run, open_run

BATCH = 16
LEAST_SIDE = 224
"""Overlays of smaller pictures are enlarged to about this side."""


def explain_paths(
    run: str,
    paths: Sequence[str],
    methods: Sequence[str] = ("grad_cam",),
    target: str | None = None,
    layer: str | None = None,
    out: str = "explained",
) -> list[dict[str, Any]]:
    """Explain pictures and write overlays and maps.

    Args:
        run: a RUN.
        paths: files, folders and patterns.
        methods: names in `METHODS`.
        target: a class name or number; "topK" for the K best classes; by default the best.
        layer: by default the last one with a spatial map.
        out: the folder to write to.

    Returns:
        The rows of the JSON of `resight explain`; for a file that cannot be read {"path", "error"}.

    Raises:
        ResightError: in one line.
    """
    for method in methods:
        lookup(METHODS, method, "saliency method")
    opened = open_run(run)
    files = expand(paths)
    folder = Path(out)
    rows: list[dict[str, Any]] = []
    for start in range(0, len(files), BATCH):
        squares, good = [], []
        for path in files[start : start + BATCH]:
            try:
                image = decode(path, at_least=opened.preprocessing.resize)
            except PictureError as error:
                rows.append({"path": str(path), "error": f"{error.fault}; {error.cure}"})
                continue
            squares.append(fit(image, opened.preprocessing))
            good.append(path)
        if not good:
            continue
        pixels = torch.from_numpy(np.stack(squares))
        images = Normalize(opened.preprocessing, opened.device)(pixels.to(opened.device))
        for method in methods:
            rows += _explain_batch(opened, good, squares, images, method, target, layer, folder)
    return rows


def _explain_batch(
    run: Run,
    paths: list[Path],
    squares: list[np.ndarray],
    images: Tensor,
    method: str,
    target: str | None,
    layer: str | None,
    folder: Path,
) -> list[dict[str, Any]]:
    targets = wanted(run, images, target)
    result = explain(run.model, images, method, targets, layer)
    rows = []
    for number, path in enumerate(paths):
        for column in range(result.maps.shape[1]):
            index = int(result.targets[number, column])
            name = run.model.classes[index] if run.model.classes else str(index)
            heat = result.maps[number, column].cpu().numpy()
            stem = folder / f"{path.stem}-{digest(str(path.resolve()).encode())[:6]}-{method}-{_word(name)}"
            picture, array = stem.with_name(stem.name + ".png"), stem.with_name(stem.name + ".npy")
            _write(picture, array, overlay(squares[number], heat), heat)
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


def wanted(run: Run, images: Tensor, target: str | None) -> Tensor | list[list[int | str]]:
    """Turn the words of `--target` into targets (B, T)."""
    if target is None or (target.startswith("top") and target[3:].isdigit()):
        count = min(int(target[3:]) if target else 1, run.model.num_classes)
        with torch.no_grad():
            return run.model(images).topk(max(count, 1), dim=1).indices
    word: int | str = int(target) if target.isdigit() and target not in run.model.classes else target
    return [[word]] * len(images)


def _write(picture: Path, array: Path, blended: np.ndarray, heat: np.ndarray) -> None:
    image = Image.fromarray(blended)
    if max(image.size) < LEAST_SIDE:
        factor = LEAST_SIDE // max(image.size)
        image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    with replacing(picture) as temporary, temporary.open("wb") as stream:
        image.save(stream, "PNG")
    with replacing(array) as temporary, temporary.open("wb") as stream:
        np.save(stream, heat.astype(np.float32))


def _word(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in name)
