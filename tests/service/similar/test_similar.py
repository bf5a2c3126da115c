"""Nearest pictures: distances and rankings against features computed one by one, and against scikit-learn."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import average_precision_score

from resight.core.errors import DataError
from resight.core.preprocessing import Preprocessing
from resight.data.decode import decode
from resight.data.near_copies import are_near, print_of
from resight.data.prepare import Normalize, fit
from resight.evaluate.embeddings import embeddings_of
from resight.models.modelfile import save_model
from resight.models.zoo import create_model
from resight.service.similar.similar import similar
from support import make_folder, picture, resight

CARD = Preprocessing(size=32, resize=32)


@pytest.fixture
def run(tmp_path):
    torch.manual_seed(1)
    model = create_model("resnet20", 3)
    model.classes, model.preprocessing = ("blue", "green", "red"), CARD
    save_model(tmp_path / "model.safetensors", model, model.state_dict(), {"data": None})
    return str(tmp_path / "model.safetensors")


def by_hand(files):
    torch.manual_seed(1)
    model, normalize = create_model("resnet20", 3).eval(), Normalize(CARD, torch.device("cpu"))
    vectors = []
    for file in files:
        image = normalize(torch.from_numpy(np.stack([fit(decode(file, at_least=32), CARD)])))
        with torch.no_grad():
            vector = model.forward_features(image).mean((2, 3))[0].double()
        vectors.append((vector / vector.norm()).numpy())
    return np.stack(vectors)


def test_rows_are_the_nearest_others_with_their_distances_and_classes(run, folder):
    files = sorted(folder.rglob("*.png"))
    vectors = by_hand(files)
    asked = [files[3], files[20]]
    *rows, summary = similar(run, [str(f) for f in asked], str(folder), top=4)
    assert [row["path"] for row in rows] == [str(f) for f in asked]
    for row, file in zip(rows, asked, strict=True):
        own = files.index(file)
        apart = np.sqrt(((vectors - vectors[own]) ** 2).sum(1))
        nearest = [i for i in np.argsort(apart, kind="stable") if i != own][:4]
        assert [near["path"] for near in row["near"]] == [str(files[i]) for i in nearest]
        assert [near["distance"] for near in row["near"]] == pytest.approx(apart[nearest].tolist(), abs=1e-4)
        assert [near["label"] for near in row["near"]] == [files[i].parent.name for i in nearest]
    assert summary["n"] == len(files) and summary["features"] == 64


def test_mean_average_precision_is_scikit_learns_without_the_picture_itself(run, folder):
    files = sorted(folder.rglob("*.png"))
    labels, vectors = np.array([f.parent.name for f in files]), by_hand(files)
    expected = []
    for own in range(len(files)):
        others = np.arange(len(files)) != own
        apart = np.sqrt(((vectors - vectors[own]) ** 2).sum(1))[others]
        expected.append(average_precision_score(labels[others] == labels[own], -apart))
    *rows, summary = similar(run, [str(folder)], str(folder))
    assert len(rows) == len(files) and summary["map_queries"] == len(files)
    assert summary["map"] == pytest.approx(np.mean(expected), abs=1e-3)
    low, high = summary["map_interval"]
    assert low <= summary["map"] <= high and 0.25 < summary["map_of_guessing"] < 0.45
    # Named as files, the same pictures give the same figure.
    *_, again = similar(run, [str(f) for f in files], str(folder))
    assert again["map"] == pytest.approx(summary["map"])


def test_copies_under_another_name_are_found_and_do_not_count_as_retrieval(run, tmp_path):
    folder, asked = make_folder(tmp_path / "set", count=4), tmp_path / "red"
    asked.mkdir()
    rng = np.random.default_rng(0)
    smooth = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize((96, 96), Image.BICUBIC)
    smooth.save(folder / "red" / "original.png")
    (asked / "same.png").write_bytes((folder / "red" / "original.png").read_bytes())
    smooth.save(asked / "saved-again.jpg", quality=80)
    *rows, summary = similar(run, [str(asked)], str(folder), top=2)
    for row in rows:
        assert row["near"][0]["path"].endswith("original.png") and row["near"][0]["near_copy"]
        assert not row["near"][1]["near_copy"]
    assert rows[0]["near"][0]["distance"] == 0 and summary["near_copies"] == 2
    assert summary["map_queries"] == 2  # by the name of their folder
    own, other = print_of(smooth), print_of(smooth.rotate(90))
    assert own and other and are_near(own, own) and not are_near(own, other)


def test_what_cannot_be_read_is_named_and_the_rest_is_answered(run, folder, tmp_path):
    (folder / "red" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xff")
    good = tmp_path / "good.png"
    picture().save(good)
    *rows, summary = similar(run, [str(tmp_path / "bad.jpg"), str(good)], str(folder))
    assert [("error" in row, row["path"]) for row in rows] == [
        (False, str(good)),
        (True, str(tmp_path / "bad.jpg")),
    ]
    assert [s["path"] for s in summary["skipped"]] == [str(folder / "red" / "broken.png")]
    assert "map" not in summary  # nobody knows the class of good.png


def test_a_folder_without_classes_is_compared_too(run, tmp_path):
    for number in range(3):
        (tmp_path / "loose").mkdir(exist_ok=True)
        picture(seed=number).save(tmp_path / "loose" / f"{number}.png")
    *rows, summary = similar(run, [str(tmp_path / "loose")], str(tmp_path / "loose"), top=9)
    assert [len(row["near"]) for row in rows] == [2, 2, 2] and "map" not in summary
    assert rows[0]["near"][0]["label"] is None and "no classes are known" in summary["notes"][0]
    with pytest.raises(DataError, match="no such file"):
        similar(run, [str(tmp_path / "loose")], str(tmp_path / "nowhere"))


def test_fisher_vectors_and_vlad_are_the_features_of_their_pipelines():
    torch.manual_seed(0)
    images = torch.rand(2, 3, 48, 48)
    for name in ("fisher", "vlad"):
        model = create_model(name, 3, words=3, pca=8, scales=1, reduce=4).eval()
        found = embeddings_of(model, images)
        vector = model.pooling(model.forward_features(images))
        assert found.shape == (2, model.pooled) and model.pooled > 4
        expected = vector / vector.norm(dim=1, keepdim=True)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_the_command_prints_json_and_writes_a_page(run, folder, tmp_path):
    words = ("similar", run, folder / "red" / "000.png", "--among", folder, "--top", 2)
    done = resight(*words, "--json", "--out", tmp_path / "page.html", check=0)
    row, summary = json.loads(done.stdout)
    assert len(row["near"]) == 2 and summary["page"] == str(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert page.count("<img") == 3 and "http" not in page and row["near"][0]["path"] in page
    table = resight(*words, check=0).stdout
    assert row["near"][1]["path"] in table and "mean average precision" in table
