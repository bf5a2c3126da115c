"""Which device, which arithmetic, how many cores, and how a lack of memory is recognized."""

import os

import pytest
import torch

from resight.core import device as devices
from resight.core import distributed
from resight.core.device import cores, free_memory, pick_device, pick_precision, ran_out_of_memory, tf32
from resight.core.errors import ResightError


def allowed():
    """What torch says of TF32, by its older and its newer switches."""
    older = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    newer = (torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision)
    assert older == tuple(word == "tf32" for word in newer)
    return older


@pytest.fixture
def switches():
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def test_float32_is_that_of_ieee_once_a_device_is_picked(switches):
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True  # cuDNN's default
    pick_device()
    assert allowed() == (False, False)


def test_tf32_is_allowed_inside_its_block_only(switches):
    pick_device()
    with pytest.raises(KeyError), tf32(allowed=True):
        assert allowed() == (True, True)
        raise KeyError
    assert allowed() == (False, False)
    with tf32(allowed=False):
        assert allowed() == (False, False)


def test_tf32_is_float32_to_torch():
    for device in ("cpu", "cuda"):
        assert pick_precision("tf32", torch.device(device)) == torch.float32


@pytest.mark.parametrize(
    "words",
    [
        "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported",
        "CUDA out of memory. Tried to allocate 20.00 MiB",
        "HIP out of memory. Tried to allocate 20.00 MiB",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED: CUDNN_BACKEND_OPERATION",
        "MPS backend out of memory (MPS allocated: 5.05 GB, max allowed: 9.07 GB)",
        "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: you tried",
        "DefaultCPUAllocator: not enough memory: you tried to allocate 800 bytes.",
    ],
)
def test_a_lack_of_memory_is_recognized_on_every_device(words):
    assert ran_out_of_memory(RuntimeError(words))


def test_a_lack_of_memory_is_recognized_by_its_kind_and_nothing_else_is():
    assert ran_out_of_memory(torch.OutOfMemoryError("no words")) and ran_out_of_memory(MemoryError())
    for words in (
        "CUDA error: an illegal memory access was encountered",
        "CUDNN_STATUS_EXECUTION_FAILED",
        "",
    ):
        assert not ran_out_of_memory(RuntimeError(words))


def test_a_process_has_its_share_of_the_cores_it_may_use(monkeypatch):
    """torchrun sets one thread for each process, whatever the machine has."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(48)), raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert cores() == 48
    for processes, own in ((1, 48), (8, 6), (5, 9), (64, 1)):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
        assert cores() == own
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cores() == 1


def test_the_memory_of_a_gpu_is_asked_for_and_of_no_other(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (3 << 30, 8 << 30))
    assert free_memory(torch.device("cuda")) == 3 << 30
    assert free_memory(torch.device("cpu")) == float("inf")


@pytest.fixture
def two_gpus(monkeypatch):
    """A machine with two GPUs as torch shows it, and process 1 of 2; what the process group was given."""
    given, chosen = {}, [torch.device("cuda", 0)]
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: chosen.append(torch.device(device)))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: chosen[-1].index)
    monkeypatch.setattr(
        torch.distributed, "init_process_group", lambda backend, **more: given.update(more, backend=backend)
    )
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    distributed.world.cache_clear()
    yield given
    distributed.world.cache_clear()


def test_a_process_joins_the_others_before_it_picks_its_gpu(two_gpus, switches):
    assert pick_device() == torch.device("cuda", 1)
    assert two_gpus["backend"] == "nccl" and two_gpus["device_id"] == torch.device("cuda", 1)


def test_a_process_without_a_gpu_is_one_line(two_gpus, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ResightError, match="process 2 of this machine has no GPU: 2 visible") as caught:
        devices.pick_device()
    assert "\n" not in str(caught.value) and "--nproc-per-node 2" in str(caught.value) and not two_gpus


def test_the_loss_of_another_process_is_recognized_among_several_only(monkeypatch):
    gone = RuntimeError(
        "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer"
    )
    assert not distributed.lost_another(gone)
    monkeypatch.setenv("WORLD_SIZE", "2")
    late = RuntimeError("[/x/gloo/transport/tcp/unbound_buffer.cc:81] Timed out waiting 20000ms for recv")
    nccl = torch.distributed.DistBackendError("remote process exited or there was a network error")
    assert all(map(distributed.lost_another, (gone, late, nccl)))
    assert not distributed.lost_another(RuntimeError("shape mismatch"))
