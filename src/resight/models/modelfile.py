"""`model.safetensors`: weights, and in its header everything needed to use them. No pickle."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from resight.core import documents
from resight.core.errors import ModelFileError, UsageError
from resight.core.files import replacing
from resight.core.registry import lookup
from resight.models.activations import SOFTMAX, activation_in, said_of
from resight.models.classifier import Classifier
from resight.models.foreign import what_it_is
from resight.models.header import FORMAT, read_card, require_header
from resight.models.initialization import shapes_only
from resight.models.loading import Card, fitting, load_card
from resight.models.old_tasks import OldTask, add_old_task
from resight.models.solver import Solver
from resight.models.zoo import NETWORKS, create_model, list_options

UNREADABLE = (SafetensorError, OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError)
"""What safetensors raises on damaged files."""
PIXEL_MEAN, WHITENING = "preprocessing.pixel_mean", "preprocessing.whitening"


def save_tensors(path: Path, tensors: dict[str, Tensor], document: dict[str, Any]) -> None:
    """Write tensors and one JSON document into a safetensors file, atomically."""
    whole = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    with replacing(path) as temporary:
        try:
            save_file(whole, temporary, metadata={"resight": json.dumps(document)})
        except SafetensorError as error:
            # The library reports a full disk as its own error, with the system's error number in the text.
            text = str(error)
            number = int(text.split("os error ")[1].split(")")[0]) if "os error " in text else None
            raise OSError(number, text) from error
        temporary.chmod(0o644)  # the library makes it readable only for its owner


def is_model_file(path: Path) -> bool:
    """Return whether a file was written by `save_tensors`, whatever its name is."""
    try:
        with safe_open(path, framework="pt") as file:
            return "resight" in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a file of `save_tensors`.

    Raises:
        ModelFileError: if the file does not exist, is not safetensors, or was not written by Resight.
    """
    return _read(path, weights=True)


def load_header(path: Path) -> dict[str, Any]:
    """Read the document of a file of `save_tensors`, without the tensors; errors as in `load_tensors`."""
    return _read(path, weights=False)[1]


def _read(path: Path, *, weights: bool) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if not path.is_file():
        raise ModelFileError(
            f"{path}: there is no such file; give a run folder, a model.safetensors or zoo:NAME"
        )
    try:
        with safe_open(path, framework="pt") as file:
            document = (file.metadata() or {}).get("resight")
            names = file.keys() if weights else ()
            tensors = {key: file.get_tensor(key) for key in names}
    except UNREADABLE as error:
        raise ModelFileError(
            f"{path}: is not a safetensors file ({_reason(path, error)}); no other format is opened here"
        ) from error
    if document is None:
        raise ModelFileError(
            f"{path}: holds weights but names no network; train with --set weights={path} --model NAME"
        )
    # NaN and infinity were written in Python's notation.
    header = documents.parse(document, f"{path}: its header", ModelFileError, nan=True)
    return tensors, documents.require(header, {}, f"{path}: its header", ModelFileError)


def _reason(path: Path, error: Exception) -> str:
    with suppress(OSError):
        if words := what_it_is(path):
            return f"it is {words}"
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def save_model(
    path: Path, model: Classifier | Solver, state: dict[str, Tensor], facts: dict[str, Any]
) -> None:
    """Write a model file.

    Args:
        path: of the file.
        model: gives name, options, classes and preprocessing.
        state: the weights, by the model's names.
        facts: further entries of the header (recipe, data, test figures).
    """
    card = model.preprocessing
    if card is None:
        raise ValueError("a model cannot be saved without its preprocessing")
    document = {
        "format": FORMAT,
        "architecture": model.name,
        "options": model.options,
        "in_channels": model.in_channels,
        "classes": list(model.classes),
        **said_of(SOFTMAX if isinstance(model, Solver) else model.logit_activation),
        "preprocessing": card.to_dict(),
        "tasks": [asdict(task) for task in model.old_tasks],
        **({"about": model.about} if isinstance(model, Solver) else {}),
        **facts,
    }
    tensors = dict(state)
    if card.pixel_mean:
        tensors[PIXEL_MEAN] = torch.tensor(card.pixel_mean)
    if card.whitening is not None:
        tensors[WHITENING] = torch.from_numpy(card.whitening)
    save_tensors(path, tensors, document)


Builder = Callable[[Classifier, dict[str, Any]], Solver]
"""Puts the trunk of a checked header under the head of its task; raises UsageError if there is none."""


def load_model(path: Path) -> tuple[Classifier, dict[str, Any]]:
    """Read the model file of a classifier; see `load_network`.

    Raises:
        ModelFileError: if the file cannot be used, naming what is wrong; also if it is of another task.
    """
    model, document = load_network(path)
    assert isinstance(model, Classifier)  # without a builder there is nothing else
    return model, document


def load_network(path: Path, builder: Builder | None = None) -> tuple[Classifier | Solver, dict[str, Any]]:
    """Read a model file. It is checked completely before a network is built; any mismatch is refused.

    Args:
        path: of the file.
        builder: makes the network of a task with a head of its own; without it such a file is refused.

    Returns:
        The network in eval mode, and the header.

    Raises:
        ModelFileError: if the file cannot be used, naming what is wrong.
    """
    tensors, document = load_tensors(path)
    require_header(document, path)
    if builder is None and document.get("task"):
        raise ModelFileError(
            f"{path}: was trained with --task {document['task']['name'][:40]}; here a classifier is needed"
        )
    card = read_card(document, tensors.pop(PIXEL_MEAN, None), tensors.pop(WHITENING, None), path)
    weights = Card(tensors, tuple(document["classes"]), card, str(path))
    with shapes_only():  # a header may ask for more memory than there is
        outline = _build(document, path, builder)
    fitting(outline, outline.state_dict(), weights)
    model = _build(document, path, builder)
    load_card(model, weights)
    return model.eval(), document


def _build(document: dict[str, Any], path: Path, builder: Builder | None) -> Classifier | Solver:
    """Return the freshly built network of a checked header.

    Raises:
        ModelFileError: if there is no such network, or it does not take the options.
    """
    name, options = document["architecture"], document["options"]
    try:
        row = lookup(NETWORKS, name[:80], "model", "All names: resight models")
        # Some unknown options are arguments of `create_model`: `weights` would open a file.
        if unknown := options.keys() - list_options(name).keys():
            raise UsageError(f"{name} has no option {sorted(unknown)[0][:40]!r}")
        model = create_model(name, len(document["classes"]), document["in_channels"], **row.before | options)
        model.logit_activation = activation_in(document)
        for task in document.get("tasks", ()):
            add_old_task(model, OldTask(task["name"], tuple(task["classes"]), task["facts"]))
        if builder and document.get("task"):
            return builder(model, document)
    except (UsageError, LookupError, TypeError, ValueError) as error:
        reason = str(error) if isinstance(error, UsageError) else f"its task cannot be built ({error})"
        raise ModelFileError(f"{path}: its header is damaged: {reason[:300]}") from error
    return model
