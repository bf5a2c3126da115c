"""Weights from elsewhere: torchvision's, timm's, or a file; read without unpickling code."""

import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from resight.core.errors import ModelFileError, UsageError
from resight.core.imagenet import imagenet_classes
from resight.core.preprocessing import Preprocessing
from resight.models.classifier import Classifier

OFFICIAL = ("torchvision", "torchvision-v1", "timm")
"""Words for official weights: torchvision's latest; its first, trained much as the papers say; timm's."""
HALF = (0.5, 0.5, 0.5)
GOOGLES = {
    "googlenet": Preprocessing(size=224, resize=256, mean=HALF, std=HALF),
    "inception_v3": Preprocessing(size=299, resize=342, mean=HALF, std=HALF),
    "inception_v4": Preprocessing(size=299, resize=341, mean=HALF, std=HALF, interpolation="bicubic"),
    "inception_resnet_v2": Preprocessing(size=299, resize=333, mean=HALF, std=HALF, interpolation="bicubic"),
}
"""Networks whose official weights want pixels in [-1, 1], also where a file does not say so."""


OF_TIMM = {f"efficientnet_lite{size}": f"tf_efficientnet_lite{size}" for size in range(5)}
"""What timm calls a network that has another name here; its own `efficientnet_lite0` pads otherwise."""


@dataclass(frozen=True)
class Card:
    """What travels with official weights.

    Attributes:
        state: names to tensors.
        classes: names in the order of the logits; empty if unknown.
        preprocessing: what they were tested with; None if unknown.
        source: where they come from.
    """

    state: dict[str, Tensor]
    classes: tuple[str, ...]
    preprocessing: Preprocessing | None
    source: str


def load_weights(model: Classifier, weights: str | Path) -> None:
    """Load weights into a network, with their class names and preprocessing.

    Args:
        model: the network; its last layer is replaced if the weights have another number of classes.
        weights: one of `OFFICIAL`, or a file (.safetensors, or a torch file that holds tensors only).

    Raises:
        ModelFileError: if there are no such weights, or names or shapes differ.
    """
    if weights in ("torchvision", "torchvision-v1"):
        card = _from_torchvision(model.name, first=weights == "torchvision-v1")
    elif weights == "timm":
        card = _from_timm(model.name)
    else:
        path = Path(weights)
        card = Card(our_names(read_state(path)), (), GOOGLES.get(model.name), str(path))
    load_card(model, card)


def load_card(model: Classifier, card: Card) -> None:
    """Load a card's tensors and facts into a network; see `load_weights`."""
    first = next(k for k in model.state_dict() if k.startswith(f"{model.classifier_name}."))
    logits = card.state.get(first)
    if logits is not None and len(logits) != model.num_classes:
        model.reset_classifier(len(logits))
    wanted = model.state_dict()
    state = {k: v for k, v in card.state.items() if not k.startswith("preprocessing.")}
    beside = tuple(f"{name}." for name in model.training_only())
    missing = [
        k
        for k in wanted
        if k not in state and not k.endswith("num_batches_tracked") and not k.startswith(beside)
    ]
    unknown = [k for k in state if k not in wanted and not k.startswith(beside)]
    shapes = [k for k in state if k in wanted and state[k].shape != wanted[k].shape]
    if missing or unknown or shapes:
        parts = [
            f"{len(names)} {word} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
            for names, word in (
                (missing, "missing"),
                (unknown, "unknown"),
                (shapes, "of other shape"),
            )
            if names
        ]
        raise ModelFileError(
            f"{card.source}: these are not weights of {model.name or 'this network'}: {', '.join(parts)}; "
            "name the network that they belong to"
        )
    # A head that is used in training only may be absent on either side.
    model.load_state_dict({k: state.get(k, v) for k, v in wanted.items()})
    model.classes = card.classes
    model.preprocessing = card.preprocessing


def read_state(path: Path) -> dict[str, Tensor]:
    """Read tensors by name from a file, without running any code that it may hold.

    Raises:
        ModelFileError: if the file is not there or holds anything else than tensors.
    """
    if not path.is_file():
        raise ModelFileError(f"{path}: there is no such weight file; give a path, torchvision or timm")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            reason = str(error).splitlines()[0]
            raise ModelFileError(f"{path}: is not a safetensors file ({reason}); do not trust it") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old pickle protocols; they load or they are refused
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError, KeyError, ValueError, OSError) as error:
        raise ModelFileError(
            f"{path}: holds more than tensors, or is damaged, and is not unpickled; "
            "convert it to .safetensors where you trust it"
        ) from error
    if isinstance(content, dict):
        for key in ("state_dict", "model", "model_state_dict"):
            if isinstance(content.get(key), dict):
                content = content[key]
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise ModelFileError(f"{path}: holds no table of tensors; save a state_dict")
    return content


def our_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Turn the names of other published ResNets into torchvision's.

    `module.` is what DataParallel puts in front; `linear` is the last layer in the CIFAR ResNets in
    circulation; `shortcut` is their `downsample`.
    """
    renamed = {}
    for name, tensor in state.items():
        name = name.removeprefix("module.").removeprefix("_orig_mod.")
        name = name.replace(".shortcut.", ".downsample.")
        renamed["fc." + name[len("linear.") :] if name.startswith("linear.") else name] = tensor
    return renamed


def _from_torchvision(name: str, *, first: bool) -> Card:
    from torchvision import models

    try:
        entries: Any = models.get_model_weights(name)
        entry = entries.IMAGENET1K_V1 if first else entries.DEFAULT
    except ValueError as error:
        raise UsageError(f"torchvision has no weights for {name}; give weights=PATH") from error
    try:
        state = dict(entry.get_state_dict(progress=False, check_hash=True))
    except Exception as error:  # the network, the disk or the hash: whatever the download raises
        raise ModelFileError(
            f"{name}: torchvision's weights cannot be downloaded ({_first_line(error)}); "
            "fetch them where there is a network and give weights=PATH"
        ) from error
    view = entry.transforms()
    # torchvision's two networks of Google's shift their input inside, to a mean and deviation of 0.5.
    google = name in GOOGLES
    card = Preprocessing(
        size=view.crop_size[0],
        resize=view.resize_size[0],
        mean=HALF if google else tuple(view.mean),
        std=HALF if google else tuple(view.std),
        interpolation=view.interpolation.value,
    )
    return Card(state, tuple(entry.meta["categories"]), card, f"torchvision {entry}")


def _from_timm(name: str) -> Card:
    try:
        import timm  # pyright: ignore[reportMissingImports] - an extra
    except ImportError as error:
        raise UsageError("weights=timm needs timm; install it with: pip install 'resight[hub]'") from error
    name = OF_TIMM.get(name, name)
    if not timm.is_model(name):
        raise UsageError(f"timm has no network {name}; give weights=PATH")
    try:
        other = timm.create_model(name, pretrained=True)
    except Exception as error:  # the network, the disk or the hub: whatever the download raises
        raise ModelFileError(
            f"{name}: timm's weights cannot be downloaded ({_first_line(error)}); "
            "fetch them where there is a network and give weights=PATH"
        ) from error
    view: Any = timm.data.resolve_model_data_config(other)  # pyright: ignore[reportAttributeAccessIssue]
    size = int(view["input_size"][1])
    card = Preprocessing(
        size=size,
        resize=math.floor(size / view["crop_pct"]),
        mean=tuple(view["mean"]),
        std=tuple(view["std"]),
        interpolation=view["interpolation"],
    )
    classes = imagenet_classes() if other.num_classes == 1000 else ()
    return Card(dict(other.state_dict()), classes, card, f"timm {name}")


def of_zoo(name: str) -> tuple[str, str]:
    """Return the network and the weights that zoo:NAME stands for, or zoo:NAME/v1, torchvision's first."""
    network, _, version = name.removeprefix("zoo:").partition("/")
    if version not in ("", "v1"):
        raise UsageError(f"{name}: weights are the latest, {network}, or the first, {network}/v1")
    return network, "torchvision-v1" if version else official_source(network)


def official_source(name: str) -> str:
    """Return where a network's official weights are: "torchvision" if it has them, else "timm"."""
    from torchvision import models

    return "torchvision" if name in models.list_models() else "timm"


def has_official(name: str) -> bool:
    """Return whether torchvision, or timm where it is installed, has weights of a network."""
    if official_source(name) == "torchvision":
        return True
    try:
        import timm  # pyright: ignore[reportMissingImports] - an extra
    except ImportError:
        return False
    return timm.is_model_pretrained(OF_TIMM.get(name, name))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
