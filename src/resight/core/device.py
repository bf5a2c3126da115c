"""Where the arithmetic happens, in which precision, and with which memory allocator."""

import ctypes
import os
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # malloc.h


def keep_pages() -> bool:
    """Let glibc keep freed memory instead of giving it back to the kernel after every layer.

    By default glibc maps each large block anew and unmaps it when freed, so every activation of
    every layer is paid for again in page faults. The command calls this once at its start; a program
    that only imports the library keeps its own settings. Peak memory is unchanged, but it is held
    until the process ends.

    Returns:
        Whether the C library took the settings (false where it is not glibc).
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
    """Return the fastest device at hand: CUDA, Apple's MPS, or the CPU."""
    import torch

    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def pick_precision(wanted: str, device: "torch.device") -> "torch.dtype":
    """Turn "auto", "fp32" or "bf16" into a dtype for convolutions and products.

    "auto" is bf16 where the hardware multiplies it (CUDA from Ampere on, CPUs with AVX512-BF16 or
    AMX), else fp32.
    """
    import torch

    if wanted != "auto":
        return {"fp32": torch.float32, "bf16": torch.bfloat16}[wanted]
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


def describe(device: "torch.device") -> str:
    """Return the hardware's name, for the record of a run."""
    import platform

    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    count = torch.get_num_threads()
    return f"{count} thread{'s' if count > 1 else ''} of {_processor() or platform.machine()}"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123 - not a user's file
            lines = [line for line in file if line.startswith("model name")]
        return lines[0].split(":", 1)[1].strip() if lines else ""
    except OSError:
        return ""
