"""The three forms of a ResNeXt block: equal, by three computations of our own and torch's grouped one."""

import json

import pytest
import torch
from torch import nn

from resight.core.errors import UsageError
from resight.models.blocks import Bottleneck, Style
from resight.service.networks.forms import added, forms, grouped_layers, joined
from support import resight


def test_the_forms_of_a_block_are_equal_and_other_paths_are_not():
    """In float64, with statistics and scales of batch normalization that are not those of a fresh layer."""
    torch.manual_seed(0)
    block = Bottleneck(16, 64, 2, Style(groups=4, group_width=4)).double().eval()
    for norm in (block.bn1, block.bn2, block.bn3):
        for value in (norm.weight, norm.running_var):
            nn.init.uniform_(value, 0.5, 2)
        for value in (norm.bias, norm.running_mean):
            nn.init.normal_(value)
    images = torch.randn(2, 16, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        grouped, layers = block.branch(images), grouped_layers(block)
        assert block.conv2.groups == 4 and grouped.shape == (2, 256, 4, 4)
        for form in (added, joined):
            torch.testing.assert_close(form(layers, images), grouped, rtol=1e-10, atol=1e-10)
        block.conv3.weight[:, :4] = 0  # the first path falls silent: in every form the same
        assert not torch.allclose(block.branch(images), grouped)
        torch.testing.assert_close(added(layers, images), block.branch(images), rtol=1e-10, atol=1e-10)


def test_the_command_shows_every_block():
    answer = json.loads(
        resight("summary", "resnext29_8x64d", "--size", "16", "--forms", "--json", check=0).stdout
    )
    assert len(answer["blocks"]) == 9 and answer["input_size"] == 16
    first = answer["blocks"][0]
    # 64 -> 8 x 64 -> 256 channels: 64 x 512, 8 groups of 9 x 64 x 64, 512 x 256.
    assert (first["block"], first["paths"], first["width"]) == ("layer1.0", 8, 64)
    assert first["parameters"] == 64 * 512 + 8 * 9 * 64 * 64 + 512 * 256
    assert all(0 <= row[form] < 1e-4 for row in answer["blocks"] for form in ("added", "joined"))


def test_a_network_without_groups_is_refused():
    with pytest.raises(UsageError, match="has no block with groups"):
        forms("resnet20")
