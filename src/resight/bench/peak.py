"""The peak memory of a piece of work."""

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:  # who measures a process without torch must not load it
    import torch

Result = TypeVar("Result")

STATUS, REFERENCES = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_of(work: Callable[[], Result], device: "torch.device") -> tuple[Result, float | None]:
    """Do a piece of work and return its result, and its peak memory in MB above what was held before.

    On CUDA this is the memory allocated by torch; else the process's resident memory as Linux counts it,
    after freed memory was returned to the kernel. None if neither is available.
    """
    gc.collect()
    if device.type == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        result = work()
        return result, (torch.cuda.max_memory_allocated(device) - before) / 1e6
    try:
        ctypes.CDLL(None).malloc_trim(0)
        REFERENCES.write_text("5")  # the high-water mark falls to what is resident now
    except (AttributeError, OSError, TypeError):  # Windows has no library without a name
        return work(), None
    before = _status("VmRSS")
    result = work()
    return result, (_status("VmHWM") - before) / 1e6


def peak_of_process() -> float | None:
    """Return the most memory that this process held so far, in MB; None where the system does not tell.

    Not by `getrusage`: its figure begins with what the parent held when it started this process.
    """
    try:
        return _status("VmHWM") / 1e6
    except (OSError, StopIteration):
        return None


def _status(name: str) -> float:
    """Return an entry of the kernel's status of this process, in bytes."""
    lines = STATUS.read_text(encoding="ascii").splitlines()
    return next(float(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
