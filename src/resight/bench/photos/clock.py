"""The clock of this benchmark: processor time, which other work on the machine does not lengthen much."""

import os


def cpu_seconds() -> float:
    """Return the processor seconds of this process, user and system, and of its children that have ended.

    A child that still runs is not counted: whoever starts some ends them before reading the clock.
    """
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
