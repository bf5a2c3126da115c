"""Global average pooling as a matrix."""

import json

import pytest
import torch
from PIL import Image

from resight.core.errors import UsageError
from resight.models.operators.pooling import GlobalAveragePool, average_as_matrix
from resight.service.networks.matrix import draw_pooling
from support import resight


def test_the_matrix_is_block_diagonal_and_constant():
    assert average_as_matrix(2, 3).tolist() == pytest.approx(
        [pytest.approx([1 / 3, 1 / 3, 1 / 3, 0, 0, 0]), pytest.approx([0, 0, 0, 1 / 3, 1 / 3, 1 / 3])]
    )


def test_multiplied_it_is_the_pooling():
    maps = torch.randn(4, 5, 3, 2)
    product = maps.flatten(1) @ average_as_matrix(5, 6).T
    torch.testing.assert_close(product, GlobalAveragePool()(maps))


def test_the_command_draws_it():
    answer = json.loads(resight("summary", "cnn_gap", "--matrix", "gap.png", "--json", check=0).stdout)
    assert answer["matrix"] == [128, 128 * 36] and answer["difference"] < 1e-5
    with Image.open(answer["figure"]) as image:
        assert image.format == "PNG" and image.width > 1000


def test_other_heads_are_refused():
    with pytest.raises(UsageError, match="does not average its last map"):
        draw_pooling("cnn_flatten", "x.png")
    with pytest.raises(UsageError, match=r"must end in \.png"):
        draw_pooling("cnn_gap", "x.svg")
