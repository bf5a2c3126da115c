"""`photos`, the default for photos: from ImageNet weights to new classes, in a minute or two on a CPU.

    resight train DATA
    resight train DATA --recipe photos --model resnet50 --set weights=torchvision

First only the head is trained, over a frozen trunk (Kumar et al. 2022, "Fine-Tuning can Distort Pretrained
Features and Underperform Out-of-Distribution"). Then the last stages are trained too, at a tenth of its rate
or less. The stages before them, the statistics of batch normalization and the kernels of depth-wise
convolutions stay as in the weights: a few hundred photos carry little information on them, and on a CPU their
gradients are most of a step's cost. Without weights it is `fast`. How the settings were found:
docs/experiments.md.
"""

from resight.training.recipe import Facts, Recipe
from resight.training.recipes import fast, fine_tune

SEEN = 4_000
"""Crops that a training on few photos sees in all."""
SMALL_BATCHES = 500
"""Fewer photos are trained on in batches of half the size, so in twice as many steps."""
LAST_STAGES = {"efficientnet": 4}
"""How many stages learn, by the first letters of a network's name: those that have most of the weights."""


def build(facts: Facts) -> Recipe:
    """Return the settings for a data set and its starting weights."""
    if not facts.pretrained:
        return fast.photos(facts)
    return Recipe(
        model=facts.model or "efficientnet_lite0",
        options=("frozen_norm=true", "frozen_depthwise=true"),
        image_size=fine_tune.input_size(facts) if facts.weights_size else max(224, facts.least_size),
        epochs=epochs_for(facts.pictures),
        head_first=0.25,
        batch_size=16 if facts.pictures < SMALL_BATCHES else 32,
        optimizer="adamw",
        lr=0.003,
        trunk_lr=(trunk_rate(facts), 1.0, last_stages(facts.model)),
        weight_decay=0.05,
        schedule="cosine",
        label_smoothing=0.1,
        augment=("resized-crop", *facts.flip),
        normalize="weights",
        val_share=0.0 if facts.pictures < fast.FEW else fast.validation_share(facts.pictures),
    )


def epochs_for(pictures: int) -> int:
    """Return the passes over this number of photos: 4 to 40, so that few photos are seen often."""
    return min(40, max(4, round(SEEN / max(pictures, 1))))


def trunk_rate(facts: Facts) -> float:
    """Return the trunk's rate over the head's: a tenth from 300 photos on, less with fewer.

    At a tenth a trunk that sees only ten photos forgets its features. Without batch normalization
    it is a tenth of that, as in `fast`.
    """
    return round(min(0.1, facts.pictures / 3_000) * (1.0 if facts.normalized else 0.1), 5)


def last_stages(model: str) -> float:
    """Return how many stages of a network are trained, counted from the last."""
    return float(next((n for name, n in LAST_STAGES.items() if model.startswith(name)), 2))
