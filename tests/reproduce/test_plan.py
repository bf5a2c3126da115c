"""The plan for a GPU: its parts fit, it skips what is done, stops what is late and resumes it."""

import json

import pytest
import torch

from resight.bench.bench import CONTESTS
from resight.core.errors import ResightError, UsageError
from resight.reproduce import plan
from resight.reproduce.catalogue import experiment
from resight.reproduce.plan import PART_MINUTES, PARTS, Step, run

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, lambda *_: None); time.sleep(60)"


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(plan, "pick_device", lambda: torch.device("cuda"))
    monkeypatch.setattr(plan, "describe", lambda device: f"a {device.type} device")


def python(name, code, minutes=1.0, **options):
    return Step(name, ("-m", "timeit", "-n1", "-r1", code), minutes, "a test", **options)


def test_every_part_fits_and_its_commands_exist():
    names = [step.name for part in PARTS for step in part]
    assert len(set(names)) == len(names)
    assert all(sum(step.minutes for step in part) <= PART_MINUTES for part in PARTS)
    assert sum(step.minutes for part in PARTS[:3] for step in part) <= 27
    conditions = {t.condition for t in experiment("cifar10-table").trainings}
    for step in (step for part in PARTS for step in part):
        if step.words[0] == "bench":
            assert step.words[1] in CONTESTS
        if step.words[0] == "reproduce":
            assert set(step.words[step.words.index("--only") + 1].split(",")) <= conditions


def test_what_is_done_is_not_run_again_and_leaves_its_json(gpu, tmp_path):
    mark = tmp_path / "ran"
    code = f"open({str(mark)!r}, 'a').write('x'); print(3)"
    steps = ((python("one", code), python("two", "1 / 0")),)
    for _ in range(2):
        first, second = run(None, None, str(tmp_path), lambda line: None, steps)
    assert mark.read_text() == "x"
    assert (first.status, first.code, second.status, second.code) == ("done", 0, "failed", 1)
    assert "ZeroDivisionError" in second.tail
    document = json.loads((tmp_path / "gpu/one.json").read_text())
    assert document["hardware"] == "a cuda device" and document["versions"]["torch"] == torch.__version__


def test_the_json_that_a_step_prints_is_kept(gpu, tmp_path):
    step = Step("models", ("models", "lenet*", "--json"), 1.0, "a test")
    (outcome,) = run(1, None, str(tmp_path), lambda line: None, ((step,),))
    assert outcome.status == "done" and outcome.output[0]["name"].startswith("lenet")


@pytest.mark.parametrize(("resumes", "status"), [(True, "stopped"), (False, "failed")])
def test_a_late_step_is_asked_to_stop_and_runs_again_the_next_time(resumes, status, gpu, tmp_path):
    again = ("pass",)
    steps = ((python("late", "import time; time.sleep(60)", 0.02, resumes=resumes, again=again),),)
    for turn in range(2):
        (outcome,) = run(1, None, str(tmp_path), lambda line: None, steps)
        assert outcome.status == status and outcome.code and outcome.seconds < 50
        assert (outcome.command.endswith(" pass")) == (resumes and turn == 1)


def test_a_step_that_does_not_stop_is_killed(gpu, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "GRACE", 0.5)
    (outcome,) = run(1, None, str(tmp_path), lambda line: None, ((python("s", STUBBORN, 0.1),),))
    assert (outcome.status, outcome.code) == ("failed", None)


def test_without_a_gpu_and_for_unknown_parts_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "pick_device", lambda: torch.device("cpu"))
    with pytest.raises(ResightError, match="needs a CUDA device"):
        run(1, None, str(tmp_path), print)
    with pytest.raises(UsageError, match=f"parts 1 to {len(PARTS)}"):
        run(9, None, str(tmp_path), print)
    assert not (tmp_path / "gpu").exists()
    lines = plan.listed("data")
    assert sum(line.startswith("part ") for line in lines) == len(PARTS) and "under data" in lines[-1]
