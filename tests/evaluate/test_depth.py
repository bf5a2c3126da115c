"""Gradients, dead units and gates by depth, against values worked out by hand."""

import math

import pytest
import torch
from torch import nn

from resight.evaluate.depth import answers_by_depth, gradients_by_depth, ratio
from resight.models.criterion import PLAIN
from resight.models.families.highway import HighwayLayer
from resight.models.zoo import create_model


def test_gradients_are_those_of_the_mean_loss():
    """d loss / d W of a linear layer is the mean over pictures of (softmax - one-hot) x^T."""
    torch.manual_seed(0)
    layer = nn.Linear(3, 2, bias=False)
    images, labels = torch.randn(5, 3), torch.tensor([0, 1, 1, 0, 1])
    batches = [(images[:2], labels[:2]), (images[2:], labels[2:])]
    (found,) = gradients_by_depth(nn.Sequential(layer), batches, PLAIN)
    weight = layer.weight.detach()
    wrong = torch.softmax(images @ weight.T, 1) - nn.functional.one_hot(labels, 2)
    expected = (wrong.T @ images / 5).norm()
    assert found.layer == "0" and found.gradient == pytest.approx(float(expected), rel=1e-5)
    assert found.weights == pytest.approx(float(weight.norm()))


def test_a_measurement_changes_nothing():
    network = create_model("resnet20", 3)
    network.get_parameter("conv1.weight").requires_grad = False
    before = {name: value.clone() for name, value in network.state_dict().items()}
    gradients_by_depth(network, [(torch.randn(2, 3, 32, 32), torch.tensor([0, 2]))], PLAIN)
    assert network.training and not network.get_parameter("conv1.weight").requires_grad
    assert all(p.grad is None for p in network.parameters())
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_layers_come_in_the_order_in_which_they_run():
    network = create_model("resnet20", 3)
    rows = gradients_by_depth(network, [(torch.randn(1, 3, 32, 32), torch.tensor([1]))], PLAIN)
    assert rows[0].layer == "conv1" and rows[-1].layer == "fc" and len(rows) == 20


def test_the_sigmoid_kills_the_gradient():
    """Its slope is at most a quarter: without normalization, 19 layers leave nothing of it; ReLU keeps it."""
    over = {}
    for name in ("relu", "sigmoid"):
        torch.manual_seed(0)
        network = create_model("plain20", 3, activation=name, norm="none")
        pair = (torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 0]))
        over[name] = ratio(gradients_by_depth(network, [pair], PLAIN))
    assert over["sigmoid"] < 1e-6 * over["relu"]


def test_a_unit_that_never_answers_is_dead():
    network = nn.Sequential(nn.Conv2d(1, 3, 1), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2), nn.ReLU())
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([1.0, -1.0, 0.0]).view(3, 1, 1, 1))
        network[0].bias.copy_(torch.tensor([0.0, 0.0, -1.0]))
        network[3].weight.zero_()
        network[3].bias.copy_(torch.tensor([1.0, -1.0]))
    one_side, other_side = torch.ones(1, 1, 2, 2), -torch.ones(1, 1, 2, 2)
    units, gates = answers_by_depth(network, [one_side])
    assert [(u.layer, u.units, u.dead) for u in units] == [("1", 3, 2), ("4", 2, 1)] and gates == []
    units, _ = answers_by_depth(network, [one_side, other_side])
    assert units[0].dead == 1  # the second unit answers to the other picture


def test_gates_of_a_fresh_highway_layer_carry():
    layer = HighwayLayer(4, gate_bias=-2.0)
    nn.init.zeros_(layer.gate.weight)
    _, gates = answers_by_depth(nn.Sequential(layer), [torch.randn(2, 4, 5, 5)])
    assert [g.layer for g in gates] == ["0"] and gates[0].share == pytest.approx(1 / (1 + math.exp(2)))
