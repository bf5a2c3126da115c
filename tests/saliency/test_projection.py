"""The deconvolution network and guided backpropagation of a unit, against slow ones of their own."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from resight.core.errors import UsageError
from resight.models.zoo import create_model
from resight.saliency.capture import maps_at
from resight.saliency.projection import project
from resight.saliency.units import strongest


@pytest.fixture
def net():
    torch.manual_seed(3)
    layers = nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(5, 6, 3), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(6, 4, 1),
    )  # fmt: skip
    return layers.double()


def spread(signal, weight, size, padding):
    """The transposed filter, a position at a time."""
    count, _, kernel, _ = weight.shape
    wide = torch.zeros(weight.shape[1], size + 2 * padding, size + 2 * padding, dtype=signal.dtype)
    for k in range(count):
        for y in range(signal.shape[1]):
            for x in range(signal.shape[2]):
                wide[:, y : y + kernel, x : x + kernel] += signal[k, y, x] * weight[k]
    return wide[:, padding : padding + size, padding : padding + size]


def unpooled(signal, below, window, step):
    """Each value back to where the maximum was."""
    back = torch.zeros_like(below)
    for k in range(signal.shape[0]):
        for y in range(signal.shape[1]):
            for x in range(signal.shape[2]):
                part = below[k, y * step : y * step + window, x * step : x * step + window]
                at = int(part.argmax())
                back[k, y * step + at // part.shape[1], x * step + at % part.shape[1]] += signal[k, y, x]
    return back


def slow(net, image, unit, place, *, guided):
    """Zeiler and Fergus, section 2.1, step by step; or with the rule of guided backpropagation."""
    first, _, pool1, second, _, pool2, last = net
    a = first(image[None])[0]
    b = F.max_pool2d(a.relu()[None], 2)[0]
    c = second(b[None])[0]
    d = F.max_pool2d(c.relu()[None], 3, 2)[0]
    top = last(d[None])[0]
    signal = torch.zeros_like(top)
    signal[unit, place[0], place[1]] = 1 if guided else top[unit, place[0], place[1]]
    signal = spread(signal, last.weight, d.shape[1], 0)
    signal = unpooled(signal, c.relu(), pool2.kernel_size, pool2.stride).clamp(min=0)
    signal = spread(signal * (c > 0) if guided else signal, second.weight, b.shape[1], 1 - 1)
    signal = unpooled(signal, a.relu(), pool1.kernel_size, 2).clamp(min=0)
    return spread(signal * (a > 0) if guided else signal, first.weight, image.shape[1], 1)


@pytest.mark.parametrize("rule", ["deconvnet", "guided"])
def test_projections_are_those_of_the_papers(net, rule):
    images = torch.randn(3, 3, 14, 14, dtype=torch.float64)
    units, places = torch.tensor([0, 3, 1]), torch.tensor([[0, 1], [1, 1], [1, 0]])
    with torch.no_grad():
        rows = zip(images, units.tolist(), places.tolist(), strict=True)
        expected = torch.stack([slow(net, i, u, p, guided=rule == "guided") for i, u, p in rows])
    assert expected.abs().amax((1, 2, 3)).min() > 1e-3
    torch.testing.assert_close(project(net, images, "6", units, places, rule), expected)


def test_the_two_rules_differ_and_are_not_the_gradient(net):
    images, unit, place = (
        torch.randn(1, 3, 14, 14, dtype=torch.float64),
        torch.tensor([0]),
        torch.tensor([[0, 0]]),
    )
    both = [project(net, images, "6", unit, place, rule) for rule in ("deconvnet", "guided")]
    at = images.clone().requires_grad_()
    plain = torch.autograd.grad(maps_at(net, at, ["6"])["6"][0, 0, 0, 0], at)[0]
    assert not torch.allclose(both[0], both[1]) and not torch.allclose(both[1], plain)


def test_batch_normalization_sends_its_scale_back_and_a_sum_feeds_both_branches():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1, bias=False), nn.BatchNorm2d(3)
            self.norm.running_mean.fill_(0.3)
            self.norm.running_var.fill_(4.0)
            self.norm.weight.data.fill_(3.0)
            self.conv.weight.data.uniform_(0.1, 1)

        def forward(self, x):
            return F.relu(self.norm(self.conv(x)) + x)

    block, images = Block().eval(), torch.rand(1, 3, 4, 4) + 2
    back = project(nn.Sequential(block), images, "0", torch.tensor([1]), torch.tensor([[2, 3]]))
    value = block(images)[0, 1, 2, 3]
    column = block.conv.weight[1, :, 0, 0] * 3 / (4 + 1e-5) ** 0.5 + torch.tensor([0.0, 1.0, 0.0])
    torch.testing.assert_close(back[0, :, 2, 3], (value * column).detach())
    assert back.count_nonzero() == 3


@pytest.mark.parametrize("act", [nn.GELU(), nn.SiLU(), nn.ELU(inplace=True), nn.LeakyReLU(0.1), nn.PReLU()])
def test_relatives_of_relu_give_the_same_map_and_are_rectified(act):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), act, nn.Conv2d(4, 2, 3))
    plain = nn.Sequential(net[0], nn.ReLU(), net[2])
    images, unit, place = torch.randn(2, 3, 9, 9), torch.tensor([0, 1]), torch.tensor([[1, 1], [0, 3]])
    ours, theirs = (project(n, images, "2", unit, place, "guided") for n in (net, plain))
    torch.testing.assert_close(ours, theirs)
    activity = net(images)[range(2), unit, place[:, 0], place[:, 1]]
    scaled = project(net, images, "2", unit, place) / activity[:, None, None, None]
    other = project(plain, images, "2", unit, place)
    own = plain(images)[range(2), unit, place[:, 0], place[:, 1]]
    # A negative activity sends back what a positive one would not, so signs must agree to compare.
    for row in ((activity > 0) == (own > 0)).nonzero().flatten().tolist():
        torch.testing.assert_close(scaled[row], other[row] / own[row], rtol=1e-4, atol=1e-5)


def test_nothing_is_left_behind(net):
    net.train()
    net[1].eval()
    before = copy.deepcopy(net.state_dict())
    project(
        net, torch.randn(1, 3, 14, 14, dtype=torch.float64), "3", torch.tensor([0]), torch.tensor([[0, 0]])
    )
    with pytest.raises(UsageError, match="no layer 'x'"):
        project(net, torch.randn(1, 3, 14, 14), "x", torch.tensor([0]), torch.tensor([[0, 0]]))
    assert [m.training for m in net] == [True, False, True, True, True, True, True] and net.training
    assert all(p.grad is None for p in net.parameters())
    assert not any(m._forward_hooks for m in net.modules())
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert torch.is_grad_enabled()


def test_a_network_without_relu_is_refused_in_words():
    with pytest.raises(UsageError, match="this network has none"):
        project(nn.Sequential(nn.Conv2d(3, 2, 3), nn.Tanh()), torch.randn(1, 3, 8, 8), "1", torch.tensor([0]),
                torch.tensor([[0, 0]]))  # fmt: skip


def test_a_network_of_the_zoo_and_one_of_torchvision():
    tv = pytest.importorskip("torchvision.models")
    for model, layer in (
        (create_model("resnet20", 10), "layer2"),
        (tv.resnet18(weights=None), "layer2.0.conv1"),
    ):
        images = torch.randn(1, 3, 32, 32)
        best = strongest(model.eval(), [images], [layer])[layer]
        unit = best.units(1)
        back = project(model, images, layer, torch.tensor(unit), best.places[unit][:, 0])
        assert back.shape == images.shape and back.abs().max() > 0
