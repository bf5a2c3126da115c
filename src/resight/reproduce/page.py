"""The page of all results: published and measured figures, with a plot for each figure."""

import math
from pathlib import Path

from resight.core.files import write_text
from resight.core.text import amount
from resight.render.curves import draw_lines
from resight.reproduce.catalogue import NAMES, experiment
from resight.reproduce.experiment import Scale
from resight.reproduce.laboratory import Laboratory
from resight.reproduce.record import Record, ResultRow, row_of
from resight.reproduce.results import file_stem, read_records, title

BY_HAND = "<!-- below: written by hand -->"
HEAD = """# Results

Published figures compared with ours. `resight reproduce --page docs/results.md` wrote this page, down to the
line that says so, from the files in `results/`: one file for each experiment. An empty cell was not measured
or is not published. Experiments that were not run stand at the end. A published figure that is not verified
is marked: *high* was taken from a copy that agrees with others; *uncertain* was remembered or read off a
curve. All intervals are 95 %: over the seeds (Student), or over the pictures of one run (Wilson). A claim
"holds" or "does not hold" only without doubt: in each comparison the interval of the difference (Newcombe)
must lie on one side of zero, and one seed without an interval decides nothing. How figures were obtained,
and what failed: [experiments.md](experiments.md).
"""

TABLE = ("| condition | metric | published | measured | 95 % interval |", "| --- | --- | --- | --- | --- |")


def write_page(page: str, results: str) -> Path:
    """Write the page, and its plots into a folder `figures` next to it.

    The text below the line `BY_HAND` of an older page is kept.

    Returns:
        The page.

    Raises:
        DataError: if there are no results, or one is damaged.
    """
    path = Path(page)
    records = sorted(read_records(Path(results)), key=_place)
    parts = [HEAD]
    parts += [_section(record, path.parent / "figures") for record in records]
    run = {record.experiment for record in records}
    parts += ["## Not run yet\n", *(_unmeasured(name) for name in NAMES if name not in run)]
    older = path.read_text(encoding="utf-8") if path.exists() else ""
    _, line, kept = older.partition(BY_HAND)
    write_text(path, "\n".join(parts) + line + kept)
    return path


def _place(record: Record) -> tuple[int, float, str]:
    """Return what records are sorted by: the list of experiments, and of each the longest trainings first."""
    order = NAMES.index(record.experiment) if record.experiment in NAMES else len(NAMES)
    return order, -(record.scale.epochs or math.inf), title(record)


def _section(record: Record, figures: Path) -> str:
    name = title(record)
    seeds = len(record.seeds)
    versions = ", ".join(f"{key} {value}" for key, value in record.versions.items())
    lines = [
        f"## {name}",
        "",
        f"{_capital(record.paper)}. Claim: {record.claim}. {_verdict(record)}",
        "",
        f"Scale: {record.protocol}; {amount(seeds, 'seed')}; "
        f"{_hours(record.seconds)} of training on "
        f"{record.hardware or 'no trainings'} ({versions}).",
        "",
        *TABLE,
        *map(_row, record.rows),
        "",
        *(f"Failed: {condition}: {why}." for condition, why in record.failed.items()),
    ]
    for number, plot in enumerate(record.plots, 1):
        stem = file_stem(record.experiment, record.data, record.scale)
        file = figures / f"{stem}-{number}.svg"
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, draw_lines(plot.title, plot.across, plot.up, plot.lines))
        lines += [f"![{plot.title}](figures/{file.name})", ""]
    if record.trainings:
        lines += [
            "<details><summary>Commands</summary>",
            "",
            f"    {record.command}",
            "",
            "and what it called:",
            "",
            *(f"    {training.command}" for training in record.trainings),
            "",
            "</details>",
            "",
        ]
    return "\n".join(lines)


def _verdict(record: Record) -> str:
    """Return whether the claim and its parts hold, and what else may explain the figures."""
    where = "here" if record.scale.name == "full" else "at this scale"
    said: dict[bool | None, str] = {True: f"It holds {where}.", False: f"**It does not hold {where}.**"}
    parts = [f"{_capital(part.claim)}: {part.outcome.words}." for part in record.parts]
    undecided = f"It is {record.outcome.words}."
    return " ".join(
        [
            said.get(record.outcome.holds, undecided),
            *parts,
            *([f"But {record.caveat}."] * bool(record.caveat)),
        ]
    )


def _unmeasured(name: str) -> str:
    """Return the published figures of an experiment that was not run, with empty cells for ours."""
    chosen = experiment(name)
    blank = Laboratory(chosen, Scale(), (0,), Path("none"), lambda line: None)
    rows = [row_of(name, row, blank, {}, "") for row in chosen.rows(blank) if row.published]
    lines = [
        f"### {name}",
        "",
        f"{_capital(chosen.paper)}. Claim: {chosen.claim}. Run it: `resight reproduce {name} --scale full"
        f"{' --data ...' * len(chosen.needs)}`.",
        "",
    ]
    return "\n".join([*lines, *TABLE, *map(_row, rows), ""] if rows else lines)


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def _row(row: ResultRow) -> str:
    condition, _, metric = row.name.rpartition("/")
    published = "" if row.published is None else f"{row.published:g}"
    if row.certainty not in (None, "verified"):
        published += f" *({row.certainty})*"
    low, high = row.interval or (None, None)
    interval = "" if low is None or high is None else f"{_number(low, row.unit)} to {_number(high, row.unit)}"
    cells = (condition, metric, published, _figure(row), interval)
    return f"| {' | '.join(cells)} |"


def _figure(row: ResultRow) -> str:
    return "" if row.measured is None else f"{_number(row.measured, row.unit)} {row.unit}".strip()


def _number(value: float, unit: str) -> str:
    return f"{value:.2f}" if unit == "%" else f"{value:.4g}"


def _hours(seconds: float) -> str:
    return (
        f"{seconds / 3600:.1f} h"
        if seconds > 5400
        else f"{seconds / 60:.0f} min"
        if seconds > 90
        else f"{seconds:.0f} s"
    )
