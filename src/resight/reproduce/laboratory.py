"""Runs an experiment's trainings: each is its own `resight train`, resumed if it stopped."""

import inspect
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from resight.core.errors import ResightError
from resight.core.files import digest, write_text
from resight.data.layouts.builtin import BUILTIN
from resight.data.open import open_dataset
from resight.data.prepare import Normalize, decode_split
from resight.metrics.accuracy import wilson_interval
from resight.models.modelfile import load_header
from resight.reproduce.experiment import Experiment, Measure, Scale, Training
from resight.reproduce.sets import write_part
from resight.service.run.folder import stop_asked
from resight.service.run.run import MODEL_FILE, RECIPE_FILE, REPORT_FILE, Run, open_run, read_recipe_file
from resight.service.test.test import test
from resight.training.journal import read_csv

DONE = "done"
"""Ending of the file next to a run that marks it as finished, where the run itself does not."""


@dataclass
class Job:
    """A running training.

    Attributes:
        training: what is trained.
        seed: its seed.
        process: the process that trains it.
        started: by `time.perf_counter`.
        logged: size of its log before the start, in bytes.
    """

    training: Training
    seed: int
    process: "subprocess.Popen[bytes]"
    started: float
    logged: int


@dataclass
class Laboratory:
    """Where an experiment runs.

    Attributes:
        experiment: what is run.
        scale: its scale.
        seeds: each training is run once for each.
        place: folder of the runs and of the data sets that are made; experiments share equal ones. Data with
            the same path count as the same.
        say: prints one line for the user.
        data_root: folder of the built-in data sets.
        data: the user's data, one for each --data.
        failed: conditions whose training failed, with the reason.
    """

    experiment: Experiment
    scale: Scale
    seeds: Sequence[int]
    place: Path
    say: Callable[[str], None]
    data_root: str | None = None
    data: Sequence[str] = ()
    failed: dict[str, str] = field(default_factory=dict)

    def train(self, jobs: int = 1, trainings: Sequence[Training] = ()) -> None:
        """Run every training that is not finished, several side by side.

        Args:
            jobs: number of trainings at a time.
            trainings: the experiment's trainings to run; by default all.

        A training that fails is recorded in `failed`; those that need it fail with it. The processor's cores
        are divided among the jobs, unless OMP_NUM_THREADS is set. When interrupted or terminated, it ends the
        trainings, which save their state.
        """
        environment = {**os.environ, **({"RESIGHT_DATA": self.data_root} if self.data_root else {})}
        if jobs > 1:
            environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // jobs)))
        waiting = [(t, seed) for t in trainings or self.experiment.trainings for seed in self.seeds]
        waiting = [(t, seed) for t, seed in waiting if not self.finished(t, seed)]
        for number, (training, seed) in enumerate(waiting, 1):
            self.say(f"{number}/{len(waiting)}  {self.command(training, seed)}")
        running: list[Job] = []
        with stop_asked() as stop:
            try:
                while waiting or running:
                    ready = [(t, s) for t, s in waiting if not self._missing(t, s)]
                    for training, seed in ready[: jobs - len(running)]:
                        waiting.remove((training, seed))
                        running.append(self._start(training, seed, environment))
                    if not running:  # the rest waits for failed trainings
                        for training, seed in waiting:
                            missing = ", ".join(self._missing(training, seed))
                            self.failed[training.condition] = f"needs {missing}"
                        break
                    if stop.wait(0.2):
                        raise KeyboardInterrupt
                    running = [job for job in running if not self._over(job)]
            finally:
                for job in running:
                    job.process.terminate()  # it saves its state
                for job in running:
                    job.process.wait()

    def _missing(self, training: Training, seed: int) -> list[str]:
        """Return the conditions that a training waits for."""
        return [t.condition for t in self.experiment.before(training) if not self.finished(t, seed)]

    def finished(self, training: Training, seed: int) -> bool:
        """Return whether a training has finished."""
        if training.command == "train":
            return (self.run_folder(training, seed) / REPORT_FILE).exists()
        return self._beside(training, seed, DONE).exists()

    def _beside(self, training: Training, seed: int, ending: str) -> Path:
        """Return a file next to a run folder."""
        folder = self.run_folder(training, seed)
        return folder.parent / f"{folder.name}.{ending}"

    def _start(self, training: Training, seed: int, environment: dict[str, str]) -> "Job":
        folder, log = self.run_folder(training, seed), self._beside(training, seed, "log")
        folder.parent.mkdir(parents=True, exist_ok=True)
        for name, made in self.experiment.files.items():
            if f"{{{name}}}" in " ".join(training.words) and not (file := self.file(name, seed)).exists():
                made.write(self, open_run(str(self.run_folder(self.training(made.condition), seed))), file)
        words = [sys.executable, "-m", "resight", *self.words(training, seed)]
        if (folder / RECIPE_FILE).exists():
            words.append("--resume")
        before = log.stat().st_size if log.exists() else 0
        with log.open("ab") as stream:
            process = subprocess.Popen(words, stdout=stream, stderr=stream, env=environment)
        return Job(training, seed, process, time.perf_counter(), before)

    def _over(self, job: "Job") -> bool:
        """Return whether a job has ended, and record its outcome."""
        if job.process.poll() is None:
            return False
        training, seed = job.training, job.seed
        log = self._beside(training, seed, "log")
        if job.process.returncode:
            lines = log.read_bytes()[job.logged :].decode(errors="replace").splitlines()
            faults = [line for line in lines if line.startswith("resight: ")] or lines
            why = faults[-1] if faults else f"ended with code {job.process.returncode}"
            self.failed[training.condition] = why
            self.say(f"{training.condition} failed: {why}; its output is in {log}")
        else:
            took = time.perf_counter() - job.started
            found = ""
            if training.command == "train":
                errors = [v for k, v in self.header(training, seed).items() if k.endswith("_error")]
                found = f"{errors[0]:.2f} % " if errors else ""
            else:
                write_text(self._beside(training, seed, DONE), f"{took:.1f}\n")
            self.say(f"{training.condition}, seed {seed}: {found}in {took:.0f} s")
        return True

    def words(self, training: Training, seed: int) -> list[str]:
        """Return the arguments of a training's `resight` command."""
        words = [training.command, str(self.set_of(training.data)), "--seed", str(seed)]
        words += ["--task", training.task] if training.task else []
        words += ["--recipe", training.recipe] if training.recipe else []
        for word in (*self._filled(training, seed, str), *(self.scale.settings if training.recipe else ())):
            words += ["--set", word]
        if self.scale.epochs and (training.recipe or training.command == "train-gan"):
            words += ["--epochs", str(self.scale.epochs)]
        return [*words, "--out", str(self.run_folder(training, seed))]

    def _filled(self, training: Training, seed: int, called: Callable[[Path], str]) -> list[str]:
        """Return a training's arguments with every `{CONDITION}` and `{FILE}` replaced by its path."""
        words = list(training.words)
        paths = {t.condition: partial(self.run_folder, t, seed) for t in self.experiment.trainings}
        paths |= {name: partial(self.file, name, seed) for name in self.experiment.files}
        for name, path in paths.items():
            if any((mark := f"{{{name}}}") in word for word in words):
                words = [word.replace(mark, called(path())) for word in words]
        return words

    def command(self, training: Training, seed: int) -> str:
        """Return a training's command as a user would write it."""
        return shlex.join(["resight", *self.words(training, seed)])

    def run_folder(self, training: Training, seed: int) -> Path:
        """Return the folder of a run, named after everything it depends on, so that experiments share it."""
        data = training.data
        known = [
            str(Path(self.given(data)).resolve()) if data.startswith("--data") else data,
            training.recipe,
            *self._filled(training, seed, lambda run: run.name),
            self.scale.epochs,
            self.scale.pictures,
            self.scale.tested,
            *(self.scale.settings if training.recipe else ()),
            *([training.command] if training.command != "train" else []),
            *([training.task] if training.task else []),
            *(self._made_of(data) if data in self.experiment.sets else []),
        ]
        name = digest(json.dumps(known).encode())[:8]
        return self.place / f"{training.condition.replace('/', '-')}-{name}-{seed}"

    def file(self, name: str, seed: int) -> Path:
        """Return the path of a file that the experiment makes, next to the run that it is made from."""
        made = self.experiment.files[name]
        return self._beside(self.training(made.condition), seed, f"{name}.safetensors")

    def set_of(self, name: str) -> Path | str:
        """Return a data set by name: made by the experiment, or reduced to the scale, if needed."""
        if name.startswith("--data"):
            name = self.given(name)
        made = self.experiment.sets.get(name)
        if made is None and not self.scale.pictures:
            return name
        source = (
            "".join(self._made_of(name)) if made else "" if name in BUILTIN else str(Path(name).resolve())
        )
        own = source and f"-{digest(os.fsencode(source))[:6]}"
        cut = f"{self.scale.pictures or 'all'}-{self.scale.tested or 'all'}"
        folder = self.place / "data" / f"{Path(name).name}{own}-{cut}"
        if not (folder / "done").exists():
            folder.mkdir(parents=True, exist_ok=True)
            if made:
                made(self, folder)
            else:
                write_part(open_dataset(name, self.data_root), folder, self.scale)
            (folder / "done").touch()
        return folder

    def images(self, run: Run, data: str, split: str, count: int) -> Tensor:
        """Return the first pictures of a split, normalized for a run, (count, C, H, W) on its device."""
        part = open_dataset(str(self.set_of(data)), self.data_root).split(split)
        _, squares, _ = decode_split(part.take(range(min(count, len(part)))), run.preprocessing)
        return Normalize(run.preprocessing, run.device)(torch.from_numpy(np.stack(squares)))

    def _made_of(self, name: str) -> list[str]:
        """Return what a set that the experiment makes depends on: its file, and the user's data."""
        made = self.experiment.sets[name]
        file = inspect.getsourcefile(made.func if isinstance(made, partial) else made)
        written = digest(Path(file).read_bytes()) if file else ""
        return [written, *(str(Path(data).resolve()) for data in self.data)]

    def training(self, condition: str) -> Training:
        """Return the training of a condition."""
        return next(t for t in self.experiment.trainings if t.condition == condition)

    def folders(self, condition: str) -> list[Path]:
        """Return the finished runs of a condition, in the order of the seeds."""
        return [self.run_folder(self.training(condition), seed) for seed in self.measured(condition)]

    def run(self, condition: str, seed: int) -> Run | None:
        """Return the finished run of a condition and a seed, opened; None if there is none."""
        if seed not in self.measured(condition):
            return None
        return open_run(str(self.run_folder(self.training(condition), seed)))

    def runs(self, condition: str) -> list[Run]:
        """Return the finished runs of a condition, opened."""
        return [open_run(str(folder)) for folder in self.folders(condition)]

    def measured(self, condition: str) -> list[int]:
        """Return the seeds of a condition's finished runs; all seeds for a condition without training.

        Without the data that the user must give there are none.
        """
        if len(self.data) < len(self.experiment.needs):
            return []
        known = [t for t in self.experiment.trainings if t.condition == condition]
        return [seed for seed in self.seeds if all(self.finished(t, seed) for t in known)]

    def header(self, training: Training, seed: int) -> dict[str, Any]:
        """Return the test figures of a run."""
        return load_header(self.run_folder(training, seed) / MODEL_FILE)["test"]

    def curves(self, condition: str) -> list[list[dict[str, float]]]:
        """Return the rows of metrics.csv of every run of a condition."""
        return [read_csv(folder / "metrics.csv") for folder in self.folders(condition)]

    def curve(self, condition: str) -> list[dict[str, float]]:
        """Return the rows of metrics.csv of a condition's first run; none if there is none."""
        return next(iter(self.curves(condition)), [])

    def measure(self, condition: str, of: Callable[[Run], float]) -> Measure | None:
        """Return a function's value for every run of a condition; None if none has finished."""
        values = tuple(float(of(run)) for run in self.runs(condition))
        return Measure(values) if values else None

    def count(self, condition: str, of: Callable[[Run], float]) -> Measure | None:
        """Return a function's value for a condition's runs if nothing in it is random; None without runs."""
        found = self.measure(condition, of)
        return found and Measure(found.values[:1], (found.mean, found.mean))

    def error(self, condition: str, split: str = "test") -> Measure | None:
        """Return the error of a condition in percent: on "test" from its runs, on other sets tested now."""
        if split == "test":
            found = [load_header(folder / MODEL_FILE)["test"] for folder in self.folders(condition)]
        else:
            found = [self.tested([str(run)], split=split) for run in self.folders(condition)]
        if not found:
            return None
        return Measure(tuple(f["top1_error"] for f in found), tuple(found[0]["top1_interval"]))

    def training_error(self, condition: str) -> Measure | None:
        """Return the training error of a condition's last epoch in percent; None if no run has finished."""
        last = [curve[-1] for curve in self.curves(condition)]
        return Measure(tuple(row["train_error"] for row in last), interval_of(last[0])) if last else None

    def tested(self, runs: Sequence[str], data: str | Path | None = None, **protocol: Any) -> dict[str, Any]:
        """Return the JSON of `resight test`."""
        return test(runs, None if data is None else str(data), data_root=self.data_root, **protocol)

    def records(self) -> list[dict[str, Any]]:
        """Return recipe.json of every finished run, with its condition, seed and duration in seconds."""
        found = []
        for training, seed in ((t, seed) for t in self.experiment.trainings for seed in self.seeds):
            if not self.finished(training, seed):
                continue
            folder = self.run_folder(training, seed)
            if training.command == "train":
                seconds = sum(row["seconds"] for row in read_csv(folder / "metrics.csv"))
            else:
                seconds = float(self._beside(training, seed, DONE).read_text())
            facts = {"condition": training.condition, "seed": seed, "seconds": seconds}
            found.append({**read_recipe_file(folder), **facts})
        return found

    def given(self, name: str = "--data") -> str:
        """Return the user's data: of the first "--data", or of the second, "--data 2".

        Raises:
            ResightError: if it was not given.
        """
        place = int(name.partition(" ")[2] or 1) - 1
        if place >= len(self.data):
            raise ResightError(f"this experiment needs {name}: {self.experiment.needs[place]}")
        return self.data[place]


def interval_of(row: Mapping[str, float]) -> tuple[float, float]:
    """Return the Wilson interval of an epoch's training error in percent, over the pictures it used."""
    seen = max(1, round(row["images_per_second"] * row["seconds"]))
    return wilson_interval(round(row["train_error"] / 100 * seen), seen)
