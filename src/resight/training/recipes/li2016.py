"""`li2016`: Li and Hoiem, "Learning without Forgetting", section 3: a new task without the old pictures.

    resight train NEW --recipe li2016 --set weights=RUN
    resight test RUN2            # the new task
    resight test RUN2@OLD        # the old one, by the head that was kept

The network is trained on the old network's answers on the new pictures together with the new labels, softened
by a temperature of 2 and with the weight 1. First the new head warms up alone, then all weights are trained.
The run from this may be the RUN of the next task: every head is kept.

Deviations: statistics of batch normalization, which the paper's networks do not have, stay those of the first
task, whose pictures are normalized by them. The paper trains both phases until they converge; here they
have fixed lengths. Old answers are computed again for every augmented picture, not recorded once.
"""

from resight.training.recipe import Facts, Recipe
from resight.training.recipes import fine_tune


def build(facts: Facts) -> Recipe:
    """Return the paper's settings for a data set and its starting weights."""
    base = fine_tune.build(facts)
    return Recipe(
        model=base.model,
        teacher="weights",
        options=("frozen_norm=true",),  # the paper's networks have no batch normalization
        image_size=facts.weights_size or base.image_size,
        epochs=base.epochs,
        head_first=0.25,  # section 3: warm-up, then joint optimization
        batch_size=base.batch_size,
        optimizer="sgd",  # section 3.1
        momentum=0.9,  # section 3.1
        weight_decay=5e-4,  # section 3.1
        lr=0.02,
        trunk_lr=(0.25,),  # section 3.1: 0.1 to 0.02 of the rate that the trunk was trained with, here 0.1
        schedule="steps",
        drops=(0.8,),  # section 3.1: once by a tenth, near the end
        augment=base.augment,
        normalize="weights",
        val_share=base.val_share,
    )
