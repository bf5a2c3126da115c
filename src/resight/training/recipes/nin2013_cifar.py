"""`nin2013-cifar`: Lin, Chen and Yan, "Network In Network", section 4.

    resight train cifar10 --recipe nin2013-cifar

Published test error: 8.81 % with augmentation, 10.41 % without (Tables 1 and 5).

Deviations. The paper drops the rate tenfold, twice, when the training error plateaus, and gives neither
the first rate nor the length; those here are ours. Pictures are whitened after augmentation, not before.
"""

from resight.training.recipe import Facts, Recipe


def build(facts: Facts) -> Recipe:
    """Return the paper's settings."""
    return Recipe(
        model=facts.model or "nin_cifar",
        image_size=32,
        normalize="gcn-zca",  # section 4.1: as Goodfellow et al. 2013
        augment=("pad-crop", *facts.flip),  # section 4.2: translation and mirroring
        epochs=200,
        batch_size=128,  # section 4: mini-batches of 128
        optimizer="sgd",
        lr=0.05,
        momentum=0.9,  # the released definition
        weight_decay=1e-4,  # the released definition
        schedule="steps",
        drops=(0.6, 0.85),
        val_share=0.1,  # section 4.1: the last 10,000 pictures choose the settings; then all 50k
        label_smoothing=0.0,
        ema=0.0,
        precision="fp32",
    )
