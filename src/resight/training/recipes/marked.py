"""What `detect` and `segment` share: from given weights of the trunk to a new head, on whole pictures.

The trunk learns at a tenth of the head's rate, its last stages alone; statistics of batch normalization stay
as in the weights. Pictures are seen whole at a random scale, cut or padded, and mirrored where labels allow.
How the settings were found: docs/experiments.md.
"""

from resight.training.recipe import Facts, Recipe
from resight.training.recipes import fast
from resight.training.recipes.photos import last_stages

SIDE = 320
LEAST_EPOCHS = 6


def settings(facts: Facts, *, seen: int, most_epochs: int, batch_size: int, rescale: str) -> Recipe:
    """Return the settings for a data set and its starting weights.

    Args:
        facts: of the data set and the weights.
        seen: pictures that a training on few of them sees in all.
        most_epochs: passes over very few pictures.
        batch_size: pictures of a step.
        rescale: the augmentation that draws the scale.
    """
    given = facts.pretrained
    return Recipe(
        model=facts.model or ("efficientnet_lite0" if given else "resnet18"),
        options=("frozen_norm=true", "frozen_depthwise=true") if given else (),
        image_size=max(SIDE, facts.least_size),
        epochs=min(most_epochs, max(LEAST_EPOCHS, round(seen / max(facts.pictures, 1)))),
        batch_size=batch_size,
        optimizer="adamw",
        lr=0.001,
        trunk_lr=(0.1, 1.0, last_stages(facts.model)) if given else (1.0,),
        weight_decay=0.05,
        schedule="cosine",
        warmup=(50, 0.0001, 500),
        augment=(rescale, *facts.flip),
        normalize="weights" if given else "channel",
        val_share=fast.validation_share(facts.pictures),
    )
