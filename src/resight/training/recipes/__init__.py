"""The recipes by name. Each is a file with `build(facts)` that cites the paper's section at every setting."""

from collections.abc import Callable

from resight.training.recipe import Facts, Recipe
from resight.training.recipes import (
    densenet2016_cifar,
    detect,
    dsn2014_cifar,
    fast,
    fine_tune,
    fitnet2014_cifar,
    he2015_cifar,
    he2015_imagenet,
    he2016_cifar,
    highway2015_cifar,
    li2016,
    maxout2013_cifar,
    nin2013_cifar,
    photos,
    resnext2016_cifar,
    segment,
    wrn2016_cifar,
)

RECIPES: dict[str, Callable[[Facts], Recipe]] = {
    "fast": fast.build,
    "photos": photos.build,
    "fine-tune": fine_tune.build,
    "detect": detect.build,
    "segment": segment.build,
    "li2016": li2016.build,
    "he2015-cifar": he2015_cifar.build,
    "he2015-imagenet": he2015_imagenet.build,
    "maxout2013-cifar": maxout2013_cifar.build,
    "nin2013-cifar": nin2013_cifar.build,
    "dsn2014-cifar": dsn2014_cifar.build,
    "fitnet2014-cifar": fitnet2014_cifar.build,
    "highway2015-cifar": highway2015_cifar.build,
    "he2016-cifar": he2016_cifar.build,
    "wrn2016-cifar": wrn2016_cifar.build,
    "resnext2016-cifar": resnext2016_cifar.build,
    "densenet2016-cifar": densenet2016_cifar.build,
}
