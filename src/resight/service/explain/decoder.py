"""The decoder of Perception Visualization of a run, kept next to its model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resight.core.errors import ModelFileError, UsageError
from resight.models.decoder import Decoder, load_decoder, weights_digest
from resight.saliency.perception import Encoder
from resight.service.run.run import Run

DECODER_FILE = "decoder.safetensors"


@dataclass(frozen=True)
class OpenDecoder:
    """A decoder, ready to use.

    Attributes:
        decoder: in eval mode, on the run's device.
        residuals: of its validation pictures, sorted, (N,).
        facts: the header of its file.
    """

    decoder: Decoder
    residuals: Tensor
    facts: dict[str, Any]

    def percentile(self, residual: float) -> float:
        """Return the share of validation pictures with a residual at most this one, in percent."""
        place = torch.searchsorted(self.residuals, torch.tensor(residual), right=True)
        return 100 * int(place) / max(len(self.residuals), 1)


def decoder_file(run: Run) -> Path:
    """Return where a run's decoder is kept: next to its model.

    Raises:
        UsageError: for a network of the zoo, which has no folder.
    """
    if run.name.startswith("zoo:"):
        raise UsageError(f"{run.name}: has no folder to keep a decoder in; train a run from it first")
    return (run.folder or Path(run.name).parent) / DECODER_FILE


def open_decoder(run: Run) -> OpenDecoder:
    """Open the decoder of a run.

    Raises:
        ModelFileError: if there is none, it is damaged, or it was trained for other weights.
        UsageError: as `decoder_file` and `Encoder`.
    """
    Encoder(run.model)
    path = decoder_file(run)
    if not path.is_file():
        raise ModelFileError(f"{run.name}: has no decoder; train one with: resight train-decoder {run.name}")
    decoder, residuals, facts = load_decoder(path)
    if facts.get("network") != weights_digest(run.model):
        raise ModelFileError(
            f"{path}: was trained for other weights than {run.name} has now; train it again with: "
            f"resight train-decoder {run.name}"
        )
    decoder = decoder.to(run.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return OpenDecoder(decoder, residuals, facts)
