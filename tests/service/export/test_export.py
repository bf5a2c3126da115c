"""A run as one file: compared with torch, used by the commands without torch."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from resight.core.errors import ModelFileError, ResightError, UsageError
from resight.core.preprocessing import Preprocessing
from resight.models.modelfile import save_model
from resight.models.zoo import create_model
from resight.saliency.methods import explain as explain_by_torch
from resight.service.deployed.explain import explain
from resight.service.export import agreement
from resight.service.export.export import export
from resight.service.locate.locate import locate
from resight.service.run.run import open_run
from resight.service.test.predict import predict
from resight.service.test.test import test as judge
from support import one_line, resight


@pytest.fixture(scope="module")
def exported(tiny_run, tmp_path_factory):
    """A finished run as an .onnx file, and what the export said."""
    place = tmp_path_factory.mktemp("exported") / "tiny.onnx"
    return place, export(str(tiny_run), str(place), picture_maps=True)


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
    assert found["n"] > 5 and found["same_answer"] == found["n"]
    assert found["largest_difference"] <= 1e-5 and found["map_difference"] <= 1e-4
    assert list(answer["outputs"]) == ["probabilities", "logits", "maps", "picture_maps"]


def test_the_file_says_all_of_itself(exported, tiny_run):
    place, answer = exported
    model = onnx.load(str(place))
    document = json.loads(next(p.value for p in model.metadata_props if p.key == "resight"))
    run = open_run(str(tiny_run))
    assert document["classes"] == list(run.model.classes) == ["blue", "green", "red"]
    assert document["preprocessing"] == run.preprocessing.to_dict()
    assert document["recipe"] == run.facts["recipe"] and document["data"] == run.facts["data"]
    assert document["temperature"] == run.temperature
    assert document["export"]["agreement"] == answer["agreement"]
    assert document["export"]["boxes"]["threshold"] == 0.2
    assert document["export"]["map"]["method"] == "cam"
    assert [o.name for o in model.graph.output] == ["probabilities", "logits", "maps", "picture_maps"]
    axes = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    assert axes == [0, 0, 0, 3]  # batch, height and width are open


def test_predict_says_the_same_as_for_the_run(exported, tiny_run, photos):
    rows = list(predict(str(exported[0]), [str(photos)]))
    wanted = list(predict(str(tiny_run), [str(photos)], exact=True))
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
    for words in (("predict", "--json"), ("predict",), ("explain", "--out", "maps")):
        command = [sys.executable, "-c", code, words[0], str(exported[0]), str(photos), *words[1:]]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_a_broken_picture_is_an_error_of_its_own(exported, photos):
    (photos / "2.png").write_bytes(b"no picture")
    rows = list(predict(str(exported[0]), [str(photos)]))
    assert ["error" in row for row in rows] == [False, False, True, False, False]


def test_test_gives_the_figures_of_the_run(exported, tiny_run):
    found, wanted = judge([str(exported[0])]), judge([str(tiny_run)])
    for key in ("data", "split", "n", "top1_error", "top1_interval", "per_class", "trained_on", "classes"):
        assert found[key] == wanted[key], key
    assert found["ece"] == pytest.approx(wanted["ece"], abs=1e-5)


def test_explain_writes_the_maps_of_torch(exported, tiny_run, photos):
    rows = explain(str(exported[0]), [str(photos)], "top2")
    assert len(rows) == 10 and {row["method"] for row in rows} == {"cam"}
    run = open_run(str(tiny_run))
    for row in rows:
        wanted = explain_by_torch(run.model, row["path"], "cam", row["target"])
        assert np.abs(np.load(row["map"]) - wanted.maps[0].numpy()).max() < 1e-3
        assert row["score"] == pytest.approx(float(wanted.scores[0]), abs=1e-4)
        assert Path(row["image"]).is_file()


def test_as_a_network_it_gives_the_logits_of_the_run_and_boxes(exported, tiny_run, photos):
    run, file = open_run(str(tiny_run)), open_run(str(exported[0]))
    images = torch.randn(3, 3, 16, 16)
    with torch.no_grad():
        assert torch.allclose(file.model(images), run.model(images), atol=1e-4)
    found, wanted = (locate(str(r), [str(photos)], ("cam",))["boxes"] for r in (exported[0], tiny_run))
    assert [b["box"] for b in found] == [b["box"] for b in wanted]


def test_nothing_is_written_if_the_file_differs(tiny_run, monkeypatch, tmp_path):
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
        export(str(tiny_run), "out.onnx")
    assert not list(Path().glob("*out*"))


def test_a_wrong_answer_or_map_is_refused(exported, tiny_run):
    run = open_run(str(tiny_run))
    trial = agreement.trial_of(run, None, None, most=2)
    good = agreement.by_torch(run, None, trial.read(trial.numbers[0]))
    off = agreement.Answer(good.probabilities + np.array([2e-5, -1e-5, -1e-5]))
    with pytest.raises(ResightError, match="differs from torch"):
        agreement.compared(run, None, lambda picture: off, trial)


def test_words_that_mean_nothing_are_refused(tiny_run):
    for words, fault in (
        ({"form": "tflite"}, "--format"), ({"maps": "some"}, "--maps"), ({"out": "x.pt"}, "ends in .onnx"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=fault):
            export(str(tiny_run), **words)


def test_what_runs_outside_torch_is_refused_by_name(tmp_path):
    model = create_model("sift_bovw", num_classes=2) if "sift_bovw" in _classic() else None
    if model is None:
        model = create_model(_classic()[0], num_classes=2)
    model.classes, model.preprocessing = ("a", "b"), Preprocessing(size=64, resize=64)
    save_model(tmp_path / "classic.safetensors", model, model.state_dict(), {"data": None})
    with pytest.raises(ModelFileError, match="outside torch"):
        export(str(tmp_path / "classic.safetensors"), "classic.onnx")
    assert not Path("classic.onnx").exists()


def _classic():
    from resight.models.families.classic import NETWORKS

    return list(NETWORKS)


def test_the_command_prints_json_and_refuses_in_one_line(tiny_run, exported):
    assert "is a folder" in one_line(resight("export", tiny_run, "--out", "."), 2)
    line = one_line(resight("predict", exported[0].with_name("none.onnx"), "x.png"), 1)
    assert "no such file" in line
    Path("text.onnx").write_text("no network")
    assert "cannot open" in one_line(resight("predict", "text.onnx", "x.png"), 1)


@pytest.mark.slow
def test_a_torch_export_file_agrees_too(tiny_run):
    answer = export(str(tiny_run), "tiny.pt2", form="torch-export", maps="2")
    assert answer["agreement"]["largest_difference"] <= 1e-5
    assert answer["agreement"]["map_difference"] <= 1e-4
    extra = {"resight": ""}
    torch.export.load("tiny.pt2", extra_files=extra)
    assert json.loads(extra["resight"])["classes"] == ["blue", "green", "red"]
