"""`densenet2016-cifar`: Huang et al., "Densely Connected Convolutional Networks", section 4.2.

    resight train cifar10 --recipe densenet2016-cifar --model densenet_bc100_12

Published test error with augmentation: 5.24 % (L = 40, k = 12), 4.51 % (BC, L = 100, k = 12), 3.46 % (BC, L =
190, k = 40).

Without augmentation the paper sets dropout 0.2: --set augment= --set dropout=0.2.
"""

from resight.training.recipe import Facts, Recipe


def build(facts: Facts) -> Recipe:
    """Return the paper's settings."""
    return Recipe(
        model=facts.model or "densenet_bc100_12",
        image_size=32,
        normalize="channel",  # section 4.1
        augment=("pad-crop", *facts.flip),  # section 4.1
        epochs=300,  # section 4.2
        batch_size=64,  # section 4.2
        optimizer="nesterov",  # section 4.2
        lr=0.1,  # section 4.2
        momentum=0.9,
        weight_decay=1e-4,  # section 4.2
        schedule="steps",
        drops=(0.5, 0.75),  # section 4.2
        val_share=0.1,  # section 4.1: 5,000 to choose, then all 50k
        label_smoothing=0.0,
        ema=0.0,
        precision="fp32",
    )
