"""The files of results: written, read again, and completed by what another call or machine measured."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from resight.core import documents
from resight.core.documents import Whole, Within
from resight.core.errors import DataError, ResightError
from resight.core.figures import to_json
from resight.core.files import write_json
from resight.reproduce.experiment import Experiment, Plot, Scale
from resight.reproduce.record import Outcome, Part, Record, ResultRow, Trained, judged

FIGURE, COUNT, WORDS = (Within(-1e12, 1e12), None), (Whole(0), None), (str, None)
OUTCOME = {"holds": (bool, None), "alone": (bool, None)}
SHAPE = {
    "experiment": str,
    "data": [str],
    "paper": str,
    "claim": str,
    **OUTCOME,
    "parts": [{"claim": str, **OUTCOME}],
    "caveat": str,
    "scale": {"name": str, "epochs": COUNT, "pictures": COUNT, "tested": COUNT, "settings": [str]},
    "protocol": str,
    "seeds": [Whole(0)],
    "seconds": Within(0),
    "hardware": str,
    "versions": {str: str},
    "rows": [
        {
            "id": str,
            "paper": str,
            "published": FIGURE,
            "certainty": WORDS,
            "published_protocol": WORDS,
            "measured": FIGURE,
            "interval": ([FIGURE], None),
            "values": [Within(-1e12, 1e12)],
            "unit": str,
            "protocol": str,
            "seed": [Whole(0)],
            "hardware": str,
            "seconds": (Within(0), None),
        }
    ],
    "command": str,
    "trainings": [
        {
            "condition": str,
            "seed": Whole(0),
            "command": str,
            "seconds": Within(0),
            "recipe": {str: object},
            "data": str,
        }
    ],
    "failed": {str: str},
    "plots": [{"title": str, "across": str, "up": str, "lines": [[(str, [FIGURE])]]}],
}
"""The structure of a file."""
KEYS = set(SHAPE)


def title(record: Record) -> str:
    """Return an experiment's name, with its scale if not full, and with the names of given data."""
    return _title(record.experiment, record.data, record.scale)


def _title(experiment: str, data: Sequence[str], scale: Scale) -> str:
    sizes = {"epochs": scale.epochs, "pictures": scale.pictures}
    changed = [f"{size} {what}" for what, size in sizes.items() if size]
    changed = ["smoke"] if scale.name == "smoke" else [*changed, *scale.settings]
    return ", ".join([experiment, *(Path(given).name for given in data), *changed])


def file_stem(experiment: str, data: Sequence[str], scale: Scale) -> str:
    """Return the name of a file of results, without its ending: the experiment and what was changed."""
    return re.sub(r"[^\w.]+", "-", _title(experiment, data, scale))


def write_record(record: Record, results: Path) -> Path:
    """Write RESULTS/NAME.json; changes of scale and given data are added to the name.

    Raises:
        ResightError: if nothing was measured; an existing file is kept.
    """
    if not any(row.values for row in record.rows):
        why = next(iter(record.failed.values()), "no training has finished")
        raise ResightError(f"{record.experiment}: nothing was measured: {why}")
    path = results / f"{file_stem(record.experiment, record.data, record.scale)}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, to_json(record))
    return path


def read_records(results: Path) -> list[Record]:
    """Return all records of a folder, by name.

    Raises:
        DataError: if one is damaged, or there is none.
    """
    found = [read_record(path) for path in sorted(results.glob("*.json"))]
    if not found:
        raise DataError(f"{results}: holds no results; resight reproduce NAME writes some")
    return found


def read_record(path: Path) -> Record:
    """Return the record in a file.

    Raises:
        DataError: if it is damaged.
    """
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
    if any(len(pair) != 2 or None in pair for pair in intervals) or any(
        [type(part) for part in line] != [str, list, list] or len(line[1]) != len(line[2]) for line in lines
    ):
        raise DataError(f"{where} (an interval or a line is cut); move it out of the folder")
    return _parsed(document)


def _parsed(document: Mapping[str, Any]) -> Record:
    """Return the record of a document that has its structure."""
    return Record(
        **_known(
            Record,
            document,
            outcome=_outcome(document),
            parts=tuple(Part(part["claim"], _outcome(part)) for part in document["parts"]),
            scale=Scale(**_known(Scale, document["scale"])),
            rows=tuple(ResultRow(**_known(ResultRow, row)) for row in document["rows"]),
            trainings=tuple(Trained(**_known(Trained, one)) for one in document["trainings"]),
            plots=tuple(Plot(**_known(Plot, plot)) for plot in document["plots"]),
        )
    )


def _outcome(document: Mapping[str, Any]) -> Outcome:
    return Outcome(document["holds"], document["alone"])


def _known(kind: type, document: Mapping[str, Any], **made: Any) -> dict[str, Any]:
    """Return the values of a dataclass's fields: those that are made, else the document's."""
    plain = {name: document[name] for name in kind.__dataclass_fields__ if name not in made}
    return {name: tuple(v) if isinstance(v, list) else v for name, v in plain.items()} | made


def completed(record: Record, older: Record, experiment: Experiment) -> Record:
    """Return a record with the figures of the conditions that only an older one has.

    Both are of the same experiment, data and scale: what was measured by an earlier call, or on another
    machine, is kept until it is measured again. A row says on which hardware it was measured.
    """
    known = {row.id: row for row in older.rows if row.values}
    rows = tuple(row if row.values else known.get(row.id, row) for row in record.rows)
    trained = {(one.condition, one.seed) for one in record.trainings}
    trainings = (*record.trainings, *(t for t in older.trainings if (t.condition, t.seed) not in trained))
    lines = {(plot.title, line[0]): line for plot in older.plots for line in plot.lines}
    outcome, parts = judged(experiment, rows, record.scale.name)
    measured = {row.name.split("/")[0] for row in rows if row.values}
    return replace(
        record,
        outcome=outcome,
        parts=parts,
        seeds=tuple(sorted({*record.seeds, *older.seeds})),
        seconds=sum(one.seconds for one in trainings),
        hardware=_joined("; ", record.hardware, older.hardware),
        versions={
            key: _joined(", ", record.versions.get(key, ""), older.versions.get(key, ""))
            for key in {**record.versions, **older.versions}
        },
        rows=rows,
        trainings=trainings,
        failed={name: why for name, why in record.failed.items() if name not in measured},
        plots=tuple(_with_lines(plot, lines) for plot in record.plots),
    )


def _with_lines(plot: Plot, older: Mapping[tuple[str, str], Any]) -> Plot:
    """Return a plot with the lines that only an older one has."""
    own = {line[0] for line in plot.lines}
    added = [line for (name, label), line in older.items() if name == plot.title and label not in own]
    return replace(plot, lines=[*plot.lines, *added])


def _joined(mark: str, *lists: str) -> str:
    """Return the parts of several lists, each part once."""
    return mark.join(sorted({part for words in lists for part in words.split(mark) if part}))
