"""A run as one file: compared with torch, used by the commands without torch."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from as_json import explain_paths, locate
from resight.core.errors import ModelFileError, ResightError, UsageError
from resight.core.figures import to_json
from resight.core.preprocessing import Preprocessing
from resight.models.families.classic import NETWORKS as CLASSIC
from resight.models.modelfile import save_model
from resight.models.zoo import create_model
from resight.saliency.methods import explain as explain_by_torch
from resight.service.deployed.explain import explain
from resight.service.export import agreement
from resight.service.export import int8 as bits
from resight.service.export.export import export
from resight.service.run.run import open_run
from resight.service.test.predict import predict
from resight.service.test.test import test as judge
from support import make_folder, one_line, resight

FACTS = {"data": None, "temperature": 1.7, "recipe": {"val_share": 0.2}, "best_epoch": 3}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    make_folder(folder / "colours", count=4)
    return folder


@pytest.fixture(scope="module")
def run(place):
    """A network of random weights with all that a trained one has, as a model file."""
    torch.manual_seed(0)
    model = create_model("resnet20", num_classes=3).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 1.5)
    model.classes = ("blue", "green", "red")
    model.preprocessing = Preprocessing(size=16, resize=20, interpolation="bicubic")
    save_model(place / "net.safetensors", model, model.state_dict(), FACTS)
    return str(place / "net.safetensors")


@pytest.fixture(scope="module")
def exported(run, place):
    """The network as an .onnx file, and what the export said."""
    file = place / "net.onnx"
    return file, export(run, str(file), picture_maps=True, data=str(place / "colours"))


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, (width, height) in enumerate(((24, 20), (64, 48), (30, 100), (90, 31), (64, 48))):
        pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def test_the_answer_of_export_says_how_it_agrees(exported):
    place, answer = exported
    found = answer["agreement"]
    assert set(answer) >= {"file", "inputs", "outputs", "agreement", "bytes"}
    assert answer["bytes"] == place.stat().st_size
    assert found["n"] == 12 and found["same_answer"] == found["n"]
    assert found["largest_difference"] <= 1e-5 and found["map_difference"] <= 1e-4
    assert list(answer["outputs"]) == ["probabilities", "logits", "maps", "picture_maps"]


def test_the_file_says_all_of_itself(exported, run):
    place, answer = exported
    model = onnx.load(str(place))
    document = json.loads(next(p.value for p in model.metadata_props if p.key == "resight"))
    opened = open_run(run)
    assert document["classes"] == ["blue", "green", "red"]
    assert document["preprocessing"] == json.loads(json.dumps(opened.preprocessing.to_dict()))
    assert {key: document[key] for key in FACTS} == FACTS
    assert document["export"]["agreement"] == answer["agreement"]
    assert document["export"]["boxes"]["threshold"] == 0.2
    assert document["export"]["map"]["method"] == "cam"
    assert [o.name for o in model.graph.output] == ["probabilities", "logits", "maps", "picture_maps"]
    axes = [d.dim_param or d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    assert axes == ["batch", "height", "width", 3]


def test_predict_says_the_same_as_for_the_run(exported, run, photos):
    rows = list(predict(str(exported[0]), [str(photos)]))
    wanted = list(predict(run, [str(photos)], exact=True))
    assert [row["path"] for row in rows] == [row["path"] for row in wanted]
    for row, other in zip(rows, wanted, strict=True):
        assert row.keys() == other.keys()
        assert (row["label"], row["index"]) == (other["label"], other["index"])
        for (name, p), (known, q) in zip(row["top"], other["top"], strict=True):
            assert name == known and p == pytest.approx(q, abs=1e-5)


def test_predict_and_explain_load_no_torch(exported, photos):
    code = (
        "import sys; from resight.cli.main import app\n"
        "try: app(sys.argv[1:])\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "assert 'torch' not in sys.modules, 'torch was loaded'"
    )
    for words in (("predict", "--json"), ("explain", "--out", "maps")):
        command = [sys.executable, "-c", code, words[0], str(exported[0]), str(photos), *words[1:]]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_a_broken_picture_is_an_error_of_its_own(exported, photos):
    (photos / "2.png").write_bytes(b"no picture")
    rows = list(predict(str(exported[0]), [str(photos)]))
    assert ["error" in row for row in rows] == [False, False, True, False, False]


def test_test_gives_the_figures_of_the_run(exported, run, place):
    found, wanted = (judge([str(name)], str(place / "colours")) for name in (exported[0], run))
    for key in ("data", "split", "n", "top1_error", "top1_interval", "per_class", "trained_on", "classes"):
        assert found[key] == wanted[key], key
    assert found["ece"] == pytest.approx(wanted["ece"], abs=1e-5)


def test_explain_writes_the_maps_of_torch(exported, run, photos):
    rows = to_json(explain(str(exported[0]), [str(photos)], "top2"))
    assert len(rows) == 10 and {row["method"] for row in rows} == {"cam"}
    model = open_run(run).model
    for row in rows:
        wanted = explain_by_torch(model, row["path"], "cam", row["target"])
        assert np.abs(np.load(row["map"]) - wanted.maps[0].numpy()).max() < 1e-3
        assert row["score"] == pytest.approx(float(wanted.scores[0]), abs=1e-4)
        assert Path(row["image"]).is_file()


def test_as_a_network_it_gives_the_logits_of_the_run_and_boxes(exported, run, photos):
    network, file = open_run(run).model, open_run(str(exported[0])).model
    images = torch.randn(3, 3, 16, 16)
    with torch.no_grad():
        assert torch.allclose(file(images), network(images), atol=1e-4)
    found, wanted = (locate(str(r), [str(photos)], ("cam",))["boxes"] for r in (exported[0], run))
    assert [b["box"] for b in found] == [b["box"] for b in wanted]


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("integrated_gradients", "no gradient at the pictures"),
        ("smooth_grad", "no gradient at the pictures"),
        ("attention_rollout", "none was met in this network"),
    ],
)
def test_what_needs_more_than_the_head_is_refused(exported, photos, method, message):
    with pytest.raises(UsageError, match=message):
        explain_paths(str(exported[0]), [str(photos / "0.png")], (method,))
    maps = str(photos / "maps")
    row = explain_paths(str(exported[0]), [str(photos / "0.png")], ("finer_cam",), "red-blue", out=maps)[0]
    assert row["target"] == "red-blue" and row["against"] == ["blue"]  # the head has a closed form


def test_nothing_is_written_if_the_file_differs(run, monkeypatch, tmp_path):
    from resight.service.export import export as room

    monkeypatch.setattr(room, "to_onnx", lambda *words: None)
    monkeypatch.setattr(room, "with_document", lambda *words: b"")
    monkeypatch.setattr(room, "Onnx", lambda *words: None)

    def differs(*words):
        found = agreement.Agreement()
        found.add(agreement.Answer(np.array([0.5, 0.5])), agreement.Answer(np.array([0.4, 0.6])))
        assert found.same_answer == 0 and found.largest_difference == pytest.approx(0.1)
        raise ResightError("differs")

    monkeypatch.setattr(room, "compared", differs)
    with pytest.raises(ResightError, match="differs"):
        export(run, "out.onnx")
    assert not list(Path().glob("*out*"))


def test_a_wrong_answer_is_refused(run):
    opened = open_run(run)
    trial = agreement.trial_of(opened, None, None)
    good = agreement.by_torch(opened, None, trial.read(trial.numbers[0]))
    off = agreement.Answer(good.probabilities + np.array([2e-5, -1e-5, -1e-5]))
    with pytest.raises(ResightError, match="differs from torch"):
        agreement.compared(opened, None, lambda picture: off, trial)


def test_words_that_mean_nothing_are_refused(run):
    for words, fault in (
        ({"form": "tflite"}, "--format"), ({"maps": "some"}, "--maps"), ({"out": "x.pt"}, "ends in .onnx"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=fault):
            export(run, **words)


def test_what_runs_outside_torch_is_refused_by_name(tmp_path):
    model = create_model(next(iter(CLASSIC)), num_classes=2)
    model.classes, model.preprocessing = ("a", "b"), Preprocessing(size=64, resize=64)
    save_model(tmp_path / "classic.safetensors", model, model.state_dict(), {"data": None})
    with pytest.raises(ModelFileError, match="outside torch"):
        export(str(tmp_path / "classic.safetensors"), "classic.onnx")
    assert not Path("classic.onnx").exists()


def test_the_command_prints_json_and_refuses_in_one_line(run, exported):
    assert "is a folder" in one_line(resight("export", run, "--out", "."), 2)
    line = one_line(resight("predict", exported[0].with_name("none.onnx"), "x.png"), 1)
    assert "no such file" in line
    Path("text.onnx").write_text("no network")
    assert "cannot open" in one_line(resight("predict", "text.onnx", "x.png"), 1)


@pytest.mark.slow
def test_a_torch_export_file_agrees_too(run):
    answer = export(run, "tiny.pt2", form="torch-export", maps="2")
    assert answer["agreement"]["largest_difference"] <= 1e-5
    assert answer["agreement"]["map_difference"] <= 1e-4
    extra = {"resight": ""}
    torch.export.load("tiny.pt2", extra_files=extra)
    assert json.loads(extra["resight"])["classes"] == ["blue", "green", "red"]


def test_8_bits_are_measured_against_float(run, place):
    answer = export(run, "int8.onnx", int8=True, loss=100, data=str(place / "colours"))
    small = answer["int8"]
    assert small["n"] == 6 and small["float_error"] + small["loss"] == pytest.approx(small["int8_error"])
    assert 0 <= small["agreement"] <= 100 and small["map_correlation"][0] > 0.9
    assert small["layers"] == 20 and small["floating"] == []
    kinds = {t.data_type for t in onnx.load("int8.onnx").graph.initializer if len(t.dims) == 4}
    assert onnx.TensorProto.INT8 in kinds
    rows = list(predict("int8.onnx", [str(place / "colours" / "red")]))
    float_rows = list(predict(run, [str(place / "colours" / "red")], exact=True))
    for row, other in zip(rows, float_rows, strict=True):
        likely, wanted = dict(row["top"]), dict(other["top"])
        assert all(abs(likely[name] - wanted[name]) < 0.1 for name in wanted)


def test_the_layer_that_does_the_harm_stays_float(monkeypatch):
    class Quantizer:
        layers: ClassVar = ["first", "worst", "last"]

        def model_with(self, floating=()):
            return frozenset(floating)

    def lost(model):
        return 5.0 if "worst" not in model else 0.1

    class Lost:
        def __init__(self, loss):
            self.loss = loss

    monkeypatch.setattr(bits, "compare", lambda network, sample: Lost(lost(network)))
    monkeypatch.setattr(bits, "_harm", lambda network, sample: lost(network))
    known = bits.Sample(
        [np.zeros((4, 4, 3), np.uint8)], [agreement.Answer(np.ones(1))], np.zeros(1, np.int64)
    )
    assert bits._split(Quantizer(), known, 0.5, lambda model: model) == ["worst"]
    assert bits._split(Quantizer(), known, 12.0, lambda model: model) == []


def test_8_bits_that_cost_more_are_refused(run, place, monkeypatch):
    compare = bits.compare
    monkeypatch.setattr(bits, "compare", lambda *words: replace(compare(*words), loss=3.0))
    with pytest.raises(ResightError, match=r"rises by 3\.00 points"):
        export(run, "int8.onnx", int8=True, data=str(place / "colours"))
    assert not Path("int8.onnx").exists()
    with pytest.raises(UsageError, match="needs labelled pictures"):
        export(run, "int8.onnx", int8=True)


def test_a_flat_map_is_compared_with_the_range_of_the_others():
    wanted = np.stack([np.linspace(0, 1, 12), np.linspace(0, 1e-4, 12)]).reshape(2, 3, 4)
    rounded = wanted + np.array([0, 5e-7])[:, None, None]
    assert agreement.map_difference(wanted, rounded) == pytest.approx(5e-7 / 0.02)
    assert agreement.map_difference(wanted[1:], rounded[1:]) == pytest.approx(5e-7 / 1e-4)
    assert agreement.map_difference(np.zeros((1, 2, 2)), np.zeros((1, 2, 2))) == 0
