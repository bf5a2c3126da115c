"""`fitnet2014-cifar`: Romero et al., "FitNets: Hints for Thin Deep Nets", sections 3 and 4, and its release.

    resight train cifar10 --recipe maxout2013-cifar --out teacher
    resight train cifar10 --recipe fitnet2014-cifar --set teacher=teacher

Published test accuracy: 91.61 % (FitNet 4, 19 layers; its teacher 90.18 %).

The first quarter of training regresses the guided layer onto the teacher's hint layer, the rest trains on
labels and teacher together (`objective.py`). Without teacher= it trains on labels alone.

Deviations. The length of the hint phase is not published; a quarter is ours. The released rate is 0.005 with
RMSProp.
"""

from resight.training.recipe import Facts, Recipe


def build(facts: Facts) -> Recipe:
    """Return the paper's settings."""
    return Recipe(
        model=facts.model or "fitnet19",
        options=("hint=192",)
        if facts.model in ("", "fitnet19")
        else (),  # channels of the maxout teacher's second layer
        image_size=32,
        normalize="gcn-zca",
        augment=("pad-crop", *facts.flip),
        epochs=400,  # released: the weight of the teacher reaches 1 after 400 epochs
        batch_size=128,
        optimizer="rmsprop",
        lr=0.005,  # released
        momentum=0.0,
        weight_decay=0.0,  # norms are bounded instead
        schedule="constant",
        val_share=0.1,
        label_smoothing=0.0,
        ema=0.0,
        precision="fp32",
    )
