"""Pictures of several classes, from the file that lists them to the report."""

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from resight.core.errors import DataError
from resight.data.dataset import fingerprint
from resight.data.label_kinds import ANY, ONE
from resight.data.open import open_dataset
from resight.data.splitting import hold_out
from resight.models.activations import SIGMOID, SOFTMAX
from resight.models.criterion import BinaryCriterion
from resight.models.modelfile import load_header
from resight.models.zoo import create_model
from resight.service.test.test import test as run_test
from resight.training.journal import read_csv
from support import one_line, picture, resight

NAMES = ("blue", "green", "red")
PLAIN = ("--set", "model=speednet8", "--set", "image_size=16", "--set", "batch_size=16", "--set", "augment=")


def several(index):
    """Return the classes of a picture, all eight sets in turn."""
    return [name for bit, name in enumerate(NAMES) if index >> bit & 1]


def make_pictures(folder, count=96):
    """Three stripes, each of its class's colour or grey."""
    folder.mkdir(parents=True)
    rows = []
    for index in range(count):
        colours = np.full((24, 24, 3), 90, np.uint8) + np.random.default_rng(index).integers(
            0, 40, (24, 24, 3)
        )
        for name in several(index):
            place = NAMES.index(name)
            colours[8 * place : 8 * place + 8, :, 2 - place] = 220
        Image.fromarray(colours.astype(np.uint8)).save(folder / f"{index:03d}.png")
        rows.append((f"{folder.name}/{index:03d}.png", several(index), "test" if index % 4 == 3 else "train"))
    return rows


def make_csv(place, rows, name="list.csv"):
    with (place / name).open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("path", "labels", "split"))
        writer.writerows((path, "; ".join(names), split) for path, names, split in rows)
    return place / name


def make_coco(place, rows):
    """Boxes of the classes in COCO's JSON, beside the pictures."""
    (place / "annotations").mkdir()
    for split in ("train", "test"):
        own = [(path, names) for path, names, s in rows if s == split]
        objects = [
            {
                "image_id": i,
                "category_id": NAMES.index(n),
                "bbox": [0, 8 * NAMES.index(n), 24, 8 - NAMES.index(n)],
            }
            for i, (_, names) in enumerate(own)
            for n in names
        ]
        document = {
            "images": [
                {"id": i, "file_name": path, "width": 24, "height": 24} for i, (path, _) in enumerate(own)
            ],
            "annotations": objects,
            "categories": [{"id": i, "name": n} for i, n in enumerate(NAMES)],
        }
        (place / f"annotations/instances_{split}.json").write_text(json.dumps(document))
    return place


@pytest.fixture(scope="module")
def listed(tmp_path_factory):
    place = tmp_path_factory.mktemp("several")
    return make_csv(place, make_pictures(place / "pictures"))


@pytest.fixture(scope="module")
def run(listed):
    """A run on pictures of several classes."""
    out = listed.parent / "run"
    resight("train", listed, *PLAIN, "--epochs", "12", "--out", out, check=0)
    return out


def test_a_csv_lists_any_number_of_classes(listed):
    data = open_dataset(listed)
    train = data.splits["train"]
    assert data.classes == NAMES and data.kind is ANY and train.labels.dtype == np.float32
    for index in range(len(train)):
        number = int(Path(train.picture_name(index)).stem)
        assert train.class_names(index) == tuple(several(number))
    assert train.class_counts().tolist() == [train.labels[:, c].sum() for c in range(3)]


def test_boxes_give_all_their_classes_after_the_word(listed):
    place = make_coco(listed.parent, rows_of(listed))
    one, data, table = open_dataset(place), open_dataset(f"multi-label:{place}"), open_dataset(listed)
    assert one.kind is ONE and "multi-label" in " ".join(one.notes)
    assert data.kind is ANY and data.classes == NAMES
    for split in ("train", "test"):
        assert fingerprint(data.split(split)) == fingerprint(table.split(split))


def rows_of(listed):
    with listed.open(newline="") as stream:
        return [
            (r["path"], [n.strip() for n in r["labels"].split(";") if n], r["split"])
            for r in csv.DictReader(stream)
        ]


def test_voc_gives_all_its_classes(tmp_path):
    for folder in ("Annotations", "JPEGImages"):
        (tmp_path / folder).mkdir()
    for index in range(16):
        picture((10 * index, 0, 0), seed=index).save(tmp_path / f"JPEGImages/{index}.jpg")
        objects = "".join(
            f"<object><name>{n}</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object>"
            for n in several(index)
        )
        (tmp_path / f"Annotations/{index}.xml").write_text(f"<annotation>{objects}</annotation>")
    data = open_dataset(f"multi-label:{tmp_path}")
    found = {
        Path(s.picture_name(i)).stem: s.class_names(i) for s in data.splits.values() for i in range(len(s))
    }
    assert found == {str(i): tuple(several(i)) for i in range(16)}  # 0 and 8 have none


@pytest.mark.parametrize("named", [True, False])
def test_parquet_lists_labels(tmp_path, named):
    values = [[NAMES.index(n) if named else n for n in several(i)] for i in range(24)]
    (tmp_path / "p").mkdir()
    pictures = []
    for i in range(24):
        picture((10 * i, 0, 0), seed=i).save(tmp_path / f"p/{i}.png")
        pictures.append({"bytes": (tmp_path / f"p/{i}.png").read_bytes(), "path": f"{i}.png"})
    table = pa.table(
        {"image": pictures, "labels": pa.array(values, pa.list_(pa.int64() if named else pa.string()))}
    )
    if named:
        features = {"labels": {"feature": {"names": list(NAMES), "_type": "ClassLabel"}, "_type": "Sequence"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, tmp_path / "train.parquet")
    data = open_dataset(tmp_path / "train.parquet")
    assert data.kind is ANY and data.classes == NAMES
    found = sorted(s.class_names(i) for s in data.splits.values() for i in range(len(s)))
    assert found == sorted(tuple(several(i)) for i in range(24))


def test_what_has_one_class_a_picture_is_refused_after_the_word(folder):
    with pytest.raises(DataError, match="has one class per picture; multi-label: needs boxes"):
        open_dataset(f"multi-label:{folder}")


def test_a_share_of_every_class_is_held_out(listed):
    train = open_dataset(listed).splits["train"]
    stays, out, _ = hold_out(train, 0.25, "val")
    assert len(stays) + len(out) == len(train) and not {*stays.positions} & {*out.positions}
    assert (out.class_counts() >= 5).all()
    assert {train.strata()[i] for i in range(len(train)) if not train.labels[i].any()} == {-1}


def test_the_loss_is_of_every_class_by_itself():
    logits, targets = torch.randn(5, 3), (torch.rand(5, 3) > 0.5).float()
    criterion = BinaryCriterion()
    assert torch.allclose(criterion(logits, targets), F.binary_cross_entropy_with_logits(logits, targets))
    p = logits.sigmoid().double()
    by_hand = -(targets * p.log() + (1 - targets) * (1 - p).log()).mean()
    assert float(criterion(logits, targets)) == pytest.approx(float(by_hand), abs=1e-6)


def test_a_run_learns_tests_and_reports_all_classes(listed, run):
    done = json.loads(resight("test", run, "--json", check=0).stdout)
    assert done["multi_label"] and done["map"] > 90 and done["map_interval"][0] <= done["map"]
    assert done["top1_error"] < 15 and done["f1_micro"] > 0.6 and done["confusion"] is None
    assert done["n"] == 24 and done["per_class"]["red"]["n"] == 12
    assert sum(row[0] for row in done["reliability"]) == 3 * 24
    page = (run / "report.html").read_text()
    assert "mean average precision" in page and "confused" not in page
    assert "<th>F1</th><th>average precision</th>" in page and "yes or no for a class" in page
    assert "Leaving uncertain answers" not in page
    assert "answers" not in load_header(run / "model.safetensors")
    words = resight("test", run, check=0).stdout
    assert "mean average precision" in words and "one-error" in words and "AP %" in words


def test_probabilities_are_of_each_class_by_itself(listed, run):
    folder = listed.parent / "pictures"
    rows = json.loads(resight("predict", run, folder, "--format", "json", check=0).stdout)
    right = sum(sorted(row["labels"]) == several(int(Path(row["path"]).stem)) for row in rows)
    assert right > 60
    assert any(sum(p for _, p in row["top"]) > 1.5 for row in rows)
    assert any(sum(p for _, p in row["top"]) < 0.5 for row in rows)
    lines = list(
        csv.DictReader(resight("predict", run, folder, "--format", "csv", check=0).stdout.splitlines())
    )
    assert [line["label"] for line in lines] == [";".join(row["labels"]) for row in rows]


def test_streamed_pictures_are_mixed_and_balanced(listed, tmp_path):
    words = (
        "--set",
        "memory_gib=0",
        "--set",
        "workers=0",
        "--epochs",
        "2",
        "--set",
        "balance=loss",
        "--set",
        "augment.mixup=0.2",
    )
    resight("train", listed, *PLAIN, *words, "--out", tmp_path / "whole", check=0)
    rows = read_csv(tmp_path / "whole/metrics.csv")
    assert len(rows) == 2 and all(np.isfinite(row["train_loss"]) for row in rows)


def test_explain_locate_and_check_take_several_classes(listed, run, tmp_path):
    file = listed.parent / "pictures/007.png"
    rows = json.loads(
        resight("explain", run, file, "--target", "red", "--out", tmp_path / "maps", "--json", check=0).stdout
    )
    assert rows[0]["target"] == "red"
    found = json.loads(resight("check", listed, "--json", check=0).stdout)
    assert found["classes"]["red"] == {"train": 36, "test": 12} and not found["conflicts"]
    assert json.loads(resight("locate", run, file, "--json", check=0).stdout)[0]["bbox"]


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (("--set", "balance=sampling"), "balance=sampling"),
        (("--set", "sharpen=0.5"), "sharpen="),
        (("--model", "dsn", "--set", "image_size=32"), "its own loss"),
    ],
)
def test_what_needs_one_class_is_refused(listed, words, fault):
    plain = PLAIN[4:] if words[0] == "--model" else PLAIN
    assert fault in one_line(resight("train", listed, *plain, *words, "--out", "x"), 2)


def test_shards_and_gans_refuse_several_classes(listed):
    assert "multi-label" in one_line(resight("pack", listed, "--shards", "2", "--out", "x"), 2)
    assert "multi-label" in one_line(resight("train-gan", listed, "--out", "x"), 2)


def test_a_run_of_one_class_is_not_tested_on_several(listed, tiny_run):
    with pytest.raises(DataError):
        run_test([str(tiny_run)], str(listed))


def test_a_fresh_head_answers_one_class_again():
    model = create_model("speednet8", 3)
    model.logit_activation = SIGMOID
    model.reset_classifier(4)
    assert model.logit_activation == model.probabilities == SOFTMAX
