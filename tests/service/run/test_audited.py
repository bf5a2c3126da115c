"""Networks that were trained elsewhere are a RUN: what is asked of them is what their own code answers."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from as_json import explain_paths, locate
from resight.core.errors import ModelFileError
from resight.service.report.report import report
from resight.service.run.run import open_run
from resight.service.test.predict import predict
from resight.service.test.test import test as judge
from support import one_line, resight

CODE = """
import torch
class Mean(torch.nn.Module):
    '''Names the colour of a picture by its brightest channel.'''
    def __init__(self):
        super().__init__()
        self.trunk = torch.nn.AvgPool2d(4)
        self.head = torch.nn.Linear(3, 3, bias=False)
        with torch.no_grad():
            self.head.weight.copy_(20 * torch.eye(3)[[2, 1, 0]])
    def forward(self, images):
        return self.head(self.trunk(images).mean((2, 3)))
CARD = {"size": 16, "resize": 16, "mean": [0, 0, 0], "std": [1, 1, 1]}
def colours():
    return Mean(), CARD, ["blue", "green", "red"]
def wrong():
    return Mean(), CARD, ["blue", "green"]
def broken():
    raise KeyError("weights")
"""


@pytest.fixture
def code():
    Path("mine.py").write_text(CODE)
    return "mine.py:colours"


def colour_net(path, layout="nchw", batch="n", beside=True):
    """The same network as `CODE`, written by hand with onnx's own helpers."""
    shape = (batch, 3, 16, 16) if layout == "nchw" else (batch, 16, 16, 3)
    axes = numpy_helper.from_array(np.array((2, 3) if layout == "nchw" else (1, 2), np.int64), "axes")
    weight = numpy_helper.from_array(20 * np.eye(3, dtype=np.float32)[[2, 1, 0]].T, "weight")
    nodes = [
        helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "weight"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "colours", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (batch, 3))], [axes, weight],
    )  # fmt: skip
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), str(path))
    if beside:
        card = {"size": 16, "resize": 16, "mean": [0, 0, 0], "std": [1, 1, 1]}
        document = {"classes": ["blue", "green", "red"], "preprocessing": card, "layout": layout}
        Path(f"{path}.json").write_text(json.dumps(document))
    return str(path)


def test_a_function_of_a_file_is_tested_explained_and_located(code, folder):
    answer = judge([code], str(folder))
    assert answer["top1_error"] == 0 and answer["n"] == 36 and answer["trained_on"] is None
    picture = str(next(folder.glob("red/*.png")))
    row = next(iter(predict(code, [picture])))
    pixels = np.asarray(Image.open(picture).resize((19, 16), Image.Resampling.BILINEAR)).astype(float)[
        :, 2:18
    ]
    logits = 20 * (pixels / 255).mean((0, 1))[[2, 1, 0]]
    wanted = np.exp(logits) / np.exp(logits).sum()
    assert row["label"] == "red" and row["probability"] == pytest.approx(wanted[2], abs=1e-4)
    rows = explain_paths(code, [picture], ("cam",))
    assert rows[0]["layer"] == "trunk" and Path(rows[0]["image"]).is_file()
    assert locate(code, [picture], ("cam",))["boxes"][0]["label"] == "red"


def test_a_report_of_a_network_without_a_run(code, folder):
    page = report(code, str(folder))
    text = page.read_text()
    assert page == Path("mine.py-colours-report/report.html")
    assert "How it trained" not in text and "mine:colours" in text


def test_the_user_is_told_that_code_runs(code, folder):
    done = resight("predict", code, str(folder / "red"), check=0)
    assert "running the code of mine.py" in done.stderr


def test_a_layer_that_its_own_code_calls_activation_stays_that_layer(folder):
    lines = CODE.replace(
        "torch.nn.AvgPool2d(4)", "torch.nn.AvgPool2d(4)\n        self.activation = torch.nn.ReLU()"
    )
    Path("mine.py").write_text(lines.replace("self.trunk(images)", "self.activation(self.trunk(images))"))
    assert isinstance(open_run("mine.py:colours").model.activation, torch.nn.ReLU)
    assert judge(["mine.py:colours"], str(folder))["top1_error"] == 0


@pytest.mark.parametrize(
    ("name", "fault"),
    [("mine.py:none", "no function"), ("mine.py:wrong", "3 logits"), ("mine.py:broken", "KeyError"),
     ("none.py:f", "no such file")],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_one_line(code, name, fault):
    with pytest.raises(ModelFileError, match=fault):
        open_run(name)


@pytest.mark.parametrize(("layout", "batch"), [("nchw", "n"), ("nhwc", "n"), ("nchw", 1)])
def test_an_onnx_of_another_program(layout, batch, folder):
    file = colour_net(Path("other.onnx"), layout, batch)
    assert judge([file], str(folder))["top1_error"] == 0
    rows = list(predict(file, [str(folder / "green")]))
    assert {row["label"] for row in rows} == {"green"}
    picture = str(folder / "green" / "000.png")
    heat = explain_paths(file, [picture], ("occlusion",), changes=("window=8", "stride=8"))
    assert heat[0]["target"] == "green"


def test_an_onnx_without_its_classes_says_what_to_write():
    file = colour_net(Path("other.onnx"), beside=False)
    with pytest.raises(ModelFileError, match=r"write them to other\.onnx\.json"):
        open_run(file)
    Path("other.json").write_text('{"classes": ["a"], "preprocessing": {"size": 16, "resize": 8, '
                                  '"mean": [0, 0, 0], "std": [1, 1, 1]}}')  # fmt: skip
    with pytest.raises(ModelFileError, match="below size"):
        open_run(file)


def test_torchvision_and_timm_with_random_weights(folder):
    pytest.importorskip("timm")
    picture = str(folder / "red" / "000.png")
    for name in ("torchvision:squeezenet1_1=none", "timm:test_resnet=none"):
        run = open_run(name)
        row = next(iter(predict(name, [picture], 3)))
        assert row["label"] in run.model.classes and len(row["top"]) == 3
        assert explain_paths(name, [picture])[0]["method"] == "grad_cam"


def test_networks_that_are_not_there():
    assert "no classifier" in one_line(resight("predict", "torchvision:resnet19", "x.png"), 1)
    pytest.importorskip("timm")
    assert "timm has no network" in one_line(resight("predict", "timm:resnet19", "x.png"), 1)


def test_weights_of_a_file_are_the_ones_used(folder):
    torch.manual_seed(1)
    from torchvision.models import squeezenet1_1

    torch.save(squeezenet1_1().state_dict(), "weights.pth")
    state = open_run("torchvision:squeezenet1_1=weights.pth").model.state_dict()
    wanted = torch.load("weights.pth", weights_only=True)
    assert all(torch.equal(state[key].contiguous(), wanted[key]) for key in wanted)
