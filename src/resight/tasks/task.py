"""What a task is: all that training, test, prediction and report must know of what is learned."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor, nn

from resight.core.errors import PictureError, UsageError
from resight.core.registry import suggestion
from resight.data.dataset import Dataset, Split
from resight.data.labelling import LARGEST, Rule
from resight.data.prepare import Normalize
from resight.data.splitting import with_test_split
from resight.evaluate.asked import Asked
from resight.evaluate.scores import logits_of
from resight.models.classifier import Classifier
from resight.models.solver import Solver
from resight.tasks.result import Result
from resight.tasks.teachers import OldSelf, Teacher


@dataclass(frozen=True)
class Best:
    """By which figure the kept weights are chosen.

    Attributes:
        figure: a column of validation.
        lower: whether lower is better.
        error: whether it is an error in percent of the validation pictures.
    """

    figure: str
    lower: bool = True
    error: bool = True

    def errors(self, rows: Sequence[dict[str, float]]) -> list[float]:
        """Return the figure of each epoch that was judged, so that lower is better."""
        return [row[self.figure] if self.lower else -row[self.figure] for row in rows if self.figure in row]

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

    def refuse_teacher(self, task: str) -> None:
        """Refuse a teacher, for a task that has no classes to learn from it.

        Raises:
            UsageError: if there is one.
        """
        if self.teacher or self.old:
            raise UsageError(f"teacher= is for classification only; leave it out with --task {task}")


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


@dataclass(frozen=True)
class Learned:
    """What a network's answers are about: with it and its trunk a head is built again from a model file.

    Attributes:
        classes: names.
        about: what else, such as the names of joints; plain JSON types.
    """

    classes: tuple[str, ...]
    about: dict[str, Any] = field(default_factory=dict)


class Task:
    """What a network learns and answers; a frozen dataclass whose fields are the task's settings.

    Attributes:
        name: after --task.
        kind: of `Marks` that its loss reads.
        counts: what is summed over the training pictures of an epoch.
        columns: its columns of metrics.csv, in order.
        best: how the kept weights are chosen.
        recipe: name of the recipe where the user names none; "" for that of such pictures.
        frame: what the network sees of a whole picture, see `Preprocessing`.
        open_set: whether validation and test pictures may be of other classes than the training pictures;
            then the labels of every split count through its own classes.
        balances: whether whole pictures have class labels, so that those of rare classes can count more.
    """

    name: ClassVar[str]
    kind: ClassVar[type[Any]]
    counts: ClassVar[tuple[str, ...]]
    columns: ClassVar[tuple[str, ...]]
    best: ClassVar[Best]
    recipe: ClassVar[str] = ""
    frame: ClassVar[str] = "crop"
    open_set: ClassVar[bool] = False
    balances: ClassVar[bool] = True

    def defaults(self, dataset: Dataset) -> tuple[str, ...]:
        """Return key=value words over any recipe; the user's come after them."""
        del dataset
        return ()

    @property
    def rule(self) -> Rule:
        """What pictures with boxes are labelled with when a data set is opened."""
        return LARGEST

    def labelled(self, dataset: Dataset) -> Dataset:
        """Return an opened data set, before any part of it is held out, of pictures that have marks.

        Raises:
            DataError: if it has none.
        """
        return dataset

    def noted(self, dataset: Dataset) -> list[str]:
        """Return what `resight check` says of the marks, in sentences.

        Raises:
            DataError: if they cannot be read.
        """
        del dataset
        return []

    def divided(self, dataset: Dataset) -> Dataset:
        """Return a data set with a test split."""
        return with_test_split(dataset)

    def learned(self, dataset: Dataset) -> Learned:
        """Return what a network that learns the data set answers about."""
        return Learned(dataset.classes)

    def network(self, trunk: Classifier, learned: Any) -> Any:
        """Return the network: the trunk itself, or the trunk under another head.

        Args:
            trunk: of the zoo; it is changed.
            learned: see `Learned`.
        """
        raise NotImplementedError

    def weights(self, train: Split) -> Tensor:
        """Return what a picture of each class counts where classes shall count alike, (classes,)."""
        raise NotImplementedError

    def objective(self, network: Any, aids: Aids) -> Loss:
        """Return the loss.

        Raises:
            UsageError: if an aid, or the network, does not go with the task.
        """
        raise NotImplementedError

    def row(self, sums: dict[str, float], seen: int) -> dict[str, float]:
        """Return an epoch's columns of training from its sums over so many pictures."""
        raise NotImplementedError

    def outputs(
        self, network: nn.Module, squares: Tensor, normalize: Normalize, precision: torch.dtype
    ) -> Any:
        """Return what a network in eval mode says of prepared squares, on the CPU: (N, ...) or a list of N.

        Args:
            network: on its device.
            squares: (N, S, S, 3) uint8.
            normalize: its preprocessing.
            precision: of the products.
        """
        return logits_of(network, squares, normalize, precision)

    def judged(self, outputs: Any, marks: Any) -> dict[str, float]:
        """Return an epoch's columns of validation.

        Args:
            outputs: see there.
            marks: of the N pictures, moved as the squares are.
        """
        raise NotImplementedError

    def words(self, row: dict[str, float]) -> str:
        """Return what the line of an epoch says besides its loss."""
        raise NotImplementedError


@dataclass(frozen=True)
class Aim:
    """What is explained: a name, and a number of each picture from the network's outputs of B, (B,)."""

    name: str
    score: Callable[[Any], Tensor]


class SolverTask(Task):
    """A task with a head of its own: what it answers, and how that is judged and shown."""

    def weights(self, train: Split) -> Tensor:
        """Return what a picture of each class counts, (classes,): classes alike, a picture 1 in the mean."""
        counts = torch.from_numpy(train.class_counts()).clamp(min=1)
        return (len(train) / (len(counts) * counts)).float()

    def start(self, network: Solver) -> str:
        """Load what a new training starts from besides the weights of the trunk; return a line about it.

        Args:
            network: changed.
        """
        del network
        return ""

    def temperature(self, outputs: Any, marks: Any) -> float:
        """Return what class logits are divided by, fitted on validation; 1 where there are none."""
        del outputs, marks
        return 1.0

    def settle(self, network: Solver, outputs: Any, marks: Any) -> None:
        """Keep in the network what is fitted on validation besides its weights; most tasks have nothing.

        Args:
            network: in eval mode; changed.
            outputs: see there.
            marks: of the N pictures.
        """
        del network, outputs, marks

    @property
    def scored(self) -> bool:
        """Whether rows of `predict` have a "score", below which nothing was found; for --at-least."""
        return False

    def answers(self, asked: Asked) -> Iterator[tuple[int, Any]]:
        """Yield (index, answer or PictureError) of each picture, in order.

        An answer is a frozen dataclass that can be pickled; its places are in pixels of the whole picture as
        seen.
        """
        raise NotImplementedError

    def result(self, answers: Sequence[tuple[int, Any]], split: Split, train: Split | None) -> Result:
        """Return what a test gave.

        Args:
            answers: (index, answer) of the pictures that could be read, by rising index.
            split: the tested pictures; its labels count through the network's classes.
            train: the training pictures, for baselines that see no picture; None if they are not known.
        """
        raise NotImplementedError

    def rows(self, answers: Iterable[tuple[str, Any]], network: Solver) -> Iterator[dict[str, Any]]:
        """Yield the JSON of `resight predict` from (name, answer or PictureError): a row for each picture."""
        for name, answer in answers:
            if isinstance(answer, PictureError):
                yield {"path": name, "error": f"{answer.fault}; {answer.cure}"}
            else:
                yield {"path": name, **self.answer_row(answer, network)}

    def answer_row(self, answer: Any, network: Solver) -> dict[str, Any]:
        """Return an answer as JSON; in "said" the words that the command prints."""
        raise NotImplementedError

    def picture(self, answer: Any) -> Image.Image | None:
        """Return an answer that is a picture, for `resight predict --out`; None if it is none."""
        del answer
        return None

    def targets(self, network: Solver) -> tuple[str, ...]:
        """Return the names of what can be explained, the classes first if there are any."""
        del network
        return ()

    def scalars(self, outputs: Tensor) -> Tensor:
        """Return the numbers of `targets` from the network's outputs (B, ...): (B, T), with gradients."""
        raise NotImplementedError

    def aims(
        self, network: Solver, image: Tensor, target: str | None, read: Callable[[str], Tensor]
    ) -> list[Aim]:
        """Return what `--target` asks for of one picture; without a word the best class, else the first name.

        Args:
            network: in eval mode.
            image: (1, 3, S, S).
            target: a name in `targets`, a class number, or "topK" for the K best classes.
            read: gives another picture by its path, (1, 3, S, S), where a target names one.

        Raises:
            UsageError: if there is no such target, or nothing can be explained.
        """
        del read
        names, classes = self.targets(network), len(network.classes)
        if not names:
            raise UsageError(f"--task {self.name}: its answers cannot be explained")

        def aim(number: int) -> Aim:
            return Aim(names[number], lambda outputs: self.scalars(outputs)[:, number])

        if target in names:
            return [aim(names.index(target))]
        known = names[:classes] == network.classes
        best = 1 if target is None else int(target[3:] or 0) if _is_top(target) else 0
        if known and target is not None and target.isdecimal() and int(target) < classes:
            return [aim(int(target))]
        if not known and target is None:
            return [aim(0)]
        if not known or not best:
            raise UsageError(
                f"--target {target}: is not a target of --task {self.name}; {suggestion(str(target), names)}"
            )
        with torch.no_grad():
            found = self.scalars(network(image))[0, :classes].topk(min(best, classes)).indices
        return [aim(number) for number in found.tolist()]


def _is_top(target: str) -> bool:
    return target.startswith("top") and target[3:].isdecimal()
