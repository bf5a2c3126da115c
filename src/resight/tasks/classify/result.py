"""What a test of a classifier gave; each kind of labels has a result of its own."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from resight.core.errors import Fault, PictureError
from resight.core.figures import to_json
from resight.evaluate.gathering import gather
from resight.metrics.accuracy import wilson_interval
from resight.metrics.risk_coverage import RiskCoverage, risk_coverage


@dataclass(frozen=True)
class Figures:
    """The figures of every classifier; errors and intervals in percent.

    Attributes:
        n: pictures.
        wrong: of them.
        top1_error: share of wrong ones.
        top1_interval: its 95 % Wilson interval.
        classes: names.
        skipped: pictures that could not be read and do not count.
    """

    n: int
    wrong: int
    top1_error: float
    top1_interval: tuple[float, float]
    classes: Sequence[str]
    skipped: list[Fault]


@dataclass(frozen=True)
class TestResult:
    """What a test gave.

    Attributes:
        probabilities: (N, classes) float64, after temperature.
        labels: of these pictures, as the split has them.
        indices: which samples of the split they are, (N,).
        classes: names.
        faults: pictures that could not be read and do not count.
    """

    __test__ = False  # pytest: not a test class

    probabilities: Tensor
    labels: Tensor
    indices: Tensor
    classes: tuple[str, ...]
    faults: tuple[PictureError, ...]

    @classmethod
    def gathered(
        cls,
        answers: Iterable[tuple[int, Tensor | PictureError]],
        labels: Tensor,
        classes: tuple[str, ...],
        *,
        strict: bool,
    ) -> Self:
        """Gather the answers of `probabilities_of`, of all processes, into a result on every process.

        Args:
            answers: (index, probabilities or fault) pairs.
            labels: of the whole split.
            classes: names.
            strict: stop at the first fault.

        Raises:
            PictureError: the first fault, if strict; or if nothing could be read.
        """
        read, faults = gather(answers, strict=strict)
        chosen = torch.tensor([index for index, _ in read])
        return cls(torch.stack([answer for _, answer in read]), labels[chosen], chosen, classes, faults)

    def part(self, rows: Tensor) -> Self:
        """Return the result of some of its pictures, by their rows."""
        return type(self)(
            self.probabilities[rows], self.labels[rows], self.indices[rows], self.classes, self.faults
        )

    def wrong(self) -> Tensor:
        """Return which pictures are not named right, (N,)."""
        raise NotImplementedError

    def truth(self) -> Tensor:
        """Return the class of each picture that an answer is held against, (N,); -1 without one."""
        raise NotImplementedError

    def confidence(self) -> Tensor | None:
        """Return how sure each answer is, (N,); None where a picture has more than one answer."""
        raise NotImplementedError

    def risk_coverage(self) -> RiskCoverage | None:
        """Return the curve over the confidences; see `resight.metrics.risk_coverage`. None without any."""
        confidence = self.confidence()
        return None if confidence is None else risk_coverage(confidence, self.wrong())

    @staticmethod
    def measure(figures: dict[str, Any]) -> str:
        """Return what the error among its figures is called, and what is said before it."""
        raise NotImplementedError

    def figures(self) -> dict[str, Any]:
        """Return the figures as plain JSON types: `Figures`, then those of its kind."""
        count, wrong = len(self.labels), self.wrong()
        shared = Figures(
            n=count,
            wrong=int(wrong.sum()),
            top1_error=100 * float(wrong.double().mean()),
            top1_interval=wilson_interval(int(wrong.sum()), count),
            classes=self.classes,
            skipped=[fault.row for fault in self.faults],
        )
        return to_json(shared) | to_json(self._more())

    def _more(self) -> Any:
        """Return the figures that only this kind of labels has, a dataclass."""
        raise NotImplementedError
