"""Learning-rate traces: what the papers say, step by step."""

import pytest

from resight.core.registry import lookup
from resight.training.recipe import Facts, Recipe
from resight.training.recipes import RECIPES
from resight.training.schedules import learning_rate

CIFAR = {"pictures": 50_000, "side": 32, "mirrors": True}


def build(name, **facts):
    return lookup(RECIPES, name, "recipe")(Facts(**{"model": "", **CIFAR, **facts}))


def trace(recipe, steps):
    return [learning_rate(recipe, s, steps) for s in range(steps)]


def test_he2015_cifar_drops_at_32k_and_48k_of_64k():
    rates = trace(build("he2015-cifar"), 64_000)
    changes = {s: round(r, 12) for s, r in enumerate(rates) if s == 0 or r != rates[s - 1]}
    assert changes == {0: 0.1, 32_000: 0.01, 48_000: 0.001}


def test_he2015_cifar_warms_110_layers_up_and_returns_to_full_rate():
    # A peer's schedule never returned to 0.1 after its warm-up.
    rates = trace(build("he2015-cifar", model="resnet110"), 64_000)
    changes = {s: round(r, 12) for s, r in enumerate(rates) if s == 0 or r != rates[s - 1]}
    assert changes == {0: 0.01, 400: 0.1, 32_000: 0.01, 48_000: 0.001}


def test_he2015_imagenet_is_the_papers():
    recipe = build("he2015-imagenet", side=400, pictures=1_281_167)
    assert (recipe.batch_size, recipe.momentum, recipe.weight_decay, recipe.lr) == (
        256,
        0.9,
        1e-4,
        0.1,
    )
    assert recipe.augment == ("scale-jitter", "flip", "pca-colour")
    rates = trace(recipe, 1200)
    assert [round(rates[i], 9) for i in (0, 299, 300, 600, 1199)] == [0.1, 0.1, 0.01, 0.001, 0.0001]


def test_one_cycle_rises_to_the_peak_once_and_ends_near_zero():
    recipe = build("fast")
    rates = trace(recipe, 1000)
    peak = rates.index(max(rates))
    assert peak == 200 and rates[peak] == pytest.approx(recipe.lr)
    assert rates[:201] == sorted(rates[:201]) and rates[200:] == sorted(rates[200:], reverse=True)
    assert rates[0] == pytest.approx(0.2 * recipe.lr) and rates[-1] < 0.02 * recipe.lr


def test_cosine_and_constant():
    cosine = build("fast").__class__
    base = {
        "model": "resnet20",
        "image_size": 32,
        "epochs": 1,
        "batch_size": 2,
        "lr": 2.0,
        "augment": (),
        "normalize": "channel",
    }
    rates = trace(cosine(schedule="cosine", **base), 100)
    assert rates[0] == 2 and rates[50] == pytest.approx(1) and rates[99] < 0.001
    assert set(trace(cosine(schedule="constant", **base), 10)) == {2.0}


def test_digits_are_not_mirrored_by_any_recipe():
    for name in RECIPES:
        assert "flip" not in build(name, mirrors=False).augment
        assert "flip" in build(name, mirrors=True).augment


def test_there_are_at_most_25_settings():
    import dataclasses

    assert len(dataclasses.fields(Recipe)) <= 25
