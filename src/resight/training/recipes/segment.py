"""`segment`: a class for every pixel on few pictures, from given weights of the trunk, in minutes on a CPU.

    resight train DATA --task segment

The head measures its own statistics of batch normalization. Pictures are seen at scales from 0.5 (Chen et al.
2017, arXiv:1706.05587, section 4: 0.5 to 2). The rest is in `marked`.
"""

from resight.training.recipe import Facts, Recipe
from resight.training.recipes import marked


def build(facts: Facts) -> Recipe:
    """Return the settings for a data set and its starting weights."""
    return marked.settings(facts, seen=4_000, most_epochs=80, batch_size=8, rescale="rescale:0.5")
