"""The recipes by name. Each is a file with `build(facts)`, its paper's section beside every setting."""

from collections.abc import Callable

from resight.training.recipe import Facts, Recipe
from resight.training.recipes import fast, fine_tune, he2015_cifar, he2015_imagenet

RECIPES: dict[str, Callable[[Facts], Recipe]] = {
    "fast": fast.build,
    "fine-tune": fine_tune.build,
    "he2015-cifar": he2015_cifar.build,
    "he2015-imagenet": he2015_imagenet.build,
}
