"""Weights from files: no pickle is run, names are mapped, and a mismatch names both sides."""

import pickle

import pytest
import torch
from safetensors.torch import save_file

from resight.core.errors import ModelFileError
from resight.core.preprocessing import Preprocessing
from resight.models.foreign import read_state
from resight.models.modelfile import load_model, save_model
from resight.models.renaming import our_names
from resight.models.weights import load_weights
from resight.models.zoo import create_model


class Hostile:
    def __reduce__(self):
        return (open, ("ran.txt", "w"))


def test_a_hostile_pickle_is_never_run(tmp_path):
    for name in ("model.safetensors", "weights.pt", "weights.th"):
        path = tmp_path / name
        path.write_bytes(pickle.dumps({"state_dict": Hostile()}))
        with pytest.raises(ModelFileError, match=str(path)):
            load_model(path) if path.suffix == ".safetensors" else read_state(path)
    torch.save({"state_dict": Hostile()}, tmp_path / "zip.pt")
    with pytest.raises(ModelFileError, match="not unpickled"):
        read_state(tmp_path / "zip.pt")
    assert not (tmp_path / "ran.txt").exists()


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"\xff" * 8 + b"{}", b"{}"])
def test_a_damaged_safetensors_file_is_one_line(tmp_path, content):
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelFileError, match="not a safetensors file") as caught:
        load_model(tmp_path / "model.safetensors")
    assert "\n" not in str(caught.value)


def test_foreign_safetensors_say_how_to_use_them(tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(ModelFileError, match="--set weights="):
        load_model(tmp_path / "model.safetensors")


def test_names_of_other_resnets_are_mapped():
    state = {
        "module.conv1.weight": 1,
        "module.layer2.0.shortcut.0.weight": 2,
        "module.linear.bias": 3,
    }
    assert our_names(state) == {"conv1.weight": 1, "layer2.0.downsample.0.weight": 2, "fc.bias": 3}


def test_a_mismatch_names_both_sides(tmp_path):
    state = create_model("resnet20", 10).state_dict()
    state["extra"] = state.pop("bn1.weight")
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(ModelFileError, match=r"1 missing \(bn1.weight\), 1 unknown \(extra\)"):
        load_weights(create_model("resnet20", 10), tmp_path / "w.safetensors")
    with pytest.raises(ModelFileError, match=r"of another shape|missing"):
        create_model("resnet32", 10, weights=tmp_path / "w.safetensors")


def test_a_model_file_alone_restores_everything(tmp_path):
    model = create_model("resnet20", 3, shortcut="B").eval()
    model.classes = ("b", "ä", "c")
    model.preprocessing = Preprocessing(
        size=4,
        resize=5,
        mean=(0.1, 0.2, 0.3),
        std=(1.0, 1.0, 1.0),
        pixel_mean=tuple(i / 64 for i in range(48)),
    )
    save_model(tmp_path / "m.safetensors", model, model.state_dict(), {"data": "here", "temperature": 1.5})
    again, facts = load_model(tmp_path / "m.safetensors")
    assert again.classes == model.classes and again.options == {"shortcut": "B"}
    assert again.preprocessing == model.preprocessing and not again.training
    assert facts["data"] == "here" and facts["temperature"] == 1.5
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(again(images), model(images))


def test_a_header_of_an_earlier_day_is_read():
    card = Preprocessing.from_dict({"size": 8, "resize": 9, "mean": [0.1] * 3, "std": [0.2] * 3})
    assert (card.interpolation, card.contrast, card.whitening) == ("bilinear", 0.0, None)


def test_weights_of_another_number_of_classes_bring_their_own_output_layer(tmp_path):
    save_file(create_model("lenet5", 26, 1).state_dict(), tmp_path / "w.safetensors")
    assert create_model("lenet5", 10, 1, weights=tmp_path / "w.safetensors").num_classes == 26


@pytest.mark.parametrize("depth", [20, 32, 44, 56])
def test_the_published_cifar_weights_load(real_data, depth):
    weights = real_data / "weights" / f"cifar10_resnet{depth}.th"
    model = create_model(f"resnet{depth}", 10, weights=weights)
    stored = torch.load(weights, map_location="cpu", weights_only=True)["state_dict"]
    assert torch.equal(model.fc.weight, stored["module.linear.weight"])
