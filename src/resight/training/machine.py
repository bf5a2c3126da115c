"""How training uses the hardware: settings that are not part of a recipe."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from resight.core import settings
from resight.core.errors import UsageError

CHOICES = {"compile": ("auto", "off", "on"), "readers": ("auto", "threads", "processes")}


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Settings that do not change the result, up to rounding; a run may be resumed with others.

    Two of them reach the statistics of batch normalization and nothing else: they cover a part of the step
    where `parts` is above 1, and of one process's pictures where `sync_norm` is false.

    Attributes:
        workers: of each process, for data that does not fit in memory; -1 for one per core: the cores
            that may be used, over the processes of the machine.
        readers: "threads", "processes", or "auto": processes with a GPU, whose training
            keeps Python busy, else threads.
        compile: "auto" (where the run is long enough to repay it), "on" or "off".
        parts: a process's share of a step is computed in this many parts, one after the other, whose
            gradients are summed: less memory for the same pictures per step. Doubled when memory runs out.
        sync_norm: whether several processes share the statistics of batch normalization, so that it sees the
            whole step as one process alone would.
        shard: whether several processes hold a part of the weights, gradients and momenta each, by
            fully_shard, instead of all of them: less memory for more communication.
        timeout: seconds after which a silent worker counts as hanging; another process of the
            training counts as lost after twice as long. (Called `patience` in older records; it never
            ended a training early: the best validation epoch is kept.)
    """

    workers: int = -1
    readers: str = "auto"
    compile: str = "auto"
    parts: int = 1
    sync_norm: bool = True
    shard: bool = False
    timeout: float = 300.0

    def __post_init__(self) -> None:
        """Refuse values out of range.

        Raises:
            UsageError: naming the setting, its value and the range.
        """
        settings.require_choices(self, CHOICES)
        if self.shard and self.compile == "on":
            raise UsageError("shard=true cannot be combined with compile=on; leave one out")
        if self.parts < 1:
            raise UsageError(f"parts={self.parts} must be 1 or more")
        if self.timeout <= 0:
            raise UsageError(f"timeout={self.timeout} must be above 0")


RENAMED = {"patience": "timeout"}
"""What settings are called in records of before."""


def of_record(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that a recipe.json has under "machine", by their current names."""
    return {RENAMED.get(key, key): value for key, value in document.items()}
