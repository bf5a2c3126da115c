"""A model file is checked when it is opened: all that a stranger may have written is refused in one line."""

import json
import random

import pytest
import torch
from safetensors.torch import save_file

from mutation import mutated
from resight.core.errors import ModelFileError, ResightError
from resight.core.preprocessing import Preprocessing
from resight.models import zoo
from resight.models.activations import SOFTMAX
from resight.models.modelfile import PIXEL_MEAN, WHITENING, load_model, load_tensors, save_model, save_tensors
from resight.models.old_tasks import OldTask, add_old_task
from resight.models.zoo import create_model
from support import make_folder, one_line, resight

CARD = {"size": 16, "resize": 18, "mean": [0.1, 0.2, 0.3], "std": [0.2, 0.2, 0.2]}
HEADER = {
    "format": 1,
    "architecture": "lenet5_modern",
    "options": {"head": "gap"},
    "in_channels": 3,
    "classes": ["a", "b", "c"],
    "multi_label": False,
    "preprocessing": CARD,
    "tasks": [],
    "temperature": 1.5,
}


def tensors():
    torch.manual_seed(1)
    return create_model("lenet5_modern", 3, head="gap").state_dict()


def write(path, header=None, state=None, **changes):
    """A model file as the first version wrote it, without a line of today's writer."""
    document = {**(HEADER if header is None else header), **changes}
    save_file(tensors() if state is None else state, path, metadata={"resight": json.dumps(document)})
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "m.safetensors"


def refused(path, words):
    with pytest.raises(ModelFileError) as caught:
        load_model(path)
    line = str(caught.value)
    assert str(path) in line and "\n" not in line and len(line) < 500
    assert words in line, line


def test_the_plain_file_is_read(path):
    model, facts = load_model(write(path))
    assert model.classes == ("a", "b", "c") and facts["temperature"] == 1.5
    assert torch.equal(model.output.weight, tensors()["output.weight"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": 2}, "has format 2, this Resight reads format 1; upgrade"),
        ({"format": None}, "format is null"),
        ({"architecture": "lenet6"}, "'lenet6' is not a model"),
        ({"architecture": 3}, "architecture is 3, but must be text"),
        ({"options": []}, "options is [], but must be an object"),
        ({"options": {"head": ["gap"]}}, "options.head"),
        ({"options": {"head": "gap", "weights": "torchvision"}}, "has no option 'weights'"),
        ({"options": {"head": "gap", "weights": "/etc/passwd"}}, "has no option 'weights'"),
        ({"options": {"head": "gap", "num_classes": 3}}, "has no option 'num_classes'"),
        ({"options": {"head": "gap", "sharpen": float("nan")}}, "options.sharpen"),
        ({"options": {"head": "gap", "activation": 1}}, "activation=1: needs a word"),
        ({"in_channels": 0}, "in_channels is 0"),
        ({"in_channels": 10**9}, "in_channels is 1000000000"),
        ({"in_channels": True}, "in_channels is true"),
        ({"classes": ["a", "b"]}, "2 of another shape (output.bias, output.weight)"),
        ({"classes": ["a", "b", "c", "d"]}, "of another shape"),
        ({"classes": ["a", "b", "a"]}, "the class 'a' is listed twice"),
        ({"classes": []}, "lists no classes"),
        ({"classes": "abc"}, "classes is"),
        ({"classes": {"a": 1}}, "must be a list"),
        ({"multi_label": "no"}, "multi_label"),
        ({"preprocessing": None}, "preprocessing is null"),
        ({"preprocessing": {**CARD, "resize": 40_000}}, "resize is 40000, but must be a whole number"),
        ({"preprocessing": {**CARD, "resize": 7}}, "resize=7 is below size=16"),
        ({"preprocessing": {**CARD, "size": 0}}, "size is 0"),
        ({"preprocessing": {**CARD, "mean": [0.1, 0.2]}}, "preprocessing.mean has 2 values, not 3"),
        ({"preprocessing": {**CARD, "mean": [0.1, 0.2, 12.0]}}, "mean[2] is 12.0"),
        ({"preprocessing": {**CARD, "mean": [0.1, 0.2, float("nan")]}}, "mean[2] is NaN"),
        ({"preprocessing": {**CARD, "mean": [0.1, 0.2, 10**399]}}, "mean[2] is"),
        ({"preprocessing": {**CARD, "std": [0.2, 0.2, 0.0]}}, "std[2] is 0.0"),
        ({"preprocessing": {**CARD, "std": [0.2, 0.2, -0.2]}}, "std[2] is -0.2"),
        ({"preprocessing": {**CARD, "std": 0.2}}, "std is 0.2, but must be a list"),
        ({"preprocessing": {**CARD, "interpolation": "magic"}}, "interpolation 'magic' is unknown"),
        ({"preprocessing": {**CARD, "contrast": -1}}, "contrast is -1"),
        ({"temperature": 0}, "temperature is 0"),
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"temperature": float("inf")}, "temperature is Infinity"),
        ({"temperature": "warm"}, "temperature"),
        ({"left_out": [{"path": 3}]}, "left_out"),
        ({"recipe": {"val_share": 7}}, "recipe.val_share is 7"),
        ({"tasks": [{"name": "x"}]}, "tasks[0] has no 'classes'"),
        ({"tasks": [{"name": "x", "classes": ["q", "q"], "facts": {}}]}, "the class 'q' is listed twice"),
        ({"tasks": [{"name": "x", "classes": ["q"], "facts": {"temperature": 0}}]}, "facts.temperature"),
        ({"classes": ["a", "b", "\ud800"]}, "surrogates not allowed"),
        ({"tasks": [{"name": "x", "classes": ["q"], "facts": {}}]}, "2 missing (old_heads.0.weight"),
    ],
)  # fmt: skip
def test_a_header_that_no_training_leaves_is_refused(path, changes, words):
    refused(write(path, **changes), words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 500_000, "nested too deeply"),
        ('{"a":' * 100 + "1" + "}" * 100, "deeper than 64"),
        ('{"format": 1, "format": 1}', "appears twice"),
        ("[]", "the document is []"),
        ("3", "the document is 3"),
        ("{", "not usable JSON"),
        ('{"format": ' + "9" * 5000 + "}", "digits"),
    ],
)
def test_json_without_bounds_is_refused(path, text, words):
    save_file(tensors(), path, metadata={"resight": text})
    refused(path, words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s["c1.weight"].fill_(torch.nan), "c1.weight holds NaN or infinity"),
        (lambda s: s["output.bias"].fill_(-torch.inf), "output.bias holds NaN"),
        (lambda s: s.update({"c1.bias": s["c1.bias"].long()}), "c1.bias is of type int64, not float32"),
        (lambda s: s.update({"c1.bias": s["c1.bias"].bool()}), "c1.bias is of type bool, not float32"),
        (lambda s: s.update({"c1.bias": s["c1.bias"] + 0j}), "c1.bias is of type complex64"),
        (lambda s: s.update({"c1.bias": s["c1.bias"].double() * 1e300}), "c1.bias holds NaN or infinity"),
        (lambda s: s.pop("c1.bias"), "1 missing (c1.bias)"),
        (lambda s: s.update({"c1.more": torch.zeros(1)}), "1 unknown (c1.more)"),
        (lambda s: s.update({"c1.bias": torch.zeros(7)}), "1 of another shape (c1.bias)"),
        (lambda s: s.update({PIXEL_MEAN: torch.zeros(7)}), "has shape (7,), not (768,)"),
        (lambda s: s.update({PIXEL_MEAN: torch.zeros(768).int()}), "pixel_mean holds values"),
        (lambda s: s.update({PIXEL_MEAN: torch.full((768,), 9.0)}), "pixel_mean holds values outside"),
        (lambda s: s.update({WHITENING: torch.zeros(768, 768)}), "whitening without contrast"),
    ],
)  # fmt: skip
def test_tensors_that_no_training_leaves_are_refused(path, change, words):
    state = {k: v.clone() for k, v in tensors().items()}
    state[PIXEL_MEAN] = torch.zeros(768)
    change(state)
    refused(write(path, state=state), words)


def test_a_variance_below_zero_is_refused(path):
    model = create_model("resnet20", 3)
    state = model.state_dict()
    state["bn1.running_var"] = -torch.ones(16)
    refused(
        write(path, state=state, architecture="resnet20", options={}), "bn1.running_var is a variance below 0"
    )


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("efficientnet_b0", {"depth": 1e9}),
        ("efficientnet_b0", {"width": 1e9}),
        ("efficientnet_b0", {"width": 16.0, "depth": 16.0}),
        ("fitnet19", {"hint": 10**9}),
        ("deepface", {"input_size": 60_000}),
        ("bovw", {"words": 60_000, "levels": 4}),
        ("bovw", {"scales": 10**9}),
        ("fisher", {"words": 65_000, "reduce": 65_000}),
        ("hog-svm", {"cells": 60_000, "orientations": 60_000}),
        ("hog-svm", {"cells": 10**18}),
    ],
)
def test_a_bomb_is_refused_before_memory_is_asked_for(path, monkeypatch, name, options):
    real = []
    monkeypatch.setattr(
        zoo.Classifier, "load_state_dict", lambda *_, **__: real.append(1)
    )  # only real networks load
    refused(write(path, architecture=name, options=options), str(path))
    assert not real


def test_no_option_reaches_the_weights(path, monkeypatch):
    monkeypatch.setattr(zoo, "load_weights", lambda *_: pytest.fail("opened"))
    refused(write(path, options={"head": "gap", "weights": str(path)}), "has no option 'weights'")


def test_commands_say_it_in_one_line(tmp_path):
    make_folder("pictures", count=1)
    for command, change, words in (
        ("predict", {"options": {"head": "gap", "weights": "torchvision"}}, "has no option 'weights'"),
        ("explain", {"temperature": -1}, "temperature is -1"),
        ("predict", {"preprocessing": {**CARD, "size": 8}}, "does not take pictures of 8 x 8"),
    ):
        write(tmp_path / "m.safetensors", **change)
        assert words in one_line(resight(command, "m.safetensors", "pictures"), 1)
    write(tmp_path / "m.safetensors")
    assert resight("predict", "m.safetensors", "pictures", check=0).stdout
    assert "how its data were split" in one_line(
        resight("test", write(tmp_path / "m.safetensors", data="pictures").name), 1
    )


def test_other_files_of_ours_are_named(path):
    for document, words in (
        ({"identity": {}, "progress": {}}, "is not a network but the training state of a run"),
        ({"format": 1, "kind": "gan", "generator": {}}, "is not a network but a GAN"),
        ({"format": 1, "decoder": {}}, "is not a network but a decoder"),
    ):
        save_tensors(path, {"x": torch.zeros(1)}, document)
        refused(path, words)


def test_old_heads_and_unknown_keys_are_read(path):
    model = create_model("resnet20", 3).eval()
    model.classes, model.preprocessing = ("a", "b", "c"), Preprocessing(size=8, resize=9)
    add_old_task(model, OldTask("old", ("x", "y"), {"data": "there", "temperature": 2.0}))
    save_model(path, model, model.state_dict(), {"more": [1, {"x": None}], "test": {"ece": float("nan")}})
    again, facts = load_model(path)
    assert again.old_tasks[0].classes == ("x", "y") and facts["more"] == [1, {"x": None}]


def test_files_of_the_first_version_open(path):
    """No options that came later, no tasks, no interpolation; and GoogLeNet as it normalized then."""
    old = {k: v for k, v in HEADER.items() if k not in ("tasks", "multi_label", "temperature")}
    model, _ = load_model(write(path, header=old))
    assert model.logit_activation == SOFTMAX and model.preprocessing.interpolation == "bilinear"
    google = create_model("googlenet_2014", 2, aux=False)
    old["preprocessing"] = {**CARD, "size": 64, "resize": 64}
    document = {**old, "architecture": "googlenet_2014", "options": {"aux": False}, "classes": ["a", "b"]}
    before, _ = load_model(write(path, header=document, state=google.state_dict()))
    assert (before.norm1.k, before.norm1.alpha) == (2.0, 1e-4)
    assert (google.norm1.k, google.norm1.alpha) == (1.0, 2e-5)
    google.classes, google.preprocessing = ("a", "b"), before.preprocessing
    for model, k in ((google, 1.0), (before, 2.0)):  # written again, each stays what it is
        save_model(path, model, model.state_dict(), {})
        assert load_model(path)[0].norm1.k == k


def survives(path, content, image, answer):
    """A changed file is refused in one line, or answers by finite numbers; bit-equal where its header is."""
    path.write_bytes(content)
    try:
        model, document = load_model(path)
    except ResightError as error:
        assert "\n" not in str(error) and len(str(error)) < 1000
        return False
    with torch.no_grad():
        found = model(image[:, : model.in_channels])
    stored, _ = load_tensors(path)
    own = dict(model.state_dict())
    assert all(torch.equal(own[k], stored[k].to(own[k].dtype)) for k in own if k in stored)
    if document["options"] == HEADER["options"] and all(torch.equal(own[k], v) for k, v in tensors().items()):
        assert torch.equal(found, answer)
    assert found.shape == (1, len(document["classes"])) and found.isfinite().all()
    return True


def fuzz(path, count):
    image = torch.randn(1, 3, 32, 32)
    content = write(path).read_bytes()
    with torch.no_grad():
        answer = load_model(path)[0](image)
    chance = random.Random(7)
    read = sum(survives(path, mutated(content, chance), image, answer) for _ in range(count))
    assert 0 < read < count


def test_mutated_files_are_refused_or_right(path):
    fuzz(path, 200)


@pytest.mark.slow
def test_many_mutated_files_are_refused_or_right(path):
    fuzz(path, 2000)
