"""The end of a training: calibrated, written with its figures, and reported."""

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from resight.core.distributed import world
from resight.core.errors import PictureError
from resight.core.figures import to_json
from resight.data.dataset import Dataset
from resight.models.modelfile import save_model
from resight.models.probabilities import to_probabilities
from resight.models.solver import Solver
from resight.service.run.answers import KEY as ANSWERS
from resight.service.run.answers import TEST, VALIDATION, kept_answers
from resight.service.run.data import RunData
from resight.service.run.run import MODEL_FILE, REPORT_FILE, Run, open_any
from resight.service.test.solved import solved
from resight.service.test.test import Seen, seen_before, test_split
from resight.service.train.classic import ClassicJob
from resight.service.train.job import Job
from resight.tasks.classify.result import TestResult
from resight.tasks.classify.task import of_network
from resight.tasks.result import Result
from resight.tasks.task import SolverTask

KNOWN = ("n", "top1_error", "top1_interval", "top5_error", "ece", "map", "map_interval", "protocol")
"""Of the test figures, what the model file keeps."""
LEAST_FITTED = 20
"""With fewer held-out pictures no temperature is fitted."""


@dataclass(frozen=True)
class Tested:
    """What the test of a run gave.

    Attributes:
        dataset: whose test split was tested.
        result: the answers.
        figures: of the result.
        seen: see `seen_before`.
        notes: what to say of them.
    """

    dataset: Dataset
    result: TestResult | Result
    figures: dict[str, Any]
    seen: Seen
    notes: list[str]


def finish(job: Job | ClassicJob, started: float, *, strict: bool) -> dict[str, Any]:
    """Calibrate and test the best weights, write them with their figures, and the report."""
    run = calibrated(job)
    return delivered(job, run, tested(job, run, strict=strict), started)


def calibrated(job: Job | ClassicJob) -> Run:
    """Return the run of a finished training: its best weights, with a temperature where there is validation.

    Its facts are all that the model file says before the test.
    """
    world().wait()  # until the main process has written the best weights
    run = open_any(str(job.run))
    facts = {**job.facts(), "best_epoch": run.facts["best_epoch"]}
    facts["temperature"] = 1.0
    if isinstance(job, Job) and job.validation and isinstance(run.task, SolverTask):
        outputs, marks = job.answered(run.network, torch.float32)
        facts["temperature"] = run.task.temperature(outputs, marks)
        assert isinstance(run.network, Solver)  # the task has a head of its own
        run.task.settle(run.network, outputs, marks)
    elif job.validation:
        logits, labels = job.validation_logits(run.model, torch.float32)
        if len(labels) >= LEAST_FITTED:
            facts["temperature"] = of_network(run.model).temperature(logits, labels)
        facts |= _answers(run, logits / facts["temperature"], labels)
    facts["seconds"] = sum(row["seconds"] for row in job.progress.history)
    facts["left_out"] = job.progress.faults
    run.facts.clear()
    run.facts.update(facts)
    return run


def _answers(run: Run, logits: Tensor, labels: Tensor) -> dict[str, Any]:
    """Return the answers on validation as the header keeps them; none that are not probabilities."""
    likely = to_probabilities(logits.double(), run.model.probabilities)
    result = of_network(run.model).result
    kept = kept_answers(VALIDATION, result(likely, labels, torch.arange(len(labels)), run.model.classes, ()))
    sound = bool(((likely.amax(1) > 0) & (likely.amax(1) <= 1)).all())
    return kept if sound else dict.fromkeys(kept)


def tested(job: Job | ClassicJob, run: Run, *, strict: bool) -> Tested:
    """Test a run on its own test split.

    Where there was no validation, the file keeps the answers to the test pictures in place of those.
    """
    given = RunData(job.dataset, own=True)
    if isinstance(run.task, SolverTask):
        found = solved(run, given, strict=strict)
        seen, notes = seen_before([run], given, "test", found.result)
        return Tested(job.dataset, found.result, found.figures(), seen, notes)
    result = test_split([run], job.dataset, strict=strict)
    figures = result.figures()
    seen, notes = seen_before([run], given, "test", result)
    if not run.facts.get(ANSWERS) and seen.trained_on == 0:
        run.facts.update(kept_answers(TEST, result))
    return Tested(job.dataset, result, figures, seen, notes)


def delivered(job: Job | ClassicJob, run: Run, test: Tested, started: float) -> dict[str, Any]:
    """Write the best weights with their figures, and the report; return the answer of `resight train`."""
    from resight.service.report.report import write_report

    figures = {**test.figures, "skipped": [*job.progress.faults, *test.figures["skipped"]]}
    known = KNOWN if isinstance(test.result, TestResult) else headline_keys(test.result)
    run.facts["test"] = {k: figures[k] for k in known if k in figures}
    report = job.run / REPORT_FILE
    if world().is_main:
        save_model(job.run / MODEL_FILE, run.network, run.network.state_dict(), run.facts)
        report = write_report(run, test.dataset, test.result, figures, own=True)
    job.life.leave_out(PictureError(f["path"], f["fault"], f["cure"]) for f in test.figures["skipped"])
    seconds = time.perf_counter() - started
    if isinstance(test.result, TestResult):
        low, high = figures["top1_interval"]
        folds = f"{figures['folds']['count']}-fold " if "protocol" in figures else ""
        summary = (
            f"{folds}{test.result.measure(figures)} {figures['top1_error']:.2f} % "
            f"(95 % interval {low:.2f} to {high:.2f}, n = {figures['n']:,})"
        )
    else:
        head = test.result.headline()
        summary = f"test: {head.line()}, n = {figures['n']:,}. {head.words}"
    job.life.say(f"report {report}; {seconds:.0f} s in all")
    return {
        "run": str(job.run),
        "data": job.dataset.name,
        "split": "test",
        "notes": [*test.dataset.notes, *test.notes],
        **figures,
        **to_json(test.seen),
        "report": str(report),
        "seconds": seconds,
        "summary": summary,
    }


def headline_keys(result: Result) -> tuple[str, ...]:
    """Return which test figures of a task the model file keeps."""
    key = result.headline().key
    return "n", key, f"{key.removesuffix('_error')}_interval"
