"""`he2016-cifar`: He, Zhang, Ren and Sun, "Identity Mappings in Deep Residual Networks", appendix.

    resight train cifar10 --recipe he2016-cifar --model preact_resnet164

Published test error: 5.46 % (164 layers), 4.92 % (1001).

Deviations. 64,000 iterations of 128 are 163.8 epochs of 50,000 pictures: 164 epochs, with the drops at the
same shares.
"""

from resight.training.recipe import Facts, Recipe


def build(facts: Facts) -> Recipe:
    """Return the paper's settings."""
    return Recipe(
        model=facts.model or "preact_resnet164",
        image_size=32,
        normalize="pixel-mean",  # as He et al. 2015
        augment=("pad-crop", *facts.flip),  # appendix: as He et al. 2015
        epochs=164,  # appendix: 64k iterations
        batch_size=128,  # appendix
        optimizer="sgd",
        lr=0.1,  # appendix
        momentum=0.9,
        weight_decay=1e-4,  # appendix
        schedule="steps",
        drops=(0.5, 0.75),  # appendix: 32k and 48k
        warmup=(400, 0.01, 57_000),  # appendix: warm-up of 400 iterations, of 64,000
        val_share=0.1,
        label_smoothing=0.0,
        ema=0.0,
        precision="fp32",
    )
