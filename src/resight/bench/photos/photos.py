"""`resight bench photos`: accuracy for equal processor seconds, from the same weights and pictures.

Each training runs in its own process and its row is appended to a file, so an interruption loses at most one
training; existing rows are not run again.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from resight.bench.photos.sets import DEFAULT, class_folders, truth
from resight.bench.photos.task import Task
from resight.bench.photos.weights import write_weights
from resight.bench.photos.worker import CANDIDATES
from resight.core.errors import ResightError, UsageError
from resight.core.files import digest, locked
from resight.core.registry import lookup
from resight.metrics.paired import Rights, difference_interval

FINE_TUNED, FROM_SCRATCH = ("resight", "fastai", "timm"), ("resight-scratch", "torchvision-scratch")
NEEDS = {"fastai": "fastai", "timm": "timm"}
"""Modules of the extra `bench` that a candidate imports, besides timm, which all use to read the weights."""


@dataclass(frozen=True)
class Contest:
    """The measurement to make.

    Attributes:
        data: data sets: names of `sets.DEFAULT`, or arguments of `open_dataset`.
        seconds: processor seconds of each training.
        seeds: number of seeds, from 0.
        threads: of torch, in every training.
        only: candidates; all if empty.
        out: the file of rows (JSON, one a line).
        data_root: see `open_dataset`.
    """

    data: tuple[str, ...] = DEFAULT
    seconds: float = 60.0
    seeds: int = 5
    threads: int = 1
    only: tuple[str, ...] = ()
    out: str = "bench-photos.jsonl"
    data_root: str | None = None


@dataclass(frozen=True)
class Figures:
    """What a candidate reaches on a set, over its seeds.

    Attributes:
        set: the data set.
        candidate: its name.
        n: test pictures.
        seeds: trainings.
        error: mean, in percent.
        lowest: of a training.
        highest: of a training.
        cpu_seconds: mean.
        epochs: mean.
        settings: of the candidate, in words.
    """

    set: str
    candidate: str
    n: int
    seeds: int
    error: float
    lowest: float
    highest: float
    cpu_seconds: float
    epochs: float
    settings: str


@dataclass(frozen=True)
class Comparison:
    """Our error minus a peer's, in points, with its 95 % interval, on a set or on the sum of all."""

    set: str
    candidate: str
    to: str
    difference: float
    interval: tuple[float, float]
    seeds: int


@dataclass(frozen=True)
class Measured:
    """The rows of all trainings, as they are in the file, and what they say."""

    rows: list[dict[str, Any]]
    figures: list[Figures]
    comparisons: list[Comparison]


def bench_photos(contest: Contest, progress: Callable[[str], None] | None = None) -> Measured:
    """Run the missing trainings, and compare all.

    Raises:
        UsageError: for an unknown candidate, or if a peer or the weights are not installed.
        ResightError: if a training fails, in one line.
    """
    names = contest.only or tuple(CANDIDATES)
    for name in names:
        lookup(CANDIDATES, name, "candidate")
    absent = [module for module in _needed(names) if not find_spec(module)]
    if absent:
        raise UsageError(
            f"bench photos needs {', '.join(absent)}; install with: pip install 'resight[bench]'"
        )
    out, rows = Path(contest.out), []
    place, say = out.with_name(f"{out.name}.data"), progress or (lambda line: None)
    with locked(place):
        known = {_key(row): row for row in read_rows(out)}
        tasks = _tasks(contest, names, place)
        for number, task in enumerate(tasks, start=1):
            blank = _blank(task)
            if (key := _key(blank)) not in known:
                say(f"{number} of {len(tasks)}: {task.candidate} on {blank['set']}, seed {task.seed}")
                known[key] = row = {**blank, **_outcome(task)}
                _append(out, row)
                say(f"error {row['error']:.2f} %, {row['cpu_seconds']:.1f} s, {row['epochs']:.2f} epochs")
            rows.append(known[key])
    return Measured(rows, figures(rows), comparisons(rows))


def _tasks(contest: Contest, names: Sequence[str], place: Path) -> list[Task]:
    """Write weights and pictures, and return all trainings, ordered by seed.

    Raises:
        UsageError: if two sets have the same name.
    """
    sets = [Path(name).stem for name in contest.data]
    if twice := [name for name in sets if sets.count(name) > 1]:
        raise UsageError(
            f"two data sets are called {twice[0]}; rename one, since this name identifies their rows"
        )
    weights = place / "weights"
    if any(name in FINE_TUNED for name in names) and not weights.is_dir():
        write_weights(weights)
    roots = [class_folders(name, contest.data_root, place) for name in contest.data]
    return [
        Task(name, str(root), seed, contest.seconds, contest.threads, str(weights))
        for seed in range(contest.seeds)
        for root in roots
        for name in names
    ]


def _needed(names: Sequence[str]) -> list[str]:
    return sorted({"timm" for name in names if name in FINE_TUNED} | {NEEDS[n] for n in names if n in NEEDS})


def _blank(task: Task) -> dict[str, Any]:
    """Return the key of a row: the pictures, the candidate, the seed and the budget."""
    right = truth(Path(task.root))
    return {
        "set": Path(task.root).name, "pictures": digest(json.dumps(right, sort_keys=True).encode()),
        "candidate": task.candidate, "seed": task.seed, "seconds": task.seconds, "threads": task.threads,
    }  # fmt: skip


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[k] for k in ("set", "pictures", "candidate", "seed", "seconds", "threads"))


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file; none if it does not exist. An incomplete last line is ignored.

    Raises:
        ResightError: if a line is not a row.
    """
    if not path.exists():
        return []
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n")[:-1], start=1):
        try:
            rows.append(json.loads(line))
            _key(rows[-1])
        except (ValueError, KeyError, TypeError) as error:
            raise ResightError(
                f"{path}: line {number} is not a row of bench photos; name another file with --out"
            ) from error
    return rows


def _append(path: Path, row: dict[str, Any]) -> None:
    """Append a row, replacing an incomplete last line."""
    with path.open("ab") as file:
        written = path.read_bytes()
        file.truncate(written.rfind(b"\n") + 1)
        file.write(json.dumps(row).encode() + b"\n")


def _outcome(task: Task) -> dict[str, Any]:
    """Run a task in its own process and return the rest of its row.

    Raises:
        ResightError: if the process fails, or does not predict exactly the test pictures.
    """
    caps = {
        name: str(task.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    }
    done = subprocess.run(
        [sys.executable, "-m", "resight.bench.photos.worker", json.dumps(vars(task))],
        capture_output=True, text=True, check=False, env={**os.environ, **caps, "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no words"])[-1]
        raise ResightError(f"bench photos: {task.candidate} on {task.root} failed ({last})")
    found, known = json.loads(done.stdout), truth(Path(task.root))
    labels = found.pop("labels")
    if labels.keys() != known.keys():
        raise ResightError(f"bench photos: {task.candidate} did not predict the same test pictures")
    right = [labels[name] == label for name, label in known.items()]
    return {
        **found, "n": len(right), "error": 100 * (1 - sum(right) / len(right)),
        "right": "".join("01"[r] for r in right),
        "versions": {name: version(name) for name in ("torch", "timm", "fastai") if find_spec(name)},
    }  # fmt: skip


def figures(rows: Sequence[dict[str, Any]]) -> list[Figures]:
    """Return the figures of each set and candidate."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["set"], row["candidate"]), []).append(row)
    found = []
    for (data, candidate), group in groups.items():
        errors = [row["error"] for row in group]
        found.append(
            Figures(
                data, candidate, group[0]["n"], len(group),
                error=float(np.mean(errors)), lowest=min(errors), highest=max(errors),
                cpu_seconds=float(np.mean([row["cpu_seconds"] for row in group])),
                epochs=float(np.mean([row["epochs"] for row in group])),
                settings=group[0]["settings"],
            )
        )  # fmt: skip
    return found


def comparisons(rows: Sequence[dict[str, Any]]) -> list[Comparison]:
    """Return the comparison of ours with each measured peer: on each set, and on the sum of the sets.

    Only sets and seeds that both have count. A difference below 0 means that our error is smaller.
    """
    rights: dict[str, dict[str, dict[int, str]]] = {}
    for row in rows:
        rights.setdefault(row["candidate"], {}).setdefault(row["set"], {})[row["seed"]] = row["right"]
    found = []
    for own, *peers in (FINE_TUNED, FROM_SCRATCH):
        for peer in peers:
            pairs = _pairs(rights.get(own, {}), rights.get(peer, {}))
            sets = {name: {name: pair} for name, pair in pairs.items()}
            for name, part in {**sets, **({"sum": pairs} if len(pairs) > 1 else {})}.items():
                interval = difference_interval(list(part.values()))
                seeds = min(len(ours) for ours, _ in part.values())
                both = (interval.low, interval.high)
                found.append(Comparison(name, own, peer, interval.difference, both, seeds))
    return found


def _pairs(
    ours: dict[str, dict[int, str]], theirs: dict[str, dict[int, str]]
) -> dict[str, tuple[Rights, Rights]]:
    pairs = {}
    for name in ours.keys() & theirs.keys():
        if seeds := sorted(ours[name].keys() & theirs[name].keys()):
            first, second = (
                np.array([[c == "1" for c in side[name][seed]] for seed in seeds]) for side in (ours, theirs)
            )
            pairs[name] = (first, second)
    return dict(sorted(pairs.items()))
