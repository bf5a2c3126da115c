"""Which weights learn how fast, and in which mode: by hand, on two stages and a head."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from resight.core.registry import lookup
from resight.models.classifier import Classifier
from resight.training.optimizer import make_optimizer, set_mode
from resight.training.recipe import Facts
from resight.training.recipes import RECIPES


class Small(Classifier):
    """Two stages of a convolution and its normalization, and a head; biases do not decay."""

    def __init__(self):
        super().__init__(3, 3, "gap", grid=3)
        self.add("stage1", "conv1", nn.Conv2d(3, 4, 1))
        self.add("stage1", "bn1", nn.BatchNorm2d(4))
        self.add("stage2", "conv2", nn.Conv2d(4, 5, 1))
        self.num_features = 5
        self.add_linear_head("fc", 5)

    def learning(self, name):
        return (1.0, 0.0) if name.endswith("bias") else (1.0, 1.0)


def recipe(**changes):
    facts = Facts(model="resnet20", pictures=1000, side=32, mirrors=True)
    return replace(lookup(RECIPES, "he2015-cifar", "recipe")(facts), weight_decay=0.01, **changes)


def of(optimizer, parameter, key):
    (group,) = (g for g in optimizer.param_groups if any(p is parameter for p in g["params"]))
    return group[key]


def test_only_what_decays_has_weight_decay():
    model = Small()
    optimizer = make_optimizer(model, recipe())
    decays = {name: of(optimizer, p, "weight_decay") for name, p in model.named_parameters()}
    assert decays == {name: 0.0 if name.endswith("bias") else 0.01 for name in decays} and len(decays) == 8


def test_rates_fall_from_the_head_to_the_input():
    """trunk_lr=0.1,2: the head at 1, the last stage at 0.1, the one before it at 0.05."""
    model = Small()
    optimizer = make_optimizer(model, recipe(trunk_lr=(0.1, 2.0)))
    rates = {name: of(optimizer, p, "factor") for name, p in model.named_parameters()}
    expected = {"conv1": 0.05, "bn1": 0.05, "conv2": 0.1, "fc": 1.0}
    assert rates == pytest.approx({name: expected[name.partition(".")[0]] for name in rates})
    plain = make_optimizer(model, recipe(trunk_lr=(0.1,)))
    assert of(plain, model.conv1.weight, "factor") == of(plain, model.conv2.weight, "factor") == 0.1
    assert of(plain, model.fc.weight, "factor") == 1.0


@pytest.mark.parametrize(("name", "nesterov"), [("sgd", False), ("nesterov", True)])
def test_two_steps_are_as_the_formula_says(name, nesterov):
    """Momentum 0.9, rate 0.1, gradient 1 twice: 0.1 then 0.1 (1 + 0.9); Nesterov looks ahead once more."""
    model = Small()
    optimizer = make_optimizer(model, recipe(optimizer=name, momentum=0.9, lr=0.1))
    start = model.fc.bias.detach().clone()
    for _ in range(2):
        optimizer.zero_grad()
        model.fc.bias.grad = torch.ones_like(model.fc.bias)
        optimizer.step()
    steps = (1.0 + 0.9, 1.9 * 0.9 + 1.0) if nesterov else (1.0, 1.9)
    torch.testing.assert_close(start - model.fc.bias.detach(), torch.full((3,), 0.1 * sum(steps)))


def test_modes_while_the_head_learns_alone_and_after():
    model, chosen = Small().eval(), recipe(head_first=0.5, epochs=4)
    set_mode(model, chosen, 1)
    assert model.training and not model.bn1.training and not model.conv1.weight.requires_grad
    assert model.fc.weight.requires_grad
    set_mode(model, chosen, 2)
    assert all(m.training for m in model.modules())
    assert all(p.requires_grad for p in model.parameters())


def test_frozen_statistics_stay_while_their_weights_learn():
    model = Small()
    model.options = {"frozen_norm": True}
    set_mode(model, recipe(), 0)
    before = model.bn1.running_mean.clone()
    model(torch.rand(4, 3, 16, 16) + 5)
    assert torch.equal(model.bn1.running_mean, before) and model.bn1.weight.requires_grad
    assert model.conv1.training and model.training
