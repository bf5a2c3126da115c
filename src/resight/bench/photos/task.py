"""One training of the benchmark: its task and its outcome, both sent between processes as JSON."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Task:
    """A training to run.

    Attributes:
        candidate: a key of `candidates.CANDIDATES`.
        root: class folders under train/, test/ and perhaps val/, see `sets.write_set`.
        seed: of every random choice.
        seconds: processor seconds for the training: opening the pictures, making the network, all steps.
            Imports, the speed measurement before it and the test after it do not count.
        threads: number of threads that torch may use.
        weights: the folder of `weights.write_weights`; unused by candidates that start from scratch.
    """

    candidate: str
    root: str
    seed: int
    seconds: float
    threads: int
    weights: str

    @property
    def train(self) -> Path:
        """The training pictures."""
        return Path(self.root) / "train"

    @property
    def test(self) -> Path:
        """The test pictures."""
        return Path(self.root) / "test"


@dataclass(frozen=True)
class Outcome:
    """The outcome of a training.

    Attributes:
        epochs: passes over the training pictures, including fractions.
        steps: of the optimizer.
        cpu_seconds: duration of the training, see `Task.seconds`.
        labels: the predicted class of each test picture, by its path under test/.
        settings: the candidate's settings, in words.
    """

    epochs: float
    steps: int
    cpu_seconds: float
    labels: dict[str, str]
    settings: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return asdict(self)
