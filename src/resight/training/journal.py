"""What a training says: metrics.csv, TensorBoard events, a progress bar, one line an epoch, warnings."""

import csv
import io
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

from resight.core.console import Bar, say
from resight.core.files import write_text
from resight.tasks.classify.task import ONE_CLASS
from resight.tasks.task import Task
from resight.training.guessing import Guessing
from resight.training.suspicion import suspicion


def columns(task: Task = ONE_CLASS) -> tuple[str, ...]:
    """Return the columns of metrics.csv: those of every training, and the task's between them."""
    return ("epoch", "step", "lr", "train_loss", *task.columns, "seconds", "images_per_second")


class Journal:
    """The record of a run, open while it trains.

    Args:
        run: the run folder; None to write nothing.
        console: where progress is shown (standard error).
        guessing: what the errors are compared with; None to suspect nothing.
        quiet: share of the epochs, the first ones, in which nothing is suspicious, see `quiet_share`.
        task: what is learned.
    """

    def __init__(
        self,
        run: Path | None,
        console: Console,
        guessing: Guessing | None = None,
        quiet: float = 0.0,
        task: Task = ONE_CLASS,
    ) -> None:
        self.task, self.columns = task, columns(task)
        self.run, self.console, self.guessing, self.quiet = run, console, guessing, quiet
        self.warned = False
        self.bar: Bar | None = None

    def __enter__(self) -> "Journal":
        if self.run:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # tensorboard's own imports
                from torch.utils.tensorboard import SummaryWriter

            self.events = SummaryWriter(str(self.run / "tensorboard"))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop_bar()
        if self.run:
            self.events.close()

    def start_bar(
        self, epoch: int, epochs: int, steps: int, done: int
    ) -> Callable[[int, float, float], None]:
        """Show a bar for an epoch; returns what moves it on: (steps done, images a second, loss)."""
        if not self.console.is_terminal:
            return lambda step, rate, loss: None
        columns = (
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]:,.0f} images/s  loss {task.fields[loss]:.3f}"),
            TimeRemainingColumn(),
        )
        place = f"{epoch + 1}/{epochs}"
        self.bar = Bar(self.console, columns, "", steps, done, epoch=place, rate=0.0, loss=0.0)

        def advance(step: int, rate: float, loss: float) -> None:
            if self.bar:
                self.bar.move(step, rate=rate, loss=loss)

        return advance

    def stop_bar(self) -> None:
        """Take the bar away."""
        if self.bar:
            self.bar.stop()
            self.bar = None

    def epoch(self, history: list[dict[str, float]], epochs: int, steps_left: int) -> None:
        """Record the last row of the history."""
        row = history[-1]
        if self.run:
            write_csv(self.run / "metrics.csv", history, self.columns)
            for name in self.columns[2:]:
                if name in row:
                    self.events.add_scalar(name, row[name], int(row["step"]))
            self.events.flush()
        left = steps_left / max(row["step"] / row["epoch"], 1) * row["seconds"]
        self.say(
            f"epoch {int(row['epoch']):3d}/{epochs}  lr {row['lr']:.4f}  loss {row['train_loss']:.3f}  "
            f"{self.task.words(row)}  {row['images_per_second']:,.0f} images/s  "
            f"{_duration(left)} left"
        )
        text = suspicion(history, epochs, self.guessing, self.quiet) if self.guessing else None
        if text and not self.warned:
            self.warned = True
            self.say(f"warning: {text}")

    def say(self, text: str) -> None:
        """Print a line to standard error."""
        say(self.console, text)


def write_csv(path: Path, history: list[dict[str, float]], columns: Sequence[str] = columns()) -> None:
    """Write the history as csv, atomically; what a row lacks stays empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in history:
        writer.writerow({k: f"{v:.6g}" for k, v in row.items()})
    write_text(path, text.getvalue())


def read_csv(path: Path) -> list[dict[str, float]]:
    """Read what `write_csv` wrote."""
    with path.open(encoding="utf-8", newline="") as stream:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(stream)]


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
