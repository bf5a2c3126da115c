"""Perception Visualization: what a network perceived, shown where it looked.

A decoder G turns the trunk's map E(x) back into a picture, which cannot show what the map lacks.

Source: Giulivi, Carman and Boracchi, "Perception Visualization: Seeing Through the Eyes of a DNN", BMVC 2021.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from resight.core.errors import UsageError
from resight.data.prepare import contrast_normalized
from resight.models.classifier import Classifier
from resight.models.cost import evaluating
from resight.models.decoder import Decoder
from resight.saliency.explanation import Explanation, Target
from resight.saliency.methods import explain


@dataclass(frozen=True)
class Perception:
    """What a network perceived in a batch.

    B images of H x W pixels; with several targets an image, (B, T) stands for (B) in `blended` and `map`.

    Attributes:
        reconstruction: G(E(x)), (B, 3, H, W), RGB in [0, 1].
        blended: the reconstruction where the map is high, white where it is low, (B, 3, H, W).
        residual: of each image, see `latent_residual`, (B,).
        map: where the network looked, (B, H, W) in [0, 1].
        explanation: the map's method, layer, targets and scores.
    """

    reconstruction: Tensor
    blended: Tensor
    residual: Tensor
    map: Tensor
    explanation: Explanation


class Encoder:
    """E: pictures to the trunk's map, with the normalization inside the graph.

    Args:
        model: its trunk and its preprocessing are used; it is not changed.

    Raises:
        UsageError: if the network has no preprocessing, or does not take RGB.
    """

    def __init__(self, model: Classifier) -> None:
        card = model.preprocessing
        if card is None:
            raise UsageError(
                "the network does not state its preprocessing, which perception visualization needs"
            )
        if model.in_channels != 3:
            raise UsageError(
                f"the network takes {model.in_channels} channels; perception visualization needs RGB"
            )
        self.model, self.card = model, card
        device = next(model.parameters()).device
        flat = torch.tensor(card.pixel_mean, dtype=torch.float32, device=device)
        self.mean = (
            flat.view(1, 3, card.size, card.size)
            if card.pixel_mean
            else torch.tensor(card.mean, dtype=torch.float32, device=device).view(1, 3, 1, 1)
        )
        self.std = torch.tensor(card.std, dtype=torch.float32, device=device).view(1, 3, 1, 1)
        self.whitening = None if card.whitening is None else torch.from_numpy(card.whitening).to(device)

    def normalized(self, pictures: Tensor) -> Tensor:
        """Turn pictures (B, 3, S, S) in [0, 1] into what the network takes, as `Normalize` does."""
        if not self.card.contrast:
            return (pictures - self.mean) / self.std
        flat = contrast_normalized(255 * pictures, self.card.contrast)
        if self.card.pixel_mean:
            flat = flat - self.mean.flatten(1)
        if self.whitening is not None:
            flat = flat @ self.whitening
        return flat.view_as(pictures)

    def __call__(self, pictures: Tensor) -> Tensor:
        """Turn pictures (B, 3, S, S) in [0, 1] into maps (B, K, h, w)."""
        return self.model.forward_features(self.normalized(pictures))


def latent_residual(features: Tensor, again: Tensor) -> Tensor:
    """Return the mean of (E(G(E(x))) - E(x))^2 over the variance of E(x), of each image, (B,).

    0: the network cannot tell the reconstruction from the image. 1: it is as far off as the mean of the
    image's own features. Dividing by the image's own variance is a deviation: without it, pictures that the
    network is confident about, whose features are large, have larger residuals.

    Args:
        features: E(x), (B, K, h, w).
        again: E(G(E(x))), the same shape.
    """
    flat = features.float().flatten(1)
    error = (again.float().flatten(1) - flat).square().mean(1)
    return error / flat.var(1, correction=0).clamp(min=1e-12)


def masked(pictures: Tensor, maps: Tensor) -> Tensor:
    """Return S picture + (1 - S) white.

    Args:
        pictures: (..., 3, H, W) in [0, 1].
        maps: S, (..., H, W) in [0, 1].
    """
    shown = maps.unsqueeze(-3)
    return shown * pictures + (1 - shown)


def perceive(
    model: Classifier,
    decoder: Decoder,
    images: Tensor,
    target: Target = None,
    method: str = "grad_cam",
    layer: str | Sequence[str] | None = None,
    **options: Any,
) -> Perception:
    """Show what a network perceived, where it looked.

    The map is scaled by its minimum and maximum, while the release divides by the maximum. Its gradient is
    that of the logit, while the release uses the sigmoid's. The model is left unchanged.

    Args:
        model: the network that the decoder was trained for.
        decoder: the decoder.
        images: (B, 3, S, S), preprocessed as the network expects them.
        target: as for `explain`.
        method: of the map S, as for `explain`.
        layer: the layer, or several, that the map is read from; by default the last one.
        **options: of the method.

    Raises:
        UsageError: if the images do not have the decoder's size; and as `explain`.
    """
    if images.shape[-2:] != (decoder.size, decoder.size):
        height, width = images.shape[-2:]
        raise UsageError(
            f"images of {height} x {width}: the decoder was trained for {decoder.size} x {decoder.size}"
        )
    encoder = Encoder(model)
    with torch.no_grad(), evaluating(model), evaluating(decoder):
        features = model.forward_features(images)
        reconstruction = decoder(features)
        residual = latent_residual(features, encoder(reconstruction))
    explanation = explain(model, images, method, target, layer, **options)
    maps = explanation.maps
    shown = reconstruction if maps.ndim == 3 else reconstruction[:, None]
    return Perception(reconstruction, masked(shown, maps), residual, maps, explanation)
