"""`dsn2014-cifar`: Lee et al., "Deeply-Supervised Nets", section 3, and its released definition.

    resight train cifar10 --recipe dsn2014-cifar

Published test error: 7.97 % with augmentation (8.22 in the first version of the paper), 9.69 % without.

Deviations. The length and the drops of the rate are not published; those here are ours. Companions are used
in one run, falling to zero, instead of one run with and one without. Pictures are whitened after
augmentation.
"""

from resight.training.recipe import Facts, Recipe


def build(facts: Facts) -> Recipe:
    """Return the paper's settings."""
    return Recipe(
        model=facts.model or "dsn",
        image_size=32,
        normalize="gcn-zca",  # as NiN, section 3.2
        augment=("pad-crop", *facts.flip),
        epochs=200,
        batch_size=100,  # released
        optimizer="sgd",
        lr=0.025,  # released
        momentum=0.9,
        weight_decay=5e-4,
        schedule="steps",
        drops=(0.6, 0.85),
        val_share=0.1,
        label_smoothing=0.0,
        ema=0.0,
        precision="fp32",
    )
