"""The decoder of Perception Visualization, from the trunk's last map back to a picture, and its file.

Source: Giulivi, Carman and Boracchi, "Perception Visualization: Seeing Through the Eyes of a DNN", BMVC 2021;
the table of stages is from the authors' released code, for a ResNet-50 at 224 pixels.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resight.core import documents
from resight.core.documents import Whole
from resight.core.errors import ModelFileError
from resight.core.files import digest
from resight.models.loading import load_whole
from resight.models.modelfile import load_tensors, save_tensors

FORMAT = 1
HEADER = {
    "decoder": {
        "channels": Whole(1, 65_536),
        "side": Whole(1, 4096),
        "size": Whole(1, 4096),
        "widest?": Whole(0, 65_536),
    },
    "network?": str,
}
RESIDUALS = "validation.residuals"
SLOPE = 0.2
"""Of the leaky rectifiers."""


@dataclass(frozen=True)
class Stage:
    """An up-convolution that doubles the side, then 3x3 convolutions.

    Attributes:
        width: channels.
        convolutions: number of convolutions.
    """

    width: int
    convolutions: int


STAGES = (Stage(512, 2), Stage(512, 2), Stage(256, 2), Stage(128, 1), Stage(64, 1))
"""From 7 x 7 to 224 x 224. Larger maps use only the last stages; smaller ones repeat the first."""


class Decoder(nn.Module):
    """Turn a trunk's last map into a picture that it may have come from.

    Deviations from the release: the number of stages follows from the map and the picture, no stage is
    wider than `widest`, and pictures whose side is not a power of two times the map's are resized (bilinear)
    before the last convolution.

    Args:
        channels: K of the map.
        side: h of the map, in positions.
        size: S, side of the picture, in pixels.
        widest: most channels of a stage; 0 for twice the map's.

    Attributes:
        variance: of the trunk's features over its training pictures; its loss is divided by it.
    """

    variance: Tensor

    def __init__(self, channels: int, side: int, size: int, widest: int = 0) -> None:
        super().__init__()
        self.size = size
        self.options = {"channels": channels, "side": side, "size": size, "widest": widest}
        layers: list[nn.Module] = []
        most = widest or 2 * channels
        for stage in stages_for(side, size):
            width = min(stage.width, most)
            layers += [nn.ConvTranspose2d(channels, width, 2, stride=2), nn.BatchNorm2d(width)]
            for _ in range(stage.convolutions):
                layers += [nn.Conv2d(width, width, 3, padding=1), nn.LeakyReLU(SLOPE)]
            channels = width
        self.stages = nn.Sequential(*layers)
        self.last = nn.Conv2d(channels, 3, 3, padding=1)
        self.register_buffer("variance", torch.ones(()))

    def forward(self, features: Tensor) -> Tensor:
        """Turn maps (B, K, h, w) into pictures (B, 3, S, S), RGB in [0, 1], float32."""
        x = self.stages(features)
        if x.shape[-2:] != (self.size, self.size):
            x = F.interpolate(x, (self.size, self.size), mode="bilinear", align_corners=False)
        return torch.sigmoid(self.last(x).float())


def stages_for(side: int, size: int) -> tuple[Stage, ...]:
    """Return the stages that bring a map of `side` positions to a picture of `size` pixels, or just below."""
    doublings = max(size // side, 1).bit_length() - 1
    repeated = (STAGES[0],) * (doublings - len(STAGES))
    return repeated + STAGES[max(len(STAGES) - doublings, 0) :]


def weights_digest(model: nn.Module) -> str:
    """Return a digest of a network's weights: a decoder fits only the network that it was trained for."""
    rows = [
        f"{name} {digest(value.detach().cpu().contiguous().numpy().tobytes())}"
        for name, value in sorted(model.state_dict().items())
    ]
    return digest("\n".join(rows).encode())


def save_decoder(path: Path, decoder: Decoder, residuals: Tensor, facts: dict[str, Any]) -> None:
    """Write a decoder file, atomically.

    Args:
        path: of the file.
        decoder: with its variance.
        residuals: of the validation pictures, sorted, (N,).
        facts: further entries of the header.
    """
    document = {"format": FORMAT, "decoder": decoder.options, **facts}
    save_tensors(path, {**decoder.state_dict(), RESIDUALS: residuals}, document)


def load_decoder(path: Path) -> tuple[Decoder, Tensor, dict[str, Any]]:
    """Read a decoder file.

    Returns:
        The decoder in eval mode, the sorted residuals of the validation pictures (N,), and the header.

    Raises:
        ModelFileError: if the file cannot be used.
    """
    tensors, document = load_tensors(path)
    if document.get("format") != FORMAT or "decoder" not in document:
        raise ModelFileError(f"{path}: is not a decoder of this Resight version; train it again")
    documents.require(document, HEADER, f"{path}: its header is damaged", ModelFileError)
    options, residuals = document["decoder"], tensors.pop(RESIDUALS, None)
    if residuals is None or residuals.ndim != 1 or not residuals.is_floating_point():
        raise ModelFileError(f"{path}: is damaged (it has no residuals); train it again")
    if residuals.isnan().any() or (residuals.diff() < 0).any():
        raise ModelFileError(f"{path}: is damaged (its residuals are not sorted); train it again")
    decoder = load_whole(partial(Decoder, **options), tensors, str(path))
    if decoder.variance <= 0:
        raise ModelFileError(f"{path}: is damaged (its variance is not above 0); train it again")
    return decoder.eval(), residuals, document
