"""The report: both maps of an error, and the groups of a planted cue."""

import html
import re
import shutil

import numpy as np
import pytest
import torch
from torch import nn

from resight.core.preprocessing import Preprocessing
from resight.data.dataset import ArrayPictures, Dataset, Split
from resight.evaluate.cues import Group
from resight.models.classifier import Classifier
from resight.render.page import share
from resight.service.report import cues, pictures
from resight.service.report.cues import find_cues
from resight.service.report.report import write_report
from resight.service.report.tested import Tested
from resight.service.run.run import Run, read_recipe_file
from resight.service.test import test as testing

SIDE = 32
CLASSES = ("cow", "horse")


class RedAndGreen(Classifier):
    """Says "cow" where it sees red and "horse" where it sees green, by the brightest place alone."""

    def __init__(self):
        super().__init__(2, 3, "gap", 8)
        see = nn.Conv2d(3, 2, 4, 4)
        with torch.no_grad():
            see.weight.zero_()
            see.weight[0, 0] = see.weight[1, 1] = 1 / 16
            see.bias.fill_(-0.5)
        self.add("stage1", "see", see)
        self.add("stage1", "cut", nn.ReLU())
        self.add_linear_head("fc", 2)
        with torch.no_grad():
            self.fc.weight.copy_(64 * torch.eye(2))
            self.fc.bias.zero_()
        self.classes, self.name = CLASSES, "red_and_green"
        self.preprocessing = Preprocessing(size=SIDE, resize=SIDE, mean=(0, 0, 0), std=(1, 1, 1))


def blob(colour, y, x, seed):
    """A dim noisy picture with a bright blob of 8 x 8 pixels."""
    pixels = np.random.default_rng(seed).integers(0, 60, (SIDE, SIDE, 3)).astype(np.uint8)
    pixels[y : y + 8, x : x + 8, colour] = 255
    return pixels


@pytest.fixture
def planted(tiny_run, tmp_path):
    """Cows: 16 in the middle, 8 by a red mark in the lower left corner; 3 horses bear that mark too."""
    pictures, labels = [], []
    for number in range(24):
        y, x = (24, 0) if number % 3 == 0 else (12, 12)
        pictures.append(blob(0, y, x, number))
        labels.append(0)
    for number in range(23):
        pictures.append(blob(0, 24, 0, 100 + number) if number < 3 else blob(1, 12, 12, 100 + number))
        labels.append(1)
    source = ArrayPictures(np.stack(pictures), "planted")
    split = Split("test", source, np.arange(len(labels)), np.array(labels), CLASSES)
    dataset = Dataset("planted", CLASSES, {"train": split, "test": split})
    shutil.copytree(tiny_run, tmp_path / "run")
    run = Run("run", tmp_path / "run", RedAndGreen().eval(), {}, torch.device("cpu"))
    return run, dataset, testing.test_split([run], dataset)


def words_of(page):
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def part(page, first, last):
    return page[page.index(first) : page.index(last)]


def written(planted, *, own=False):
    run, dataset, result = planted
    return write_report(run, dataset, result, result.figures(), own=own).read_text()


def report_data(planted, **changes):
    run, dataset, result = planted
    split = dataset.split("test").relabelled(run.model.classes)
    facts = {"figures": result.figures(), "record": read_recipe_file(run.folder, whole=True), "rows": []}
    return Tested(run, dataset, split, result, **{**facts, "own": False, **changes})


def test_the_corner_mark_is_found(planted):
    run, dataset, result = planted
    found = {entry.name: entry for entry in find_cues(run, dataset.split("test"), result)}
    cow, horse = found["cow"], found["horse"]
    assert list(found) == ["cow", "horse"]  # the marked class comes first
    assert (cow.named, cow.wrong, horse.named, horse.wrong) == (27, 3, 20, 0)
    marked, plain = cow.groups
    assert marked.at_edge and marked.place == "lower left corner" and marked.elsewhere == 0
    assert {cow.rows[i] for i in marked.members} == {*range(0, 24, 3), 24, 25, 26}
    assert marked.wrong == 3 and plain.wrong == 0 and not plain.marks
    assert marked.mean[24:, :8].mean() > 0.8 and marked.mean[:16, 16:].max() < 0.1
    assert plain.mean[13:19, 13:19].mean() > 0.8 and plain.mean[24:, :8].max() < 0.1
    assert len(horse.groups) == 1 and not horse.groups[0].marks


def test_the_page_shows_the_groups_of_a_class(planted):
    page = written(planted)
    section = page[page.index("Where it looks, class by class") : page.index("How it sees the pictures")]
    assert section.index("<h3>cow</h3>") < section.index("<h3>horse</h3>")
    words = words_of(section)
    assert "41 % of its maps (11), 3 wrong (27 %)" in words
    assert "100 % peak in the lower left corner, of other classes' maps 0 %" in words
    assert "59 % of its maps (16), 0 wrong (0 %)" in words
    assert "named 20 times, 0 wrong; no separate groups" in words
    assert words.count("▲") == 2  # the legend's and the mark
    assert section.count('<div class="group">') == 3 and section.count("<img") == 3 * 5


def test_an_error_has_the_maps_of_both_classes(planted):
    page = written(planted)
    section = part(page, "The most confident errors", "Class by class")
    figures = section.split("<figure>")[1:]
    assert len(figures) == 3
    for figure in figures:
        uris = re.findall(r'src="(data:[^"]+)"', figure)
        assert len(uris) == 3
        words = words_of(figure)
        assert "predicted cow 88 %" in words and "true horse 12 %" in words
        assert uris[1] != uris[0]  # the mark is lit for the class that was named
        assert uris[2] == uris[0] and "nothing raised it" in words  # there is no green at all
    right = part(page, "Right answers of each class", "Where it looks, class by class")
    assert right.count("<figure>") == 4 and right.count("<img") == 8


def test_both_maps_of_an_error_come_out_of_one_pass(planted, monkeypatch):
    _, _, result = planted
    asked = []

    def spy(model, images, method, target):
        asked.append(target.tolist())
        return original(model, images, method, target)

    original = pictures.explain
    monkeypatch.setattr(pictures, "explain", spy)
    rows = [24, 25, 26]
    _, items = pictures.drawn(report_data(planted), rows, truth=True)
    assert asked == [[[0, 1]] * 3]
    assert [[m["label"] for m in item["maps"]] for item in items] == [["cow", "horse"]] * 3
    expected = [[float(p) for p in result.probabilities[row]] for row in rows]
    assert [[m["probability"] for m in item["maps"]] for item in items] == expected


def test_few_pictures_or_empty_maps_make_no_groups(planted, monkeypatch):
    run, dataset, result = planted
    monkeypatch.setattr(cues, "ENOUGH", 21)
    assert [entry.name for entry in find_cues(run, dataset.split("test"), result)] == ["cow"]
    with torch.no_grad():
        run.model.fc.weight.zero_()
    assert find_cues(run, dataset.split("test"), result) == []


def test_a_class_with_a_mark_comes_before_one_with_more_groups(planted, monkeypatch):
    run, dataset, result = planted
    place = ("middle", 1.0, 0.0)
    plain = Group((0,), torch.zeros(8, 8), 0.5, 0, *place, at_edge=False, worse=False)
    marked = Group((0,), torch.zeros(8, 8), 1.0, 0, *place, at_edge=False, worse=True)
    monkeypatch.setattr(cues, "find_groups", lambda *_, **__: {"cow": [plain, plain], "horse": [marked]})
    assert [entry.name for entry in find_cues(run, dataset.split("test"), result)] == ["horse", "cow"]


def test_the_number_of_maps_is_bounded(planted, monkeypatch):
    run, dataset, result = planted
    monkeypatch.setattr(cues, "MOST_OF_CLASS", 14)
    found = find_cues(run, dataset.split("test"), result)
    assert [len(entry.rows) for entry in found] == [14, 14] and [entry.named for entry in found] == [27, 20]
    monkeypatch.setattr(cues, "MOST_IN_ALL", 14)
    assert len(find_cues(run, dataset.split("test"), result)) == 1


def test_a_map_of_few_cells_gets_no_mark_for_edges(planted, monkeypatch):
    run, dataset, result = planted
    monkeypatch.setattr(cues, "LEAST_CELLS", 9)
    found = find_cues(run, dataset.split("test"), result)
    assert not any(group.at_edge for entry in found for group in entry.groups)


def test_the_report_of_a_training_has_the_section(tiny_run):
    page = (tiny_run / "report.html").read_text()
    assert "Right answers of each class" in page and "saliency map for red" in page


def test_only_of_its_own_data_a_run_knows_what_it_was_trained_on(planted, tiny_run):
    assert "3 wrong of 47 pictures;" in written(planted)
    assert "3 wrong of 47 pictures never trained on" in words_of(written(planted, own=True))
    assert "pictures never trained on" in words_of((tiny_run / "report.html").read_text())


def test_of_many_classes_only_the_first_are_shown_and_the_page_says_so(planted, monkeypatch):
    monkeypatch.setattr(pictures, "RIGHT", 1)
    section = part(written(planted), "Right answers of the first classes", "Where it looks, class by class")
    assert section.count("<figure>") == 1


def test_names_that_are_no_text_or_look_like_html_are_shown(planted, monkeypatch):
    monkeypatch.setattr(Split, "picture_name", lambda *_: "x\udcff<b>.png")
    assert "x?&lt;b&gt;.png" in written(planted)


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.0, "0 %"), (0.004, "< 1 %"), (0.04, "4 %"), (0.93, "93 %"), (0.9996, "> 99 %"), (1.0, "100 %")],
)
def test_shares_are_not_rounded_to_certainty(value, words):
    assert share(value) == words
