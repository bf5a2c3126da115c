"""How pictures are normalized: settled on the training pictures, or as the weights have it."""

from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional

from resight.core.errors import UsageError
from resight.core.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from resight.data.dataset import Split
from resight.data.prepare import contrast_normalized, decode_split, zca
from resight.training.recipe import Recipe


def normalization_of(
    card: Preprocessing,
    recipe: Recipe,
    train: Split,
    pictures: list[np.ndarray] | None,
    weights_card: Preprocessing | None,
) -> Preprocessing:
    """Return the card with the recipe's mean and deviation."""
    if recipe.normalize == "imagenet" or (recipe.normalize == "weights" and weights_card is None):
        return replace(card, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    if recipe.normalize == "weights" and weights_card:
        return _as_the_weights(card, weights_card)
    if pictures is None:
        sample = train.take(np.unique(np.linspace(0, len(train) - 1, 2000).astype(int)))
        _, pictures, _ = decode_split(sample, card)
    if recipe.normalize in ("pixel-mean", "gcn", "gcn-zca") and any(
        p.shape != (card.size, card.size, 3) for p in pictures
    ):
        raise UsageError(f"normalize={recipe.normalize} needs pictures of one size; use channel-mean")
    if recipe.normalize in ("gcn", "gcn-zca"):
        return _contrast(card, pictures, whiten=recipe.normalize == "gcn-zca")
    if recipe.normalize == "pixel-mean":
        total = np.zeros((card.size, card.size, 3))
        for picture in pictures:
            total += picture
        mean_image = torch.from_numpy(total / len(pictures) / 255).permute(2, 0, 1).float()
        return replace(card, std=(1.0, 1.0, 1.0), pixel_mean=tuple(mean_image.flatten().tolist()))
    moments = np.zeros((2, 3))
    pixels = 0
    for picture in pictures:
        flat = picture.reshape(-1, 3).astype(np.float64) / 255
        moments += (flat.sum(0), (flat**2).sum(0))
        pixels += len(flat)
    mean = moments[0] / pixels
    std = np.sqrt(np.maximum(moments[1] / pixels - mean**2, 1e-6))
    if recipe.normalize == "channel-mean":
        std = np.ones(3)
    return replace(card, mean=tuple(mean.tolist()), std=tuple(std.tolist()))


def _as_the_weights(card: Preprocessing, weights_card: Preprocessing) -> Preprocessing:
    """Return the card with all of the weights' normalization, not their levels; a mean picture is resized.

    Raises:
        UsageError: if the weights were whitened at another size.
    """
    pixel_mean = weights_card.pixel_mean
    if weights_card.size != card.size:
        if weights_card.whitening is not None:
            raise UsageError(
                f"the weights' pictures were whitened at {weights_card.size} pixels: set "
                f"image_size={weights_card.size}, or another normalize="
            )
        if pixel_mean:
            stored = torch.tensor(pixel_mean).view(1, 3, weights_card.size, weights_card.size)
            resized = functional.interpolate(stored, (card.size, card.size), mode="bilinear")
            pixel_mean = tuple(resized.flatten().tolist())
    return replace(
        weights_card, size=card.size, resize=card.resize, pixel_mean=pixel_mean, levels=card.levels,
        frame=card.frame,
    )  # fmt: skip


def _contrast(card: Preprocessing, pictures: list[np.ndarray], *, whiten: bool) -> Preprocessing:
    """Return the card with global contrast normalization and, if asked for, ZCA whitening.

    The mean picture and the whitening are of the training pictures after contrast normalization, whole
    and not augmented; here pictures are whitened after augmentation, where the papers whiten before.
    """
    if whiten and card.size > 48:
        raise UsageError(
            f"normalize=gcn-zca at {card.size} pixels needs a table of {(3 * card.size**2) ** 2:,} numbers; "
            "use gcn, or --set image_size=32"
        )
    parts = [
        contrast_normalized(
            torch.from_numpy(np.stack(pictures[start : start + 4096])).permute(0, 3, 1, 2), 55
        )
        for start in range(0, len(pictures), 4096)
    ]
    vectors = torch.cat(parts)
    mean = vectors.mean(0)
    table = zca(vectors.sub_(mean)).numpy() if whiten else None
    return replace(card, contrast=55.0, pixel_mean=tuple(mean.tolist()), whitening=table)
