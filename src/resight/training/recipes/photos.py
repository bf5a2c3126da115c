"""`photos`, the default for photos: from ImageNet weights to a person's own classes.

    resight train DATA

Where no weights can be had it trains from scratch, as `fast` does.
"""

from resight.training.recipe import Facts, Recipe
from resight.training.recipes import fast, fine_tune


def build(facts: Facts) -> Recipe:
    """Return the settings for a data set and the weights that it starts from."""
    return fine_tune.build(facts) if facts.weights_size else fast.photos(facts)
