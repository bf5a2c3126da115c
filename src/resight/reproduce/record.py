"""The results of an experiment as JSON: what was measured, what is published, and how."""

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from resight.core import documents, published
from resight.core.device import describe, pick_device
from resight.core.documents import Whole, Within
from resight.core.errors import DataError, ResightError
from resight.core.files import write_json
from resight.reproduce.claims import Figure, Figures, judge
from resight.reproduce.experiment import Experiment, Plot, Row
from resight.reproduce.laboratory import Laboratory

PLACE = "runs/reproduce"
"""The default folder for the runs of `resight reproduce`."""

FIGURE, COUNT = (Within(-1e12, 1e12), None), (Whole(0), None)
SHAPE = {
    "experiment": str,
    "data": [str],
    "paper": str,
    "claim": str,
    "holds": (bool, None),
    "alone": (bool, None),
    "parts": [{"claim": str, "holds": (bool, None), "alone": (bool, None)}],
    "caveat": str,
    "scale": {"name": str, "epochs": COUNT, "pictures": COUNT, "settings": [str]},
    "protocol": str,
    "seeds": [Whole(0)],
    "seconds": Within(0),
    "hardware": str,
    "versions": {str: str},
    "rows": [
        {
            "id": str,
            "published": FIGURE,
            "certainty": (str, None),
            "measured": FIGURE,
            "interval": ([FIGURE], None),
            "values": [Within(-1e12, 1e12)],
            "unit": str,
        }
    ],
    "command": str,
    "trainings": [{"command": str}],
    "failed": {str: str},
    "plots": [{"title": str, "across": str, "up": str, "lines": [[(str, [FIGURE])]]}],
}
"""The structure of a document, as far as it is read again."""
KEYS = set(SHAPE)


def record_of(name: str, laboratory: Laboratory, called: str) -> dict[str, Any]:
    """Return the document of a run experiment.

    Args:
        name: of the experiment.
        laboratory: where it has run.
        called: the user's argument: its name or its file.

    Returns:
        {"experiment", "data" (as given), "paper", "claim", "holds" (None if a deciding figure is missing or
        its interval leaves it open, or at smoke scale), "alone" (what the figures say without intervals; None
        if one is missing, or at smoke scale), "parts" (of the claim: each with "claim", "holds" and "alone"),
        "caveat", "scale", "protocol", "seeds", "seconds" (of all trainings), "hardware", "versions", "rows",
        "command" (that runs it again), "trainings" (each with "condition", "seed", "command" as if in
        PLACE, "seconds", "recipe", and "data": fingerprint of the pictures), "failed", "plots"}. A row has
        the keys of the JSON of `resight reproduce`, and "unit", "values", "certainty" and
        "published_protocol"; its seeds are those that were measured.
    """
    experiment, scale = laboratory.experiment, laboratory.scale
    records = laboratory.records()
    hardware = sorted({r["hardware"] for r in records if "hardware" in r}) or [describe(pick_device())]
    versions: dict[str, set[str]] = {}
    for key, value in ((k, v) for r in records for k, v in r.get("versions", {}).items()):
        versions.setdefault(key, set()).add(value)
    seconds: dict[str, float] = {
        c: sum(r["seconds"] for r in records if r["condition"] == c)
        for c in {r["condition"] for r in records}
    }
    rows = [
        row_of(name, row, laboratory, seconds, "; ".join(hardware)) for row in experiment.rows(laboratory)
    ]
    return {
        "experiment": name,
        "data": list(laboratory.data),
        "paper": experiment.paper,
        "claim": experiment.claim,
        **judged(experiment, rows, scale.name),
        "caveat": experiment.caveat,
        "scale": asdict(scale),
        "protocol": scale.words(),
        "seeds": list(laboratory.seeds),
        "seconds": sum(seconds.values()),
        "hardware": "; ".join(hardware),
        "versions": {key: ", ".join(sorted(values)) for key, values in versions.items()},
        "rows": rows,
        "command": _command(called, laboratory),
        "trainings": [
            {
                "condition": r["condition"],
                "seed": r["seed"],
                "command": _shown(laboratory, r["condition"], r["seed"]),
                "seconds": round(r["seconds"], 3),
                "recipe": r.get("recipe") or r["settings"],  # of a GAN
                "data": r["data_fingerprint"],
            }
            for r in records
        ],
        "failed": laboratory.failed,
        "plots": [asdict(plot) for plot in (experiment.plots(laboratory) if experiment.plots else ())],
    }


def judged(experiment: Experiment, rows: Sequence[Mapping[str, Any]], scale: str) -> dict[str, Any]:
    """Return "holds", "alone" and "parts" of a document, from its rows; nothing is judged at smoke scale."""
    found = {
        row["id"].partition("/")[2]: Figure(row["measured"], *(row["interval"] or ()))
        for row in rows
        if row["measured"] is not None
    }

    def verdict(claim: Callable[[Figures], bool]) -> dict[str, bool | None]:
        said = judge(claim, found)
        decided = not said.missing and scale != "smoke"
        return {"holds": said.holds if decided else None, "alone": said.alone if decided else None}

    parts = [{"claim": words, **verdict(part)} for words, part in experiment.parts]
    return {**verdict(experiment.holds), "parts": parts}


def _shown(laboratory: Laboratory, condition: str, seed: int) -> str:
    command = laboratory.command(laboratory.training(condition), seed)
    return command.replace(f"{laboratory.place}/", f"{PLACE}/")


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
    name: str, row: Row, laboratory: Laboratory, seconds: dict[str, float], hardware: str
) -> dict[str, Any]:
    """Return a row of the document."""
    measure = row.measure
    figure = _published(row.published) if row.published else None
    interval = measure.interval if measure else None
    condition = row.condition.split("/")[0]
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
        "seed": laboratory.measured(condition),
        "hardware": hardware,
        "seconds": seconds.get(condition),
    }


def _published(number: str) -> published.Published:
    return next(figure for figure in published.load() if figure.id == number)


def write_record(document: dict[str, Any], results: Path) -> Path:
    """Write the document to RESULTS/NAME.json; changes of scale and given data are added to the name.

    Raises:
        ResightError: if nothing was measured; an existing file is kept.
    """
    if not any(row["values"] for row in document["rows"]):
        why = next(iter(document["failed"].values()), "no training has finished")
        raise ResightError(f"{document['experiment']}: nothing was measured: {why}")
    path = results / f"{file_stem(document)}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, document)
    return path


def title(document: dict[str, Any]) -> str:
    """Return an experiment's name, with its scale if not full, and with the names of given data."""
    scale = document["scale"]
    changed = [f"{scale[key]} {key}" for key in ("epochs", "pictures") if scale[key]]
    changed = ["smoke"] if scale["name"] == "smoke" else [*changed, *scale["settings"]]
    given = [Path(data).name for data in document["data"]]
    return ", ".join([document["experiment"], *given, *changed])


def file_stem(document: dict[str, Any]) -> str:
    """Return the title as a file name."""
    return re.sub(r"[^\w.]+", "-", title(document))


def read_records(results: Path) -> list[dict[str, Any]]:
    """Return all documents of a folder, by name.

    Raises:
        DataError: if one is damaged, or there is none.
    """
    found = []
    for path in sorted(results.glob("*.json")):
        where = f"{path}: is not a result of resight reproduce"
        try:
            document = documents.parse(path.read_bytes(), where, nan=True)
        except OSError as error:
            raise DataError(f"{where} ({error.strerror or error}); move it out of the folder") from error
        if isinstance(document, dict) and (missing := KEYS - document.keys()):
            lacking = ", ".join(sorted(missing))
            raise DataError(f"{where} (it lacks {lacking}); move it out of the folder")
        documents.require(document, SHAPE, where)
        intervals = [row["interval"] for row in document["rows"] if row["interval"]]
        lines = [line for plot in document["plots"] for line in plot["lines"]]
        if any(len(pair) != 2 for pair in intervals) or any(
            [type(part) for part in line] != [str, list, list] or len(line[1]) != len(line[2])
            for line in lines
        ):
            raise DataError(f"{where} (an interval or a line is cut); move it out of the folder")
        found.append(document)
    if not found:
        raise DataError(f"{results}: holds no results; resight reproduce NAME writes some")
    return found


def verdict_words(judged: Mapping[str, Any]) -> str:
    """Return "holds", "does not hold" or the reason for neither, for a claim or a part of it."""
    words = {True: "holds", False: "does not hold"}
    if judged["holds"] is not None:
        return words[judged["holds"]]
    if judged["alone"] is None:
        return "not judged: a figure is missing, or the scale is too small"
    why = "not decided by the 95 % intervals, which one seed alone may not have"
    return f"{why}; by the figures alone it {words[judged['alone']]}"


def plots_of(document: dict[str, Any]) -> list[Plot]:
    """Return the plots of a document."""
    return [Plot(**plot) for plot in document["plots"]]
