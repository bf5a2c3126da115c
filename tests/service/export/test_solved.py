"""A run of a task with a head of its own as one file: compared with torch, predicted from without torch."""

import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch

from resight.cli.export import exported
from resight.core.errors import ModelFileError, ResightError, UsageError
from resight.models.modelfile import save_model
from resight.service.deployed.explain import explain
from resight.service.export import solved as service
from resight.service.export.agreement import trial_of
from resight.service.export.export import export
from resight.service.export.solved import Agreement, Parts
from resight.service.run.run import open_any
from resight.service.test.predict import predict
from resight.service.test.test import test as judge
from resight.tasks.detect.task import Detect
from resight.tasks.localize.task import Localize
from resight.tasks.pose.task import Pose
from resight.tasks.segment.task import Segment
from resight.tasks.task import SolverTask
from resight.tasks.tasks import header_of
from resight.web.page import export_page
from solvers import TASKS, pictures, save_solver, solver
from support import make_folder

SCRIPT = """
import json, sys
from resight.service.deployed.predict import predict
rows = list(predict(sys.argv[1], sys.argv[2:]))
assert "torch" not in sys.modules, "torch was imported"
print(json.dumps(rows))
"""


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, picture in enumerate(pictures()):
        picture.save(folder / f"{number}.png")
    return folder


def without_torch(file, *paths):
    command = [sys.executable, "-c", SCRIPT, str(file), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def same(found, wanted, path=""):
    """Rows are equal, numbers up to rounding: places are rounded to a tenth of a pixel."""
    assert type(found) is type(wanted), path
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys(), path
        for key in wanted:
            if key not in ("said", "segmentation"):
                same(found[key], wanted[key], f"{path}.{key}")
    elif isinstance(wanted, list | tuple):
        assert len(found) == len(wanted), path
        for place, (a, b) in enumerate(zip(found, wanted, strict=True)):
            same(a, b, f"{path}[{place}]")
    elif isinstance(wanted, float):
        tight = any(word in path for word in ("probability", "score", "embedding", "distance"))
        assert found == pytest.approx(wanted, abs=1e-4 if tight else 0.11), path
    else:
        assert found == wanted, path


@pytest.fixture(scope="module")
def verifier(tmp_path_factory):
    """A verifier as a run and as a file, and what the export said."""
    place = tmp_path_factory.mktemp("verifier")
    run, file = save_solver(place / "net.safetensors", TASKS["verify"]), place / "net.onnx"
    return run, file, export(run, str(file))


def test_embeddings_are_those_of_the_run_without_torch(verifier, photos):
    run, file, answer = verifier
    assert answer["outputs"] == {"embeddings": ["batch", "numbers"]}
    agreement = answer["agreement"]
    assert agreement["n"] == agreement["same_answer"] == 6
    assert agreement["largest"]["embedding"] <= 1e-4
    paths = [str(photos / f"{number}.png") for number in range(4)]
    for count in (1, 2, 4):
        wanted = json.loads(json.dumps(list(predict(run, paths[:count], exact=True))))
        found = without_torch(file, *paths[:count])
        same(found, wanted)
    assert wanted[0]["threshold"] == pytest.approx(0.4)


def test_it_is_compared_on_pictures_of_people_whom_the_run_does_not_know(verifier, tmp_path):
    make_folder(tmp_path / "people", count=4)
    trial = trial_of(open_any(verifier[0]), str(tmp_path / "people"), None)
    assert len(trial) == 12 and trial.words.startswith("12 of 12 test pictures")


def test_the_command_prints_how_far_the_file_is_from_torch(verifier, capsys):
    exported(verifier[2], as_json=False)
    words = " ".join(capsys.readouterr().out.split())
    assert "output embeddings batch, numbers" in words and "same answer 6 of 6" in words
    assert "largest difference of an embedding" in words


def test_a_page_of_another_task_is_refused_before_it_is_exported(verifier, tmp_path):
    with pytest.raises(UsageError, match="trained with --task verify"):
        export_page(verifier[0], str(tmp_path / "net.html"), "all", str(tmp_path))


def test_test_gives_the_figures_of_the_run(verifier, tmp_path):
    make_folder(tmp_path / "people", count=4)
    found, wanted = (judge([str(name)], str(tmp_path / "people")) for name in (verifier[1], verifier[0]))
    assert found.keys() == wanted.keys() and found["task"] == "verify" and found["n"] == 12
    for key in ("auc", "eer", "rank1", "people", "pairs"):
        assert found[key] == pytest.approx(wanted[key], abs=1e-6), key
    assert found["threshold"] == pytest.approx(0.4)


def test_a_broken_picture_is_an_error_of_its_own(verifier, photos):
    (photos / "2.png").write_bytes(b"no picture")
    rows = list(predict(str(verifier[1]), [str(photos)]))
    assert ["error" in row for row in rows] == [False, False, False, True]


def test_what_needs_a_classifier_refuses_the_file(verifier, photos):
    file = str(verifier[1])
    for call in (lambda: explain(file, [str(photos)]), lambda: open_any(file)):
        with pytest.raises(UsageError, match=r"trained with --task verify.*classifier"):
            call()
    with pytest.raises(UsageError, match="--at-least"):
        list(predict(file, [str(photos)], at_least=0.9))


@pytest.mark.parametrize(
    ("options", "word"),
    [({"int8": True}, "--int8"), ({"maps": "3"}, "--maps 3"), ({"picture_maps": True}, "--picture-maps")],
)
def test_options_of_classifiers_are_refused(verifier, tmp_path, options, word):
    with pytest.raises(UsageError, match=f"{word} is for classifiers"):
        export(verifier[0], str(tmp_path / "net.onnx"), **options)
    assert not (tmp_path / "net.onnx").exists()


@pytest.mark.parametrize(
    ("task", "why"),
    [
        (Detect(width=8, anchor=3, refine=True), r"detect\.refine=true is not part of the exported graph"),
        (Detect(width=8, anchor=3, context=True), r"detect\.context=true is not part"),
        (Detect(width=8, anchor=3, scales=(1.0, 1.5)), r"detect\.scales is not part"),
        (Localize(head="rpn"), r"localize\.head=rpn is not part"),
        (Segment(), "--task segment has no exported form; those of detect, localize, pose, verify have one"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, SolverTask) else "",
)
def test_what_the_graph_does_not_compute_is_refused_before_data_are_opened(task, why, tmp_path):
    run = save_solver(tmp_path / "net.safetensors", task)
    with pytest.raises(ModelFileError, match=f"cannot be exported: {why}"):
        export(run, str(tmp_path / "net.onnx"), data="nowhere")
    assert not (tmp_path / "net.onnx").exists()


@pytest.mark.parametrize(
    ("kind", "apart", "good"),
    [("probability", 9e-6, True), ("probability", 2e-5, False), ("place", 0.009, True),
     ("place", 0.011, False), ("embedding", 9e-5, True), ("embedding", 2e-4, False)],
)  # fmt: skip
def test_the_limits_of_a_difference(kind, apart, good):
    found = Agreement()
    found.add(Parts(1, {kind: np.zeros(3)}), Parts(1, {kind: np.array([0, -apart, 0])}))
    assert found.good == good and found.shown.largest == {kind: pytest.approx(apart)}


@pytest.mark.parametrize(("other", "good"), [(0, True), (2, True), (3, False)])
def test_few_pictures_may_have_other_objects(other, good):
    found = Agreement()
    for number in range(100):
        empty = np.zeros(0)
        said = Parts([0, 1] if number < other else [0], {"place": empty})
        found.add(Parts([0], {"place": empty}), said)
    assert found.good == good and found.same_answer == 100 - other


@pytest.mark.parametrize(("moved", "good"), [(0, True), (1, True), (3, False)])
def test_masks_may_differ_on_few_of_their_pixels(moved, good):
    """Two masks of 100 pixels each, of which some are elsewhere in the second."""
    found, empty = Agreement(), np.zeros(0)
    masks = np.zeros((2, 20, 20), bool)
    masks[:, 5:15, 5:15] = True
    other = masks.copy()
    other[1].flat[:moved] = True
    found.add(Parts([0, 1], {"place": empty}, masks), Parts([0, 1], {"place": empty}, other))
    assert found.good == good and found.same_answer == 1
    assert found.shown.mask_difference == moved / (200 + moved)
    assert "masks on" in found.words


def test_a_file_that_differs_from_torch_is_not_written(verifier, tmp_path, monkeypatch):
    """The graph is that of a network whose weights are others than the run's."""
    run, file, _ = verifier
    network = solver(TASKS["verify"])
    torch.nn.init.normal_(next(network.trunk.parameters()))
    facts = {"data": None, **header_of(TASKS["verify"])}
    save_model(tmp_path / "other.safetensors", network, network.state_dict(), facts)
    monkeypatch.setattr(service, "to_onnx", lambda *_: onnx.load(str(file)))
    assert export(run, str(tmp_path / "same.onnx"))["agreement"]["n"] == 6
    with pytest.raises(ResightError, match=r"differs from torch: an embedding by .*; nothing was written"):
        export(str(tmp_path / "other.safetensors"), str(tmp_path / "net.onnx"))
    assert not (tmp_path / "net.onnx").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in TASKS if name != "verify"])
def test_a_file_of_every_task_says_what_the_run_says(name, tmp_path, photos):
    run, file = save_solver(tmp_path / "net.safetensors", TASKS[name]), tmp_path / "net.onnx"
    answer = export(run, str(file))
    assert answer["agreement"]["same_answer"] == answer["agreement"]["n"] == 6
    wanted = json.loads(json.dumps(list(predict(run, [str(photos)], exact=True))))
    found = without_torch(file, str(photos))
    same(found, wanted)
    if TASKS[name].name == "detect":
        assert any(row["objects"] for row in wanted)
        learned = TASKS[name].masks
        assert (answer["agreement"]["mask_difference"] is not None) == learned
    if name == "pose":
        assert isinstance(TASKS[name], Pose)
        assert answer["inputs"]["pictures"].startswith("uint8 (batch")
