"""Networks that were not trained here, and exported files, served as runs are."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from resight.service.export.export import export
from serving import BLUE, RED, encoded, error_of, serving, spotted


def save_colours(path):
    """An .onnx of another program: three classes, how red, green and blue a picture is in the mean."""
    nodes = [
        helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "weight"], ["y"]),
    ]
    constants = [
        numpy_helper.from_array(np.array((2, 3), np.int64), "axes"),
        numpy_helper.from_array(20 * np.eye(3, dtype=np.float32), "weight"),
    ]
    graph = helper.make_graph(
        nodes, "colours", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("n", 3, 16, 16))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ("n", 3))], constants,
    )  # fmt: skip
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), str(path))
    card = {"size": 16, "resize": 16, "mean": [0, 0, 0], "std": [1, 1, 1]}
    beside = {"classes": ["red", "green", "blue"], "preprocessing": card}
    path.with_name(f"{path.name}.json").write_text(json.dumps(beside))
    return path


def test_an_onnx_of_another_program_answers_and_says_that_it_has_no_maps(tmp_path):
    with serving([save_colours(tmp_path / "colours.onnx")]) as client:
        told = client.get("/v1/runs")[1]["runs"][0]
        assert (told["name"], told["methods"], told["method"]) == ("colours.onnx", [], None)
        for colour, name in ((RED, "red"), (BLUE, "blue")):
            status, row = client.post("/v1/predict", encoded(spotted(colour)))
            assert (status, row["label"]) == (200, name)
        for path in ("explain", "locate"):
            message = error_of(client.post(f"/v1/{path}", encoded(spotted())), 422)
            assert "no maps" in message


def test_a_desk_of_a_network_without_maps_proposes_nothing(tmp_path):
    (tmp_path / "photos").mkdir()
    spotted(RED).save(tmp_path / "photos" / "a.png")
    with serving(
        [save_colours(tmp_path / "colours.onnx")], tmp_path / "photos", out=str(tmp_path / "boxes")
    ) as client:
        row = client.get("/v1/desk?state=all")[1]["pictures"][0]
        status, state = client.get(f"/v1/desk/{row['key']}")
        assert (status, state["boxes"], state["from"]) == (200, [], "proposed")


def test_a_network_of_timm_answers_explains_and_locates():
    pytest.importorskip("timm")
    with serving(["timm:test_resnet=none"]) as client:
        told = client.get("/v1/runs")[1]["runs"][0]
        assert told["name"] == "timm:test_resnet=none" and "cam" in told["methods"]
        for path in ("predict", "explain", "locate"):
            assert client.post(f"/v1/{path}", encoded(spotted()))[0] == 200


@pytest.mark.slow
def test_an_exported_file_answers_as_its_run(finder, tmp_path):
    file = tmp_path / "finder.onnx"
    export(str(finder), str(file))
    with serving([finder, file]) as client:
        for colour in (RED, BLUE):
            for path in ("predict", "explain", "locate"):
                picture = encoded(spotted(colour))
                answers = [client.post(f"/v1/{path}?run={number}", picture) for number in (0, 1)]
                (first, one), (second, other) = answers
                assert first == second == 200
                assert one.keys() == other.keys()
                if path == "predict":
                    assert one["label"] == other["label"]
                    assert one["probability"] == pytest.approx(other["probability"], abs=1e-3)
