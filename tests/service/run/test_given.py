"""`resight.predict` and `resight.explain` take paths, PIL pictures and arrays alike."""

import csv
import io

import numpy as np
import pytest
import torch
from PIL import Image

import resight
from resight.core.errors import DataError, ModelFileError, UsageError
from resight.data.given import expand
from support import one_line, picture
from support import resight as command


@pytest.fixture
def shown(tmp_path):
    """One PNG, by path, as Pillow opens it and as an array."""
    path = tmp_path / "one.png"
    picture().save(path)
    with Image.open(path) as opened:
        yield [path, opened, np.asarray(Image.open(path))]


def test_predict_answers_the_same_for_path_picture_and_array(tiny_run, shown):
    rows = list(resight.predict(str(tiny_run), shown))
    assert [row.pop("path") for row in rows] == [str(shown[0]), "images[1]", "images[2]"]
    for row in rows:  # a processor may add up in another order at each place of a batch
        assert row["label"] == "red" and row["probability"] == pytest.approx(rows[0]["probability"])
        assert dict(row["top"]) == pytest.approx(dict(rows[0]["top"]), rel=1e-4)
    (alone,) = resight.predict(str(tiny_run), shown[1])
    assert alone["path"] == "images[0]" and alone["label"] == "red"
    with pytest.raises(UsageError, match="is of type Tensor"):
        list(resight.predict(str(tiny_run), [torch.zeros(3, 8, 8)]))


def test_explain_prepares_what_the_network_wants(tiny_run, shown):
    model = resight.open_run(str(tiny_run)).model
    found = resight.explain(model, shown)
    assert found.maps.shape[0] == 3 and found.maps.std() > 0
    assert torch.equal(found.maps[0], found.maps[1]) and torch.equal(found.maps[0], found.maps[2])
    assert resight.explain(model, shown[1]).maps.shape[0] == 1
    with pytest.raises(UsageError, match="does not state its preprocessing; give a preprocessed tensor"):
        resight.explain(torch.nn.Conv2d(3, 2, 1), shown)
    with pytest.raises(UsageError, match="images is empty"):
        resight.explain(model, [])


def test_csv_lists_as_many_classes_as_were_asked_for(tiny_run, shown):
    def answer(*words):
        done = command("predict", tiny_run, shown[0], "--format", "csv", *words, check=0)
        return list(csv.reader(io.StringIO(done.stdout)))

    (row,) = resight.predict(str(tiny_run), shown[0])
    head, line = answer()
    assert head == ["path", "label", "probability", "error"] and line[1] == "red"
    head, line = answer("--top", "2")
    assert head == ["path", "label", "probability", "error", "label_2", "probability_2"]
    assert [line[1], line[4]] == [label for label, _ in row["top"][:2]]
    assert float(line[5]) == pytest.approx(row["top"][1][1], abs=1e-6)
    head, line = answer("--top", "9")  # of three classes
    assert len(head) == 4 + 2 * 8 and len(line) == 4 + 2 * 2


@pytest.mark.parametrize("word", ["", "  "])
def test_an_empty_name_is_refused(word):
    with pytest.raises(UsageError, match="a path is empty"):
        expand([word])
    with pytest.raises(ModelFileError, match="the run's name is empty"):
        resight.open_run(word)
    for name in (word, f"multi-label:{word}"):
        with pytest.raises(DataError, match="the data set's name is empty"):
            resight.open_dataset(name)


def test_the_command_refuses_an_empty_name():
    assert "the data set's name is empty" in one_line(command("check", ""), 1)
