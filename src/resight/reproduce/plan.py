"""What to do with a GPU at hand for half an hour: tests, benchmarks, full rows, in the order of their worth.

Each step is a command of its own with a limit of time. A part is what fits into one command of nine minutes;
what it has not finished resumes when the part is run again. Each step leaves a JSON file.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch

from resight.core.device import describe, pick_device
from resight.core.errors import ResightError, UsageError
from resight.core.figures import to_json
from resight.core.files import write_json
from resight.reproduce.record import PLACE

PART_MINUTES = 9.0
GRACE = 45.0
"""Seconds that a step has to save its state after its limit."""
FOLDER = "gpu"
"""Where the JSON of the steps goes, in the folder of results."""
TAIL = 4000
"""Characters of a step's last words that are kept."""

Status = Literal["done", "stopped", "failed"]


@dataclass(frozen=True)
class Step:
    """A command with a limit of time.

    Attributes:
        name: of its JSON file.
        words: arguments of `resight`, or of another module of Python after "-m".
        minutes: its limit.
        why: what it shows.
        resumes: whether it resumes where it was stopped, so that a stop is no fault.
        again: arguments to add when it resumes.
    """

    name: str
    words: tuple[str, ...]
    minutes: float
    why: str
    resumes: bool = False
    again: tuple[str, ...] = ()

    def command(self, *, stopped: bool = False) -> list[str]:
        """Return the command for the interpreter that runs this; if it was stopped before, to resume."""
        words = (*self.words, *(self.again if stopped else ()))
        return [sys.executable, *(words if words[0] == "-m" else ("-m", "resight", *words))]


@dataclass(frozen=True)
class Outcome:
    """What became of a step; the fields are the keys of its JSON.

    Attributes:
        step: its name.
        command: as a user would type it.
        status: "stopped" at its limit, to be resumed.
        code: exit code; None if it was killed.
        seconds: it took.
        hardware: device and processor.
        versions: of Resight and torch.
        output: the JSON that it printed; None if it printed none.
        tail: its last words.
    """

    step: str
    command: str
    status: Status
    code: int | None
    seconds: float
    hardware: str
    versions: dict[str, str]
    output: Any
    tail: str


def _bench(name: str, minutes: float, why: str, *more: str) -> Step:
    return Step(f"bench-{name}", ("bench", name, "--json", *more), minutes, why)


def _rows(name: str, only: str, minutes: float, why: str) -> Step:
    words = ("reproduce", "cifar10-table", "--scale", "full", "--only", only, "--jobs", "4", "--json")
    return Step(name, words, minutes, why, resumes=True)


TESTS = Step("tests", ("-m", "pytest", "-q", "-m", "gpu", "tests"), 3.0, "the tests that need a CUDA device")
FAST = Step(
    "fast", ("train", "cifar10", "--seed", "0", "--out", f"{PLACE}/gpu-fast-0", "--json"), 2.0,
    "the default recipe on CIFAR-10: error and seconds", resumes=True, again=("--resume",),
)  # fmt: skip
PARTS: tuple[tuple[Step, ...], ...] = (
    (
        TESTS,
        _bench("train", 2.0, "a training step of ResNet-20 compared with plain torchvision"),
        _bench("train50", 2.0, "a training step of ResNet-50"),
        _bench("predict", 1.5, "prediction of ResNet-50"),
    ),
    (
        FAST,
        _bench("explain", 2.0, "Grad-CAM compared with three other libraries", "--rounds", "2"),
        _bench("detect", 1.5, "a training step of a detector compared with torchvision's"),
        _bench("detect-test", 1.0, "a test picture of a detector"),
        _bench("segment", 1.5, "a training step of DeepLabv3 compared with torchvision's"),
        _bench("segment-test", 1.0, "a test picture of DeepLabv3"),
    ),
    (_rows("rows-residual", "resnet-20,resnet-56,resnet-110", 9.0, "the central rows of table 6, in full"),),
    (_rows("rows-before", "maxout,nin,highway-19,dsn", 9.0, "networks before residual learning, in full"),),
)
"""In the order of their worth; the last two may be run several times, until their trainings have ended."""


def listed(data_root: str | None) -> list[str]:
    """Return the plan in lines: parts, steps, minutes and reasons, then what must be there first."""
    lines = []
    for number, part in enumerate(PARTS, 1):
        lines.append(f"part {number}: {sum(step.minutes for step in part):g} minutes at most")
        for step in part:
            words = step.words[1:] if step.words[0] == "-m" else ("resight", *step.words)
            lines.append(f"  {step.minutes:g} min  {shlex.join(words)}")
            lines.append(f"         {step.why}")
    return [
        *lines,
        f'needs: a CUDA device, pip install ".[dev]", CIFAR-10 under {data_root or "the data root"}',
    ]


def run(
    part: int | None,
    data_root: str | None,
    results: str,
    say: Callable[[str], None],
    parts: Sequence[Sequence[Step]] = PARTS,
) -> list[Outcome]:
    """Run a part of the plan, or all parts; what has been done before is not run again.

    Args:
        part: its number from 1; None for all.
        data_root: folder of the built-in data sets.
        results: folder; the JSON of the steps goes to RESULTS/gpu.
        say: gets lines of progress.
        parts: the plan.

    Returns:
        What became of the steps of the part, also of those that were done before.

    Raises:
        UsageError: if there is no such part.
        ResightError: without a CUDA device.
    """
    if part is not None and not 1 <= part <= len(parts):
        raise UsageError(f"--part {part}: the plan has the parts 1 to {len(parts)}")
    if pick_device().type != "cuda":
        raise ResightError("--part needs a CUDA device; without --part the plan is printed")
    chosen = [step for number, own in enumerate(parts, 1) if part in (None, number) for step in own]
    place, found = Path(results) / FOLDER, []
    place.mkdir(parents=True, exist_ok=True)
    for step in chosen:
        file = place / f"{step.name}.json"
        before = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        if before.get("status") == "done":
            say(f"{step.name}: done before")
            found.append(Outcome(**before))
            continue
        say(f"{step.name}: {step.why}; {step.minutes:g} minutes at most")
        outcome = _run(step, step.command(stopped=before.get("status") == "stopped"), data_root)
        write_json(file, to_json(outcome))
        say(f"{step.name}: {outcome.status} after {outcome.seconds:.0f} s")
        found.append(outcome)
    return found


def _run(step: Step, command: list[str], data_root: str | None) -> Outcome:
    """Run a step; at its limit it is asked to stop, and then killed."""
    environment = {**os.environ, **({"RESIGHT_DATA": data_root} if data_root else {})}
    started = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
        env=environment, start_new_session=True,
    )  # fmt: skip
    late, code = False, None
    try:
        out, err = process.communicate(timeout=60 * step.minutes)
        code = process.returncode
    except subprocess.TimeoutExpired:
        late = True
        process.send_signal(signal.SIGTERM)
        try:
            out, err = process.communicate(timeout=GRACE)
            code = process.returncode
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
    except BaseException:  # interrupted: the step ends too
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()
        raise
    status: Status = "done" if code == 0 and not late else "stopped" if late and step.resumes else "failed"
    return Outcome(
        step=step.name, command=shlex.join(["python", *command[1:]]), status=status, code=code,
        seconds=round(time.perf_counter() - started, 1), hardware=describe(pick_device()),
        versions={"resight": version("resight"), "torch": str(torch.__version__)},
        output=_document(out), tail=f"{out}\n{err}".strip()[-TAIL:],
    )  # fmt: skip


def _document(text: str) -> Any:
    """Return the JSON document that a command printed; None if it printed something else."""
    try:
        return json.loads(text)
    except ValueError:
        return None
