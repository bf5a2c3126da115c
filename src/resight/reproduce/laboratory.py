"""Where an experiment's trainings run: each a `resight train` of its own, resumed if it stopped."""

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resight.core.errors import ResightError
from resight.core.files import digest
from resight.data.builtin import BUILTIN
from resight.data.open import open_dataset
from resight.models.modelfile import load_header
from resight.reproduce.experiment import Experiment, Measure, Scale, Training
from resight.reproduce.sets import write_part
from resight.service.runs import MODEL_FILE, RECIPE_FILE, REPORT_FILE, Run, open_run, read_recipe_file
from resight.service.test import test
from resight.training.journal import read_csv


@dataclass
class Laboratory:
    """Where an experiment runs.

    Attributes:
        experiment: what is run.
        scale: how far.
        seeds: a run of each training for each.
        place: folder of the runs and of the data sets that are made; experiments share what is the same.
        say: tells the user a line.
        data_root: where built-in data sets lie.
        data: what the user gave, one for each --data.
        failed: conditions whose training failed, with why.
    """

    experiment: Experiment
    scale: Scale
    seeds: Sequence[int]
    place: Path
    say: Callable[[str], None]
    data_root: str | None = None
    data: Sequence[str] = ()
    failed: dict[str, str] = field(default_factory=dict)

    def train(self, jobs: int = 1) -> None:
        """Run every training that is not finished, several side by side.

        A training that fails is noted in `failed`; those that need it fail with it. The processor's cores
        are shared out among the jobs, unless OMP_NUM_THREADS says otherwise.
        """
        environment = {**os.environ, **({"RESIGHT_DATA": self.data_root} if self.data_root else {})}
        if jobs > 1:
            environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // jobs)))
        waiting = [(t, seed) for t in self.experiment.trainings for seed in self.seeds]
        waiting = [(t, seed) for t, seed in waiting if not self.finished(t, seed)]
        for number, (training, seed) in enumerate(waiting, 1):
            self.say(f"{number}/{len(waiting)}  {self.command(training, seed)}")
        running: list[tuple[Training, int, subprocess.Popen[bytes], float]] = []
        try:
            while waiting or running:
                ready = [(t, s) for t, s in waiting if not self._missing(t, s)]
                while ready and len(running) < jobs:
                    training, seed = ready.pop(0)
                    waiting.remove((training, seed))
                    running.append(
                        (training, seed, self._start(training, seed, environment), time.perf_counter())
                    )
                if not running:  # what is left waits for what failed
                    for training, seed in waiting:
                        self.failed[training.condition] = f"needs {', '.join(self._missing(training, seed))}"
                    break
                time.sleep(0.2)
                running = [entry for entry in running if not self._over(*entry)]
        except BaseException:
            for _, _, process, _ in running:
                process.terminate()  # it saves its state
            for _, _, process, _ in running:
                process.wait()
            raise

    def _missing(self, training: Training, seed: int) -> list[str]:
        """Return the conditions that a training waits for."""
        others = [t for t in self.experiment.trainings if f"{{{t.condition}}}" in " ".join(training.words)]
        return [t.condition for t in others if not self.finished(t, seed)]

    def finished(self, training: Training, seed: int) -> bool:
        """Return whether a training has come to its end."""
        folder = self.run_folder(training, seed)
        done = folder / REPORT_FILE if training.command == "train" else folder.with_suffix(".done")
        return done.exists()

    def _start(self, training: Training, seed: int, environment: dict[str, str]) -> "subprocess.Popen[bytes]":
        folder = self.run_folder(training, seed)
        folder.parent.mkdir(parents=True, exist_ok=True)
        words = [sys.executable, "-m", "resight", *self.words(training, seed), "--out", str(folder)]
        if (folder / RECIPE_FILE).exists():
            words.append("--resume")
        with folder.with_suffix(".log").open("ab") as log:
            return subprocess.Popen(words, stdout=log, stderr=log, env=environment)

    def _over(
        self, training: Training, seed: int, process: "subprocess.Popen[bytes]", started: float
    ) -> bool:
        if process.poll() is None:
            return False
        log = self.run_folder(training, seed).with_suffix(".log")
        if process.returncode:
            lines = log.read_text(errors="replace").splitlines()
            self.failed[training.condition] = next(
                (x for x in reversed(lines) if x.startswith("resight: ")), lines[-1]
            )
            self.say(
                f"{training.condition} failed: {self.failed[training.condition]}; its words are in {log}"
            )
        else:
            took = time.perf_counter() - started
            found = ""
            if training.command == "train":
                found = f"{self.header(training, seed)['top1_error']:.2f} % "
            else:
                self.run_folder(training, seed).with_suffix(".done").touch()
            self.say(f"{training.condition}, seed {seed}: {found}in {took:.0f} s")
        return True

    def words(self, training: Training, seed: int) -> list[str]:
        """Return the words of a training's call after `resight`, without the run folder."""
        words = [training.command, str(self.set_of(training.data)), "--seed", str(seed)]
        words += ["--recipe", training.recipe] if training.recipe else []
        folders = {
            t.condition: str(self.run_folder(t, seed)) for t in self.experiment.trainings if t is not training
        }
        for word in training.words:
            for condition, folder in folders.items():
                word = word.replace(f"{{{condition}}}", folder)
            words += ["--set", word]
        if self.scale.epochs and (training.recipe or training.command == "train-gan"):
            words += ["--epochs", str(self.scale.epochs)]
        return words

    def command(self, training: Training, seed: int) -> str:
        """Return a training's call as a user would write it."""
        return shlex.join(["resight", *self.words(training, seed)])

    def run_folder(self, training: Training, seed: int) -> Path:
        """Return the folder of a run: named after all that it depends on, so that experiments share it."""
        data = training.data
        known = [
            str(Path(self.given(data)).resolve()) if data.startswith("--data") else data,
            training.recipe,
            *training.words,
            self.scale.epochs,
            self.scale.pictures,
            self.scale.tested,
            *([training.command] if training.command != "train" else []),
            *(self._resolved() if data in self.experiment.sets else []),
        ]
        name = digest(json.dumps(known).encode())[:8]
        return self.place / f"{training.condition.replace('/', '-')}-{name}-{seed}"

    def set_of(self, name: str) -> Path | str:
        """Return a data set by name: made by the experiment, or cut down to the scale, if need be."""
        if name.startswith("--data"):
            name = self.given(name)
        made = self.experiment.sets.get(name)
        if made is None and not self.scale.pictures:
            return name
        source = "".join(self._resolved()) if made else "" if name in BUILTIN else str(Path(name).resolve())
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

    def _resolved(self) -> list[str]:
        """Return what the user gave, as whole paths; what an experiment makes of it depends on that."""
        return [str(Path(data).resolve()) for data in self.data]

    def training(self, condition: str) -> Training:
        """Return the training of a condition."""
        return next(t for t in self.experiment.trainings if t.condition == condition)

    def folders(self, condition: str) -> list[Path]:
        """Return the finished runs of a condition, in the order of the seeds."""
        folders = [self.run_folder(self.training(condition), seed) for seed in self.seeds]
        return [folder for folder in folders if (folder / REPORT_FILE).exists()]

    def runs(self, condition: str) -> list[Run]:
        """Return the finished runs of a condition, opened."""
        return [open_run(str(folder)) for folder in self.folders(condition)]

    def header(self, training: Training, seed: int) -> dict[str, Any]:
        """Return the test figures of a run."""
        return load_header(self.run_folder(training, seed) / MODEL_FILE)["test"]

    def curve(self, condition: str) -> list[dict[str, float]]:
        """Return the rows of metrics.csv of a condition's first run; none if there is none."""
        folders = self.folders(condition)
        return read_csv(folders[0] / "metrics.csv") if folders else []

    def measure(self, condition: str, of: Callable[[Run], float]) -> Measure | None:
        """Return what a function says of every run of a condition; None if none has finished."""
        values = tuple(float(of(run)) for run in self.runs(condition))
        return Measure(values) if values else None

    def error(self, condition: str) -> Measure | None:
        """Return the test error of a condition, in percent."""
        found = [load_header(folder / MODEL_FILE)["test"] for folder in self.folders(condition)]
        if not found:
            return None
        return Measure(tuple(f["top1_error"] for f in found), tuple(found[0]["top1_interval"]))

    def last(self, condition: str, column: str) -> Measure | None:
        """Return the last value of a column of metrics.csv."""
        rows = [read_csv(folder / "metrics.csv")[-1] for folder in self.folders(condition)]
        values = tuple(row[column] for row in rows if column in row)
        return Measure(values) if values else None

    def tested(self, runs: Sequence[str], data: str | Path | None = None, **protocol: Any) -> dict[str, Any]:
        """Return the JSON of `resight test`."""
        return test(runs, None if data is None else str(data), data_root=self.data_root, **protocol)

    def records(self) -> list[dict[str, Any]]:
        """Return recipe.json of every finished network, with the seconds that its training took."""
        found = []
        for training in (t for t in self.experiment.trainings if t.command == "train"):
            for folder in self.folders(training.condition):
                rows = read_csv(folder / "metrics.csv")
                seconds = sum(row["seconds"] for row in rows)
                found.append(
                    {**read_recipe_file(folder), "condition": training.condition, "seconds": seconds}
                )
        return found

    def given(self, name: str = "--data") -> str:
        """Return what the user gave: with the first "--data", or with the second, "--data 2".

        Raises:
            ResightError: if that was not given.
        """
        place = int(name.partition(" ")[2] or 1) - 1
        if place >= len(self.data):
            raise ResightError(f"this experiment needs {name}: {self.experiment.needs[place]}")
        return self.data[place]
