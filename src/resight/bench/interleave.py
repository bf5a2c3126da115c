"""Candidates that take turns, each in its own process."""

import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from resight.bench.rows import Maps
from resight.core.device import pick_device, wait_for
from resight.core.errors import ResightError

Block = Callable[[float], tuple[int, float]]
"""Runs for about the given seconds; returns pictures processed and seconds taken."""


@dataclass(frozen=True)
class Contest:
    """One benchmark.

    Attributes:
        candidates: name, and the function that prepares its block.
        reference: the candidate that ratios refer to.
        once: whether a step is so long that the first round counts, too; else it is a warm-up.
        needs_bf16: candidates that need hardware with bf16 multiplication.
        needs: modules of the extra `bench` that are imported.
        notes: remarks on a candidate for the reader.
        compare: from the facts of the candidates' blocks to more columns of each.
    """

    candidates: Mapping[str, Callable[[], Block]]
    reference: str = "plain"
    once: bool = False
    needs_bf16: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    notes: Mapping[str, str] = field(default_factory=dict)
    compare: Callable[[Mapping[str, Mapping[str, Any]]], dict[str, Maps]] | None = None


@dataclass
class Measured:
    """Rates of a candidate, round by round, and the facts of its block."""

    rates: list[float]
    facts: dict[str, Any]


def interleave(
    start: str, names: list[str], seconds: float, rounds: int, *, once: bool = False
) -> dict[str, Measured]:
    """Let candidates take turns; their order is reversed every second round.

    Args:
        start: code that runs `answer` for the candidate whose name is `sys.argv[1]`.
        names: of the candidates.
        seconds: minimum length of a block.
        rounds: number of blocks of each that count.
        once: whether the first round counts; else it is an extra round that warms up.

    Raises:
        ResightError: if a candidate's process dies.
    """
    found = {name: Measured([], {}) for name in names}
    with ExitStack() as stack:
        workers = {name: stack.enter_context(_start(start, name)) for name in names}
        try:
            for turn in range(rounds + (not once)):
                for name in names if turn % 2 else reversed(names):
                    rate, facts = _ask(workers[name], seconds, name)
                    found[name].facts.update(facts)
                    if turn or once:
                        found[name].rates.append(rate)
        except BaseException:  # interrupted, or a process died: do not wait for the other blocks
            for worker in workers.values():
                worker.kill()
            raise
        for worker in workers.values():
            assert worker.stdin is not None
            worker.stdin.close()
    return found


def answer(block: Block) -> None:
    """Answer each line of seconds on standard input with a rate on standard output.

    The block's attribute `facts`, if it has one, is sent with the rate.
    """
    answers, sys.stdout = sys.stdout.buffer, sys.stderr
    for line in sys.stdin:
        pictures, seconds = block(float(line))
        pickle.dump((pictures / seconds, getattr(block, "facts", {})), answers)
        answers.flush()


def timed(step: Callable[[], int], ahead: int = 0) -> Block:
    """Return a block that repeats a step, until the device has finished all of them.

    Args:
        step: returns the number of pictures it processed.
        ahead: batches that readers may have ready when the block's turn comes, made while others were
            measured: this many steps are taken before the clock starts.
    """

    def block(seconds: float) -> tuple[int, float]:
        for _ in range(ahead):
            step()
        device = pick_device()
        wait_for(device)
        started, done = time.perf_counter(), step()
        while time.perf_counter() - started < seconds:
            done += step()
        wait_for(device)
        return done, time.perf_counter() - started

    return block


def _start(code: str, name: str) -> "subprocess.Popen[bytes]":
    quiet = {**os.environ, "TQDM_DISABLE": "1"}  # some candidates draw progress bars
    alone = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"  # the parent ends it
    return subprocess.Popen(
        [sys.executable, "-c", f"{alone}; {code}", name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=quiet,
    )


def _ask(worker: "subprocess.Popen[bytes]", seconds: float, name: str) -> tuple[float, dict[str, Any]]:
    assert worker.stdin is not None and worker.stdout is not None
    try:
        worker.stdin.write(f"{seconds}\n".encode())
        worker.stdin.flush()
        return pickle.load(worker.stdout)
    except (BrokenPipeError, EOFError) as error:
        raise ResightError(f"bench {name}: its process died; its output is above") from error
