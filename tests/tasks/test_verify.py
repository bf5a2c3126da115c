"""Verification: other people are held out, embeddings and loss are their formulas, and the whole job runs."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from safetensors.torch import save_file
from torch.nn import functional as F

from as_json import explain_paths
from resight.core.errors import DataError, UsageError
from resight.data.dataset import ArrayPictures, Dataset, Split
from resight.data.marks import ClassMarks
from resight.metrics import verification as figures
from resight.models.modelfile import load_header
from resight.models.zoo import create_model
from resight.service.report.report import report
from resight.service.run.run import open_any
from resight.service.test.predict import predict
from resight.service.test.test import test as score
from resight.service.train.train import train
from resight.tasks.task import Aids, Learned
from resight.tasks.tasks import built
from resight.tasks.verify import people
from resight.tasks.verify.task import Verify
from resuming import assert_same_weights, stopped_after

pytestmark = pytest.mark.usefixtures("on_the_cpu")

QUIET = Console(file=io.StringIO(), quiet=True)
WORDS = ("model=resnet20", "image_size=32", "batch_size=16", "lr=0.02", "verify.false_match=0.1")


def make_people(root, names, each=4):
    """Class folders: a person is a smooth pattern, and each picture of it has noise of its own."""
    for name in names:
        (root / name).mkdir(parents=True)
        own = np.random.default_rng(list(name.encode()))
        face = Image.fromarray(own.integers(0, 256, (5, 4, 3), dtype=np.uint8)).resize(
            (24, 32), Image.BICUBIC
        )
        for number in range(each):
            noise = own.integers(-20, 21, (32, 24, 3))
            pixels = np.clip(np.asarray(face).astype(int) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root


def dataset(names, each=2, splits=("train",)):
    found = {}
    for split in splits:
        own = names[split] if isinstance(names, dict) else names
        labels = np.repeat(np.arange(len(own)), each)
        pixels = np.zeros((len(labels), 4, 4, 3), np.uint8)
        found[split] = Split(split, ArrayPictures(pixels, split), np.arange(len(labels)), labels, tuple(own))
    return Dataset("set", found["train"].classes, found)


NAMES = tuple(f"person {number:02d}" for number in range(30))


def test_parts_are_of_different_people_and_do_not_move_when_others_come_or_go():
    whole = people.divided(dataset(NAMES))
    parts = {name: set(split.classes) for name, split in whole.splits.items()}
    assert set.union(*parts.values()) == set(NAMES) and sum(map(len, parts.values())) == 30
    assert whole.classes == whole.train.classes and all(len(part) >= 2 for part in parts.values())
    for split in whole.splits.values():
        assert len(split) == 2 * len(split.classes) and set(split.labels) == set(range(len(split.classes)))
    fewer = people.divided(dataset(NAMES[:20]))
    for name, split in fewer.splits.items():
        assert set(split.classes) == parts[name] & set(NAMES[:20])
    assert [note for note in whole.notes if "held out as test" in note]


def test_a_split_of_its_own_stays_and_shared_people_are_said():
    own = people.divided(dataset({"train": NAMES[:20], "test": NAMES[18:26]}, splits=("train", "test")))
    assert own.splits["test"].classes == NAMES[18:26] and not set(own.splits["val"].classes) & set(
        own.classes
    )
    assert any("of 8 people of the test split are in the training split too" in note for note in own.notes)
    apart = people.divided(dataset({"train": NAMES[:20], "test": NAMES[20:]}, splits=("train", "test")))
    assert not any("too" in note for note in apart.notes)
    with pytest.raises(DataError, match="has 3 people; --task verify needs 4 or more"):
        people.divided(dataset(NAMES[:3]))
    few = people.divided(dataset(NAMES[:5]))
    assert "val" not in few.splits and len(few.splits["test"].classes) == 2


@pytest.mark.parametrize(
    ("name", "options", "side"),
    [
        ("resnet20", {}, 32),
        ("resnet20", {"head": "gmp"}, 32),
        ("deepface", {"input_size": 72}, 72),
        ("vgg11", {}, 32),
    ],
)
def test_the_embedding_is_what_the_networks_own_head_knows_before_its_last_layer(name, options, side):
    trunk = create_model(name, 5, **options).eval()
    images = torch.rand(2, 3, side, side)
    with torch.no_grad():
        vector = trunk.forward_head(trunk.forward_features(images), pre_logits=True)
        network = built(Verify(), trunk, Learned(("a", "b", "c"))).eval()
        found = network(images)
    torch.testing.assert_close(found, vector / vector.norm(dim=1, keepdim=True))
    assert network.head.people.shape == (3, vector.shape[1])


def test_a_trunk_with_a_head_of_its_own_kind_gives_the_mean_of_its_map_and_a_pipeline_is_refused():
    trunk = create_model("nin_cifar", 5).eval()
    images = torch.rand(2, 3, 32, 32)
    network = built(Verify(), trunk, Learned(("a", "b"))).eval()
    with torch.no_grad():
        vector = network.forward_features(images).mean((2, 3))
        torch.testing.assert_close(network(images), F.normalize(vector, dim=1))
    with pytest.raises(UsageError, match="learns by a loss"):
        built(Verify(), create_model("vlad", 5), Learned(("a", "b")))


def test_the_loss_is_cross_entropy_of_scaled_cosines_with_a_margin():
    task = Verify(scale=10.0, margin=0.3)
    network = built(task, create_model("resnet20", 2), Learned(("a", "b", "c"))).eval()
    images, labels = torch.rand(4, 3, 32, 32), torch.tensor([0, 2, 1, 0])
    loss, counted = task.objective(network, Aids())(images, ClassMarks.of(labels), 0.0)
    expected, wrong = [], 0
    for image, label in zip(images, labels.tolist(), strict=True):
        vector = network(image[None])[0].detach()
        cosines = [float(vector @ w / w.norm()) for w in network.head.people.detach()]
        wrong += int(np.argmax(cosines) != label)
        logits = [10 * (c - 0.3 * (number == label)) for number, c in enumerate(cosines)]
        expected.append(np.log(np.exp(logits).sum()) - logits[label])
    assert float(loss.detach()) == pytest.approx(np.mean(expected), rel=1e-4) and counted.tolist() == [wrong]
    loss.backward()
    assert network.trunk.conv1.weight.grad is not None and network.head.people.grad.abs().sum() > 0
    for words in ({"margin": 1.0}, {"scale": 0.0}, {"false_match": 0.0}):
        with pytest.raises(UsageError, match=f"verify.{next(iter(words))}"):
            Verify(**words)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Sixteen people and a finished run of two epochs."""
    place = tmp_path_factory.mktemp("verify")
    make_people(place / "faces", NAMES[:16])
    answer = train(
        str(place / "faces"), task="verify", recipe="fast", epochs=2, changes=WORDS, out=str(place / "run"),
        console=QUIET,
    )  # fmt: skip
    (place / "answer.json").write_text(json.dumps(answer))
    return place


def test_the_whole_job(place):
    run = str(place / "run")
    answer, header = (
        json.loads((place / "answer.json").read_text()),
        load_header(place / "run/model.safetensors"),
    )
    parts = {n: set(s.classes) for n, s in people.divided(dataset(NAMES[:16])).splits.items()}
    assert set(header["classes"]) == parts["train"] and header["preprocessing"]["frame"] == "pad"
    assert answer["people"] == len(parts["test"]) and answer["n"] == 4 * answer["people"]
    again = score([run])
    keys = ("auc", "eer", "accuracy", "tar_at_far", "threshold", "rank1", "at_threshold", "baselines")
    assert all(answer[key] == again[key] for key in keys) and again["trained_on"] == 0
    assert set(again["tar_at_far"]) == {"1e-2", "1e-3"} and again["baselines"]["guessing"]["auc"] == 0.5
    # The threshold is that of the validation people, who are neither trained on nor tested.
    val = score([run], split="val")
    assert val["people"] == len(parts["val"])
    assert val["at_threshold"]["people"] == len(parts["val"])
    assert val["at_threshold"]["false_matches"] <= val["at_threshold"]["false_match"]
    assert val["at_threshold"]["false_match"] == pytest.approx(max(0.1, 1 / val["pairs"]["different"]))
    page = report(run).read_text()
    assert "Two people, taken for one" in page and "grey levels, 16 x 16" in page


def test_other_people_can_be_tested(place, tmp_path):
    other = make_people(tmp_path / "others", ("x", "y", "z"), each=3)
    found = score([str(place / "run")], data=str(other))
    assert found["people"] == 3 and found["n"] == 9 and found["pairs"] == {"same": 9, "different": 27}
    folder = tmp_path / "split"
    make_people(folder / "train", NAMES[:6])
    make_people(folder / "test", NAMES[6:9])
    answer = train(
        str(folder), task="verify", recipe="fast", epochs=1, changes=WORDS, out="own", console=QUIET
    )
    assert answer["people"] == 3


def test_predict_says_the_same_or_not_and_groups_many(place):
    run, opened = str(place / "run"), open_any(str(place / "run"))
    files = [str(place / "faces" / name / f"{n}.png") for name in NAMES[:2] for n in range(2)]
    (one,) = predict(run, files[0], exact=True)
    assert len(one["embedding"]) == 64 and np.linalg.norm(one["embedding"]) == pytest.approx(1, abs=1e-4)
    (pair,) = predict(run, files[:2], exact=True)
    (other,) = predict(run, files[1], exact=True)
    apart = np.linalg.norm(np.subtract(one["embedding"], other["embedding"]))
    threshold = float(opened.network.head.fitted[0])
    assert pair["distance"] == pytest.approx(apart, abs=1e-5) and pair["threshold"] == pytest.approx(
        threshold
    )
    assert pair["same"] is bool(apart < threshold) and (pair["a"], pair["b"]) == tuple(files[:2])
    rows = list(predict(run, [*files, str(place / "nowhere.png")], exact=True))
    assert [row["path"] for row in rows] == [*files, str(place / "nowhere.png")] and "error" in rows[-1]
    matrix = np.array([row["distances"] for row in rows[:-1]])
    assert matrix.shape == (4, 4) and matrix[0, 1] == pytest.approx(apart, abs=1e-5)
    assert [row["group"] for row in rows[:-1]] == figures.groups_of(matrix, threshold).tolist()


def test_what_makes_two_pictures_alike_is_explained(place, tmp_path):
    run, faces = str(place / "run"), place / "faces" / NAMES[0]
    other = str(faces / "1.png")
    words = {"target": f"similarity:{other}", "out": str(tmp_path / "maps")}
    (row,) = explain_paths(run, [str(faces / "0.png")], ("grad_cam",), **words)
    (pair,) = predict(run, [str(faces / "0.png"), other], exact=True)
    # Of unit vectors d^2 = 2 - 2 cos.
    assert row["score"] == pytest.approx(1 - pair["distance"] ** 2 / 2, abs=1e-3)
    assert row["target"] == "similarity:1.png" and Path(row["image"]).is_file()
    heat = np.load(row["map"])
    assert heat.shape == (32, 32) and heat.max() <= 1
    with pytest.raises(UsageError, match="give --target similarity:PATH"):
        explain_paths(run, [other], ("grad_cam",), out=str(tmp_path / "maps"))
    with pytest.raises(UsageError, match="nowhere"):
        explain_paths(
            run, [other], ("grad_cam",), target="similarity:nowhere.png", out=str(tmp_path / "maps")
        )


def test_stopped_and_resumed_to_the_same_bits(place):
    words = {"task": "verify", "recipe": "fast", "epochs": 2, "changes": WORDS, "console": QUIET}
    with stopped_after(3):
        train(str(place / "faces"), out="cut", **words)
    train(resume="cut", console=QUIET)
    assert_same_weights(place / "run", "cut")


def test_released_face_weights_verify_without_training(tmp_path):
    model = create_model("face_resnet29", 5)
    state = {k: v for k, v in model.state_dict().items() if not k.startswith("classifier.")}
    state["fc.weight"] = state["fc.weight"][:, :, 0, 0]
    save_file({k: v.contiguous() for k, v in state.items()}, tmp_path / "face.safetensors")
    run = f"zoo:face_resnet29={tmp_path / 'face.safetensors'}"
    opened = open_any(run)
    assert opened.task == Verify() and opened.preprocessing.frame == "pad"
    faces = make_people(tmp_path / "faces", ("a", "b"), each=2)
    (pair,) = predict(run, [str(faces / "a/0.png"), str(faces / "b/0.png")], exact=True)
    vectors = [
        next(predict(run, str(faces / name), exact=True))["embedding"] for name in ("a/0.png", "b/0.png")
    ]
    apart = float(np.linalg.norm(np.subtract(*vectors)))
    assert pair["distance"] == pytest.approx(apart, rel=1e-4) and pair["threshold"] == pytest.approx(0.6)
    assert pair["same"] is (apart < 0.6) and not np.isclose(np.linalg.norm(vectors[0]), 1)
    figures = score([run], data=str(faces))
    assert figures["n"] == 4 and figures["at_threshold"]["false_match"] is None


@pytest.mark.slow
def test_the_released_face_network_on_all_orl_faces_has_its_known_figures(real_data, unzipped):
    weights = real_data / "weights" / "dlib_face_resnet29_fp16.safetensors"
    found = score([f"zoo:face_resnet29={weights}"], data=str(unzipped("orl_faces")))
    assert found["n"] == 360 and found["people"] == 36
    assert round(found["auc"], 3) == 0.936 and round(found["rank1"], 3) == 0.969
    assert found["tar_at_far"]["1e-3"] == pytest.approx(0.525, abs=0.001)
