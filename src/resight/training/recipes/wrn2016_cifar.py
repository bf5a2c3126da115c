"""`wrn2016-cifar`: Zagoruyko and Komodakis, "Wide Residual Networks", section 3.

    resight train cifar10 --recipe wrn2016-cifar --model wrn28_10 --set dropout=0.3

Published test error: 4.00 % (WRN-28-10), 3.89 % with dropout 0.3, 4.53 % (WRN-40-4).
"""

from resight.training.recipe import Facts, Recipe


def build(facts: Facts) -> Recipe:
    """Return the paper's settings."""
    return Recipe(
        model=facts.model or "wrn28_10",
        image_size=32,
        normalize="channel",  # section 3: mean and deviation (the later version; ZCA before)
        augment=("pad-crop", *facts.flip),
        epochs=200,  # section 3
        batch_size=128,  # section 3
        optimizer="nesterov",  # section 3
        lr=0.1,  # section 3
        momentum=0.9,
        weight_decay=5e-4,  # section 3
        schedule="fifths",
        drops=(0.3, 0.6, 0.8),  # section 3: a fifth at epochs 60, 120 and 160
        val_share=0.1,
        label_smoothing=0.0,
        ema=0.0,
        precision="fp32",
    )
