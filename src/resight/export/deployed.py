"""An .onnx file as a network, through onnxruntime and without torch.

A file that `resight export` wrote takes pictures of any size and holds its document in its metadata. One of
another program takes prepared squares; what it expects and its classes are in a small JSON file beside it.
"""

import importlib.util
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resight.core import documents
from resight.core.device import cores
from resight.core.documents import Whole, Within
from resight.core.errors import ModelFileError, UsageError
from resight.core.imagenet import imagenet_classes
from resight.core.preprocessing import INTERPOLATIONS, Preprocessing
from resight.core.text import amount
from resight.data.prepare import fit
from resight.models.activations import SIGMOID, SOFTMAX, activation_in

SUFFIX, KEY, FORMAT = ".onnx", "resight", 1
CARD = {
    "size": Whole(1, 4096),
    "resize": Whole(1, 8192),
    "mean": [Within()],
    "std": [Within(1e-6, 1e6)],
    "interpolation?": str,
}
MAP = {"method": str, "layer": str, "pooling": str, "rectified": bool, "relu": bool, "cells": [Whole(1)]}
DOCUMENT = {
    "export": {
        "format": Whole(FORMAT, FORMAT),
        "outputs": {str: [str]},
        "probabilities": str,
        "map?": (MAP, None),
        "task?": str,
        "fitted?": [Within()],
    },
    "about?": {str: object},
    "classes": [str],
    "preprocessing": CARD,
    "multi_label?": bool,
    "temperature?": (Within(1e-6, 1e6), None),
}
"""Of the metadata, as far as they are read here."""
BESIDE = {
    "classes": ([str], str),
    "preprocessing": CARD,
    "probabilities?": str,
    "layout?": str,
    "output?": str,
}
"""Of the JSON beside a file of another program."""
PLAIN = ("probabilities", "logits")
"""Outputs that every file of `resight export` has."""
RULES = (SOFTMAX, SIGMOID, "none")
CLASSIFY = "classify"
TASK_OUTPUTS = {
    CLASSIFY: (),
    "verify": ("embeddings",),
    "localize": ("probabilities", "boxes"),
    "pose": ("points",),
    "detect": ("boxes", "classes", "scores"),
}
"""Outputs without which a file of a task says nothing."""


def is_onnx(run: str) -> bool:
    """Return whether a RUN is an .onnx file, by its name."""
    return run.lower().endswith(SUFFIX)


def require_extra(*modules: str) -> None:
    """Refuse where a package of the extra is missing.

    Raises:
        ModelFileError: naming it and the command that installs it.
    """
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise ModelFileError(
                f'the package {module} is not installed; install it with: pip install "resight[export]"'
            )


@dataclass(frozen=True)
class Answer:
    """What a network says of one picture.

    Attributes:
        probabilities: (classes,) float64.
        logits: (classes,) float64, before the temperature.
        maps: those of `map_classes`, (k, h, w) float32, signed; None where the file holds no maps.
        map_classes: class numbers, (k,); None where the file holds no maps.
    """

    probabilities: NDArray[np.float64]
    logits: NDArray[np.float64] | None = None
    maps: NDArray[np.float32] | None = None
    map_classes: NDArray[np.int64] | None = None


class Onnx:
    """An opened .onnx file.

    Args:
        path: of the file.
        content: the file's bytes, if they are not to be read from it.

    Attributes:
        name: what the user called it.
        facts: the header of the run behind it: recipe, data, test figures; of another program's file little.
        classes: names, in the order of the probabilities.
        preprocessing: what happens to a picture first, inside or outside the file.
        rule: how logits become probabilities.
        activation: whether a picture is of one class, `SOFTMAX`, or has any number of them, `SIGMOID`.
        own: whether `resight export` wrote it.

    Raises:
        ModelFileError: if it cannot be used, in one line.
    """

    def __init__(self, path: str | Path, content: bytes | None = None) -> None:
        require_extra("onnxruntime")
        self.name, self.path = str(path), Path(path)
        self.session = session(content if content is not None else self.path, self.name)
        text = self.session.get_modelmeta().custom_metadata_map.get(KEY)
        self.own = text is not None
        self._temperature = 1.0
        if text is None:
            self._read_beside()
        else:
            facts = documents.parse(text, f"{self.name}: its metadata", ModelFileError, nan=True)
            self.facts = documents.require(facts, DOCUMENT, f"{self.name}: its metadata", ModelFileError)
            self.export = self.facts["export"]
            self.classes = tuple(self.facts["classes"])
            self.preprocessing = Preprocessing.from_dict(self.facts["preprocessing"])
            self.rule = self.export["probabilities"]
            self.outputs = [output.name for output in self.session.get_outputs()]
            self.activation = activation_in(self.facts)
            self._require_whole()
        if self.rule not in RULES:
            raise ModelFileError(
                f"{self.name}: probabilities {self.rule!r}: must be one of {', '.join(RULES)}"
            )

    def _read_beside(self) -> None:
        place = next((p for p in beside(self.path) if p.is_file()), None)
        if place is None:
            raise ModelFileError(
                f"{self.name}: was not written by resight export, so its classes and preprocessing are "
                f'unknown; write them to {beside(self.path)[0]}: {{"classes": [...] or "imagenet", '
                '"preprocessing": {"size": 224, "resize": 256, "mean": [...], "std": [...]}}'
            )
        found = documents.read(place.read_bytes(), BESIDE, str(place), ModelFileError)
        named, card = found["classes"], found["preprocessing"]
        if isinstance(named, str) and named != "imagenet":
            raise ModelFileError(f'{place}: classes {named!r}: must be a list of names, or "imagenet"')
        self.classes = imagenet_classes() if named == "imagenet" else tuple(named)
        self.preprocessing = _card_of(card, place)
        self.rule = found.get("probabilities", SOFTMAX)
        self.layout = found.get("layout", "nchw")
        if self.layout not in ("nchw", "nhwc"):
            raise ModelFileError(f'{place}: layout {self.layout!r}: must be "nchw" or "nhwc"')
        known = [output.name for output in self.session.get_outputs()]
        self.outputs = [found.get("output", known[0])]
        if self.outputs[0] not in known:
            raise ModelFileError(
                f"{place}: the file has no output {self.outputs[0]!r}; it has {', '.join(known)}"
            )
        if len(self.session.get_inputs()) != 1:
            raise ModelFileError(
                f"{self.name}: takes {len(self.session.get_inputs())} inputs, but only pictures are given"
            )
        self.facts, self.export = {"data": None}, {}
        self.activation = SIGMOID if self.rule == SIGMOID else SOFTMAX

    def _require_whole(self) -> None:
        """Refuse a file of a task that lacks what its answers need.

        Raises:
            ModelFileError: naming it.
        """
        needed = TASK_OUTPUTS.get(self.task)
        if needed is None:
            raise ModelFileError(
                f"{self.name}: holds a network of the task {self.task!r}, which this Resight does not know; "
                f"it knows {', '.join(TASK_OUTPUTS)}"
            )
        if missing := [name for name in needed if name not in self.outputs]:
            raise ModelFileError(f"{self.name}: its network gives no {missing[0]}; export the run again")
        if self.task == "verify" and len(self.export.get("fitted", ())) != 3:
            raise ModelFileError(f"{self.name}: its metadata lack the threshold; export the run again")
        if self.task == "pose" and not all(isinstance(name, str) for name in self.joints or [None]):
            raise ModelFileError(f"{self.name}: its metadata lack the joints; export the run again")

    @property
    def task(self) -> str:
        """What its network was trained for."""
        return str(self.export.get("task", CLASSIFY))

    @property
    def joints(self) -> list[str]:
        """The names of the joints of a pose."""
        found = (self.facts.get("about") or {}).get("joints", [])
        return found if isinstance(found, list) else []

    def require_classifier(self) -> None:
        """Refuse a network of another task.

        Raises:
            UsageError: naming the task and what takes it.
        """
        if self.task != CLASSIFY:
            raise UsageError(
                f"{self.name}: was trained with --task {self.task}; this needs a classifier. predict and "
                "test take the file"
            )

    def outputs_alone(self, pictures: Sequence[Image.Image]) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield the outputs of a file of another task for each decoded picture, without the batch's axis.

        Raises:
            ModelFileError: if they are not finite numbers.
        """
        for picture in pictures:
            values = self.run(np.asarray(picture)[None])
            alone = values if self.task == "detect" else {name: rows[0] for name, rows in values.items()}
            if not all(np.isfinite(rows).all() for rows in alone.values()):
                raise ModelFileError(f"{self.name}: its answers are not finite numbers; they say nothing")
            yield alone

    @cached_property
    def has_maps(self) -> bool:
        """Whether the file computes maps."""
        return "maps" in self.outputs

    def answer(self, pictures: Sequence[Image.Image]) -> list[Answer]:
        """Return the answers to decoded pictures, in order; those of one size go through together.

        Raises:
            ModelFileError: if the network does not take them, or its answers are not finite numbers.
        """
        if not self.own:
            return [Answer(*rows) for rows in zip(*self._prepared(pictures), strict=True)]
        found: dict[int, Answer] = {}
        for places in _by_size(pictures):
            batch = np.stack([np.asarray(pictures[i]) for i in places])
            found |= dict(zip(places, self.outputs_of(batch), strict=True))
        return [found[i] for i in range(len(pictures))]

    def outputs_of(self, batch: NDArray[np.uint8]) -> list[Answer]:
        """Return the answers of a file of `resight export` to pictures of one size, (B, H, W, 3) uint8."""
        values = self.run(batch)
        likely, logits = (self._finite(values[name].astype(np.float64)) for name in PLAIN)
        if not self.has_maps:
            return [Answer(*rows) for rows in zip(likely, logits, strict=True)]
        every = np.arange(len(self.classes), dtype=np.int64)
        chosen = values.get("map_classes", np.broadcast_to(every, likely.shape))
        rows = zip(likely, logits, values["maps"], chosen, strict=True)
        return [Answer(*row) for row in rows]

    def run(self, batch: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return the file's outputs by name.

        Raises:
            ModelFileError: if onnxruntime refuses the batch.
        """
        own = self.session.get_inputs()[0]
        try:
            values = self.session.run(self.outputs, {own.name: batch})
        except Exception as error:  # onnxruntime's errors have no common base
            reason = str(error).splitlines()[0][:200]
            raise ModelFileError(f"{self.name}: onnxruntime cannot run it ({reason})") from error
        return dict(zip(self.outputs, values, strict=True))

    def logits(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what another program's file gives for normalized squares (B, 3, S, S), (B, classes)."""
        images = images if self.layout == "nchw" else np.ascontiguousarray(images.transpose(0, 2, 3, 1))
        fixed = self.session.get_inputs()[0].shape[0]
        parts = [images[i : i + 1] for i in range(len(images))] if fixed == 1 else [images]
        found = np.concatenate([self.run(part)[self.outputs[0]] for part in parts])
        if found.shape != (len(images), len(self.classes)):
            raise ModelFileError(
                f"{self.name}: its output {self.outputs[0]} has shape {found.shape[1:]} for a picture, but "
                f"the JSON beside it names {amount(len(self.classes), 'class')}"
            )
        return found

    def _prepared(self, pictures: Sequence[Image.Image]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        card = self.preprocessing
        pixels = np.stack([fit(picture, card) for picture in pictures]).astype(np.float32)
        mean, std = np.array(card.mean, np.float32), np.array(card.std, np.float32)
        images = ((pixels / 255 - mean) / std).transpose(0, 3, 1, 2)
        logits = self._finite(self.logits(np.ascontiguousarray(images, np.float32)).astype(np.float64))
        if self.rule == "softmax":
            powers = np.exp(logits - logits.max(1, keepdims=True))
            return powers / powers.sum(1, keepdims=True), logits
        return (1 / (1 + np.exp(-logits)) if self.rule == "sigmoid" else logits), logits

    def _finite(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        bad = int((~np.isfinite(rows)).any(1).sum())
        if bad:
            raise ModelFileError(
                f"{self.name}: its answers to {bad} of {len(rows)} pictures are not finite numbers; they "
                "name no class"
            )
        return rows


def beside(path: Path) -> tuple[Path, Path]:
    """Return where the JSON beside an .onnx file may be."""
    return path.with_name(f"{path.name}.json"), path.with_suffix(".json")


def session(model: Path | bytes, name: str) -> Any:
    """Return a session of onnxruntime on the processor, with as many threads as this process has cores.

    Raises:
        ModelFileError: if the file is missing or is not a network.
    """
    import onnxruntime

    if isinstance(model, Path) and not model.is_file():
        raise ModelFileError(f"{name}: there is no such file; give an .onnx file")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS") or cores())
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(
            str(model) if isinstance(model, Path) else model, options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime's errors have no common base
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise ModelFileError(f"{name}: onnxruntime cannot open it ({reason})") from error


def _card_of(card: dict[str, Any], place: Path) -> Preprocessing:
    if not len(card["mean"]) == len(card["std"]) == 3:
        raise ModelFileError(f"{place}: preprocessing: mean and std need three values each")
    if card.get("interpolation", INTERPOLATIONS[0]) not in INTERPOLATIONS:
        raise ModelFileError(f"{place}: interpolation: must be one of {', '.join(INTERPOLATIONS)}")
    if card["resize"] < card["size"]:
        raise ModelFileError(f"{place}: resize={card['resize']} is below size={card['size']}")
    return Preprocessing.from_dict(card)


def _by_size(pictures: Sequence[Image.Image]) -> Iterator[list[int]]:
    groups: dict[tuple[int, int], list[int]] = {}
    for place, picture in enumerate(pictures):
        groups.setdefault(picture.size, []).append(place)
    yield from groups.values()
