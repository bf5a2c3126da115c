"""Where weights come from: source, licence and SHA-256. A run records it, and its model file passes it on."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resight.core.errors import ModelFileError
from resight.core.preprocessing import INTERPOLATIONS, Preprocessing

NOT_STATED = "not stated"


@dataclass(frozen=True)
class Origin:
    """Where weights come from.

    Attributes:
        source: such as "torchvision ResNet50_Weights.IMAGENET1K_V2", or a path.
        licence: its SPDX name if known, else "not stated".
        sha256: of the file; of the tensors if no single file is known, see `tensors_digest`.
        file: path of the file; "" if unknown.
        preprocessing: what the weights were tested with; None if unknown.
    """

    source: str
    licence: str
    sha256: str
    file: str = ""
    preprocessing: Preprocessing | None = None

    def header(self) -> dict[str, str]:
        """Return what a model file records about the weights that its training started from."""
        return {"source": self.source, "licence": self.licence, "sha256": self.sha256}

    def to_dict(self) -> dict[str, Any]:
        """Return what recipe.json records: everything, so that resuming needs no weight file."""
        card = self.preprocessing and self.preprocessing.to_dict()
        return {**self.header(), "file": self.file, "preprocessing": card}

    @classmethod
    def from_dict(cls, document: dict[str, Any], where: str) -> "Origin":
        """Build from `to_dict`.

        Raises:
            ModelFileError: if the preprocessing is invalid.
        """
        card = document.get("preprocessing")
        try:
            preprocessing = Preprocessing.from_dict(card) if card else None
            if preprocessing and (
                preprocessing.interpolation not in INTERPOLATIONS
                or not len(preprocessing.mean) == len(preprocessing.std) == 3
            ):
                raise ValueError("its preprocessing is unknown")
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ModelFileError(f"{where}: weights are damaged ({error}); start again with --out") from error
        texts = {key: str(document.get(key, "")) for key in ("source", "licence", "sha256", "file")}
        return cls(**texts, preprocessing=preprocessing)

    def __str__(self) -> str:
        """Return the origin as one line."""
        return f"{self.source}, licence {self.licence}, SHA-256 {self.sha256[:16]}"


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal letters.

    Raises:
        ModelFileError: if it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read ({error.strerror or error})") from error


def tensors_digest(state: dict[str, Tensor]) -> str:
    """Return the SHA-256 of tensors: of name, type, shape and bytes of each, in the order of the names."""
    total = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
