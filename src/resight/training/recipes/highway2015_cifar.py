"""`highway2015-cifar`: Srivastava et al., "Training Very Deep Networks", section 4.2, and its release.

    resight train cifar10 --recipe highway2015-cifar

Published test error: 7.54 % (19 layers; mean 7.72), 8.80 % (32 layers).

Deviations. 210,000 iterations of 100 are 420 epochs of 50,000 pictures; the release does not state where it
stops after the last drop at 200,000.
"""

from resight.training.recipe import Facts, Recipe


def build(facts: Facts) -> Recipe:
    """Return the paper's settings."""
    return Recipe(
        model=facts.model or "highway19",
        image_size=32,
        normalize="gcn",  # released: global contrast normalization, less the mean picture
        augment=("wide-crop", *facts.flip),  # released: pad by 8, crop, mirror
        epochs=420,
        batch_size=100,
        optimizer="nesterov",
        lr=0.025,
        momentum=0.9,
        weight_decay=1e-3,
        schedule="steps",
        drops=(0.476, 0.714, 0.833, 0.952),  # released: 100k, 150k, 175k, 200k
        val_share=0.1,
        label_smoothing=0.0,
        ema=0.0,
        precision="fp32",
    )
