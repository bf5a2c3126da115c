"""`predict --at-least P`: which answers are unsure, and how often the accepted ones were wrong."""

import csv
import io
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import resight
from resight.core.errors import ModelFileError, UsageError
from resight.metrics.accuracy import wilson_interval
from resight.models.modelfile import load_header, load_tensors, save_tensors
from resight.service.report import report as reporting
from resight.service.run.answers import answers_of, packed_answers
from resight.service.run.data import data_of
from resight.service.run.run import open_run
from resight.service.test.accepted import accepted, accepted_in_words
from resight.service.test.test import test_split as judge
from support import make_folder, one_line, picture
from support import resight as command


def mixed():
    """A picture of two classes, half and half."""
    halves = [np.full((20, 12, 3), colour, np.uint8) for colour in ((200, 30, 30), (30, 40, 210))]
    return Image.fromarray(np.concatenate(halves, 1))


def changed(run, place, **facts):
    """A copy of a run's file with another header."""
    tensors, header = load_tensors(run / "model.safetensors")
    save_tensors(place, tensors, {**header, **facts})
    return str(place)


def test_answers_are_kept_to_the_bit_of_float32():
    confidence = torch.tensor([0.999999, 0.3, 0.5, 0.70001], dtype=torch.float64)
    wrong = torch.tensor([False, True, True, False])
    of, curve = answers_of({"answers": packed_answers("validation", confidence, wrong)}, "run")
    assert of == "validation"
    assert curve.thresholds.tolist() == [float(np.float32(c)) for c in (0.999999, 0.70001, 0.5, 0.3)]
    assert curve.wrong.tolist() == [0, 0, 1, 2]
    assert answers_of({}, "run") is None


def test_the_stored_answers_are_those_on_validation(tiny_run):
    run = open_run(str(tiny_run))
    result = judge([run], data_of(run, None).dataset, "val")
    confidence, right = result.probabilities.max(1).values.numpy(), ~result.wrong().numpy()
    for least in (0.34, 0.5, 0.9, 0.99):
        of, part = accepted(str(tiny_run), least)
        chosen = confidence >= least
        assert (of, part.of, part.n) == ("validation", len(confidence), chosen.sum())
        assert part.wrong == (chosen & ~right).sum()
        if part.n:
            assert part.interval == wilson_interval(part.wrong, part.n)


def test_without_validation_the_answers_are_those_on_the_test(tmp_path, monkeypatch):
    monkeypatch.setattr(reporting, "write_report", lambda run, *_, **__: run.folder / "report.html")
    data = str(make_folder(tmp_path / "colours", count=10))
    words = ("image_size=16", "batch_size=8", "val_share=0")
    answer = resight.train(data, model="resnet20", epochs=1, changes=words, out="run")
    of, part = accepted("run", 0.01)
    assert (of, part.of, part.n, part.wrong) == ("test", answer["n"], answer["n"], answer["wrong"])
    assert f"of {answer['n']} test pictures" in accepted_in_words("run", 0.01)


def test_rows_say_whether_they_are_unsure_only_when_asked(tiny_run):
    mixed().save("mixed.png")
    picture().save("red.png")
    paths = ["red.png", "mixed.png"]
    plain = list(resight.predict(str(tiny_run), paths))
    assert all("unsure" not in row for row in plain)
    low, high = sorted(row["probability"] for row in plain)
    least = (low + high) / 2
    rows = list(resight.predict(str(tiny_run), paths, at_least=least))
    assert [row["unsure"] for row in rows] == [row["probability"] < least for row in plain]
    assert sum(row["unsure"] for row in rows) == 1
    exactly = list(resight.predict(str(tiny_run), paths, at_least=high))
    assert [row["unsure"] for row in exactly] == [row["probability"] < high for row in plain]


def test_table_csv_and_json_show_it_and_the_error_is_stated(tiny_run):
    mixed().save("mixed.png")
    sure = next(resight.predict(str(tiny_run), ["mixed.png"]))["probability"]
    words = ["predict", tiny_run, "mixed.png", "--at-least", (1 + sure) / 2]
    table = command(*words, check=0)
    assert "mixed.png  unsure: " in table.stdout
    assert "note: " in table.stderr
    rows = json.loads(command(*words, "--json", check=0).stdout)
    assert rows[0]["unsure"] is True
    lines = list(csv.DictReader(io.StringIO(command(*words, "--format", "csv", check=0).stdout)))
    assert lines[0]["unsure"] == "true" and list(lines[0]) == [
        "path", "label", "probability", "error", "unsure",
    ]  # fmt: skip
    low = command(*words[:-1], "0.01", "--format", "csv", check=0)
    assert next(csv.DictReader(io.StringIO(low.stdout)))["unsure"] == "false"
    assert "answers of 0.01 or more: 100.0 % of" in low.stderr and "95 % interval" in low.stderr
    for bad in ("1", "nan"):
        assert "between 0 and 1" in one_line(command(*words[:-1], bad, "--format", "csv"), 2)
    for bad in (0, 1, -0.5, 1.5, float("nan")):
        with pytest.raises(UsageError, match="between 0 and 1"):
            next(resight.predict(str(tiny_run), ["mixed.png"], at_least=bad))
    assert "can still get a" in command("predict", "--help", check=0).stdout


def test_runs_that_do_not_know_their_answers_say_so(tiny_run, tmp_path):
    old = changed(tiny_run, tmp_path / "old.safetensors", answers=None)
    assert "no record of its answers to held-out pictures" in accepted_in_words(old, 0.5)
    few = changed(
        tiny_run,
        tmp_path / "few.safetensors",
        answers=packed_answers(
            "5-fold", torch.tensor([0.6, 0.9, 0.95, 0.99]), torch.tensor([0, 0, 1, 0]) > 0
        ),
    )
    assert accepted_in_words(few, 0.8) == (
        "answers of 0.8 or more: 75.0 % of 4 pictures, 5-fold, and 33.33 % of these are wrong (95 % interval "
        "6.15 to 79.23)"
    )
    assert "no answer reached 0.995 on 4 pictures" in accepted_in_words(few, 0.995)
    for damage in ("%%%", "AAAA", "AACAfw=="):  # no base64, three bytes, infinity
        bad = changed(
            tiny_run, tmp_path / "bad.safetensors", answers={"of": "validation", "confidences": damage}
        )
        with pytest.raises(ModelFileError, match="answers is damaged"):
            accepted_in_words(bad, 0.5)


def test_several_classes_a_picture_are_refused_by_name(tmp_path, monkeypatch):
    make_folder(tmp_path / "pictures", count=6)
    files = sorted((tmp_path / "pictures").rglob("*.png"))
    text = "path,labels\n" + "".join(f"{f},{f.parent.name}\n" for f in files)
    (tmp_path / "several.csv").write_text(text)
    monkeypatch.setattr(reporting, "write_report", lambda run, *_, **__: run.folder / "report.html")
    words = ("image_size=16", "batch_size=8")
    resight.train("several.csv", model="resnet20", epochs=1, changes=words, out="run")
    assert load_header(tmp_path / "run" / "model.safetensors").get("answers") is None
    with pytest.raises(UsageError, match="yes or no for each class"):
        list(resight.predict("run", [str(files[0])], at_least=0.5))
    shutil.rmtree(tmp_path / "run")
