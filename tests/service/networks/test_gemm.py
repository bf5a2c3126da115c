"""Convolutions as matrix products, by the command."""

import json

import pytest

from resight.core.errors import UsageError
from resight.service.networks.gemm import gemm
from support import resight


def test_alexnets_first_layer_is_the_lectures_product():
    """96 x 363 times 363 x 3025, from one picture of 227 x 227."""
    answer = json.loads(resight("summary", "alexnet_2012", "--gemm", "--json", check=0).stdout)
    first = answer["layers"][0]
    assert (first["weights"], first["columns"], first["product"]) == ([96, 363], [363, 3025], [96, 3025])
    assert first["multiply_adds"] == 96 * 363 * 3025 == 105_415_200
    assert 0 <= max(row["difference"] for row in answer["layers"]) < 1e-5


def test_groups_and_other_sizes():
    rows = {row.layer: row for row in gemm("resnext29_32x4d", 16).layers}
    inside = rows["layer1.0.conv2"]
    assert inside.groups == 32 and inside.weights == (4, 36) and inside.columns == (36, 256)
    assert inside.multiply_adds == 32 * 4 * 36 * 256


def test_a_network_without_convolutions_is_refused():
    with pytest.raises(UsageError, match="has no convolution"):
        gemm("hog-svm")
