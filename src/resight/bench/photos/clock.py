"""The clock of this benchmark: processor time, which other work on the machine hardly affects."""

import os


def cpu_seconds() -> float:
    """Return the processor seconds of this process, user and system, and of its children that have ended.

    Running children are not counted: a caller that starts some ends them before it reads the clock.
    """
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
