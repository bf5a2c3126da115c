"""`model.safetensors`: weights, and in its header all that is needed to use them. No pickle."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from resight.core.errors import ModelFileError
from resight.core.files import replacing
from resight.core.preprocessing import Preprocessing
from resight.models.classifier import Classifier, OldTask
from resight.models.loading import Card, load_card
from resight.models.zoo import create_model

FORMAT = 1
PIXEL_MEAN, WHITENING = "preprocessing.pixel_mean", "preprocessing.whitening"


def save_tensors(path: Path, tensors: dict[str, Tensor], document: dict[str, Any]) -> None:
    """Write tensors and one JSON document into a safetensors file, atomically."""
    whole = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    with replacing(path) as temporary:
        try:
            save_file(whole, temporary, metadata={"resight": json.dumps(document)})
        except SafetensorError as error:
            # The library reports a full disk as its own error, with the system's number in words.
            text = str(error)
            number = int(text.split("os error ")[1].split(")")[0]) if "os error " in text else None
            raise OSError(number, text) from error
        temporary.chmod(0o644)  # the library makes it readable for its owner only


def is_model_file(path: Path) -> bool:
    """Return whether a file was written by `save_tensors`, whatever its name is."""
    try:
        with safe_open(path, framework="pt") as file:
            return "resight" in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_tensors` wrote.

    Raises:
        ModelFileError: if the file is not there, is not safetensors, or was not written by Resight.
    """
    return _read(path, weights=True)


def load_header(path: Path) -> dict[str, Any]:
    """Read the document of what `save_tensors` wrote, without the tensors; errors as in `load_tensors`."""
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
    except (SafetensorError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise ModelFileError(
            f"{path}: is not a safetensors file ({reason}); it is not opened in any other way"
        ) from error
    if document is None:
        raise ModelFileError(
            f"{path}: holds weights but not what they belong to; train with --set weights={path} --model NAME"
        )
    try:
        header = json.loads(document)
    except ValueError as error:
        raise ModelFileError(f"{path}: its header is damaged ({error}); train anew") from error
    if not isinstance(header, dict):
        raise ModelFileError(f"{path}: its header is damaged; train anew")
    return tensors, header


def save_model(path: Path, model: Classifier, state: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Write a model file.

    Args:
        path: where.
        model: gives name, options, classes and preprocessing.
        state: the weights, by the model's names.
        facts: what else the header shall say (recipe, data, test figures).
    """
    card = model.preprocessing
    if card is None:
        raise ValueError("a model without preprocessing cannot be saved: nobody could use it")
    document = {
        "format": FORMAT,
        "architecture": model.name,
        "options": model.options,
        "in_channels": model.in_channels,
        "classes": list(model.classes),
        "multi_label": model.multi_label,
        "preprocessing": card.to_dict(),
        "tasks": [asdict(task) for task in model.old_tasks],
        **facts,
    }
    tensors = dict(state)
    if card.pixel_mean:
        tensors[PIXEL_MEAN] = torch.tensor(card.pixel_mean)
    if card.whitening is not None:
        tensors[WHITENING] = torch.from_numpy(card.whitening)
    save_tensors(path, tensors, document)


def load_model(path: Path) -> tuple[Classifier, dict[str, Any]]:
    """Read a model file.

    Returns:
        The network in eval mode, and the header.

    Raises:
        ModelFileError: if the file cannot be used.
    """
    tensors, document = load_tensors(path)
    if document.get("format") != FORMAT:
        raise ModelFileError(
            f"{path}: is of format {document.get('format')}, this Resight reads {FORMAT}; "
            "upgrade or train anew"
        )
    try:
        classes = tuple(document["classes"])
        pixel_mean = tuple(tensors.pop(PIXEL_MEAN).tolist()) if PIXEL_MEAN in tensors else ()
        whitening = tensors.pop(WHITENING).numpy() if WHITENING in tensors else None
        card = Preprocessing.from_dict(document["preprocessing"], pixel_mean, whitening)
        model = create_model(
            document["architecture"], len(classes), document["in_channels"], **document["options"]
        )
        model.multi_label = bool(document.get("multi_label"))
        for task in document.get("tasks", ()):
            model.add_old_task(OldTask(task["name"], tuple(task["classes"]), task["facts"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFileError(f"{path}: its header is damaged ({error}); train anew") from error
    load_card(model, Card(tensors, classes, card, str(path)))
    return model.eval(), document
