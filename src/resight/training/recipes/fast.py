"""`fast`, the default: the best result per second on small budgets.

    resight train DATA

One-cycle learning rate (Smith and Topin 2017), label smoothing (Szegedy et al. 2015, section 7),
averaged weights, mixed precision. Results with commands and minutes: docs/experiments.md.
"""

from resight.training.recipe import Facts, Recipe

SMALL = 64
"""Pictures up to this many pixels are trained on at their own size."""
FEW = 1_000
"""With fewer photos none is held out: a tenth of them cannot tell a good epoch from a lucky one."""


def build(facts: Facts) -> Recipe:
    """Return the settings for a data set."""
    return small(facts) if facts.side <= SMALL else photos(facts)


def validation_share(pictures: int) -> float:
    """Return a tenth, but no more than 2,500 pictures: enough for an interval of about 1 %."""
    return min(0.1, 2500 / max(pictures, 1))


def small(facts: Facts) -> Recipe:
    """Return the settings for pictures of the size of CIFAR's or MNIST's."""
    batch = 256 if facts.pictures >= 10_000 else 64
    return Recipe(
        model=facts.model or "speednet8",
        image_size=max(28, facts.side, facts.least_size),
        epochs=min(24, max(12, round(640_000 / facts.pictures))),
        batch_size=batch,
        optimizer="nesterov",
        lr=(0.3 if facts.normalized else 0.03) * batch / 256,
        weight_decay=1e-3,
        schedule="one-cycle",
        drops=(0.2,),
        label_smoothing=0.1,
        ema=0.97,
        augment=("shift", *facts.flip),
        normalize="channel",
        val_share=validation_share(facts.pictures),
    )


def photos(facts: Facts) -> Recipe:
    """Return the settings for larger pictures.

    Few photos make few steps: they get smaller squares, which leave more passes for the same seconds, milder
    crops, and neither averaged weights, whose memory is as long as such a training, nor a validation split.
    """
    few, batch = facts.pictures < FEW, 128 if facts.pictures >= 20_000 else 32
    return Recipe(
        model=facts.model or "resnet18",
        image_size=max(96 if few else 128, facts.least_size),
        epochs=min(60, max(12, round(25_000 / facts.pictures))),
        batch_size=batch,
        optimizer="nesterov",
        # An eighth of what small pictures bear (few photos: a quarter): the loss of the first steps rose far
        # above guessing.
        lr=((0.1 if few else 0.05) if facts.normalized else 0.04) * batch / 256,
        options=("measured_norm=true",) if facts.normalized else (),
        weight_decay=5e-4,
        schedule="one-cycle",
        drops=(0.2,),
        label_smoothing=0.1,
        ema=0.0 if few else 0.97,
        augment=("resized-crop:0.35" if few else "resized-crop", *facts.flip),
        normalize="channel",
        val_share=0.0 if few else validation_share(facts.pictures),
    )
