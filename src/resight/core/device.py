"""The device of the computation, its precision, cores and memory."""

import ctypes
import math
import os
import re
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from resight.core.distributed import world
from resight.core.text import amount

if TYPE_CHECKING:
    import torch

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # malloc.h
NO_MEMORY = re.compile(
    r"out of memory|_ALLOC(ATION)?_FAILED|can't allocate memory|not enough memory",
    re.I,
)
"""How torch's backends say it: CUDA and MPS, cuBLAS and cuDNN, Linux, Windows."""


def keep_pages() -> bool:
    """Let glibc keep freed memory instead of giving it back to the kernel after every layer.

    By default glibc maps each large block when it is allocated and unmaps it when freed, so every
    activation of every layer costs page faults again. The command calls this once at its start; a
    program that only imports the library keeps its own settings. Peak memory is unchanged, but it is held
    until the process ends.

    Returns:
        Whether the C library accepted the settings (false if it is not glibc).
    """
    if not sys.platform.startswith("linux"):
        return False
    # Read by torch's CPU allocator when it is loaded: large blocks on huge pages.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return False
    done = [mallopt(M_MMAP_MAX, 0), mallopt(M_TRIM_THRESHOLD, -1), mallopt(M_TOP_PAD, 64 << 20)]
    return all(done)


def pick_device() -> "torch.device":
    """Return the fastest device available: CUDA, Apple's MPS, or the CPU.

    One of several processes joins the others first, which determines its GPU. From here on float32 is
    IEEE's, see `tf32`.

    Raises:
        ResightError: see `world`.
    """
    import torch

    world()
    _allow_tf32(allowed=False)
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def pick_precision(wanted: str, device: "torch.device") -> "torch.dtype":
    """Turn "auto", "fp32", "tf32" or "bf16" into a dtype for convolutions and products.

    "auto" is bf16 where the hardware multiplies it (CUDA from Ampere on, CPUs with AVX512-BF16 or
    AMX), else fp32. "tf32" is float32 to torch; `tf32` sets how it multiplies.
    """
    import torch

    if wanted != "auto":
        return {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}[wanted]
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu":
        fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    else:
        fast = False
    return torch.bfloat16 if fast else torch.float32


def autocast(device: "torch.device", precision: "torch.dtype") -> AbstractContextManager:
    """Return the context in which a network computes in `precision`."""
    import torch

    if precision == torch.float32:
        return nullcontext()
    return torch.autocast(device.type, precision)


@contextmanager
def tf32(*, allowed: bool) -> Iterator[None]:
    """Let CUDA multiply float32 as TF32 inside the block, with 10 of its 23 bits of mantissa, or not.

    By default torch convolves in TF32. Here float32 means IEEE float32 unless a training run chose otherwise
    (`precision=tf32`), so this is the only place that allows it.
    """
    _allow_tf32(allowed=allowed)
    try:
        yield
    finally:
        _allow_tf32(allowed=False)


def _allow_tf32(*, allowed: bool) -> None:
    import torch

    # The older switches set the newer ones (fp32_precision) too; the other way round, torch's own code that
    # still reads the older ones fails.
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


def ran_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory ran out, on any device."""
    import torch

    return isinstance(error, torch.OutOfMemoryError | MemoryError) or bool(NO_MEMORY.search(str(error)))


def free_memory(device: "torch.device") -> float:
    """Return the bytes that are free on a GPU; infinity for other devices."""
    import torch

    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else math.inf


def wait_for(device: "torch.device") -> None:
    """Wait until a device has finished its queued work; a CPU always has."""
    import torch

    if device.type in ("cuda", "mps"):
        getattr(torch, device.type).synchronize()


def cores() -> int:
    """Return how many cores this process has: those it may use, divided by the processes of its machine.

    This is not torch's number of threads, which torchrun always sets to one.
    """
    try:
        usable = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows
        usable = os.cpu_count() or 1
    return max(1, usable // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def describe(device: "torch.device") -> str:
    """Return the hardware's name, for the record of a run."""
    import platform

    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    count = torch.get_num_threads()
    return f"{amount(count, 'thread')} of {_processor() or platform.machine()}"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123 - not a user's file
            lines = [line for line in file if line.startswith("model name")]
        return lines[0].split(":", 1)[1].strip() if lines else ""
    except OSError:
        return ""
