"""`photos`, the default for photos: from ImageNet weights to new classes within a minute or two of a CPU.

    resight train DATA
    resight train DATA --recipe photos --model resnet50 --set weights=torchvision

First the head learns alone, over a trunk that is neither differentiated nor moved (Kumar et al. 2022,
"Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution": a fresh head would pull
good features apart). Then the last stages learn with it at a tenth of its rate; the stages before them, all
statistics of batch normalization and the kernels of depth-wise convolutions stay those of the weights. Few
photos say nothing better about them, and their gradients are most of a step's cost on a CPU.
Without weights it is `fast`. How the settings were found: docs/experiments.md.
"""

from resight.training.recipe import Facts, Recipe
from resight.training.recipes import fast

SEEN = 4_000
"""Pictures that a training should see in all, each time with other crops."""
FEW = 400
"""Of fewer training pictures none is held out: the best of many epochs on 40 pictures is chosen by chance."""


def build(facts: Facts) -> Recipe:
    """Return the settings for a data set and the weights that it starts from."""
    if not facts.pretrained:
        return fast.photos(facts)
    return Recipe(
        model=facts.model or "efficientnet_lite0",
        options=("frozen_norm=true", "frozen_depthwise=true"),
        image_size=facts.weights_size or max(224, facts.least_size),
        epochs=min(24, max(4, round(SEEN / max(facts.pictures, 1)))),
        head_first=0.25,
        batch_size=32,
        optimizer="adamw",
        lr=0.003,
        trunk_lr=(0.1, 1.0, 4.0),
        weight_decay=0.05,
        schedule="cosine",
        label_smoothing=0.1,
        augment=("resized-crop", *facts.flip),
        normalize="weights",
        val_share=0.0 if facts.pictures < FEW else fast.validation_share(facts.pictures),
    )
