"""What a task is: all that a training must know of what is learned."""

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn

from resight.data.dataset import Dataset, Split
from resight.models.classifier import Classifier
from resight.models.solver import Solver
from resight.tasks.teachers import OldSelf, Teacher


@dataclass(frozen=True)
class Best:
    """By which figure the kept weights are chosen.

    Attributes:
        figure: a column of validation.
        lower: whether lower is better.
    """

    figure: str
    lower: bool = True

    def improves(self, row: dict[str, float], before: float | None, within: float = 0.0) -> bool:
        """Return whether an epoch is kept: of equal ones, and without validation, the later.

        Args:
            row: of the epoch.
            before: the best figure so far; None for none.
            within: by so much it may be worse, see `resight.training.best_epoch`.
        """
        value = row.get(self.figure)
        if value is None or before is None:
            return True
        return value <= before + within if self.lower else value >= before - within

    def better(self, row: dict[str, float], before: float | None) -> float | None:
        """Return the better of an epoch's figure and the best so far; None without either."""
        figures = [value for value in (row.get(self.figure), before) if value is not None]
        return (min if self.lower else max)(figures, default=None)


@dataclass(frozen=True)
class Aids:
    """What a training prepares for the loss; a task refuses what it has no use for.

    Attributes:
        smoothing: share of a target that is spread over all classes.
        weights: what a picture of each class counts, (classes,); None for all the same.
        teacher: another network to learn from.
        old: the network as it was, whose answers shall not be forgotten.
        image_size: side of the images, in pixels.
        compiled: whether to compile the forward pass.
    """

    smoothing: float = 0.0
    weights: Tensor | None = None
    teacher: Teacher | None = None
    old: OldSelf | None = None
    image_size: int = 0
    compiled: bool = False


class Loss(nn.Module):
    """What training makes small: (images, marks, share done) to a loss and to what is counted.

    Called, it returns the loss, a mean over the pictures of a part of a step, and the sums of the task's
    counts over them, (counts,). A module, so that several processes can share its backward pass.

    Attributes:
        model: the network.
    """

    def __init__(self, model: Classifier | Solver) -> None:
        super().__init__()
        self.model: Any = model  # each task's loss knows its kind of network

    @property
    def uneven(self) -> bool:
        """Whether there are steps in which some weights have no gradient."""
        return False


class Task(Protocol):
    """What a network learns and answers; a frozen dataclass whose fields are the task's settings.

    Attributes:
        name: after --task.
        kind: of `Marks` that its loss reads.
        counts: what is summed over the training pictures of an epoch.
        columns: its columns of metrics.csv, in order.
        best: how the kept weights are chosen.
    """

    name: ClassVar[str]
    kind: ClassVar[type[Any]]
    counts: ClassVar[tuple[str, ...]]
    columns: ClassVar[tuple[str, ...]]
    best: ClassVar[Best]

    def network(self, trunk: Classifier, dataset: Dataset) -> Any:
        """Return the network that learns a data set: the trunk itself, or the trunk under another head."""
        ...

    def weights(self, train: Split) -> Tensor:
        """Return what a picture of each class counts where classes shall count alike, (classes,)."""
        ...

    def objective(self, network: Any, aids: Aids) -> Loss:
        """Return the loss.

        Raises:
            UsageError: if an aid, or the network, does not go with the task.
        """
        ...

    def row(self, sums: dict[str, float], seen: int) -> dict[str, float]:
        """Return an epoch's columns of training from its sums over so many pictures."""
        ...

    def judged(self, outputs: Tensor, marks: Any) -> dict[str, float]:
        """Return an epoch's columns of validation.

        Args:
            outputs: of the network in eval mode, (N, ...) float32, on the CPU.
            marks: of the N pictures.
        """
        ...

    def words(self, row: dict[str, float]) -> str:
        """Return what the line of an epoch says besides its loss."""
        ...
