"""The results of an experiment: what was measured, what is published, and how."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from resight.core import published
from resight.core.device import describe, pick_device
from resight.core.figures import Inline
from resight.reproduce.claims import Figure, Figures, judge
from resight.reproduce.experiment import Experiment, Plot, Row, Scale
from resight.reproduce.laboratory import Laboratory

PLACE = "runs/reproduce"
"""The default folder for the runs of `resight reproduce`."""


@dataclass(frozen=True)
class Outcome:
    """Whether a claim holds.

    Attributes:
        holds: None if a deciding figure is missing or its interval leaves it open, or at smoke scale.
        alone: what the figures say without intervals; None if one is missing, or at smoke scale.
    """

    holds: bool | None
    alone: bool | None

    @property
    def words(self) -> str:
        """Either "holds" or "does not hold", or the reason for neither."""
        words = {True: "holds", False: "does not hold"}
        if self.holds is not None:
            return words[self.holds]
        if self.alone is None:
            return "not judged: a figure is missing, or the scale is too small"
        why = "not decided by the 95 % intervals, which one seed alone may not have"
        return f"{why}; by the figures alone it {words[self.alone]}"


@dataclass(frozen=True)
class Part:
    """A part of a claim.

    Attributes:
        claim: the part, in a sentence.
        outcome: whether it holds.
    """

    claim: str
    outcome: Inline[Outcome]


@dataclass(frozen=True)
class ResultRow:
    """A figure: published, and measured here.

    Attributes:
        id: EXPERIMENT/CONDITION/METRIC; a condition may have slashes.
        paper: source of the published figure.
        published: the figure; None if none is known.
        certainty: of the published figure: "verified", "high" or "uncertain".
        published_protocol: how it was measured there.
        measured: mean over the seeds; None if it was not measured.
        interval: its 95 % interval; None if unknown.
        values: one for each seed.
        unit: "%" or none.
        protocol: the scale, in words.
        seed: the seeds that were measured.
        hardware: of the trainings.
        seconds: of the condition's trainings; None without one.
    """

    id: str
    paper: str
    published: float | None
    certainty: str | None
    published_protocol: str | None
    measured: float | None
    interval: tuple[float, float] | None
    values: tuple[float, ...]
    unit: str
    protocol: str
    seed: tuple[int, ...]
    hardware: str
    seconds: float | None

    @property
    def name(self) -> str:
        """CONDITION/METRIC."""
        return self.id.partition("/")[2]


@dataclass(frozen=True)
class Trained:
    """A training of an experiment.

    Attributes:
        condition: its name.
        seed: its seed.
        command: that trains it, as if in PLACE.
        seconds: that it took.
        recipe: its settings.
        data: fingerprint of the pictures.
    """

    condition: str
    seed: int
    command: str
    seconds: float
    recipe: dict[str, Any]
    data: str


@dataclass(frozen=True)
class Record:
    """The results of an experiment, as they are written.

    Attributes:
        experiment: its name.
        data: the user's data, as given.
        paper: the source.
        claim: what the paper claims.
        outcome: whether it holds here.
        parts: of the claim, each with its outcome.
        caveat: another explanation of the figures.
        scale: of the trainings.
        protocol: the scale, in words.
        seeds: each training was run once for each.
        seconds: of all trainings.
        hardware: of the trainings, those of several machines joined by semicolons.
        versions: package to version.
        rows: the figures.
        command: runs it again.
        trainings: the trainings.
        failed: condition to reason.
        plots: its charts.
    """

    experiment: str
    data: tuple[str, ...]
    paper: str
    claim: str
    outcome: Inline[Outcome]
    parts: tuple[Part, ...]
    caveat: str
    scale: Scale
    protocol: str
    seeds: tuple[int, ...]
    seconds: float
    hardware: str
    versions: Mapping[str, str]
    rows: tuple[ResultRow, ...]
    command: str
    trainings: tuple[Trained, ...]
    failed: Mapping[str, str]
    plots: tuple[Plot, ...]


def record_of(name: str, laboratory: Laboratory, called: str) -> Record:
    """Return the results of an experiment that has run.

    Args:
        name: of the experiment.
        laboratory: where it has run.
        called: the user's argument: its name or its file.
    """
    experiment, scale = laboratory.experiment, laboratory.scale
    records = laboratory.records()
    hardware = sorted({r["hardware"] for r in records if "hardware" in r}) or [describe(pick_device())]
    versions: dict[str, set[str]] = {}
    for key, value in ((k, v) for r in records for k, v in r.get("versions", {}).items()):
        versions.setdefault(key, set()).add(value)
    seconds = {
        condition: sum(r["seconds"] for r in records if r["condition"] == condition)
        for condition in {r["condition"] for r in records}
    }
    rows = tuple(
        row_of(name, row, laboratory, seconds, "; ".join(hardware)) for row in experiment.rows(laboratory)
    )
    outcome, parts = judged(experiment, rows, scale.name)
    return Record(
        experiment=name,
        data=tuple(laboratory.data),
        paper=experiment.paper,
        claim=experiment.claim,
        outcome=outcome,
        parts=parts,
        caveat=experiment.caveat,
        scale=scale,
        protocol=scale.words(),
        seeds=tuple(laboratory.seeds),
        seconds=sum(seconds.values()),
        hardware="; ".join(hardware),
        versions={key: ", ".join(sorted(values)) for key, values in versions.items()},
        rows=rows,
        command=_command(called, laboratory),
        trainings=tuple(_trained(laboratory, record) for record in records),
        failed=laboratory.failed,
        plots=tuple(experiment.plots(laboratory)) if experiment.plots else (),
    )


def judged(experiment: Experiment, rows: Sequence[ResultRow], scale: str) -> tuple[Outcome, tuple[Part, ...]]:
    """Return whether the claim and its parts hold, by their rows; nothing is judged at smoke scale."""
    found = {
        row.name: Figure(row.measured, *row.interval) if row.interval else Figure(row.measured)
        for row in rows
        if row.measured is not None
    }

    def outcome(claim: Callable[[Figures], bool]) -> Outcome:
        said = judge(claim, found)
        decided = not said.missing and scale != "smoke"
        return Outcome(said.holds if decided else None, said.alone if decided else None)

    parts = tuple(Part(words, outcome(part)) for words, part in experiment.parts)
    return outcome(experiment.holds), parts


def _trained(laboratory: Laboratory, record: Mapping[str, Any]) -> Trained:
    condition, seed = record["condition"], record["seed"]
    command = laboratory.command(laboratory.training(condition), seed)
    return Trained(
        condition,
        seed,
        command.replace(f"{laboratory.place}/", f"{PLACE}/"),
        round(record["seconds"], 3),
        record.get("recipe") or record["settings"],  # of a GAN
        record["data_fingerprint"],
    )


def _command(called: str, laboratory: Laboratory) -> str:
    """Return the command that runs an experiment again."""
    scale = laboratory.scale
    words = ["resight", "reproduce", called]
    if scale.name != "smoke":
        words += ["--scale", "full"]
    if scale.name == "part":
        words += ["--epochs", str(scale.epochs)] if scale.epochs else []
        words += ["--pictures", str(scale.pictures)] if scale.pictures else []
        words += [word for setting in scale.settings for word in ("--set", setting)]
    words += ["--seeds", str(len(laboratory.seeds))] if len(laboratory.seeds) > 1 else []
    return shlex.join(words + [word for data in laboratory.data for word in ("--data", data)])


def row_of(
    name: str, row: Row, laboratory: Laboratory, seconds: Mapping[str, float], hardware: str
) -> ResultRow:
    """Return a figure of an experiment next to the published one."""
    measure = row.measure
    figure = _published(row.published) if row.published else None
    condition = row.condition.split("/")[0]
    return ResultRow(
        id=f"{name}/{row.condition}/{row.metric}",
        paper=figure.source if figure else laboratory.experiment.paper,
        published=figure.value if figure else None,
        certainty=figure.certainty if figure else None,
        published_protocol=figure.protocol if figure else None,
        measured=measure.mean if measure else None,
        interval=measure.interval if measure else None,
        values=measure.values if measure else (),
        unit=row.unit,
        protocol=laboratory.scale.words(),
        seed=tuple(laboratory.measured(condition)),
        hardware=hardware,
        seconds=seconds.get(condition),
    )


def _published(number: str) -> published.Published:
    return next(figure for figure in published.load() if figure.id == number)
