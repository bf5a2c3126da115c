"""`he2015-cifar`: He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", section 4.2.

    resight train cifar10 --recipe he2015-cifar --model resnet20

Published test error: 8.75 % (ResNet-20), 7.51 (32), 7.17 (44), 6.97 (56), 6.43 (110, best of five).

Deviations. 64,000 iterations of 128 are 163.8 epochs of 50,000 pictures: 164 epochs, with the drops at the
same shares; on the 45,000 that remain after the validation split this makes 57,564 iterations. The paper
warms up 110 layers at 0.01 until the training error is under 80 %, about 400 iterations; here
it is 400 iterations, and proportionally fewer in a training of less than 57,000. Test-time batch statistics
are the running averages.
"""

from resight.training.recipe import Facts, Recipe


def build(facts: Facts) -> Recipe:
    """Return the paper's settings."""
    deep = facts.model in ("resnet110", "resnet1202", "plain110", "plain1202")
    return Recipe(
        model=facts.model or "resnet20",
        image_size=32,  # section 4.2: inputs of 32 x 32
        normalize="pixel-mean",  # section 4.2: the mean image is subtracted, nothing divided
        epochs=164,  # section 4.2: 64,000 iterations
        batch_size=128,  # section 4.2
        optimizer="sgd",  # section 3.4
        lr=0.1,  # section 4.2
        momentum=0.9,  # section 4.2
        weight_decay=1e-4,  # section 4.2
        schedule="steps",
        drops=(0.5, 0.75),  # section 4.2: a tenth after 32,000 and 48,000 iterations
        warmup=(400, 0.01, 57_000) if deep else (),  # section 4.2, on 110 layers: 400 of 64,000
        augment=("pad-crop", *facts.flip),  # section 4.2: pad by 4, crop, mirror
        val_share=0.1,  # section 4.2: 45k / 5k; val_share=0 trains on all 50k
        label_smoothing=0.0,  # unknown in 2015
        ema=0.0,
        precision="fp32",
    )
