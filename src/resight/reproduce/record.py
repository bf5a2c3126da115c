"""The results of an experiment as JSON: what was measured, beside what is published, and how."""

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

from resight.core import published
from resight.core.device import describe, pick_device
from resight.core.errors import DataError
from resight.core.files import write_json
from resight.reproduce.experiment import Figures, Plot, Row
from resight.reproduce.laboratory import Laboratory

PLACE = "runs/reproduce"
"""Where `resight reproduce` puts the runs unless it is told otherwise."""


def record_of(name: str, laboratory: Laboratory) -> dict[str, Any]:
    """Return the document of a run experiment.

    Returns:
        {"experiment", "paper", "claim", "holds" (None if a deciding figure is missing), "scale", "protocol",
        "seeds", "seconds" (of all trainings), "hardware", "versions", "rows", "command" (that runs it again),
        "commands" (the trainings, as if in PLACE), "failed", "plots"}. A row has the keys of the JSON of
        `resight reproduce`, and "unit", "values", "certainty" and "published_protocol".
    """
    experiment, scale = laboratory.experiment, laboratory.scale
    rows = list(experiment.rows(laboratory))
    records = laboratory.records()
    figures = Figures({f"{row.condition}/{row.metric}": row.measure.mean for row in rows if row.measure})
    holds = experiment.holds(figures)
    hardware = sorted({r["hardware"] for r in records}) or [describe(pick_device())]
    versions = {key: value for r in records for key, value in r["versions"].items()}
    seconds: dict[str, float] = {
        c: sum(r["seconds"] for r in records if r["condition"] == c)
        for c in {r["condition"] for r in records}
    }
    return {
        "experiment": name,
        "paper": experiment.paper,
        "claim": experiment.claim,
        "holds": None if figures.missing else bool(holds),
        "scale": asdict(scale),
        "protocol": scale.words(),
        "seeds": list(laboratory.seeds),
        "seconds": sum(seconds.values()),
        "hardware": "; ".join(hardware),
        "versions": versions,
        "rows": [_row(name, row, laboratory, seconds, "; ".join(hardware)) for row in rows],
        "command": _command(name, laboratory),
        "commands": [
            laboratory.command(t, seed).replace(str(laboratory.place), PLACE)
            for t in experiment.trainings
            for seed in laboratory.seeds
        ],
        "failed": laboratory.failed,
        "plots": [asdict(plot) for plot in (experiment.plots(laboratory) if experiment.plots else ())],
    }


def _command(name: str, laboratory: Laboratory) -> str:
    """Return the call that runs an experiment again."""
    scale = laboratory.scale
    words = ["resight", "reproduce", name]
    if scale.name != "smoke":
        words += ["--scale", "full"]
    if scale.name == "part":
        words += ["--epochs", str(scale.epochs)] if scale.epochs else []
        words += ["--pictures", str(scale.pictures)] if scale.pictures else []
    words += ["--seeds", str(len(laboratory.seeds))] if len(laboratory.seeds) > 1 else []
    return shlex.join(words + [word for data in laboratory.data for word in ("--data", data)])


def _row(
    name: str, row: Row, laboratory: Laboratory, seconds: dict[str, float], hardware: str
) -> dict[str, Any]:
    measure = row.measure
    figure = _published(row.published) if row.published else None
    interval = measure.interval if measure else None
    return {
        "id": f"{name}/{row.condition}/{row.metric}",
        "paper": figure.source if figure else laboratory.experiment.paper,
        "published": figure.value if figure else None,
        "certainty": figure.certainty if figure else None,
        "published_protocol": figure.protocol if figure else None,
        "measured": measure.mean if measure else None,
        "interval": list(interval) if interval else None,
        "values": list(measure.values) if measure else [],
        "unit": row.unit,
        "protocol": laboratory.scale.words(),
        "seed": list(laboratory.seeds),
        "hardware": hardware,
        "seconds": seconds.get(row.condition.split("/")[0]),
    }


def _published(number: str) -> published.Published:
    return next(figure for figure in published.load() if figure.id == number)


def write_record(document: dict[str, Any], results: Path) -> Path:
    """Write the document to RESULTS/NAME-SCALE.json, or RESULTS/NAME.json at full scale."""
    scale = document["scale"]["name"]
    path = results / f"{document['experiment']}{'' if scale == 'full' else f'-{scale}'}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, document)
    return path


def read_records(results: Path) -> list[dict[str, Any]]:
    """Return all documents of a folder, by name.

    Raises:
        DataError: if one is damaged, or there is none.
    """
    found = []
    for path in sorted(results.glob("*.json")):
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            if not {"experiment", "rows", "scale", "plots"} <= document.keys():
                raise ValueError("it lacks keys")
        except (OSError, ValueError, AttributeError) as error:
            raise DataError(f"{path}: is no result of resight reproduce ({error}); remove it") from error
        found.append(document)
    if not found:
        raise DataError(f"{results}: holds no results; resight reproduce NAME writes some")
    return found


def plots_of(document: dict[str, Any]) -> list[Plot]:
    """Return the plots of a document."""
    return [Plot(**plot) for plot in document["plots"]]
