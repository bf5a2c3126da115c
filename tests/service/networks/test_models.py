"""What `resight models` says: exact sizes, and published figures as they were published."""

import json

import pytest
import torch

from as_json import list_networks
from resight.cli import networks
from resight.core.errors import UnknownNameError
from resight.core.networks import counted
from resight.models import cost
from resight.models.zoo import NETWORKS
from resight.service.networks.counting import build, count
from resight.service.networks.models import list_networks as service
from support import one_line, resight

PROMISED = {
    "name", "family", "year", "parameters", "multiply_adds", "input_size", "paper", "published",
}  # fmt: skip


@pytest.fixture
def table(capsys):
    def show_table(pattern):
        networks.networks(service(pattern), as_json=False)
        return capsys.readouterr()

    return show_table


def test_rows_have_what_is_promised():
    rows = {row["name"]: row for row in list_networks("*20")}
    assert set(rows) == {"resnet20", "plain20"}
    for name, row in rows.items():
        assert set(row) == PROMISED
        assert row["input_size"] == NETWORKS[name].input_size and row["paper"] == NETWORKS[name].paper
    assert rows["resnet20"]["parameters"] == 269_722 and rows["resnet20"]["multiply_adds"] == 40_551_040
    assert rows["resnet20"]["published"][0] == {
        "id": "cifar10-resnet-t6/resnet-20/test-error",
        "dataset": "CIFAR-10",
        "metric": "test error",
        "value": 8.75,
        "unit": "%",
        "protocol": "pad 4, random 32x32 crop, flip; one view",
        "source": "He et al. 2015, Table 6",
        "certainty": "verified",
    }


@pytest.mark.parametrize("name", ["resnet20", "lenet5", "densenet40_12", "googlenet", "efficientnet_b0"])
def test_counting_quickly_counts_the_same(name):
    row = NETWORKS[name]
    with torch.device("meta"):
        model = build(name)
    assert count(name) == (cost.parameters(model), cost.multiply_adds(model, row.input_size, row.channels))


def test_the_table_says_error_or_accuracy_as_published(table):
    out, notes = table("resnet5[06]*")
    assert "CIFAR-10 test error 6.97 %" in out and "He 2015" in out
    assert "ImageNet val top-1 error 22.85 %" in out and notes == ""
    assert "top-1 accuracy 77.1 %" in table("efficientnet_b0")[0]
    assert table("plain1202")[0].split()[-3:] == ["-", "He", "2015"]


def test_doubt_is_marked_and_bounds_are_called_so(table):
    out, notes = table("plain20")
    assert "9 %?" in out and "uncertain" in notes
    out, notes = table("plain110")
    assert "above 60 %" in out and "?" not in out + notes


def test_json_is_one_document_and_an_unknown_name_one_line():
    rows = json.loads(resight("models", "lenet5", "--json", check=0).stdout)
    assert [row["name"] for row in rows] == ["lenet5"] and rows[0]["published"] == []
    assert "nearest" in one_line(resight("models", "resnot*"), 2)


def test_a_part_of_names_finds_them_and_a_name_is_one_network():
    names = [name for name in counted() if "lite" in name]
    assert [row["name"] for row in list_networks("lite")] == names and len(names) >= 5
    assert [row["name"] for row in list_networks("resnet50")] == ["resnet50"]
    for pattern in ("ite*", "zzz"):  # a pattern is what it says
        with pytest.raises(UnknownNameError, match="no network matches"):
            list_networks(pattern)
