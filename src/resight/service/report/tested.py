"""The input of the sections of a report."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resight.data.dataset import Dataset, Split
from resight.service.run.run import Run
from resight.tasks.classify.result import TestResult


@dataclass(frozen=True)
class Tested:
    """A finished test of a run.

    Attributes:
        run: what was tested, with its folder.
        dataset: the tested data set.
        split: the tested split, its labels referring to the network's classes.
        result: of the test.
        figures: of the result.
        record: the run's recipe.json.
        rows: of metrics.csv; may be empty.
        own: whether the data set is what the run was trained on.
    """

    __test__ = False  # pytest: not a test class

    run: Run
    dataset: Dataset
    split: Split
    result: TestResult
    figures: dict[str, Any]
    record: dict[str, Any]
    rows: Sequence[dict[str, float]]
    own: bool

    @property
    def folder(self) -> Path:
        """The run's folder."""
        assert self.run.folder is not None  # both callers of write_report have one
        return self.run.folder

    @property
    def leaks(self) -> int | None:
        """Test pictures that were also used for training; None if unknown, as for folds or other data."""
        return self.record["leaks"] if self.own and "protocol" not in self.figures else None
