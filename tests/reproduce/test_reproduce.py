"""An experiment run, gone on with, failed in part, written as JSON and as a page."""

import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import copies
from resight.core.errors import DataError, ResightError, UsageError
from resight.core.figures import to_json
from resight.data.open import open_dataset
from resight.reproduce import catalogue, laboratory
from resight.reproduce.catalogue import NAMES, reproduce
from resight.reproduce.experiment import Experiment, Measure, Plot, Row, Scale, Training
from resight.reproduce.laboratory import Job, Laboratory
from resight.reproduce.page import write_page
from resight.reproduce.results import KEYS, file_stem, read_record
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
    yield Row("first", "training-error", lab.training_error("first"))


def plots(lab):
    curve = lab.curve("first")
    yield Plot(
        "Curves",
        "epochs",
        "error",
        [("first", [r["epoch"] for r in curve], [r["train_error"] for r in curve])],
    )


def copied(words, stdout, stderr, env):
    """Start a training in a copy of a process that has torch, see copies.py."""
    assert words[:3] == [sys.executable, "-m", "resight"] and stdout is stderr
    return copies.WARM.start(words[3:], None, env, str(Path.cwd()), Path(stdout.name).resolve())


@pytest.fixture
def trial(tmp_path, monkeypatch):
    """An experiment on a folder of pictures, one training of which fails and takes another with it."""
    if sys.platform.startswith("linux"):
        monkeypatch.setattr(laboratory, "subprocess", SimpleNamespace(Popen=copied))
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
    rows = to_json(answer.record.rows)
    by_id = {row["id"]: row for row in rows}
    first = by_id["trial/first/test-error"]
    assert first["published"] == 9 and first["certainty"] == "uncertain" and len(first["values"]) == 2
    assert first["seed"] == [0, 1] and first["hardware"] and first["seconds"] > 0
    assert "18 pictures" in first["protocol"]
    assert answer.record.outcome.holds is None, "a smoke run decides nothing"
    assert "none-such" in answer.record.failed["broken"] and answer.record.failed["after"] == "needs broken"
    assert by_id["trial/broken/test-error"]["measured"] is None
    written = json.loads((tmp_path / "results/trial-smoke.json").read_text())
    assert written.keys() == KEYS
    assert written["rows"] == rows and written["versions"]["torch"] == torch.__version__
    second = next(t for t in written["trainings"] if (t["condition"], t["seed"]) == ("second", 1))
    assert "weights=runs/reproduce/first-" in second["command"]
    assert "-1 --epochs 1 --out runs/reproduce/second-" in second["command"]
    assert second["recipe"]["batch_size"] == 8 and second["seconds"] > 0 and second["data"]

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
    assert "It is not judged: a figure is missing" in page and "![Curves](figures/trial-smoke-1.svg)" in page
    assert "<svg" in (tmp_path / "docs/figures/trial-smoke-1.svg").read_text()
    assert "## Not run yet" in page and page.count("\n### ") == len(NAMES)


def test_named_conditions_alone_are_trained_with_what_they_start_from(trial, tmp_path):
    answer = reproduce("trial", only=("second",), out=str(tmp_path / "runs"), results=str(tmp_path / "r"))
    measured = {row.name.split("/")[0] for row in answer.record.rows if row.measured is not None}
    assert measured == {"first", "second"}
    assert not answer.record.failed  # the broken one was not begun
    with pytest.raises(
        UsageError, match="--only third: is not a condition; the conditions are first, second, broken"
    ):
        reproduce("trial", only=("third",), out=str(tmp_path / "runs"), results=str(tmp_path / "r"))


def test_figures_of_another_machine_are_kept_until_they_are_measured_again(trial, tmp_path):
    results = tmp_path / "r"

    def run(machine, condition):
        place = str(tmp_path / machine)
        return reproduce("trial", only=(condition,), out=place, results=str(results)).record

    def values(record):
        return {row.name: row.values for row in record.rows if row.values}

    there = run("there", "second")  # and first, from whose weights it starts
    (tmp_path / "r/trial-smoke.json").write_text(
        json.dumps(changed_hardware(json.loads((results / "trial-smoke.json").read_text())))
    )
    here = run("here", "first")
    assert values(here) == values(there) and len(values(here)) == 3
    hardware = {row.name: row.hardware for row in here.rows if row.values}
    assert hardware["second/test-error"] == "another machine" != hardware["first/test-error"]
    assert "another machine" in here.hardware and "; " in here.hardware
    assert {(one.condition, one.seed) for one in here.trainings} == {("first", 0), ("second", 0)}
    assert [line[0] for line in here.plots[0].lines] == [line[0] for line in there.plots[0].lines]
    assert here.seconds == sum(one.seconds for one in here.trainings)
    assert to_json(read_record(results / "trial-smoke.json")) == to_json(here)


def changed_hardware(document):
    return document | {
        "hardware": "another machine",
        "rows": [row | {"hardware": "another machine"} for row in document["rows"]],
    }


def test_what_was_not_run_stands_beside_empty_cells(tmp_path):
    (tmp_path / "results").mkdir()
    document = dict.fromkeys(KEYS, "") | {
        "experiment": "degradation",
        "holds": None,
        "alone": None,
        "seconds": 0,
    }
    document |= {
        "seeds": [],
        "parts": [],
        "rows": [],
        "failed": {},
        "plots": [],
        "trainings": [],
        "versions": {},
        "data": [],
    }
    document["scale"] = asdict(Scale())
    (tmp_path / "results/degradation.json").write_text(json.dumps(document))
    page = write_page("page.md", "results").read_text()
    _, _, unmeasured = page.partition("## Not run yet")
    assert "### degradation" not in page and unmeasured.count("\n### ") == len(NAMES) - 1
    assert "| resnet152/v1/ten-crop | top5-error | 5.71 |  |  |" in unmeasured
    assert "| fully-connected | test-error | 11.59 *(high)* |  |  |" in unmeasured
    assert "`resight reproduce forgetting --scale full --data ... --data ...`" in unmeasured


def test_results_are_not_lost_to_a_call_that_measures_nothing(monkeypatch, tmp_path):
    found = Experiment(
        paper="a paper", claim="it holds", rows=lambda lab: iter([Row("a", "error", None)]),
        holds=lambda found: found["a/error"] < 50,
    )  # fmt: skip
    monkeypatch.setattr(catalogue, "experiment", lambda name: found)
    with pytest.raises(ResightError, match="trial: nothing was measured: no training has finished"):
        reproduce("trial", "full")
    assert not (tmp_path / "results").exists()
    (tmp_path / "results").mkdir()
    (tmp_path / "results/trial.json").write_text("of before")
    with pytest.raises(ResightError, match=r"trial\.json: is not a result of resight reproduce"):
        reproduce("trial", "full")
    assert (tmp_path / "results/trial.json").read_text() == "of before"


def test_every_scale_and_every_set_has_results_of_its_own():
    def stem(scale, *data):
        return file_stem("dense", data, scale)

    assert stem(Scale()) == "dense" and stem(Scale(name="smoke", epochs=2)) == "dense-smoke"
    part = Scale(name="part", epochs=8, pictures=4000, settings=("lr=0.025",))
    assert stem(part, "photos/cats") == "dense-cats-8-epochs-4000-pictures-lr-0.025"


def test_seeds_that_were_not_measured_are_not_claimed(trial, tmp_path):
    lab = Laboratory(catalogue.experiment("trial"), Scale(), (0, 1), tmp_path, print)
    folder = lab.run_folder(lab.training("first"), 1)
    folder.mkdir()
    (folder / "report.html").touch()
    assert lab.measured("first") == [1] and lab.measured("no-training") == [0, 1]


def test_a_training_that_says_nothing_still_has_a_reason(trial, tmp_path):
    said = []
    lab = Laboratory(catalogue.experiment("trial"), Scale(), (0,), tmp_path, said.append)
    training = lab.training("first")
    log = tmp_path / f"{lab.run_folder(training, 0).name}.log"
    log.write_text("resight: of an attempt before\n")
    silent = subprocess.Popen([sys.executable, "-c", "import os; os._exit(3)"])
    silent.wait()
    assert lab._over(Job(training, 0, silent, 0.0, log.stat().st_size))
    assert lab.failed == {"first": "ended with code 3"}


def test_trainings_end_with_the_experiment(trial, tmp_path, monkeypatch):
    started = []

    def start(lab, training, seed, environment):
        started.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]))
        os.kill(os.getpid(), signal.SIGTERM)
        return Job(training, seed, started[-1], 0.0, 0)

    monkeypatch.setattr(Laboratory, "_start", start)
    with pytest.raises(KeyboardInterrupt):
        Laboratory(catalogue.experiment("trial"), Scale(), (0,), tmp_path, print).train()
    assert len(started) == 1 and started[0].returncode == -signal.SIGTERM


def test_a_claim_without_its_figures_is_not_judged(monkeypatch):
    known, unknown = Row("b", "error", Measure((3.0,))), Row("a", "error", None)
    found = Experiment(
        paper="a paper", claim="it holds", rows=lambda lab: iter([unknown, known]),
        holds=lambda found: found["a/error"] < 50,
    )  # fmt: skip
    monkeypatch.setattr(catalogue, "experiment", lambda name: found)
    answer = reproduce("trial", "full")
    assert answer.record.outcome.holds is None
    assert [row.measured for row in answer.record.rows] == [None, 3.0]


def test_a_cut_set_has_all_classes_alike(tmp_path):
    whole = open_dataset(make_folder(tmp_path / "colours", count=20))
    (tmp_path / "part").mkdir()
    write_part(whole, tmp_path / "part", Scale(name="smoke", pictures=9, tested=3))
    part = open_dataset(tmp_path / "part")
    assert part.classes == whole.classes
    assert [part.split(name).class_counts().tolist() for name in ("train", "test")] == [[3, 3, 3], [1, 1, 1]]
    assert part.split("train").class_names(0)[0] in whole.classes


@pytest.mark.parametrize("mirrors", [False, True])
def test_a_cut_set_is_mirrored_if_the_whole_is(tmp_path, mirrors):
    whole = replace(open_dataset(make_folder(tmp_path / "colours", count=9)), mirrors=mirrors)
    (tmp_path / "part").mkdir()
    write_part(whole, tmp_path / "part", Scale(name="smoke", pictures=9))
    assert open_dataset(tmp_path / "part").mirrors is mirrors


def test_a_file_of_ones_own_is_run(tmp_path):
    source = (Path(catalogue.__file__).parent / "experiments" / "pooling.py").read_text()
    (tmp_path / "copied.py").write_text(source.replace("strided/test-error", "average/test-error"))
    copied = catalogue.experiment(str(tmp_path / "copied.py"))
    assert copied.trainings == catalogue.experiment("pooling").trainings
    (tmp_path / "my_own.py").write_text(
        "from resight.reproduce.experiment import Experiment, Measure, Row\n"
        "def rows(lab):\n    yield Row('a', 'error', Measure((3.0,), (2.0, 4.0)))\n"
        "EXPERIMENT = Experiment(paper='mine', claim='it is small', rows=rows,\n"
        "                        holds=lambda found: found['a/error'] < 5)\n"
    )
    done = resight("reproduce", "my_own.py", "--scale", "full", check=0, cwd=tmp_path)
    assert "claim: it is small: holds here" in done.stdout
    written = json.loads((tmp_path / "results/my-own.json").read_text())
    assert written["command"] == "resight reproduce my_own.py --scale full"
    for text, fault in (
        ("", "holds no EXPERIMENT"),
        ("import none_such", "cannot be read .No module"),
        ("1 / 0", "cannot be read .division by zero"),
    ):
        (tmp_path / "wrong.py").write_text(text)
        with pytest.raises(UsageError, match=rf"wrong\.py: {fault}"):
            catalogue.experiment("wrong.py")
    with pytest.raises(UsageError, match=r"none\.py: there is no such file"):
        catalogue.experiment("none.py")


def test_damaged_results_are_named(tmp_path):
    (tmp_path / "results").mkdir()
    with pytest.raises(DataError, match="holds no results"):
        write_page("page.md", "results")
    (tmp_path / "results/x.json").write_text(json.dumps(dict.fromkeys(KEYS - {"command"})))
    with pytest.raises(
        DataError, match=r"x\.json: is not a result of resight reproduce \(it lacks command\)"
    ):
        write_page("page.md", "results")
    (tmp_path / "results/x.json").write_text("[]")
    with pytest.raises(DataError, match=r"x\.json: is not a result of resight reproduce"):
        write_page("page.md", "results")


def test_the_command_lists_and_refuses():
    listed = json.loads(resight("reproduce", "--json", check=0).stdout)
    assert {"name", "paper", "claim", "trainings", "needs"} == set(listed[0])
    assert "smoke or full" in one_line(resight("reproduce", "pooling", "--scale", "tiny"), 2)


DATA = {  # the file, the folder in it
    "bovw-vs-cnn": ("grocery", "grocery"),
    "compound-scaling": ("grocery", "grocery"),
    "forgetting": ("grocery", "grocery"),
    "gan-augmentation": ("grocery", "grocery"),
    "gap-gmp-cam": ("tiny_imagenet_boxes", "tiny-imagenet-200"),
    "imbalance": ("tiny_imagenet_boxes", "tiny-imagenet-200"),
    "labels-to-detector": ("wildlife_voc", "wildlife"),
    "localize-alpha": ("tiny_imagenet_boxes", "tiny-imagenet-200"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name != "imagenet-check"])
def test_every_experiment_runs_at_smoke_scale(name, real_data, unzipped, tmp_path):
    """All its trainings come to an end and all its figures are there; what they are means nothing yet."""
    file, folder = DATA.get(name, ("", ""))
    given = ["--data", unzipped(file).parent / folder] if file else []
    given += ["--data", "digits"] if name == "forgetting" else []
    done = resight(
        "reproduce", name, "--data-root", real_data, *given, "--jobs", 2, "--json", check=0, timeout=3000
    )
    rows = json.loads(done.stdout)
    (written,) = (tmp_path / "results").glob(f"{name}*-smoke.json")
    document = json.loads(written.read_text())
    assert not document["failed"] and document["protocol"].startswith("smoke: ")
    assert rows and all(row["hardware"] for row in rows)
    never = [row["id"] for row in rows if row["measured"] is None]
    assert all("epochs-to-25" in row or "best-rate" in row for row in never)  # not so far in two epochs
    assert all(math.isfinite(row["measured"]) for row in rows if row["measured"] is not None)
    page = tmp_path / "page.md"
    resight("reproduce", "--page", page, check=0)
    assert name in page.read_text()


def test_the_longest_trainings_of_an_experiment_are_shown_first(tmp_path):
    committed = Path(__file__).parents[2] / "results"
    page = write_page(str(tmp_path / "results.md"), str(committed)).read_text()
    titles = [line for line in page.splitlines() if line.startswith("## degradation, ")]
    epochs = [int(title.split()[2]) for title in titles]
    assert epochs == sorted(epochs, reverse=True) and len(epochs) >= 3
