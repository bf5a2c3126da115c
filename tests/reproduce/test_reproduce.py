"""An experiment run, gone on with, failed in part, written as JSON and as a page."""

import json
import math

import pytest
import torch

from resight.core.errors import DataError
from resight.data.open import open_dataset
from resight.reproduce import catalogue
from resight.reproduce.catalogue import NAMES, reproduce
from resight.reproduce.experiment import Experiment, Measure, Plot, Row, Scale, Training
from resight.reproduce.page import write_page
from resight.reproduce.sets import write_part
from support import make_folder, one_line, resight

WORDS = ("model=speednet8", "image_size=16", "batch_size=8", "augment=", "epochs=1")


def rows(lab):
    for condition in ("first", "second", "broken", "after"):
        yield Row(
            condition,
            "test-error",
            lab.error(condition),
            published="cifar10-plain/plain-20/test-error-read-off",
        )
    yield Row("first", "training-error", lab.last("first", "train_error"))


def plots(lab):
    curve = lab.curve("first")
    yield Plot(
        "Curves",
        "epochs",
        "error",
        [("first", [r["epoch"] for r in curve], [r["train_error"] for r in curve])],
    )


@pytest.fixture
def trial(tmp_path, monkeypatch):
    """An experiment on a folder of pictures, one training of which fails and takes another with it."""
    data = str(make_folder(tmp_path / "colours", count=10))
    trainings = (
        Training(condition="first", data=data, recipe="fast", words=WORDS),
        Training(condition="second", data=data, recipe="fast", words=(*WORDS, "weights={first}")),
        Training(condition="broken", data=data, recipe="fast", words=(*WORDS, "head=none-such")),
        Training(condition="after", data=data, recipe="fast", words=(*WORDS, "weights={broken}")),
    )
    found = Experiment(
        paper="a paper", claim="it holds", rows=rows, plots=plots, trainings=trainings,
        holds=lambda found: found["first/test-error"] >= 0,
        smoke=Scale(name="smoke", epochs=1, pictures=18, tested=6),
    )  # fmt: skip
    monkeypatch.setattr(catalogue, "experiment", lambda name: found)
    return data


def test_an_experiment_runs_goes_on_and_is_written(trial, tmp_path):
    said = []
    answer = reproduce("trial", seeds=(0, 1), jobs=2, say=said.append)
    by_id = {row["id"]: row for row in answer["rows"]}
    first = by_id["trial/first/test-error"]
    assert first["published"] == 9 and first["certainty"] == "uncertain" and len(first["values"]) == 2
    assert first["seed"] == [0, 1] and first["hardware"] and first["seconds"] > 0
    assert "18 pictures" in first["protocol"]
    assert answer["holds"] is True
    assert "none-such" in answer["failed"]["broken"] and answer["failed"]["after"] == "needs broken"
    assert by_id["trial/broken/test-error"]["measured"] is None
    written = json.loads((tmp_path / "results/trial-smoke.json").read_text())
    assert written["rows"] == answer["rows"] and written["versions"]["torch"] == torch.__version__
    assert any("weights=" in c and "first" in c for c in written["commands"])

    started = [line for line in said if line.startswith("first, seed")]
    again = []
    reproduce("trial", seeds=(0, 1), say=again.append)
    assert len(started) == 2 and not [line for line in again if line.startswith("first, seed")]

    page = write_page("docs/results.md", "results").read_text()
    (tmp_path / "docs/results.md").write_text(page + "<!-- below: written by hand -->\nmine\n")
    assert (
        write_page("docs/results.md", "results").read_text()
        == page + "<!-- below: written by hand -->\nmine\n"
    )
    assert "## trial, smoke" in page and "| first | test-error | 9 *(uncertain)* |" in page
    assert "| broken | test-error | 9 *(uncertain)* |  |  |" in page
    assert "It holds here." in page and "![Curves](figures/trial-smoke-1.svg)" in page
    assert "<svg" in (tmp_path / "docs/figures/trial-smoke-1.svg").read_text()


def test_a_claim_without_its_figures_is_not_judged(monkeypatch):
    known, unknown = Row("b", "error", Measure((3.0,))), Row("a", "error", None)
    found = Experiment(
        paper="a paper", claim="it holds", rows=lambda lab: iter([unknown, known]),
        holds=lambda found: found["a/error"] < 50,
    )  # fmt: skip
    monkeypatch.setattr(catalogue, "experiment", lambda name: found)
    answer = reproduce("trial")
    assert answer["holds"] is None
    assert [row["measured"] for row in answer["rows"]] == [None, 3.0]


def test_a_cut_set_has_all_classes_alike(tmp_path):
    whole = open_dataset(make_folder(tmp_path / "colours", count=20))
    (tmp_path / "part").mkdir()
    write_part(whole, tmp_path / "part", Scale(name="smoke", pictures=9, tested=3))
    part = open_dataset(tmp_path / "part")
    assert part.classes == whole.classes
    assert [part.split(name).class_counts().tolist() for name in ("train", "test")] == [[3, 3, 3], [1, 1, 1]]
    assert part.split("train").class_names(0)[0] in whole.classes


def test_damaged_results_are_named(tmp_path):
    (tmp_path / "results").mkdir()
    with pytest.raises(DataError, match="holds no results"):
        write_page("page.md", "results")
    (tmp_path / "results/x.json").write_text("[]")
    with pytest.raises(DataError, match=r"x\.json: is no result of resight reproduce"):
        write_page("page.md", "results")


def test_the_command_lists_and_refuses():
    listed = json.loads(resight("reproduce", "--json", check=0).stdout)
    assert {"name", "paper", "claim", "trainings", "needs"} == set(listed[0])
    assert "smoke nor full" in one_line(resight("reproduce", "pooling", "--scale", "tiny"), 2)


DATA = {  # the file, the folder in it
    "bovw-vs-cnn": ("grocery", "grocery"),
    "compound-scaling": ("grocery", "grocery"),
    "forgetting": ("grocery", "grocery"),
    "gan-augmentation": ("grocery", "grocery"),
    "gap-gmp-cam": ("tiny_imagenet_boxes", "tiny-imagenet-200"),
    "imbalance": ("tiny_imagenet_boxes", "tiny-imagenet-200"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name != "imagenet-check"])
def test_every_experiment_runs_at_smoke_scale(name, real_data, unzipped, tmp_path):
    """All its trainings come to an end and all its figures are there; what they are means nothing yet."""
    file, folder = DATA.get(name, ("", ""))
    given = ["--data", unzipped(file).parent / folder] if file else []
    given += ["--data", "digits"] if name == "forgetting" else []
    done = resight("reproduce", name, "--data-root", real_data, *given, "--json", check=0, timeout=3000)
    rows = json.loads(done.stdout)
    document = json.loads((tmp_path / "results" / f"{name}-smoke.json").read_text())
    assert not document["failed"] and document["protocol"].startswith("smoke: ")
    assert rows and all(row["hardware"] for row in rows)
    never = [row["id"] for row in rows if row["measured"] is None]
    assert all("epochs-to-25" in row or "best-rate" in row for row in never)  # not so far in two epochs
    assert all(math.isfinite(row["measured"]) for row in rows if row["measured"] is not None)
    page = tmp_path / "page.md"
    resight("reproduce", "--page", page, check=0)
    assert name in page.read_text()
