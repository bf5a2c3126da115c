"""Learning-rate traces: what the papers say, step by step."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from resight.core.errors import UsageError
from resight.core.registry import lookup
from resight.tasks.task import Best
from resight.training.recipe import Facts, Recipe
from resight.training.recipes import RECIPES
from resight.training.schedules import learning_rate, require_errors, warmup_steps

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


WARM = [("he2015-cifar", "resnet110"), ("he2016-cifar", "preact_resnet164")]


@pytest.mark.parametrize(("name", "model"), WARM)
def test_the_published_length_has_the_published_warm_up_with_and_without_validation(name, model):
    recipe = build(name, model=model)
    for pictures in (50_000, 45_000):
        steps = recipe.epochs * (pictures // recipe.batch_size)
        assert steps in (63_960, 57_564) and warmup_steps(recipe, steps) == 400
    assert warmup_steps(recipe, 64_000) == warmup_steps(recipe, 1_000_000) == 400


@pytest.mark.parametrize(("name", "model"), WARM)
def test_a_shorter_training_has_a_proportionally_shorter_warm_up(name, model):
    """Of 8 epochs of 112 steps, 400 steps were spent at the warm-up's rate, and 48 at the full one."""
    recipe = build(name, model=model)
    assert warmup_steps(recipe, 896) == 6 and warmup_steps(recipe, 28_500) == 200
    changes = [s for s, (a, b) in enumerate(pairwise(trace(recipe, 896)), 1) if a != b]
    assert changes == [6, 448, 672]
    assert warmup_steps(recipe, 1) == 0


def test_a_warm_up_that_one_asks_for_in_steps_is_obeyed_or_refused():
    recipe = replace(build("fast"), warmup=(400, 0.01))
    assert [trace(recipe, 1000)[s] for s in (0, 399)] == [0.01, 0.01] and trace(recipe, 1000)[400] > 0.01
    with pytest.raises(UsageError, match="warmup=400 steps covers all training of 400 steps; give a shorter"):
        learning_rate(recipe, 0, 400)
    with pytest.raises(UsageError, match="third number is the steps of a whole training"):
        replace(recipe, warmup=(400, 0.01, 400))


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


def test_fifths_and_linear_are_as_their_papers_print_them():
    """Zagoruyko and Komodakis 2016: 0.1, then a fifth after 60, 120 and 160 of 200 epochs."""
    recipe = build("wrn2016-cifar", model="wrn16_4")
    rates = trace(recipe, 200)
    changes = {s: round(r, 12) for s, r in enumerate(rates) if s == 0 or r != rates[s - 1]}
    assert changes == {0: 0.1, 60: 0.02, 120: 0.004, 160: 0.0008}
    linear = trace(replace(recipe, schedule="linear", lr=1.0), 100)
    assert linear[0] == 1 and linear[50] == pytest.approx(0.505) and linear[99] == pytest.approx(0.0199)


def test_a_plateau_drops_the_rate_as_torchs_own_schedule_does():
    """Of ten epochs a fifth without a lower error is a plateau; the rate follows the epochs so far."""
    recipe = replace(build("fast"), schedule="plateau", drops=(0.2,), lr=1.0, epochs=10, warmup=())
    for seed in range(20):
        errors = np.random.default_rng(seed).integers(0, 12, 10).astype(float).tolist()
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        torchs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=1, threshold=0)
        for epoch in range(10):
            rate = learning_rate(recipe, 7 * epoch, 70, errors[:epoch])
            assert rate == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-7)
            torchs.step(errors[epoch])
    assert learning_rate(recipe, 69, 70, ()) == 1.0
    ten = replace(recipe, epochs=30, drops=())  # a tenth of the training: three epochs
    assert [learning_rate(ten, 0, 1, [5.0] * n) for n in (3, 4, 7)] == pytest.approx([1.0, 0.1, 0.01])


def test_a_plateau_needs_errors_and_one_share():
    recipe = replace(build("fast"), schedule="plateau", drops=())
    with pytest.raises(UsageError, match="there are no validation pictures; hold some out"):
        require_errors(recipe, judged=False)
    require_errors(recipe, judged=True)
    require_errors(build("fast"), judged=False)
    with pytest.raises(UsageError, match="schedule=plateau takes one number"):
        replace(recipe, drops=(0.5, 0.75))


def test_where_more_is_better_a_plateau_is_of_figures_that_do_not_rise():
    rows = [{"val_iou": 0.5}, {}, {"val_iou": 0.7}]
    assert Best("val_iou", lower=False, error=False).errors(rows) == [-0.5, -0.7]
    assert Best("val_iou").errors(rows) == [0.5, 0.7]


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
