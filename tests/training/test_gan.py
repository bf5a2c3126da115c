"""The loop of a GAN: ACGAN's losses, who learns when, draws that depend on nothing but their counters."""

import math

import numpy as np
import pytest
import torch

from resight.core.errors import TrainingError, UsageError
from resight.models.gan import Critic, Generator
from resight.training.checkpoints import Progress
from resight.training.ema import AveragedWeights
from resight.training.gan import (
    Adversaries,
    GanSettings,
    Reals,
    draw_noise,
    loss_of_critic,
    loss_of_generator,
    shifted,
)
from resight.training.gan_loop import fit, make_optimizer, one_step

SMALL = {"batch_size": 8, "noise": 10, "width": 4, "side": 16}


def squares(count=40):
    """Dark pictures of class 0 and bright ones of class 1, grey."""
    labels = torch.arange(count) % 2
    dice = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 60, (count, 16, 16, 1), generator=dice) + 180 * labels.view(-1, 1, 1, 1)
    return pixels.to(torch.uint8), labels


def small_pair(classes=2):
    torch.manual_seed(0)
    return Adversaries(Generator(classes, 16, 10, 8, 1), Critic(classes, 16, 4, 1))


def reals_of(settings, flips=False, count=40):
    return Reals(*squares(count), settings, torch.device("cpu"), flips=flips)


def trained(settings, epochs=2, pair=None):
    pair = pair or small_pair()
    settings = GanSettings(**{**SMALL, "epochs": epochs, **settings})
    progress = Progress()
    averages = AveragedWeights(pair.generator, settings.ema)
    fit(
        pair, reals_of(settings), settings, make_optimizer(pair, settings), averages, progress,
        lambda: None, lambda: None, lambda: False,
    )  # fmt: skip
    return pair, progress, averages


def judged(count=4, classes=3):
    return torch.randn(count), torch.randn(count, classes)


def test_the_losses_are_acgans():
    torch.manual_seed(1)
    labels, real, drawn = torch.tensor([0, 2, 1, 1]), judged(), judged()
    log_s = torch.sigmoid(real[0]).log().mean() + (1 - torch.sigmoid(drawn[0])).log().mean()
    log_c = sum(out[1].softmax(1)[range(4), labels].log().mean() for out in (real, drawn))
    assert torch.allclose(loss_of_critic(real, drawn, labels, "acgan"), -log_s - log_c)
    named = drawn[1].softmax(1)[range(4), labels].log().mean()
    expected = -torch.sigmoid(drawn[0]).log().mean() - named
    assert torch.allclose(loss_of_generator(drawn, labels, "acgan"), expected)


def test_under_projection_a_picture_is_judged_as_one_of_its_class():
    torch.manual_seed(2)
    labels, real, drawn = torch.tensor([0, 2, 1, 1]), judged(), judged()
    as_real, as_drawn = (torch.sigmoid(out[0] + out[1][range(4), labels]) for out in (real, drawn))
    expected = -as_real.log().mean() - (1 - as_drawn).log().mean()
    assert torch.allclose(loss_of_critic(real, drawn, labels, "projection"), expected)
    assert torch.allclose(loss_of_generator(drawn, labels, "projection"), -as_drawn.log().mean())


def test_a_critic_step_moves_the_critic_and_a_generator_step_the_generator():
    """With a rate of 0 for one of the two, only the other moves; neither is left frozen."""
    settings = GanSettings(**SMALL)
    for mover, fixed in (("critic", "generator"), ("generator", "critic")):
        pair = small_pair()
        optimizer = torch.optim.Adam(
            [
                {"params": pair.get_submodule(mover).parameters(), "lr": 0.01},
                {"params": pair.get_submodule(fixed).parameters(), "lr": 0.0},
            ]
        )
        before = {k: v.clone() for k, v in pair.named_parameters()}
        images, labels = next(reals_of(settings).epoch(0))
        one_step(pair, optimizer, images, labels, settings, 0)
        moved = {k for k, v in pair.named_parameters() if not torch.equal(v, before[k])}
        assert moved and all(k.startswith(mover) for k in moved)
        assert all(p.requires_grad for p in pair.parameters())
        # One step of Adam each: the other's gradients have not entered.
        assert {int(state["step"]) for state in optimizer.state.values()} == {1}


def test_noise_is_normal_and_a_function_of_seed_step_and_row():
    noise = draw_noise(3, 7, 500, 20)
    assert noise.shape == (500, 20) and noise.dtype == torch.float32
    assert abs(noise.mean()) < 0.03 and abs(noise.std() - 1) < 0.03
    assert torch.equal(noise[:4], draw_noise(3, 7, 4, 20))
    for other in (draw_noise(4, 7, 4, 20), draw_noise(3, 8, 4, 20), draw_noise(3, 7, 4, 20, "other")):
        assert not torch.equal(noise[:4], other)


def test_real_pictures_are_a_function_of_epoch_and_step():
    settings = GanSettings(**SMALL)
    batches = list(reals_of(settings, flips=True).epoch(1))
    again = list(reals_of(settings, flips=True).epoch(1, start=3))
    assert len(batches) == 5 and len(again) == 2
    assert torch.equal(batches[3][0], again[0][0]) and torch.equal(batches[3][1], again[0][1])
    images, labels = batches[0]
    assert images.min() >= -1 and images.max() <= 1
    assert ((images.mean((1, 2, 3)) > 0) == (labels == 1)).all()


def test_flips_mirror_about_half_of_the_pictures():
    settings = GanSettings(**SMALL)
    plain = torch.cat([images for images, _ in reals_of(settings, count=80).epoch(0)])
    mirrored = torch.cat([images for images, _ in reals_of(settings, flips=True, count=80).epoch(0)])
    same = (plain == mirrored).flatten(1).all(1)
    assert 20 < same.sum() < 60
    assert torch.equal(plain[~same].flip(3), mirrored[~same])


def test_shifts_move_each_picture_by_its_own_offset_and_let_gradients_through():
    images = torch.rand(3, 2, 6, 6, requires_grad=True)
    made = shifted(images, np.array([[2, 0, 4], [2, 3, 0]]), 2)
    assert torch.equal(made[0], images[0])
    assert torch.equal(made[1, :, 2:, :5], images[1, :, :4, 1:])
    assert (made[1, :, :2] == -1).all() and (made[1, :, :, 5:] == -1).all()
    assert torch.equal(made[2, :, :4, 2:], images[2, :, 2:, :4])
    (gradient,) = torch.autograd.grad(made.sum(), images)
    assert gradient[0].sum() == 72 and gradient[1].sum() == 2 * 4 * 5


@pytest.mark.parametrize("condition", ["projection", "acgan"])
def test_an_epoch_is_on_record_and_the_pair_learns(condition):
    pair, progress, averages = trained({"lr": 1e-3, "shift": 0.1, "condition": condition}, epochs=40)
    assert [row["epoch"] for row in progress.history] == list(range(1, 41))
    last = progress.history[-1]
    assert last["step"] == 200 and ("class_error" in last) == (condition == "acgan")
    assert condition != "acgan" or last["class_error"] < 10
    assert 0 <= last["real_taken_for_real"] <= 100
    pair.generator.load_state_dict(averages.state)
    with torch.no_grad():
        drawn = pair.generator.eval()(draw_noise(0, 0, 20, 10), torch.arange(20) % 2)
    bright = drawn.mean((1, 2, 3))
    assert bright[1::2].min() > bright[::2].max()


def test_the_same_seed_gives_the_same_weights_and_leaves_torchs_dice_alone():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    torch.rand(3)
    first = trained({}, pair=small_pair())[0].state_dict()
    torch.set_rng_state(state)
    before = torch.get_rng_state()
    pair = small_pair()
    torch.set_rng_state(state)
    second = trained({}, pair=pair)[0].state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(v, second[k]) for k, v in first.items())
    other = trained({"seed": 1}, pair=small_pair())[0].state_dict()
    assert any(not torch.equal(v, other[k]) for k, v in first.items())


def test_a_training_that_diverged_stops_in_one_line():
    pair = small_pair()
    with torch.no_grad():
        pair.critic.source.weight.fill_(math.nan)
    with pytest.raises(TrainingError, match=r"a loss became nan in epoch 1, step 5, .* cure: .*lr=6.7e-05"):
        trained({}, pair=pair)


@pytest.mark.parametrize(
    "words",
    [
        {"flip": "no"}, {"condition": "none"}, {"side": 20}, {"epochs": -1}, {"batch_size": 1},
        {"noise": 0}, {"width": 0}, {"lr": 0.0}, {"critic_lr": 0.0}, {"beta1": 1.0}, {"ema": -0.1},
        {"val_share": 1.0}, {"shift": 0.6}, {"memory_gib": 0.0}, {"seed": -1},
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(words):
    with pytest.raises(UsageError, match=next(iter(words))):
        GanSettings(**words)
