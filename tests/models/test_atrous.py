"""Strides that became dilation: the old map's values stand at every second place of the new one."""

import pytest
import torch
from torch import nn

from resight.core.errors import UsageError
from resight.models.atrous import dilate
from resight.models.zoo import create_model


def measured(name):
    """A network whose batch normalization has statistics of its own."""
    torch.manual_seed(0)
    trunk = create_model(name, 5).eval()
    for layer in trunk.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 2)
    return trunk


@pytest.mark.parametrize("name", ["resnet18", "resnet50_v1", "plain18", "efficientnet_lite0"])
def test_the_coarse_map_stands_in_the_fine_one(name):
    trunk, side = measured(name).double(), 96
    images = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        coarse = trunk.forward_features(images)
        dilate(trunk, 16, "x")
        fine = trunk.forward_features(images)
    assert fine.shape[-1] == 2 * coarse.shape[-1] == side // 16
    torch.testing.assert_close(fine[..., ::2, ::2], coarse, rtol=1e-9, atol=1e-12)


def test_the_state_is_the_same_and_every_size_is_taken():
    trunk = measured("efficientnet_lite0")
    before = {name: value.clone() for name, value in trunk.state_dict().items()}
    dilate(trunk, 8, "x")
    assert all(torch.equal(before[name], value) for name, value in trunk.state_dict().items())
    with torch.no_grad():
        assert trunk.forward_features(torch.zeros(1, 3, 72, 104)).shape[-2:] == (9, 13)


@pytest.mark.parametrize(
    ("name", "stride", "fault"),
    [
        ("densenet121", 8, r"x: densenet121 cannot have a finer map, because its layer .* \(AvgPool2d\)"),
        ("vgg11", 16, "vgg11 cannot have a finer map: its layers do not keep a map's size"),
        ("resnet20", 8, "the last map of resnet20 has stride 4; leave the setting out"),
    ],
)
def test_what_cannot_be_dilated_is_refused_by_name(name, stride, fault):
    with pytest.raises(UsageError, match=fault):
        dilate(create_model(name, 5, **({"head": "gap"} if "vgg" in name else {})), stride, "x")
