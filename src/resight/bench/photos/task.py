"""One training of the benchmark: what is asked and what comes back; both travel between processes as JSON."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Task:
    """A training to run.

    Attributes:
        candidate: who trains, a key of `candidates.CANDIDATES`.
        root: class folders below train/, test/ and perhaps val/, see `sets.write_set`.
        seed: of every random choice.
        seconds: processor seconds for the training: opening the pictures, making the network, all steps.
            Imports, the measuring of speed before it and the test after it are not counted.
        threads: that torch may use.
        weights: the folder of `weights.write_weights`; unused by those who start from scratch.
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
    """What a training gave.

    Attributes:
        epochs: passes over the training pictures, fractions of one included.
        steps: of the optimizer.
        cpu_seconds: that the training took, see `Task.seconds`.
        labels: the class that was answered for each test picture, by its path below test/.
        settings: what the candidate did, in words.
    """

    epochs: float
    steps: int
    cpu_seconds: float
    labels: dict[str, str]
    settings: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return asdict(self)
