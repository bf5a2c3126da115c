"""`segment`: a class for every pixel on few pictures, from given weights of the trunk, in minutes on a CPU.

    resight train DATA --task segment

The trunk learns at a tenth of the head's rate, its last stages alone; statistics of batch normalization stay
as in the weights, and the head measures its own. Pictures are seen at a random scale, cut or padded, and
mirrored (Chen et al. 2017, arXiv:1706.05587, section 4: scales from 0.5 to 2). How the settings were found:
docs/experiments.md.
"""

from resight.training.recipe import Facts, Recipe
from resight.training.recipes import fast
from resight.training.recipes.photos import last_stages

SEEN = 4_000
"""Pictures that a training on few of them sees in all."""
SIDE = 320


def build(facts: Facts) -> Recipe:
    """Return the settings for a data set and its starting weights."""
    given = facts.pretrained
    return Recipe(
        model=facts.model or ("efficientnet_lite0" if given else "resnet18"),
        options=("frozen_norm=true", "frozen_depthwise=true") if given else (),
        image_size=max(SIDE, facts.least_size),
        epochs=min(80, max(6, round(SEEN / max(facts.pictures, 1)))),
        batch_size=8,
        optimizer="adamw",
        lr=0.001,
        trunk_lr=(0.1, 1.0, last_stages(facts.model)) if given else (1.0,),
        weight_decay=0.05,
        schedule="cosine",
        warmup=(50, 0.0001, 500),
        augment=("rescale:0.5", *facts.flip),
        normalize="weights" if given else "channel",
        val_share=fast.validation_share(facts.pictures),
    )
