"""The table of counts is what the networks give, and the commands that read it load no torch."""

import json
import subprocess
import sys

import pytest

from as_json import list_networks, summary
from resight.core.networks import Counted, counted
from resight.models.zoo import NETWORKS
from resight.service.networks.counting import count, counted_now
from support import resight

CHEAP = [name for name, row in counted().items() if len(row.summary.layers) <= 20]
"""Networks that are counted within a moment, of almost every family."""
CURE = "run scripts/networks, which counts all networks again"


def test_it_has_every_network_as_the_zoo_has_it():
    assert list(counted()) == list(NETWORKS), CURE
    for name, row in counted().items():
        network = NETWORKS[name]
        own = (network.family, network.year, network.paper, network.least_size)
        assert (row.family, row.year, row.paper, row.least_size) == own, f"{name}: {CURE}"
        paper = (network.input_size, network.channels, network.classes)
        counts = row.summary
        assert (counts.input_size, counts.channels, counts.classes) == paper, f"{name}: {CURE}"


def test_it_counts_what_the_networks_have():
    assert len(CHEAP) > 10
    for name in CHEAP:
        assert counted()[name] == counted_now(name), f"{name}: {CURE}"


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in CHEAP])
def test_it_counts_what_every_network_has(name):
    row = counted()[name]
    assert row == counted_now(name), CURE
    assert count(name) == (row.summary.parameters, row.summary.multiply_adds)


def test_a_line_is_read_as_it_was_written():
    row = counted()["lenet5"]
    assert Counted.read(row.line()) == row
    assert isinstance(json.loads(row.line())["summary"]["layers"][0], list)


def test_a_network_of_the_paper_is_looked_up_and_another_one_is_counted():
    known = summary("resnet20")
    assert known == summary("resnet20", 32) == summary("resnet20", None, ("head=gap",))
    assert summary("resnet20", 64)["multiply_adds"] > 3 * known["multiply_adds"]
    assert summary("resnet20", None, ("shortcut=B",))["parameters"] > known["parameters"]


LOOK = """
import sys
from resight.cli import main
sys.argv[0] = "resight"
try:
    main.run()
except SystemExit as end:
    assert not end.code, end.code
assert "torch" not in sys.modules, "torch is loaded"
"""


@pytest.mark.parametrize(
    "words",
    [
        ("--help",), ("train", "--help"), ("models",), ("models", "resnet*", "--json"),
        ("summary", "resnet50"), ("summary", "vgg16", "--size", "224"), ("compare",),
    ],
    ids=" ".join,
)  # fmt: skip
def test_commands_that_only_look_up_load_no_torch(words):
    done = subprocess.run([sys.executable, "-c", LOOK, *words], capture_output=True, text=True, timeout=300)
    assert not done.returncode, done.stderr[-500:]


def test_the_command_answers_from_the_table():
    assert json.loads(resight("summary", "lenet5", "--json", check=0).stdout) == summary("lenet5")
    assert json.loads(resight("models", "lenet5", "--json", check=0).stdout) == list_networks("lenet5")
