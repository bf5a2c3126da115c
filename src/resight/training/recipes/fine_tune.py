"""`fine-tune`: from given weights to new classes.

    resight train DATA --recipe fine-tune --set weights=RUN
    resight train DATA --recipe fine-tune --model resnet50 --set weights=torchvision

A new head at the full rate, and a trunk at a tenth of it, over one cycle.
"""

from resight.training.recipe import Facts, Recipe
from resight.training.recipes.fast import validation_share


def build(facts: Facts) -> Recipe:
    """Return the settings for a data set and its starting weights."""
    small = facts.side <= 64
    return Recipe(
        model=facts.model or "resnet18",
        image_size=input_size(facts),
        epochs=min(40, max(8, round((100_000 if small else 15_000) / facts.pictures))),
        batch_size=32,
        optimizer="nesterov",
        lr=0.05,
        trunk_lr=(0.1,),
        weight_decay=5e-4,
        schedule="one-cycle",
        drops=(0.2,),
        label_smoothing=0.1,
        ema=0.97,
        augment=("pad-crop" if small else "resized-crop", *facts.flip),
        normalize="weights",
        val_share=validation_share(facts.pictures),
    )


def input_size(facts: Facts) -> int:
    """Return the side of the network's input, in pixels.

    A trunk trained on small pictures sees larger ones at up to four times its size.
    """
    size = facts.weights_size or 128
    return size if size >= facts.side else max(size, min(128, 4 * size))
