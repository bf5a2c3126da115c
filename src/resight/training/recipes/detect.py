"""`detect`: a detector on few pictures, from given weights of its trunk, in minutes on a CPU.

    resight train DATA --task detect

Statistics of batch normalization stay as in the weights, as in He et al. 2015, appendix A: a step has too few
pictures to measure them. The rest is in `marked`.
"""

from resight.training.recipe import Facts, Recipe
from resight.training.recipes import marked


def build(facts: Facts) -> Recipe:
    """Return the settings for a data set and its starting weights."""
    batch = 4 if facts.pretrained else 8
    return marked.settings(facts, seen=3_000, most_epochs=60, batch_size=batch, rescale="rescale")
