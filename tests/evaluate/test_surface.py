"""The loss around a network: its middle, its invariance, and that nothing is left behind."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from resight.evaluate.surface import LEAST, SIZES, affordable, filter_normalized, loss_surface
from resight.models.criterion import BinaryCriterion
from resight.models.operators.convolution import LocallyConnected2d


def network():
    torch.manual_seed(6)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6, eps=0), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.BatchNorm2d(8, eps=0),
        nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4),
    )  # fmt: skip
    for module in net:
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    return net.double()


def examples():
    return torch.randn(70, 3, 8, 8, dtype=torch.float64), torch.arange(70) % 4


def test_the_middle_is_the_networks_own_loss_and_the_rest_that_of_the_moved_weights():
    net, (images, labels) = network(), examples()
    surface = loss_surface(net, images, labels, 5, 0.8, seed=2)
    net.eval()
    with torch.no_grad():
        own = F.cross_entropy(net(images), labels)
        assert surface.centre == pytest.approx(float(own), rel=1e-12)
        generator = torch.Generator().manual_seed(2)
        first, second = (filter_normalized(net, generator) for _ in range(2))
        moved = copy.deepcopy(net)
        for name, p in moved.named_parameters():
            if name in first:
                p.add_(surface.axis[3] * first[name] + surface.axis[1] * second[name])
        there = F.cross_entropy(moved(images), labels)
    assert surface.losses[1, 3] == pytest.approx(float(there), rel=1e-9)
    assert surface.axis.tolist() == pytest.approx([-0.8, -0.4, 0, 0.4, 0.8]) and surface.axis[2] == 0
    assert surface.pictures == 70


def test_filters_have_the_norms_of_the_networks_own_and_the_rest_stays():
    net = network()
    weights = dict(net.named_parameters())
    direction = filter_normalized(net, torch.Generator().manual_seed(0))
    for name, d in direction.items():
        torch.testing.assert_close(d.flatten(1).norm(dim=1), weights[name].flatten(1).norm(dim=1))
    assert set(direction) == {"0.weight", "3.weight", "8.weight"}


def test_a_locally_connected_layer_has_filters_of_its_own_at_each_place():
    layer = LocallyConnected2d(3, 4, 6, 3)
    with torch.no_grad():
        layer.weight[5, 2] *= 100
        layer.bias.fill_(1.0)
    direction = filter_normalized(layer, torch.Generator().manual_seed(0))
    assert set(direction) == {"weight"}
    torch.testing.assert_close(direction["weight"].norm(dim=2), layer.weight.detach().norm(dim=2))


def test_a_scale_that_normalization_takes_out_leaves_the_surface_as_it_was():
    net, (images, labels) = network(), examples()
    scaled = copy.deepcopy(net)
    with torch.no_grad():
        for conv, norm, factor in ((scaled[0], scaled[1], 7.0), (scaled[3], scaled[4], 0.05)):
            conv.weight.mul_(factor)
            conv.bias.mul_(factor)
            norm.running_mean.mul_(factor)
            norm.running_var.mul_(factor**2)
    first, second = (loss_surface(n, images, labels, 5, 2.0).losses for n in (net, scaled))
    assert np.ptp(first) > 0.1
    np.testing.assert_allclose(first, second, rtol=1e-9)


def test_nothing_is_left_behind():
    net, (images, labels) = network(), examples()
    net.train()
    net[1].eval()
    before, state = copy.deepcopy(net.state_dict()), torch.random.get_rng_state()
    first = loss_surface(net, images, labels, 3).losses
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert net.training and not net[1].training and net[4].training
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
    assert torch.equal(state, torch.random.get_rng_state())
    assert np.array_equal(first, loss_surface(net, images, labels, 3).losses)
    assert not np.array_equal(first, loss_surface(net, images, labels, 3, seed=1).losses)


def test_losses_that_are_no_numbers_are_infinite_and_several_classes_have_a_loss_of_their_own():
    net, (images, labels) = network(), examples()
    several = F.one_hot(labels, 4).float()
    net.eval()
    with torch.no_grad():
        own = F.binary_cross_entropy_with_logits(net(images), several.double())
    found = loss_surface(net, images, several, 3, criterion=BinaryCriterion())
    assert found.centre == pytest.approx(float(own), rel=1e-6)
    with torch.no_grad():
        net[8].weight.mul_(float("inf"))
    assert np.isinf(loss_surface(net, images, labels, 3).losses).all()


def test_what_the_budget_allows():
    assert affordable(1, 1e12) == (SIZES[0], 1024)
    assert affordable(10**12, 1e12) == (SIZES[-1], LEAST // 2)
    assert affordable(1000, 1000 * SIZES[1] ** 2 * 50) == (SIZES[1], 32)
