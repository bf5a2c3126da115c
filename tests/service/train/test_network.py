"""The network of a training: what given weights bring whatever the head is, and what is said of it."""

import io
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import save_file

from resight.core.errors import ModelFileError, UsageError
from resight.core.preprocessing import Preprocessing
from resight.models.modelfile import save_model
from resight.models.zoo import create_model
from resight.service.train import train as jobs
from resight.service.train.job import Job
from resight.service.train.network import make_model, map_note
from resight.training.recipe import Recipe
from support import make_folder


def recipe(**changes):
    plain = {
        "model": "resnet20", "image_size": 32, "epochs": 1, "batch_size": 8, "lr": 0.1, "schedule": "cosine",
        "augment": (), "normalize": "channel",
    }  # fmt: skip
    return Recipe(**plain | changes)


@pytest.fixture
def run(tmp_path):
    """A run of the resnet20 and its network."""
    model = create_model("resnet20", 4).eval()
    model.classes, model.preprocessing = tuple("abcd"), Preprocessing(size=32, resize=32)
    save_model(tmp_path / "run" / "model.safetensors", model, model.state_dict(), {"data": "x"})
    return tmp_path / "run", model


def same_trunk(a, b):
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        return torch.equal(a.eval().forward_features(images), b.eval().forward_features(images))


@pytest.mark.parametrize("head", ["gmp", "flatten"])
def test_a_runs_trunk_goes_under_another_head(run, head):
    folder, model = run
    made, card = make_model(recipe(weights=str(folder), options=(f"head={head}",)), 7)
    assert same_trunk(made, model) and made.head == head and made.num_classes == 7
    assert card == model.preprocessing and made.options == {"head": head}
    if head == "flatten":
        assert "fc is newly initialized" in made.weights_note


def test_a_runs_trunk_under_another_head_ends_earlier(run):
    folder, model = run
    made, _ = make_model(recipe(weights=str(folder), options=("head=gmp", "last=layer2")), 7)
    assert list(made.stages)[-1] == "layer2" and made.head == "gmp"
    assert torch.equal(made.layer2[0].conv1.weight, model.layer2[0].conv1.weight)


def test_a_head_that_shall_not_be_forgotten_stays(run):
    folder, _ = run
    with pytest.raises(UsageError, match="have another head; leave head= out"):
        make_model(recipe(weights=str(folder), options=("head=gmp",), teacher="weights"), 7)


def test_a_file_of_a_whole_network_serves_an_earlier_end(tmp_path):
    model = create_model("resnet20", 4)
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    made, _ = make_model(recipe(weights=str(tmp_path / "w.safetensors"), options=("last=layer2",)), 3)
    assert torch.equal(made.layer1[0].conv1.weight, model.layer1[0].conv1.weight)
    assert "loaded up to layer2" in made.weights_note and made.num_classes == 3


def test_other_files_and_folders_are_refused(tmp_path):
    Path("empty").mkdir()
    with pytest.raises(ModelFileError, match="is a folder without"):
        make_model(recipe(weights="empty"), 3)
    Path("w.onnx").write_bytes(b"\x08\x08\x12\x07pytorch" + bytes(9))
    with pytest.raises(ModelFileError, match="is an ONNX file"):
        make_model(recipe(weights="w.onnx"), 3)


def test_a_last_map_too_small_for_boxes_is_said():
    model = create_model("resnet18", 3).train()
    assert map_note(model, 64).startswith("note: at 64 pixels the last map has 2 x 2 positions")
    assert "an earlier last= gives more" in map_note(model, 64) and model.training
    assert map_note(model, 128) == map_note(model, 224) == ""
    assert map_note(create_model("resnet20", 3), 32) == ""
    assert "last=" not in map_note(create_model("alexnet", 3), 64)


def test_the_note_is_one_of_the_first_lines(tmp_path, monkeypatch):
    """Of a job that is stopped before its first step."""

    class StoppedError(Exception):
        pass

    def stop(*_):
        raise StoppedError

    monkeypatch.setattr(Job, "fit", stop)
    folder, said = make_folder(tmp_path / "set"), io.StringIO()
    changes = ["image_size=64", "batch_size=8", "epochs=1"]
    console = Console(file=said, width=400)
    with pytest.raises(StoppedError):
        jobs.train(str(folder), model="resnet18", changes=changes, out=str(tmp_path / "run"), console=console)
    assert "note: at 64 pixels the last map has 2 x 2 positions" in said.getvalue()
