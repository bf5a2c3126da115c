"""`resight bench scale`: a training step in 1, 2 and 4 processes here, compared with the cost model."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import distributed as dist

from resight.bench.rows import Rates, Row
from resight.core.device import pick_device, wait_for
from resight.core.distributed import leave, world
from resight.core.errors import ResightError
from resight.data.marks import ClassMarks
from resight.models.zoo import create_model
from resight.tasks.classify.task import OneClass
from resight.tasks.task import Aids
from resight.training.machine import Machine
from resight.training.parallel import shared
from resight.training.recipe import Recipe
from resight.training.scaling import Cluster, Network, step_cost
from resight.training.synced_norm import synchronize

PROCESSES = (1, 2, 4)
BATCH, SIDE = 32, 32
SMALL = 4096
"""Bytes of an all-reduce that measures the latency."""
RECIPE = Recipe(
    model="resnet20", image_size=SIDE, epochs=1, batch_size=BATCH, lr=0.1, schedule="constant", augment=(),
    normalize="channel",
)  # fmt: skip


def bench_scale(seconds: float) -> list[Row]:
    """Return a row for each number of processes, as in `bench`; the ratio is to the predicted rate.

    Every process has one thread and its own pictures, 32 of 32 x 32 for a ResNet-20 with synchronized batch
    normalization. Two things are measured: the speed of N processes without communication, and an all-reduce
    between two. The time of a step with communication is predicted from them.

    Raises:
        ResightError: if the processes cannot be started.
    """
    found = {count: _measure(count, seconds) for count in PROCESSES}
    one, two = found[1], found[2]
    latency = two["small"] / 2
    model = create_model(RECIPE.model)
    size = sum(p.numel() for p in model.parameters())
    norms = sum(isinstance(m, torch.nn.BatchNorm2d) for m in model.modules())
    rows = []
    for count in PROCESSES:
        crowd = found[count]["alone"] / one["alone"]
        cluster = Cluster(
            rate=BATCH / found[count]["alone"], batch=BATCH, node=max(PROCESSES),
            inside=4.0 * size / max(two["gradients"] - two["small"], 1e-6), latency_inside=latency * crowd,
            between=1.0, latency_between=0.0, reading=float("inf"),
        )  # fmt: skip
        cost = step_cost(Network(parameters=size, norms=norms), cluster, count)
        step, pictures = found[count]["step"], count * BATCH
        note = (
            f"a step takes {1e3 * step:.1f} ms, predicted {1e3 * cost.step:.1f}: computing "
            f"{1e3 * cost.computing:.1f}, gradients {1e3 * cost.gradients:.1f} ({1e3 * cost.exposed:.1f} "
            f"of them not during it), statistics {1e3 * cost.statistics:.1f}"
        )
        rates = Rates(
            pictures / step, pictures / found[count]["longest"], pictures / found[count]["shortest"],
            ratio=cost.step / step,
        )  # fmt: skip
        name = f"{count} process{'es' if count > 1 else ''}"
        rows.append(Row("scale", name, "images/s", "the cost model", rates, None, note))
    return rows


def _measure(processes: int, seconds: float) -> dict[str, float]:
    done = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes),
            "-m", "resight.bench.scale", str(seconds),
        ],
        capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False,
    )  # fmt: skip
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no words"])[-1]
        raise ResightError(f"bench scale: {processes} processes could not be run ({last})")
    return json.loads(done.stdout)


def _work(seconds: float) -> dict[str, float]:
    """Return the seconds of a step and of all-reduces, median, shortest and longest, of this process.

    A step is forward, backward and optimizer in float32, until the device has finished.
    """
    device = pick_device()
    torch.manual_seed(world().rank)
    model = create_model(RECIPE.model, 10).train()
    model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    alone = OneClass().objective(model, Aids())
    optimizer = torch.optim.SGD(model.parameters(), 0.1, 0.9)
    images = torch.randn(BATCH, 3, SIDE, SIDE, device=device).to(memory_format=torch.channels_last)
    marks = ClassMarks.of(torch.randint(10, (BATCH,), device=device))

    def step(objective: torch.nn.Module) -> None:
        optimizer.zero_grad()
        objective(images, marks, 0.0)[0].backward()
        optimizer.step()

    apart = statistics.median(_times(lambda: step(alone), seconds, device))
    if world().processes > 1:
        synchronize(model)
    objective = shared(OneClass().objective(model, Aids()), RECIPE, Machine(), device)
    times = _times(lambda: step(objective), seconds, device)
    facts = {"step": statistics.median(times), "shortest": min(times), "longest": max(times), "alone": apart}
    facts |= {"small": 0.0, "gradients": 0.0}
    if world().processes > 1:
        size = sum(p.numel() for p in model.parameters())
        for name, count in (("small", SMALL // 4), ("gradients", size)):
            numbers = torch.zeros(count, device=device)
            facts[name] = statistics.median(_times(lambda n=numbers: dist.all_reduce(n), seconds / 4, device))
    return facts


def _times(work: Callable[[], object], seconds: float, device: torch.device) -> list[float]:
    """Return the duration of each repetition of some work; every process does it equally often."""
    work()
    wait_for(device)
    started, times = time.perf_counter(), []
    while True:
        begun = time.perf_counter()
        work()
        wait_for(device)
        times.append(time.perf_counter() - begun)
        if world().greatest([time.perf_counter() - started])[0] > seconds:
            return times


if __name__ == "__main__":
    answer = _work(float(sys.argv[1]))
    if world().is_main:
        sys.stdout.write(json.dumps(answer))
    leave()
