"""How many threads a training takes on cores that other work uses too."""

import os
import statistics
import time
from pathlib import Path

from resight.core.device import cores

LOAD = Path("/proc/loadavg")
READS, PAUSE = 15, 0.02
"""How often the running threads are counted, and seconds between."""


def take_free_cores(recorded: int | None = None) -> str:
    """Set torch's threads to the cores that nobody else uses.

    The threads of a layer wait for one another: when one must share its core, all are late. On two busy cores
    two threads were 2 to 15 times slower than one (docs/experiments.md, 2026-12-01). OMP_NUM_THREADS decides
    instead where it is set, as torchrun does.

    Args:
        recorded: threads that a resumed run began with; they are taken again, since sums in another order
            differ in the last bit.

    Returns:
        What was found, in words; "" where nothing was changed.
    """
    import torch

    usable = cores()
    if os.environ.get("OMP_NUM_THREADS") or usable == 1:
        return ""
    busy = busy_cores()
    count = min(recorded, usable) if recorded else max(1, usable - busy)
    if count == torch.get_num_threads():
        return ""
    torch.set_num_threads(count)
    if recorded:
        return f"threads: {count} of {usable} cores, as when the run began; OMP_NUM_THREADS=N decides instead"
    return (
        f"threads: {count} of {usable} cores; other programs use the rest; OMP_NUM_THREADS=N decides instead"
    )


def busy_cores() -> int:
    """Return how many threads of other work run now, the median over a third of a second; 0 if unknown."""
    counts = []
    for _ in range(READS):
        if (count := _running()) is None:
            return 0
        counts.append(max(0, count - 1))  # less this one
        time.sleep(PAUSE)
    return int(statistics.median_low(counts))


def _running() -> int | None:
    """Return how many threads Linux runs or has ready to run; None where it does not say."""
    try:
        return int(LOAD.read_text(encoding="ascii").split()[3].partition("/")[0])
    except (OSError, ValueError, IndexError):
        return None
