"""Networks from elsewhere as a RUN: timm:NAME, torchvision:NAME, file.py:function, an .onnx file."""

import hashlib
import importlib.util
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from resight.core.console import tell
from resight.core.device import pick_device
from resight.core.documents import require
from resight.core.errors import ModelFileError
from resight.core.imagenet import imagenet_classes
from resight.core.preprocessing import INTERPOLATIONS, Preprocessing
from resight.export.deployed import CARD, Onnx, is_onnx
from resight.export.network import OnnxNetwork
from resight.models.adopted import adopt
from resight.models.classifier import Classifier
from resight.models.foreign import read_state
from resight.saliency.capture import logits_of

RANDOM = "none"
"""As weights, as in timm:NAME=none: random ones."""


def opened_elsewhere(name: str) -> tuple[Classifier, dict[str, Any]] | None:
    """Return network and facts of a RUN that was not trained here; None if it names none of these.

    Args:
        name: timm:NAME or torchvision:NAME, with their own weights; NAME=none for random ones, NAME=FILE for
            a file of weights; file.py:function, which runs the file; or an .onnx file.

    Raises:
        ModelFileError: if it cannot be used, in one line.
    """
    if is_onnx(name):
        opened = Onnx(name)
        opened.require_classifier()
        return OnnxNetwork(opened), opened.facts  # type: ignore[return-value]
    kind, _, rest = name.partition(":")
    if kind in ("timm", "torchvision") and rest:
        network, _, weights = rest.partition("=")
        made = (_of_timm if kind == "timm" else _of_torchvision)(network, weights, name)
        return _tried(made, name), {"data": None}
    file, _, function = name.rpartition(":")
    if file.endswith(".py") and function:
        return _tried(_of_file(Path(file), function, name), name), {"data": None}
    return None


def _of_timm(network: str, weights: str, name: str) -> Classifier:
    try:
        import timm  # pyright: ignore[reportMissingImports] - an extra
    except ImportError as error:
        raise ModelFileError(f'{name}: needs timm; install it with: pip install "resight[hub]"') from error
    if not timm.is_model(network):
        raise ModelFileError(f"{name}: timm has no network {network!r}; timm.list_models() lists them")
    module = _made(lambda: timm.create_model(network, pretrained=not weights), name, weights)
    view: Any = timm.data.resolve_model_data_config(module)  # pyright: ignore[reportAttributeAccessIssue]
    size = int(view["input_size"][1])
    card = _card(
        name, size=size, resize=math.floor(size / view["crop_pct"]), mean=tuple(view["mean"]),
        std=tuple(view["std"]), interpolation=view["interpolation"],
    )  # fmt: skip
    count = int(getattr(module, "num_classes", 0))
    return adopt(module, network, _names(count), card)


def _of_torchvision(network: str, weights: str, name: str) -> Classifier:
    from torchvision import models

    if network not in models.list_models(models):
        raise ModelFileError(f"{name}: torchvision has no classifier {network!r}")
    entry: Any = models.get_model_weights(network)
    entry = entry.DEFAULT
    module = _made(lambda: models.get_model(network, weights=None if weights else entry), name, weights)
    view = entry.transforms()
    card = _card(
        name, size=view.crop_size[0], resize=view.resize_size[0], mean=tuple(view.mean),
        std=tuple(view.std), interpolation=view.interpolation.value,
    )  # fmt: skip
    return adopt(module, network, tuple(entry.meta["categories"]), card)


def _made(build: Any, name: str, weights: str) -> nn.Module:
    """Build a network, with its own weights, random ones or those of a file."""
    try:
        module = build().eval()
    except Exception as error:  # the connection, the disk or the hash: whatever a download raises
        line = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise ModelFileError(
            f"{name}: its weights cannot be downloaded ({line}); give a file of them with {name}=FILE, or "
            f"random ones with {name}={RANDOM}"
        ) from error
    if weights and weights != RANDOM:
        state, _ = read_state(Path(weights))
        try:
            module.load_state_dict(state)
        except RuntimeError as error:
            line = " ".join(str(error).split())[:200]
            raise ModelFileError(f"{weights}: does not fit {name.partition('=')[0]} ({line})") from error
    return module


def _of_file(path: Path, function: str, name: str) -> Classifier:
    """Run a file of Python and its function, which returns a module, its preprocessing and its classes."""
    if not path.is_file():
        raise ModelFileError(f"{path}: there is no such file; give FILE.py:FUNCTION")
    content = path.read_bytes()
    tell(f"running the code of {path} (SHA-256 {hashlib.sha256(content).hexdigest()[:16]})")
    own = str(path.resolve().parent)
    spec = importlib.util.spec_from_file_location(f"resight_audited_{path.stem}", path)
    assert spec is not None and spec.loader is not None  # it ends in .py
    code = importlib.util.module_from_spec(spec)
    sys.path.insert(0, own)
    try:
        spec.loader.exec_module(code)
        build = getattr(code, function, None)
        if not callable(build):
            raise ModelFileError(f"{path}: has no function {function!r}")
        found: Any = build()
    except ModelFileError:
        raise
    except Exception as error:  # the user's own code
        line = (str(error).splitlines() or [""])[0][:200]
        raise ModelFileError(f"{name}: its code failed: {type(error).__name__}: {line}") from error
    finally:
        sys.path.remove(own)
    if not isinstance(found, tuple) or len(found) != 3 or not isinstance(found[0], nn.Module):
        raise ModelFileError(f"{name}: must return (module, preprocessing, classes)")
    module, card, classes = found
    if isinstance(card, Mapping):
        card = _card(name, **require(dict(card), CARD, f"{name}: preprocessing", ModelFileError))
    if not isinstance(card, Preprocessing):
        raise ModelFileError(
            f"{name}: the preprocessing must be a dictionary with size, resize, mean and std"
        )
    return adopt(module, f"{path.stem}:{function}", list(classes), card, _rule_of(module, len(classes)))


def _rule_of(module: nn.Module, classes: int) -> str:
    """Return how the module's logits become probabilities: as it says itself, or by the softmax."""
    said = getattr(module, "probabilities", None)
    return said if isinstance(said, str) else "sigmoid" if classes == 1 else "softmax"


def _card(name: str, *, interpolation: str = "bilinear", **words: Any) -> Preprocessing:
    if interpolation not in INTERPOLATIONS:
        raise ModelFileError(
            f"{name}: resizes by {interpolation!r}; only {' and '.join(INTERPOLATIONS)} are supported"
        )
    if not len(words["mean"]) == len(words["std"]) == 3 or words["resize"] < words["size"]:
        raise ModelFileError(f"{name}: mean and std need three values each, and resize at least size")
    words = {**words, "mean": tuple(words["mean"]), "std": tuple(words["std"])}
    return Preprocessing(**words, interpolation=interpolation)


def _names(count: int) -> Sequence[str]:
    return imagenet_classes() if count == 1000 else [str(number) for number in range(count)]


def _tried(model: Classifier, name: str) -> Classifier:
    """Return a network on the device after one picture of noise went through it.

    Raises:
        ModelFileError: if it does not take the picture, or does not answer with a logit for each class.
    """
    assert model.preprocessing is not None  # adopt gives it
    side = model.preprocessing.size
    try:
        with torch.inference_mode():
            found = logits_of(model(torch.zeros(2, 3, side, side)))
    except (RuntimeError, ValueError, TypeError) as error:
        line = (str(error).splitlines() or [""])[0][:200]
        raise ModelFileError(f"{name}: does not take pictures of {side} x {side} ({line})") from error
    if found is None or found.shape != (2, len(model.classes)):
        shape = "no logits" if found is None else f"{found.shape[1]} logits"
        raise ModelFileError(f"{name}: gives {shape}, but names {len(model.classes)} classes")
    return model.to(pick_device(), memory_format=torch.channels_last)  # type: ignore[call-overload]
