"""The figures that set networks beside each other, and what stands behind them."""

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import torch
from PIL import Image

from resight.core import published
from resight.core.errors import UsageError
from resight.core.networks import counted
from resight.service.networks import compare
from support import one_line, resight

FEW = ("resnet18", "nin_imagenet", "efficientnet_b0")


@pytest.fixture
def few(monkeypatch):
    """Only some networks, so that figures are made quickly."""
    monkeypatch.setattr(compare, "counted", lambda: {name: counted()[name] for name in FEW})


def test_the_command_writes_figures_of_published_accuracy():
    answer = json.loads(resight("compare", "--out", "deep/er.svg", "--json", check=0).stdout)
    assert set(answer) == {"figures", "rows"}
    names = [f"deep/er-{what}.{kind}" for what in ("cost", "parameters") for kind in ("svg", "png")]
    assert answer["figures"] == names
    for name in names:
        if name.endswith("svg"):
            text = Path(name).read_text()
            assert ET.fromstring(text).tag.endswith("svg")
            assert "published" in text and "counted" in text and "measured" not in text
            assert all(row["name"] in text for row in answer["rows"])
        else:
            with Image.open(name) as image:
                image.load()
                assert image.format == "PNG" and image.width >= 1200
    rows = {row["name"]: row for row in answer["rows"]}
    assert len(rows) == len(answer["rows"]) > 35 and {f"efficientnet_b{i}" for i in range(8)} <= set(rows)
    assert rows["resnet50"]["top1_accuracy"] == 76.13 and rows["resnet50_v1"]["top1_accuracy"] == 75.3
    assert rows["resnet50"]["parameters"] == 25_557_032
    assert rows["resnet50"]["multiply_adds"] == 4_089_184_256
    assert rows["efficientnet_b1"]["top1_accuracy"] == 79.1  # the paper's, not torchvision's
    assert rows["nin_imagenet"]["certainty"] == "uncertain"
    assert not [row for row in rows.values() if "images_per_second" in row]


def test_accuracies_are_the_published_records(few):
    for row in compare.gather():
        figure = next(f for f in published.load() if f.id == row.id)
        assert (figure.network, figure.value, figure.metric) == (
            row.name,
            row.top1_accuracy,
            "top-1 accuracy",
        )
        assert figure.dataset == "ImageNet val" and figure.source == row.source


def test_a_network_that_is_not_built_yet_is_left_out(few):
    assert [row.name for row in compare.gather()] == list(FEW)


def test_measuring_adds_speed_and_names_the_machine(few, monkeypatch):
    monkeypatch.setattr(compare, "SECONDS", 0.0)
    lines = []
    answer = compare.compare("c", measure=True, progress=lines.append)
    assert all(row.images_per_second > 0 for row in answer.rows) and len(lines) == len(FEW)
    text = Path("c-speed.svg").read_text()
    assert "measured on" in text and f"{torch.get_num_threads()} thread" in text and "published" in text
    assert answer.figures[-2:] == ["c-speed.svg", "c-speed.png"]


def test_an_uncertain_figure_has_a_question_mark(few):
    compare.compare("c.png")
    text = Path("c-cost.svg").read_text()
    words = set(re.findall(r">\s*([^<>]+?)\s*</text>", text))
    assert "nin_imagenet?" in words and "resnet18" in words


def test_a_place_that_cannot_be_written_is_one_line():
    Path("file").write_text("")
    assert "file" in one_line(resight("compare", "--out", "file/c.svg"), 1)


@pytest.mark.parametrize("out", ["", ".", ".."])
def test_a_name_that_is_none_is_refused(out):
    with pytest.raises(UsageError, match="is not a file name"):
        compare.compare(out)
