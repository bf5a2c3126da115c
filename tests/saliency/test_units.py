"""The strongest pictures of each unit against a search by hand, and what a unit sees."""

import numpy as np
import pytest
import torch
from torch import nn

from resight.models.summary import field_of, summarize
from resight.models.zoo import create_model
from resight.saliency.capture import maps_at
from resight.saliency.units import strongest


def test_the_strongest_are_those_of_a_search_by_hand():
    torch.manual_seed(1)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3, stride=2))
    images = torch.randn(37, 3, 12, 12)
    best = strongest(net, images.split(5), ["1", "2"], 9)
    with torch.no_grad():
        every = maps_at(net, images, ["1", "2"])
    for layer, maps in every.items():
        found = best[layer]
        assert found.values.shape == (maps.shape[1], 9) and found.places.shape == (maps.shape[1], 9, 2)
        for unit in range(maps.shape[1]):
            peaks = [float(maps[i, unit].max()) for i in range(37)]
            order = np.argsort(peaks)[::-1][:9]
            assert found.pictures[unit].tolist() == order.tolist()
            for rank, picture in enumerate(order):
                y, x = found.places[unit, rank].tolist()
                assert float(maps[picture, unit, y, x]) == pytest.approx(peaks[picture], rel=1e-5)
                assert float(found.values[unit, rank]) == pytest.approx(peaks[picture], rel=1e-5)


def test_few_pictures_and_dead_units():
    net = nn.Sequential(nn.Conv2d(3, 3, 1, bias=False), nn.ReLU())
    net[0].weight.data = torch.tensor([[1.0, 0, 0], [-1, 0, 0], [3, 0, 0]])[..., None, None]
    best = strongest(net, [torch.rand(2, 3, 4, 4)], ["1"])["1"]
    assert best.values.shape == (3, 2) and best.units(3) == [2, 0]


@pytest.mark.parametrize(
    ("name", "layers", "size"),
    [
        ("resnet20", ["conv1", "layer1", "layer2", "layer2.0.conv1", "layer3.1"], 32),
        ("resnet18", ["maxpool", "layer1", "layer2.0"], 96),
        ("lenet5_modern", ["c1", "s2"], 32),
        ("speednet8", ["gelu", "layer1", "layer2"], 32),
        ("googlenet", ["inception3a"], 96),
    ],
)
def test_a_crop_covers_exactly_what_a_unit_depends_on(name, layers, size):
    model = create_model(name, 10).eval()
    known = dict(model.named_modules())
    summary = summarize(model, size)
    model.double()
    checked = 0
    for layer in layers:
        if layer not in known:
            continue
        checked += 1
        field = field_of(summary, layer)
        images = torch.randn(4, 3, size, size, dtype=torch.float64, requires_grad=True)
        maps = maps_at(model, images, [layer])[layer]
        height, width = maps.shape[2:]
        for y, x in {(0, 0), (height // 2, width // 3), (height - 1, width - 1)}:
            slope = torch.autograd.grad(maps[:, :, y, x].sum(), images, retain_graph=True)[0]
            rows, columns = (slope.abs().sum((0, 1)).sum(axis).nonzero().flatten() for axis in (1, 0))
            top, left, bottom, right = field.box(y, x, size, size)
            support = (int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
            assert support == (top, left, bottom, right), (layer, y, x)
    assert checked >= min(2, len(layers))
