"""`resnext2016-cifar`: Xie et al., "Aggregated Residual Transformations", section 5.3.

    resight train cifar10 --recipe resnext2016-cifar --model resnext29_8x64d

Published test error: 3.65 % (8x64d), 3.58 % (16x64d).
"""

from resight.training.recipe import Facts, Recipe


def build(facts: Facts) -> Recipe:
    """Return the paper's settings."""
    return Recipe(
        model=facts.model or "resnext29_8x64d",
        image_size=32,
        normalize="channel",
        augment=("pad-crop", *facts.flip),  # section 5.3: as He et al. 2015
        epochs=300,  # section 5.3
        batch_size=128,  # section 5.3
        optimizer="nesterov",  # the released code
        lr=0.1,  # section 5.3
        momentum=0.9,
        weight_decay=5e-4,  # section 5.3
        schedule="steps",
        drops=(0.5, 0.75),  # section 5.3: epochs 150 and 225
        val_share=0.1,
        label_smoothing=0.0,
        ema=0.0,
        precision="fp32",
    )
