"""`train --folds`: every picture judged once by a network that did not see it, and exact resuming."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import resight
from resight.cli.test import tested as printed
from resight.core.distributed import World
from resight.core.errors import DataError, ModelFileError, UsageError
from resight.metrics.accuracy import wilson_interval
from resight.models.modelfile import load_header, load_tensors, save_tensors
from resight.service.report import report as reporting
from resight.service.run.members import members_of
from resight.service.test.accepted import accepted
from resight.service.train import plan
from resight.service.train.job import Job
from support import make_folder

COUNT = 3
WORDS = ("image_size=16", "batch_size=8", "precision=fp32")


class Killed(BaseException):
    """As if the process ended here."""


def train(data, out, **options):
    """A training of two epochs, without the report's page."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reporting, "write_report", lambda run, *_, **__: run.folder / "report.html")
        options = {"folds": COUNT, "model": "resnet20", "epochs": 2, "changes": WORDS, **options}
        return resight.train(str(data), out=str(out), **options)


def fold_of(file, count=COUNT):
    """The fold of a file, by the first half of its digest."""
    digest = hashlib.blake2b(Path(file).read_bytes(), digest_size=16).digest()
    return 1 + int(count * int.from_bytes(digest[:8], "big") / 2**64)


def shorts(files):
    """The first 48 bits of the digests of files, as a model file keeps them."""
    digests = (hashlib.blake2b(Path(f).read_bytes(), digest_size=16).hexdigest() for f in files)
    return {int(d[:12], 16) for d in digests}


@pytest.fixture(scope="module")
def folded(tmp_path_factory):
    """A finished run with three folds, its data set and its answer."""
    place = tmp_path_factory.mktemp("folds")
    data = make_folder(place / "colours", count=14)
    return data, place / "run", train(data, place / "run")


@pytest.fixture
def copy(folded, tmp_path):
    data, run, answer = folded
    shutil.copytree(run, tmp_path / "run")
    return data, tmp_path / "run", answer


def test_the_figure_is_that_of_networks_that_did_not_see_the_picture(folded):
    data, run, answer = folded
    wrong, errors, files = 0, [], sorted(data.rglob("*.png"))
    for k in range(1, COUNT + 1):
        own = [f for f in files if fold_of(f) == k]
        rows = list(resight.predict(str(run / f"fold-{k}"), [str(f) for f in own], exact=True))
        faults = [row["label"] != Path(row["path"]).parent.name for row in rows]
        wrong += sum(faults)
        errors.append(100 * sum(faults) / len(own))
        known = members_of(load_header(run / f"fold-{k}" / "model.safetensors"), "fold")
        assert set(known.splits["test"].tolist()) == shorts(own)
        assert set(known.known().tolist()) == shorts(files) - shorts(own)
    assert (answer["n"], answer["wrong"]) == (len(files), wrong)
    assert tuple(answer["top1_interval"]) == wilson_interval(wrong, len(files))
    assert answer["folds"]["errors"] == pytest.approx(errors)
    mean = sum(errors) / COUNT
    deviation = (sum((e - mean) ** 2 for e in errors) / (COUNT - 1)) ** 0.5
    assert answer["folds"]["deviation"] == pytest.approx(deviation)


def test_the_delivered_network_saw_all_and_says_so(folded):
    data, run, answer = folded
    facts = load_header(run / "model.safetensors")
    members = members_of(facts, "run")
    assert set(members.splits) == {"train", "val"}
    assert set(members.known().tolist()) == shorts(data.rglob("*.png"))
    words = (
        "3-fold: each picture tested by a network that did not see it; the delivered network saw all of them"
    )
    assert facts["test"]["protocol"] == answer["protocol"] == words
    assert facts["test"]["top1_error"] == answer["top1_error"]
    record = json.loads((run / "recipe.json").read_text())
    assert record["folds"] == answer["folds"] == facts["folds"]
    assert "--folds 3" in record["command"] and len(record["recipe"]) == 25
    assert "3-fold test error" in answer["summary"]
    recipes = [json.loads((run / f"fold-{k}" / "recipe.json").read_text()) for k in (1, 2, 3)]
    assert all(r["recipe"] == record["recipe"] for r in recipes)
    assert [r["folds"] for r in recipes] == [{"count": 3, "fold": k} for k in (1, 2, 3)]


@pytest.mark.parametrize("fold", [3, 0])
def test_killed_in_a_fold_and_resumed_the_weights_and_figures_are_the_same(
    folded, tmp_path, monkeypatch, fold
):
    """Fold 0 is the network on all pictures."""
    data, whole, answer = folded
    run = tmp_path / "run"
    place, real = run / f"fold-{fold}" if fold else run, Job.end_epoch

    def die(job, *words):
        if job.run == place and job.progress.epoch == 1:
            raise Killed
        return real(job, *words)

    with monkeypatch.context() as patch:
        patch.setattr(Job, "end_epoch", die)
        with pytest.raises(Killed):
            train(data, run)
    began = []
    monkeypatch.setattr(
        Job, "fit", lambda job, stop, fit=Job.fit: (began.append(job.run.name), fit(job, stop))
    )
    again = train(data, run, folds=None, resume=True)  # the run knows its folds
    assert began == (["fold-3", "run"] if fold else ["run"])
    for part in ("", "fold-1", "fold-2", "fold-3"):
        left, right = (load_file(r / part / "model.safetensors") for r in (whole, run))
        assert left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)
    for key in ("wrong", "top1_error", "top1_interval", "folds", "ece", "risk_coverage", "confusion"):
        assert again[key] == answer[key]


def test_a_test_of_the_run_is_that_of_its_folds(folded, tmp_path):
    data, run, answer = folded
    found = resight.test([str(run)])
    for key in ("n", "wrong", "top1_error", "folds", "protocol", "per_class"):
        assert found[key] == answer[key]
    assert found["trained_on"] == 0
    one = resight.test([str(run / "fold-2")])
    assert one["top1_error"] == pytest.approx(answer["folds"]["errors"][1]) and one["trained_on"] == 0
    elsewhere = shutil.copytree(data, tmp_path / "elsewhere")
    assert resight.test([str(run)], str(elsewhere))["wrong"] == answer["wrong"]
    assert resight.test([str(run / "fold-2")], str(elsewhere))["n"] == one["n"]
    val = resight.test([str(run)], split="val")
    assert val["trained_on"] == val["n"]


def test_the_command_prints_the_protocol_and_the_folds(folded, capsys):
    _, _, answer = folded
    printed({"views": "single", "scales": [], **answer}, as_json=False)
    shown = " ".join(capsys.readouterr().out.split())
    errors = answer["folds"]["errors"]
    assert f"protocol {answer['protocol']}" in shown
    assert f"single folds {min(errors):.2f} to {max(errors):.2f} %" in shown


def test_learned_pictures_are_never_the_test_without_a_word(copy, tmp_path):
    data, run, _ = copy
    some = make_folder(tmp_path / "other", classes=("blue", "green", "red"), count=3, start=777)
    for file in sorted((data / "red").iterdir())[:5]:
        shutil.copy(file, some / "red" / f"known{file.name}")
    found = resight.test([str(run)], str(some))
    assert (found["n"], found["trained_on"], found["others"]["n"]) == (14, 5, 9)
    with pytest.raises(ModelFileError, match=r"was trained on all its pictures.*give the whole run folder"):
        resight.test([str(run / "model.safetensors")])
    shutil.rmtree(run / "fold-2")
    with pytest.raises(ModelFileError, match="fold-2 is missing"):
        resight.test([str(run)])
    with pytest.raises(UsageError, match="test it alone"):
        resight.test([str(run), str(run / "fold-1")])


def test_pictures_that_came_since_are_in_no_fold_of_the_figure(folded, tmp_path):
    data, run, answer = folded
    larger = shutil.copytree(data, tmp_path / "larger")
    shutil.copytree(run, tmp_path / "run")
    make_folder(tmp_path / "more", count=4, start=999)
    for part in ("", "fold-1", "fold-2", "fold-3"):  # as if the run's own place had grown
        path = tmp_path / "run" / part / "model.safetensors"
        tensors, facts = load_tensors(path)
        save_tensors(path, tensors, {**facts, "data": str(larger)})
    for file in (tmp_path / "more").rglob("*.png"):
        shutil.copy(file, larger / file.parent.name / f"new{file.name}")
    found = resight.test([str(tmp_path / "run")])
    assert (found["n"], found["wrong"]) == (answer["n"], answer["wrong"])
    assert found["folds"] == answer["folds"]


def test_the_report_states_the_protocol(copy):
    _, run, answer = copy
    page = reporting.report(str(run)).read_text()
    assert answer["protocol"] in page and "never trained on" not in page
    assert f"{answer['top1_error']:.2f} %" in page


def test_a_test_split_of_its_own_stays_the_test(tmp_path):
    data = make_folder(tmp_path / "own", splits=("train", "test"), count=8)
    answer = train(data, tmp_path / "run", folds=2, epochs=1)
    assert (answer["n"], answer["folds"]["n"], answer["folds"]["count"]) == (24, 24, 2)
    assert "protocol" not in answer
    facts = load_header(tmp_path / "run" / "model.safetensors")
    assert set(members_of(facts, "run").splits) == {"train", "val", "test"}
    found = resight.test([str(tmp_path / "run")])
    assert (found["top1_error"], found["trained_on"]) == (answer["top1_error"], 0)
    fold = resight.test([str(tmp_path / "run" / "fold-1")])
    assert fold["n"] == answer["folds"]["pictures"][0] and fold["trained_on"] == 0
    files = {f for f in (data / "train").rglob("*.png") if fold_of(f, 2) == 1}
    known = members_of(load_header(tmp_path / "run" / "fold-1" / "model.safetensors"), "fold")
    assert set(known.splits["test"].tolist()) == shorts(files)


def test_without_validation_the_folds_give_the_temperature_and_the_accepted_error(copy):
    data, run, _ = copy
    shutil.rmtree(run)
    train(data, run, changes=(*WORDS, "val_share=0"))
    likely, labels = [], []
    for k in range(1, COUNT + 1):
        own = [str(f) for f in sorted(data.rglob("*.png")) if fold_of(f) == k]
        rows = list(resight.predict(str(run / f"fold-{k}"), own, top=3, exact=True))
        names = sorted({f.name for f in data.iterdir()})
        likely += [[dict(r["top"])[name] for name in names] for r in rows]
        labels += [names.index(Path(r["path"]).parent.name) for r in rows]
    logits, labels = np.log(np.maximum(likely, np.finfo(float).tiny)), np.array(labels)
    doubt = 1 / (len(labels) + 2)
    wanted = (1 - doubt) * np.eye(3)[labels] + doubt / 3

    def tempered(t):
        return logits / t - np.logaddexp.reduce(logits / t, axis=1, keepdims=True)

    grid = np.exp(np.linspace(-3, 3, 6001))
    best = grid[np.argmin([-(wanted * tempered(t)).sum() for t in grid])]
    facts = load_header(run / "model.safetensors")
    assert facts["temperature"] == pytest.approx(best, rel=0.01)
    sure = np.exp(tempered(facts["temperature"]).max(1))
    threshold = float(np.median(sure))
    of, part = accepted(str(run), threshold)
    assert of == "3-fold" and part.of == len(labels)
    assert part.coverage == pytest.approx((sure >= threshold).mean(), abs=1.5 / len(labels))
    one = load_header(run / "fold-1" / "model.safetensors")
    assert one["temperature"] == 1.0, "its fold is its test"


def test_a_classic_pipeline_has_folds_too(tmp_path):
    data = make_folder(tmp_path / "colours", count=8)
    answer = train(data, tmp_path / "run", model="hog-svm", epochs=None, folds=2, changes=("image_size=16",))
    assert (answer["n"], answer["folds"]["count"]) == (24, 2) and answer["protocol"].startswith("2-fold")
    for part, own in (("", answer["folds"]), ("fold-2", {"count": 2, "fold": 2})):
        assert json.loads((tmp_path / "run" / part / "recipe.json").read_text())["folds"] == own
    assert resight.test([str(tmp_path / "run")])["wrong"] == answer["wrong"]


def test_what_cannot_be_folded_is_one_line(copy, monkeypatch):
    data, run, _ = copy
    for count in (1, 0, -3):
        with pytest.raises(UsageError, match=f"--folds {count}: must be 2 or more"):
            train(data, "new", folds=count)
    with pytest.raises(DataError, match="class 'blue' has 14 different pictures, too few for 15 folds"):
        train(data, "new", folds=15)
    assert not Path("new").exists()
    with pytest.raises(UsageError, match="began with --folds 3"):
        train(data, run, folds=4, resume=True)
    with pytest.raises(UsageError, match="has folds, whose figure is for 2 epochs, so it cannot be extended"):
        train(data, run, folds=None, resume=True, epochs=9)
    with pytest.raises(UsageError, match=r"is fold 2 of the run in .*run; resume that run"):
        train(data, run / "fold-2", folds=None, resume=True)
    monkeypatch.setattr(plan, "world", lambda: World(0, 2))
    with pytest.raises(UsageError, match="start it without torchrun"):
        train(data, "new")


def test_a_run_without_folds_is_not_resumed_with_some(tiny_run, tmp_path):
    shutil.copytree(tiny_run, tmp_path / "run")
    with pytest.raises(UsageError, match="began without --folds"):
        train(tiny_run.parent / "colours", tmp_path / "run", resume=True)
