"""`maxout2013-cifar`: Goodfellow et al., "Maxout Networks", section 5.2, and its released configuration.

    resight train cifar10 --recipe maxout2013-cifar

Published test error: 9.38 % with augmentation, 11.68 % without (Table 4).

Deviations. Momentum rises from 0.5 to 0.65 over 250 epochs in the paper; here it is 0.65. The rate falls to a
hundredth over the 474 epochs, in the paper over 500. Pictures are whitened after augmentation, not before.
"""

from resight.training.recipe import Facts, Recipe


def build(facts: Facts) -> Recipe:
    """Return the paper's settings."""
    return Recipe(
        model=facts.model or "maxout",
        image_size=32,
        normalize="gcn-zca",  # section 5.2
        augment=("wide-crop", *facts.flip),  # released: pad by 8, crop, mirror
        epochs=474,  # released
        batch_size=128,
        optimizer="sgd",
        lr=0.17,
        momentum=0.65,
        weight_decay=0.0,  # norms are bounded instead
        schedule="linear",
        val_share=0.1,  # section 5.2: 40k / 10k to choose, then all
        label_smoothing=0.0,
        ema=0.0,
        precision="fp32",
    )
