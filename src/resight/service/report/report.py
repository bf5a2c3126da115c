"""The report of a run: a page with ordered sections, each made from the finished test."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from resight.core.errors import ModelFileError
from resight.core.files import write_text
from resight.data.dataset import Dataset
from resight.export.network import OnnxNetwork
from resight.render.page import Part, render_page
from resight.service.report.classes import class_by_class, confusions
from resight.service.report.groups import groups
from resight.service.report.headline import headline
from resight.service.report.learned import learned
from resight.service.report.pictures import errors, right_answers
from resight.service.report.risk import unsure
from resight.service.report.solved import parts_of
from resight.service.report.tested import Tested
from resight.service.report.training import curves, left_out, made
from resight.service.report.trust import calibration
from resight.service.run.data import data_of
from resight.service.run.run import REPORT_FILE, Run, open_any, read_recipe_file
from resight.service.test.folds import has_folds, judge_folds
from resight.service.test.solved import solved, tested_split
from resight.service.test.test import seen_before, test_split
from resight.tasks.classify.result import TestResult
from resight.tasks.result import Result
from resight.tasks.task import SolverTask
from resight.training.journal import read_csv

SECTIONS: tuple[Callable[[Tested], list[Part]], ...] = (
    headline,
    errors,
    class_by_class,
    confusions,
    right_answers,
    curves,
    calibration,
    unsure,
    groups,
    learned,
    left_out,
    made,
)
"""Of a report, in their order: what a person asks first comes first. A section may have no parts."""

WITH_MAPS = (errors, right_answers, groups)
"""The sections that draw maps."""


def report(run: str, data: str | None = None, data_root: str | None = None) -> Path:
    """Test a run again on its data and write its report.

    Returns:
        The page's path.

    Raises:
        ResightError: in one line.
    """
    opened = open_any(run)
    trained = opened.folder is not None
    if not trained and isinstance(opened.task, SolverTask):
        raise ModelFileError(f"{run}: a report of this task needs the run folder, which holds the curves")
    given = data_of(opened, data, data_root)
    result: TestResult | Result
    if isinstance(opened.task, SolverTask):
        found = solved(opened, given)
        result, figures = found.result, found.figures()
        _, seen = seen_before([opened], given, "test", result)
    elif given.own and trained and has_folds(opened) and "test" not in given.dataset.splits:
        pooled = judge_folds(opened, data, data_root)
        splits = {**given.dataset.splits, "test": pooled.split}
        given = replace(given, dataset=replace(given.dataset, splits=splits))
        result, figures = pooled.result, pooled.figures
        seen = [pooled.note, *pooled.notes]
    else:
        result = test_split([opened], given.dataset)
        figures = result.figures()
        _, seen = seen_before([opened], given, "test", result)
    figures["skipped"] = [*opened.facts.get("left_out", []), *figures["skipped"]]
    noted = replace(given.dataset, notes=(*given.dataset.notes, *seen))
    if not trained:
        opened = replace(opened, folder=_folder_beside(opened.name))
    return write_report(opened, noted, result, figures, own=given.own and trained, trained=trained)


def _folder_beside(name: str) -> Path:
    """Return the folder for the report of a network that has no run folder, in the current folder."""
    word = "".join(c if c.isalnum() or c in "-_." else "-" for c in Path(name).name)
    folder = Path(f"{word.lstrip('.')}-report")
    folder.mkdir(exist_ok=True)
    return folder


def _audit_of(run: Run) -> Sequence[Callable[[Tested], list[Part]]]:
    """Return the sections that need no training; those with maps only where the network has a map."""
    needed = (curves, learned, left_out, made)
    mapped = () if isinstance(run.model, OnnxNetwork) and run.model.trunk is None else WITH_MAPS
    left = {*needed, *(set(WITH_MAPS) - set(mapped))}
    return [section for section in SECTIONS if section not in left]


def write_report(
    run: Run,
    dataset: Dataset,
    result: TestResult | Result,
    figures: dict[str, Any],
    *,
    own: bool,
    trained: bool = True,
) -> Path:
    """Write the report of a run from a finished test; see `report`.

    Args:
        run: the tested run.
        dataset: the tested data set.
        result: of the test.
        figures: of the result.
        own: whether the data set is what the run was trained on.
        trained: whether its folder is a run folder; else the page has no curves.
    """
    assert run.folder is not None  # both callers have one
    path = run.folder / "metrics.csv"
    tested = Tested(
        run, dataset, tested_split(run, dataset, "test"), result, figures,  # type: ignore[arg-type]
        read_recipe_file(run.folder, whole=True) if trained else {},
        read_csv(path) if path.exists() else [], own,
    )  # fmt: skip
    if isinstance(result, TestResult):
        sections = SECTIONS if trained else _audit_of(run)
        parts = [part for section in sections for part in section(tested)]
    else:
        parts = parts_of(tested, result)
    place = run.folder / REPORT_FILE
    name = Path(dataset.name).name if Path(dataset.name).is_absolute() else dataset.name
    write_text(place, render_page(f"Resight report: {name}, {run.network.name}", parts))
    return place
