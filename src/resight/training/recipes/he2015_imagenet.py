"""`he2015-imagenet`: He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", section 3.4.

    resight train FOLDER --recipe he2015-imagenet --model resnet50_v1

Published 10-crop top-1 / top-5 error on ImageNet val: ResNet-34 B 24.52 / 7.46, ResNet-50 22.85 / 6.71,
ResNet-101 21.75 / 6.05, ResNet-152 21.43 / 5.71 (Table 3).

Deviations. The paper drops the rate whenever the error plateaus, over 60e4 iterations (about 120
epochs of 1.28 M pictures in batches of 256); here it drops at 1/4, 1/2 and 3/4 of them: 30, 60 and 90 epochs
(`--set schedule=plateau --set drops=0.1` goes by the error).
The mean is per channel: pictures of many sizes have no mean image.
"""

from resight.training.recipe import Facts, Recipe


def build(facts: Facts) -> Recipe:
    """Return the paper's settings."""
    return Recipe(
        model=facts.model or "resnet50",
        image_size=224,  # section 3.4: crops of 224, mirrored or not
        # section 3.4: shorter side uniform in [256, 480]; colour as Krizhevsky et al. 2012
        augment=("scale-jitter", *facts.flip, "pca-colour"),
        normalize="channel-mean",  # section 3.4: see above
        epochs=120,  # section 3.4: at most 60e4 iterations
        batch_size=256,  # section 3.4
        optimizer="sgd",  # section 3.4
        lr=0.1,  # section 3.4
        schedule="steps",
        drops=(0.25, 0.5, 0.75),  # section 3.4: see above
        momentum=0.9,  # section 3.4
        weight_decay=1e-4,  # section 3.4
        val_share=0.0,  # ImageNet's own val split is the test; nothing is chosen on it
        label_smoothing=0.0,
        ema=0.0,
        precision="fp32",
    )
