"""The recipe for photos: what it sets for which facts, and what then learns."""

from dataclasses import replace

import pytest
import torch

from resight.models.zoo import create_model, read_options
from resight.service.train.words import choose
from resight.training.optimizer import head_epochs, make_optimizer, set_mode
from resight.training.recipe import Facts
from resight.training.recipes import RECIPES, fast, photos

FACTS = Facts(model="efficientnet_lite0", pictures=1000, side=300, mirrors=True, pretrained=True, weights_size=224)


def test_without_weights_it_is_the_recipe_from_scratch():
    facts = replace(FACTS, pretrained=False, weights_size=0, model="")
    assert photos.build(facts) == fast.photos(facts)
    assert RECIPES["photos"] is photos.build


@pytest.mark.parametrize(
    ("changes", "size"),
    [({}, 224), ({"weights_size": 240}, 240), ({"weights_size": 0}, 224), ({"weights_size": 0, "least_size": 299}, 299)],
)
def test_pictures_are_of_the_size_that_the_weights_saw(changes, size):
    assert photos.build(replace(FACTS, **changes)).image_size == size


def test_only_what_may_be_mirrored_is():
    assert "flip" in photos.build(FACTS).augment
    assert "flip" not in photos.build(replace(FACTS, mirrors=False)).augment
