"""Explain pictures: overlays as PNG, maps (H, W) in [0, 1] as npy."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from resight.core.distributed import world
from resight.core.errors import PictureError, UsageError
from resight.core.files import digest, replacing
from resight.core.registry import lookup
from resight.data.decode import decode
from resight.data.prepare import Normalize, fit
from resight.render.overlay import overlay
from resight.saliency.methods import METHODS, explain, read_options
from resight.service.predict import expand
from resight.service.runs import Run, open_run

BATCH = 16
LEAST_SIDE = 224
"""Overlays of smaller pictures are enlarged to about this side."""


@dataclass(frozen=True)
class Batch:
    """Some of a call's files.

    Attributes:
        paths: of the pictures that could be read, B.
        squares: the pictures as the network sees them, (S, S, 3) uint8 each.
        images: the same, normalized, on the run's device, (B, 3, S, S); (0, 3, S, S) if none could be read.
        faults: of the other files.
    """

    paths: list[Path]
    squares: list[NDArray[np.uint8]]
    images: Tensor
    faults: list[PictureError]


def batches(run: Run, files: Sequence[Path]) -> Iterator[Batch]:
    """Yield files as the network wants them, `BATCH` at a time."""
    card, normalize = run.preprocessing, Normalize(run.preprocessing, run.device)
    for start in range(0, len(files), BATCH):
        paths, squares, faults = [], [], []
        for path in files[start : start + BATCH]:
            try:
                squares.append(fit(decode(path, at_least=card.resize), card))
                paths.append(path)
            except PictureError as error:
                faults.append(error)
        images = torch.empty(0, 3, card.size, card.size, device=run.device)
        if squares:
            images = normalize(torch.from_numpy(np.stack(squares)).to(run.device))
        yield Batch(paths, squares, images, faults)


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
    from resight.service import perceive
    from resight.service.decoder import open_decoder

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


def wanted(run: Run, images: Tensor, target: str | None) -> Tensor | list[list[int | str]]:
    """Turn the words of `--target` into targets (B, T)."""
    best = best_of(target, run.model.classes)
    if best:
        with torch.no_grad():
            return run.model(images).topk(min(best, run.model.num_classes), dim=1).indices
    assert target is not None  # without one the best class is asked for
    word: int | str = int(target) if target.isdecimal() and target not in run.model.classes else target
    return [[word]] * len(images)


def best_of(target: str | None, classes: Sequence[str]) -> int:
    """Return K if `--target` asks for the K best classes, 1 if it is left out, 0 if it names a class.

    Raises:
        UsageError: for top0.
    """
    if target is None:
        return 1
    if target in classes or not target.startswith("top") or not target[3:].isdecimal():
        return 0
    if not int(target[3:]):
        raise UsageError(f"--target {target}: asks for no class at all; give top1 or more")
    return int(target[3:])


def place_of(folder: Path, path: Path, method: str, name: str) -> tuple[Path, Path]:
    """Return where a picture's overlay (PNG) and map (npy) go for a class; no two share a place."""
    mark = digest(os.fsencode(path.resolve()))[:6]
    stem = folder / f"{_cut(path.stem)}-{mark}-{method}-{_word(name)}"
    return stem.with_name(stem.name + ".png"), stem.with_name(stem.name + ".npy")


def write(picture: Path, array: Path, blended: np.ndarray, heat: np.ndarray) -> None:
    """Write an overlay (H, W, 3) uint8, enlarged if it is small, and a map (H, W)."""
    image = Image.fromarray(blended)
    if max(image.size) < LEAST_SIDE:
        factor = LEAST_SIDE // max(image.size)
        image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    write_png(picture, image)
    with replacing(array) as temporary, temporary.open("wb") as stream:
        np.save(stream, heat.astype(np.float32))


def write_png(path: Path, image: Image.Image) -> None:
    """Write a picture as PNG."""
    with replacing(path) as temporary, temporary.open("wb") as stream:
        image.save(stream, "PNG")


def _word(name: str) -> str:
    """Return a class name as a part of a file name; one that had to be changed gets a mark of its own."""
    word = _cut("".join(c if c.isalnum() or c in "-_" else "_" for c in name))
    return word if word == name else f"{word}-{digest(os.fsencode(name))[:6]}"


def _cut(text: str) -> str:
    """Return a text in at most 80 bytes of UTF-8, without bytes that are none."""
    return os.fsencode(text)[:80].decode("utf-8", "ignore")
