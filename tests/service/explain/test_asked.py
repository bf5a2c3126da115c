"""`resight explain`: why A and not B, Finer-CAM, and the maps of a transformer that is audited."""

import json
from pathlib import Path

import numpy as np
import pytest

from as_json import believe, draw_sheets, explain_paths, locate
from resight.core.errors import UsageError
from support import COLOURS, one_line, picture, resight

VIT = """
import torch
from torchvision.models import VisionTransformer

def net():
    torch.manual_seed(0)
    model = VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=3)
    torch.nn.init.normal_(model.heads.head.weight)
    card = {"size": 32, "resize": 32, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
    return model, card, ["blue", "green", "red"]
"""


@pytest.fixture
def pictures():
    for number, (name, colour) in enumerate(COLOURS.items()):
        picture(colour, seed=40 + number).save(f"{name}.png")
    return [f"{name}.png" for name in COLOURS]


@pytest.fixture
def transformer():
    Path("vit.py").write_text(VIT)
    return "vit.py:net"


def test_why_a_and_not_b(tiny_run, pictures):
    words = ("explain", tiny_run, pictures[2], "--method", "grad_cam,gradient", "--json")
    found = json.loads(resight(*words, "--target", "red-blue", "--out", "o", check=0).stdout)
    red, blue = (
        json.loads(resight(*words, "--target", name, "--out", "p", check=0).stdout)
        for name in ("red", "blue")
    )
    assert [row["target"] for row in found] == ["red-blue"] * 2 and "against" not in found[0]
    for row, one, two in zip(found, red, blue, strict=True):
        assert row["score"] == pytest.approx(one["score"] - two["score"], abs=1e-4)
        assert Path(row["image"]).is_file() and "red-blue" in row["map"]
        assert np.load(row["map"]).max() == 1 and not np.array_equal(np.load(row["map"]), np.load(one["map"]))
    numbers = explain_paths(str(tiny_run), pictures[2:], target="2-0", out="q")
    assert numbers[0]["target"] == "red-blue" and numbers[0]["score"] == found[0]["score"]


def test_finer_cam_says_with_which_classes_it_compares(tiny_run, pictures):
    row = explain_paths(str(tiny_run), pictures[2:], ("finer_cam",), "red", out="o")[0]
    assert sorted(row["against"]) == ["blue", "green"] and row["target"] == "red"
    row = explain_paths(str(tiny_run), pictures[2:], ("finer_cam",), "red-green", out="o")[0]
    assert row["against"] == ["green"] and row["target"] == "red-green"
    said = resight("explain", tiny_run, pictures[2], "--method", "finer_cam", "--target", "red-blue", check=0)
    assert "compared with blue" in said.stdout


def test_a_sheet_has_a_row_for_a_pair(tiny_run, pictures):
    made = draw_sheets(str(tiny_run), pictures[:1], ("grad_cam", "finer_cam"), "red-blue", out="o")
    assert made["sheets"][0]["rows"] == [{"path": pictures[0], "target": "red-blue"}]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--target", "red-violet"), "'violet' is not a class of this network (target 'red-violet'"),
        (("--target", "red-red"), "compares a class with itself"),
        (("--target", "red-blue", "--evaluate"), "maps are evaluated for one class per picture"),
        (("--method", "attention_rollout"), "attention_rollout reads the attention of a transformer"),
        (("--method", "chefer_relevance"), "none was met in this network: use grad_cam"),
        (("--method", "integrated_gradients", "--set", "baseline=white"), "must be one of mean, black"),
        (("--method", "smooth_grad", "--layer", "layer1"), "works on the pictures, not on a layer"),
    ],
)
def test_words_that_are_off_are_refused_in_one_line(tiny_run, pictures, words, message):
    assert message in one_line(resight("explain", tiny_run, pictures[0], *words), 2)


def test_a_transformer_from_elsewhere_has_maps_of_its_attention(transformer, pictures):
    methods = ("attention_rollout", "chefer_relevance", "eigen_cam")
    rows = explain_paths(transformer, pictures[:1], methods, "red", out="o")
    assert [row["layer"] for row in rows[:2]] == ["attention"] * 2
    assert all(np.load(row["map"]).shape == (32, 32) for row in rows)
    sheet = draw_sheets(transformer, pictures[:1], out="s", changes=("samples=2", "copies=2", "steps=5"))
    assert [row["method"] for row in sheet["left_out"]] == ["cam", "gmp_cam", "guided_grad_cam"]
    assert set(methods) <= set(sheet["sheets"][0]["methods"])


def test_new_methods_are_evaluated_and_locate_boxes(tiny_run, transformer, pictures):
    methods = ("eigen_cam", "eigen_grad_cam", "finer_cam", "integrated_gradients", "smooth_grad")
    answer = believe(str(tiny_run), pictures, methods, share=0.5, changes=["samples=2", "steps=2"])
    rows = {row["method"] for row in answer["rows"] if row["measure"] == "deletion"}
    assert rows >= set(methods) and answer["methods"] == list(methods)
    answer = believe(transformer, pictures, ("attention_rollout", "chefer_relevance"), share=0.5)
    assert {row["n"] for row in answer["rows"] if row["measure"] == "insertion"} == {3}
    methods = ["chefer_relevance", "smooth_grad", "finer_cam"]
    found = locate(transformer, pictures[:1], methods, changes=["samples=2"])
    assert found["boxes"] and found["how"].startswith("chefer_relevance at attention")
    with pytest.raises(UsageError, match="attention_rollout reads the attention"):
        believe(str(tiny_run), pictures, ("attention_rollout",))
